//! The services of a lab: haproxy, nginx with the application, PostgreSQL, and what stands for those outside.

use super::namespaces::{run, within};
use crate::application::{self, PORT};
use crate::layout::{Layout, Machine};
use crate::outside;
use crate::packages;
use crate::place::{CERTIFICATE, SERVICES, Service};
use crate::up::Order;
use rcgen::{CertificateParams, KeyPair, SanType};
use std::fmt::Write as _;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write as _};
use std::net::{IpAddr, Ipv6Addr, TcpListener};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// Where services keep their files, and where they write what they have to say.
const FOLDER: &str = "/run/firewarden";
const LOGS: &str = "/var/log/lab";
/// Certificate and key, as haproxy reads them.
const SITE: &str = "/run/firewarden/tls/site.pem";
/// The database's files, and its socket.
const DATA: &str = "/run/firewarden/postgresql";
const SOCKET: &str = "/run/postgresql/.s.PGSQL.5432";
/// How long a service may take until it listens, and how often it is looked at.
const PATIENCE: Duration = Duration::from_secs(120);
const GLANCE: Duration = Duration::from_millis(5);
/// How much of a log is told, in bytes.
const LAST_WORDS: u64 = 600;
/// What the port for administrators says to everybody; nobody can log in.
const BANNER: &[u8] = b"SSH-2.0-firewarden-lab\r\n";

/// What comes of the work on the database that needs no network.
pub type Database = JoinHandle<Result<(), String>>;

/// Begins with what takes longest and needs no network: an empty database.
pub fn prepare() -> Result<Database, String> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o755)
        .create(LOGS)
        .map_err(|error| format!("`{LOGS}`: {error}"))?;
    Ok(thread::spawn(initdb))
}

fn initdb() -> Result<(), String> {
    let failed = |error: io::Error| format!("PostgreSQL's folder can't be made: {error}");
    let user =
        nix::unistd::User::from_name("postgres").ok().flatten().ok_or("there is no user `postgres`")?;
    for folder in [DATA, "/run/postgresql"] {
        fs::create_dir_all(folder).map_err(failed)?;
        chown(folder, Some(user.uid.as_raw()), Some(user.gid.as_raw())).map_err(failed)?;
    }
    let arguments =
        ["--no-sync", "--no-instructions", "--auth=trust", "--locale=C", "--encoding=UTF8", "-D", DATA];
    run(as_postgres(&postgres("initdb")?).args(arguments), "")
}

/// A program of PostgreSQL.
fn postgres(program: &str) -> Result<PathBuf, String> {
    packages::postgresql()
        .map(|folder| folder.join(program))
        .ok_or_else(|| "PostgreSQL is not installed".to_owned())
}

fn as_postgres(program: &Path) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--reuid=postgres", "--regid=postgres", "--init-groups", "--"]).arg(program);
    command
}

/// Starts every service, and waits until all of them listen. Whether anybody reaches them is up to the rules.
pub fn start(
    order: &Order,
    words: &[&str],
    database: Database,
    told: &dyn Fn(&str) -> Result<(), String>,
) -> Result<(), String> {
    let layout = &order.layout;
    let mut running = Running::default();
    certificate(layout)?;
    for machine in &layout.machines {
        administration(&machine.name)?;
    }
    running.start("haproxy", "lb", haproxy("lb", &haproxy_config(layout))?, &[80, 443, 8404])?;
    let partner = haproxy(outside::PARTNER, include_str!("../../../../examples/webstack/lab/partner.cfg"))?;
    running.start("haproxy", outside::PARTNER, partner, &[80, 443])?;
    for machine in layout.of_host("app") {
        running.start("nginx", &machine.name, nginx(machine)?, &[8080])?;
        running.start("application", &machine.name, application(order, words)?, &[PORT])?;
    }
    running.wait()?;
    told("haproxy, nginx, application")?;
    database.join().unwrap_or_else(|_| Err("the work on the database ended".to_owned()))?;
    configure_database(layout)?;
    let mut command = as_postgres(&postgres("postgres")?);
    command.args(["-D", DATA]);
    running.start("postgresql", "db", command, &[5432])?;
    running.wait()?;
    let deadline = Instant::now() + PATIENCE;
    while !Path::new(SOCKET).exists() && Instant::now() < deadline {
        thread::sleep(GLANCE);
    }
    fill_database(deadline)?;
    told("PostgreSQL")?;
    running.record()
}

/// Services that were started.
#[derive(Default)]
struct Running {
    services: Vec<Started>,
}

struct Started {
    service: Service,
    child: Child,
    ports: Vec<u16>,
}

impl Running {
    /// Starts a service on a machine. It listens on these ports of TCP when it is ready.
    fn start(&mut self, name: &str, host: &str, mut command: Command, ports: &[u16]) -> Result<(), String> {
        let failed = |error: io::Error| format!("`{name}` can't be started on `{host}`: {error}");
        let log = File::create(log_of(name, host)).map_err(failed)?;
        let both = log.try_clone().map_err(failed)?;
        command.stdin(Stdio::null()).stdout(log).stderr(both);
        let child = within(host, || command.spawn()).and_then(|spawned| spawned).map_err(failed)?;
        let service = Service { name: name.to_owned(), host: host.to_owned(), process: child.id() };
        self.services.push(Started { service, child, ports: ports.to_vec() });
        Ok(())
    }

    /// Waits until each of them listens.
    fn wait(&mut self) -> Result<(), String> {
        let deadline = Instant::now() + PATIENCE;
        for started in &mut self.services {
            let Service { name, host, .. } = &started.service;
            while !within(host, || listens(&started.ports)).and_then(|known| known).unwrap_or(false) {
                let ended = !matches!(started.child.try_wait(), Ok(None));
                if ended || Instant::now() > deadline {
                    let what = if ended { "ended" } else { "does not listen" };
                    return Err(format!("`{name}` on `{host}` {what}: {}", last_words(name, host)));
                }
                thread::sleep(GLANCE);
            }
        }
        Ok(())
    }

    /// Leaves a list of them, for `lab status`.
    fn record(&self) -> Result<(), String> {
        let services: Vec<&Service> = self.services.iter().map(|started| &started.service).collect();
        let text = serde_json::to_vec(&services).map_err(|error| error.to_string())?;
        fs::write(SERVICES, text).map_err(|error| format!("`{SERVICES}`: {error}"))
    }
}

fn log_of(name: &str, host: &str) -> PathBuf {
    Path::new(LOGS).join(format!("{name}-{host}.log"))
}

/// The end of a service's log, in one line.
fn last_words(name: &str, host: &str) -> String {
    let read = || -> io::Result<String> {
        let mut file = File::open(log_of(name, host))?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(LAST_WORDS)))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).split_whitespace().collect::<Vec<_>>().join(" "))
    };
    read().ok().filter(|words| !words.is_empty()).unwrap_or_else(|| "it said nothing".to_owned())
}

/// Whether something listens on all of these ports of TCP, in the network namespace of the calling thread (proc(5),
/// `/proc/net/tcp`). Rules don't matter for that, as they would for a connection.
fn listens(ports: &[u16]) -> io::Result<bool> {
    let mut tables = fs::read_to_string("/proc/thread-self/net/tcp")?;
    tables.push_str(&fs::read_to_string("/proc/thread-self/net/tcp6")?);
    let open = |port: &u16| {
        let local = format!(":{port:04X}");
        tables.lines().any(|line| {
            let mut fields = line.split_whitespace().skip(1);
            fields.next().is_some_and(|address| address.ends_with(&local)) && fields.nth(1) == Some("0A")
        })
    };
    Ok(ports.iter().all(open))
}

/// A certificate for the site and for the partner, which signs itself, and its key.
fn certificate(layout: &Layout) -> Result<(), String> {
    let addresses = layout.machines.iter().filter(|machine| ["edge", "lb"].contains(&machine.host.as_str()));
    let addresses =
        addresses.flat_map(Machine::addresses).chain([outside::partner(false), outside::partner(true)]);
    let failed = |error: rcgen::Error| format!("no certificate can be made: {error}");
    let names = vec!["shop.example".to_owned(), "partner.example".to_owned(), "localhost".to_owned()];
    let mut parameters = CertificateParams::new(names).map_err(failed)?;
    parameters.subject_alt_names.extend(addresses.map(SanType::IpAddress));
    let key = KeyPair::generate().map_err(failed)?;
    let certificate = parameters.self_signed(&key).map_err(failed)?.pem();
    let write = || -> io::Result<()> {
        fs::create_dir_all(Path::new(FOLDER).join("tls"))?;
        fs::write(CERTIFICATE, &certificate)?;
        let mut site = OpenOptions::new().write(true).create_new(true).mode(0o600).open(SITE)?;
        site.write_all(format!("{certificate}{}", key.serialize_pem()).as_bytes())
    };
    write().map_err(|error| format!("the certificate can't be written: {error}"))
}

/// What answers on the port for administrators, so that it is seen who reaches that.
fn administration(machine: &str) -> Result<(), String> {
    let listen = || TcpListener::bind((Ipv6Addr::UNSPECIFIED, 22));
    let listener = within(machine, listen).and_then(|bound| bound);
    let listener = listener.map_err(|error| format!("port 22 of `{machine}`: {error}"))?;
    thread::spawn(move || {
        for mut connection in listener.incoming().flatten() {
            // Whoever has gone already needs no greeting.
            let _ = connection.write_all(BANNER);
        }
    });
    Ok(())
}

fn haproxy_config(layout: &Layout) -> String {
    let servers = |ipv6: bool| {
        let mut lines = String::new();
        for machine in layout.of_host("app") {
            for address in machine.addresses().filter(|address| address.is_ipv6() == ipv6) {
                // Writing to a string can't fail.
                let _ = writeln!(lines, "    server {} {}", machine.name, socket(address, 8080));
            }
        }
        lines
    };
    include_str!("../../../../examples/webstack/lab/haproxy.cfg")
        .replace("{{servers4}}", servers(false).trim_end())
        .replace("{{servers6}}", servers(true).trim_end())
}

fn socket(address: IpAddr, port: u16) -> String {
    std::net::SocketAddr::new(address, port).to_string()
}

fn haproxy(host: &str, config: &str) -> Result<Command, String> {
    let file = Path::new(FOLDER).join(format!("haproxy-{host}.cfg"));
    fs::write(&file, config).map_err(|error| format!("`{}`: {error}", file.display()))?;
    let mut command = Command::new("haproxy");
    command.arg("-db").arg("-f").arg(file);
    Ok(command)
}

fn nginx(machine: &Machine) -> Result<Command, String> {
    let folder = Path::new(FOLDER).join(format!("nginx-{}", machine.name));
    let file = folder.join("nginx.conf");
    fs::create_dir_all(&folder)
        .and_then(|()| fs::write(&file, include_str!("../../../../examples/webstack/lab/nginx.conf")))
        .map_err(|error| format!("`{}`: {error}", file.display()))?;
    let mut command = Command::new("nginx");
    command.args(["-e", "stderr", "-p"]).arg(&folder).arg("-c").arg(&file);
    Ok(command)
}

fn application(order: &Order, words: &[&str]) -> Result<Command, String> {
    let address = |ipv6: bool| {
        let found =
            order.layout.of_host("db").flat_map(Machine::addresses).find(|address| address.is_ipv6() == ipv6);
        found.map(|address| socket(address, 5432)).ok_or("the database has no address")
    };
    let mut command = Command::new("/proc/self/exe");
    command.args(words).arg(application::WORD);
    command.args([address(false)?, address(true)?]).args(["--pool", &order.services.pool.to_string()]);
    Ok(command)
}

fn configure_database(layout: &Layout) -> Result<(), String> {
    let addresses: Vec<String> =
        layout.of_host("db").flat_map(Machine::addresses).map(|address| address.to_string()).collect();
    let mut clients = String::new();
    for address in layout.of_host("app").flat_map(Machine::addresses) {
        let length = if address.is_ipv6() { 128 } else { 32 };
        // Writing to a string can't fail.
        let _ = writeln!(clients, "host  shop shop {address}/{length} trust");
    }
    let config = include_str!("../../../../examples/webstack/lab/postgresql.conf");
    let access = include_str!("../../../../examples/webstack/lab/pg_hba.conf");
    let config = config.replace("{{addresses}}", &addresses.join(", "));
    let access = access.replace("{{clients}}", clients.trim_end());
    fs::write(Path::new(DATA).join("postgresql.conf"), config)
        .and_then(|()| fs::write(Path::new(DATA).join("pg_hba.conf"), access))
        .map_err(|error| format!("the database can't be set up: {error}"))
}

/// Makes what the application keeps, as soon as the database takes orders.
fn fill_database(deadline: Instant) -> Result<(), String> {
    let script = include_str!("../../../../examples/webstack/lab/shop.sql");
    let arguments =
        ["--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1", "--host=/run/postgresql", "--dbname=postgres"];
    loop {
        let mut command = as_postgres(&postgres("psql")?);
        match run(command.args(arguments), script) {
            // It listens before it takes orders.
            Err(words) if words.contains("starting up") && Instant::now() < deadline => thread::sleep(GLANCE),
            done => return done,
        }
    }
}
