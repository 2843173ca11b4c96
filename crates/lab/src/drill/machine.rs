//! A machine whose rules a drill changes: files, plans, trials on it, and what they say.

use super::DrillError;
use crate::layout::{self, Loader, RulesFile};
use crate::outside::{self, CLIENT};
use crate::place::{Lab, NETWORKS};
use crate::scenario::Fault;
use crate::stack::BUILT_IN;
use jiff::Timestamp;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::io::{self, BufRead, BufReader, Read};
use std::net::{IpAddr, SocketAddr};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::Sender;
use std::thread;

/// Where drills keep their files, in a lab.
const FOLDER: &str = "/run/firewarden/drill";
/// How long a probe may take, in seconds, and each connection that it makes.
const PROBE_SECONDS: &str = "20";
const CONNECTION_MILLISECONDS: u32 = 500;
/// Connections of a probe where the source port may decide.
const SPREAD: u16 = 16;
/// The first port that the load balancer uses (`net.ipv4.ip_local_port_range`).
const FIRST_PORT: u16 = 1024;

/// What a machine said, and when.
pub struct Heard {
    pub machine: String,
    pub when: Timestamp,
    pub said: Said,
}

/// What a machine said.
pub enum Said {
    /// The kernel holds the new rules.
    Applied,
    /// A probe failed that held before.
    ProbeFailed(String),
    /// The trial is over.
    Ended { reverted: bool, text: String },
    /// Something went wrong.
    Trouble(String),
}

/// A machine of the lab.
pub struct Machine {
    pub name: String,
    lab: Lab,
    host: String,
    folder: PathBuf,
    rules: Vec<RulesFile>,
    probes: Vec<String>,
}

impl Machine {
    pub fn new(
        lab: &Lab,
        machine: &layout::Machine,
        host: &str,
        scenario: &str,
    ) -> Result<Machine, DrillError> {
        let folder = Path::new(FOLDER).join(scenario).join(&machine.name);
        let outside = lab.path(&folder);
        fs::create_dir_all(&outside)
            .map_err(|error| failed(&format!("`{}` can't be made", outside.display()), error))?;
        Ok(Machine {
            name: machine.name.clone(),
            lab: lab.clone(),
            host: host.to_owned(),
            folder,
            rules: machine.rules.clone(),
            probes: probes(lab),
        })
    }

    /// Writes the new files.
    pub fn put(&self, changed: &BTreeMap<String, String>) -> Result<(), DrillError> {
        for (name, text) in changed {
            let path = self.lab.path(&self.folder.join(name));
            fs::write(&path, text).map_err(|error| failed(&format!("`{name}` can't be written"), error))?;
        }
        Ok(())
    }

    fn plan_file(&self) -> PathBuf {
        self.folder.join("plan.json")
    }

    /// Makes a plan of the new files, with the lab's own stack file.
    pub fn plan(&self, changed: &BTreeMap<String, String>, window: u32) -> Result<(), DrillError> {
        let stack = self.lab.record().folder.clone().unwrap_or_else(|| PathBuf::from(BUILT_IN));
        let mut command = self.firewarden()?;
        command.arg("plan").args(changed.keys().map(|name| self.folder.join(name)));
        command.arg("--stack").arg(stack).args(["--host", &self.host, "--window", &window.to_string()]);
        command.arg("--out").arg(self.plan_file());
        let _ = fs::remove_file(self.lab.path(&self.plan_file()));
        let output = command.output().map_err(|error| failed("`firewarden plan` can't be run", error))?;
        match self.lab.path(&self.plan_file()).exists() {
            true => Ok(()),
            false => Err(DrillError::Failed(format!(
                "there is no plan on {}: {}",
                self.name,
                last_words(&String::from_utf8_lossy(&output.stderr))
            ))),
        }
    }

    /// Applies the plan, findings or not, with probes from wherever the service is used.
    pub fn apply(&self, reason: &str, heard: Sender<Heard>) -> Result<Process, DrillError> {
        let mut command = self.firewarden()?;
        command.arg("apply").arg(self.plan_file());
        command.args(["--accept-findings", reason, "--auto-confirm", "--format", "json"]);
        command.args(["--probe-timeout", PROBE_SECONDS]);
        command.args(self.probes.iter().flat_map(|probe| ["--probe", probe.as_str()]));
        self.start(command, heard)
    }

    /// Loads the new files as anybody would, under a guard on the machine that takes them back after some seconds.
    pub fn load_for(
        &self,
        changed: &BTreeMap<String, String>,
        seconds: u32,
        heard: Sender<Heard>,
    ) -> Result<Process, DrillError> {
        let script = self.loading(changed, &|rules| self.folder.join(rules));
        let mut command = self.firewarden()?;
        command.args(["guard", "--window", &seconds.to_string(), "--accept-findings", "a drill"]);
        command.args(["--format", "json", "--", "sh", "-ec", &script]);
        self.start(command, heard)
    }

    /// Loads the files as the stack has them.
    pub fn load_original(&self, changed: &BTreeMap<String, String>) -> Result<(), DrillError> {
        let original = |name: &str| {
            let found = self.rules.iter().find(|rules| file_name(&rules.path) == name);
            found.map_or_else(|| self.folder.join(name), |rules| rules.path.clone())
        };
        shell(&self.lab, &self.name, &self.loading(changed, &original))
    }

    /// The commands of a shell that load the changed files, from wherever they are.
    fn loading(&self, changed: &BTreeMap<String, String>, place: &dyn Fn(&str) -> PathBuf) -> String {
        let lines = changed.keys().map(|name| {
            let found = self.rules.iter().find(|rules| file_name(&rules.path) == *name);
            let program = match found.map(|rules| rules.loader) {
                Some(Loader::Iptables) => "iptables-restore",
                Some(Loader::Ip6tables) => "ip6tables-restore",
                Some(Loader::Ipset) => "ipset restore -file",
                Some(Loader::Nft) | None => "nft -f",
            };
            format!("{program} '{}'", place(name).display())
        });
        lines.collect::<Vec<_>>().join("\n")
    }

    /// Asks for the old rules.
    pub fn revert(&self, why: &str) -> Result<(), DrillError> {
        let mut command = self.firewarden()?;
        command.args(["revert", "--because", why]);
        let output = command.output().map_err(|error| failed("`firewarden revert` can't be run", error))?;
        match output.status.code() {
            Some(0 | 1) => Ok(()),
            _ => Err(DrillError::Failed(format!(
                "{} can't be reverted: {}",
                self.name,
                last_words(&String::from_utf8_lossy(&output.stderr))
            ))),
        }
    }

    fn firewarden(&self) -> Result<Command, DrillError> {
        let mut command = self.lab.command(&self.name, "firewarden")?;
        // Whoever drills over ssh isn't there.
        command.env_remove("SSH_CONNECTION").stdin(Stdio::null());
        Ok(command)
    }

    /// Starts a command whose standard output are events, and listens on a thread of its own.
    fn start(&self, mut command: Command, heard: Sender<Heard>) -> Result<Process, DrillError> {
        // Its own group: an interrupt at the terminal is for the drill, which asks for the old rules.
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
        let mut child = command.spawn().map_err(|error| failed("`firewarden` can't be run", error))?;
        let (out, errors) = (child.stdout.take(), child.stderr.take());
        let machine = self.name.clone();
        thread::spawn(move || {
            let mut ended = false;
            for line in out.into_iter().flat_map(|out| BufReader::new(out).lines()).map_while(Result::ok) {
                let when = Timestamp::now();
                if let Some(said) = serde_json::from_str(&line).ok().and_then(|event| said(&event)) {
                    ended |= matches!(said, Said::Ended { .. });
                    // Nobody listens any more where the drill was stopped.
                    let _ = heard.send(Heard { machine: machine.clone(), when, said });
                }
            }
            let mut text = String::new();
            let _ = errors.map(|mut errors| errors.read_to_string(&mut text));
            if !ended {
                let said = Said::Trouble(last_words(&text));
                let _ = heard.send(Heard { machine, when: Timestamp::now(), said });
            }
        });
        Ok(Process(child))
    }
}

/// A command that runs in the lab; it ends with the value.
pub struct Process(Child);

impl Process {
    pub fn wait(&mut self) {
        let _ = self.0.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // The trial itself goes on to its end with its guard.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What an event of `apply` or `guard` is to a drill.
fn said(event: &Value) -> Option<Said> {
    let text = || event.get("text").and_then(Value::as_str).unwrap_or_default().to_owned();
    let is = |key: &str| event.get(key).and_then(Value::as_bool).unwrap_or(false);
    match event.get("event").and_then(Value::as_str)? {
        "applied" => Some(Said::Applied),
        "command" if is("succeeded") => Some(Said::Applied),
        "probe" if !is("holds") && !is("as_before") => {
            let name = event.get("name").or_else(|| event.get("intent")).and_then(Value::as_str);
            Some(Said::ProbeFailed(name.unwrap_or_default().to_owned()))
        }
        "confirmed" => Some(Said::Ended { reverted: false, text: text() }),
        "reverted" => Some(Said::Ended { reverted: true, text: text() }),
        "abandoned" | "stuck" => Some(Said::Trouble(text())),
        _ => None,
    }
}

/// New connections from where the service is used: users to the site, load balancer to servers, servers to the database.
fn probes(lab: &Lab) -> Vec<String> {
    let mut made = Vec::new();
    let addresses = |host: &str| -> Vec<(String, IpAddr)> {
        let machines = lab.layout().of_host(host);
        machines
            .flat_map(|machine| machine.addresses().map(|address| (machine.name.clone(), address)))
            .collect()
    };
    let of = |machine: &str, like: IpAddr| {
        let found = lab.layout().machine(machine)?.addresses();
        found.into_iter().find(|own| own.is_ipv6() == like.is_ipv6())
    };
    for site in [lab.site(false), lab.site(true)].into_iter().flatten() {
        made.push(probe((CLIENT, outside::user(0, site.is_ipv6())), ("the site", site, 443), None));
    }
    for (server, address) in addresses("app") {
        if let Some(own) = of("lb", address) {
            made.push(probe(("lb", own), (&server, address, 8080), Some(SPREAD)));
        }
    }
    let servers: Vec<String> = lab.layout().of_host("app").map(|machine| machine.name.clone()).collect();
    for (database, address) in addresses("db") {
        for server in &servers {
            if let Some(own) = of(server, address) {
                made.push(probe((server, own), (&database, address, 5432), None));
            }
        }
    }
    made
}

/// A probe: a name, and commands of a shell that end well where every connection comes about. Where a source port may decide,
/// the connections come from ports that are spread over all of them: left to itself, the kernel takes neighbours. A port that
/// is taken says nothing.
fn probe(
    (from, source): (&str, IpAddr),
    (to, address, port): (&str, IpAddr, u16),
    spread: Option<u16>,
) -> String {
    let target = SocketAddr::new(address, port);
    let attempt = |source_port: String| {
        format!(
            "{{\"source\":\"{source}\",\"source_port\":{source_port},\"target\":{{\"tcp\":\"{target}\"}}}}"
        )
    };
    let attempts: Vec<String> = match spread {
        None => vec![attempt("null".to_owned())],
        Some(count) => {
            let step = (u16::MAX - FIRST_PORT) / count;
            (0..count)
                .map(|number| attempt(format!("$(({} + R % {step}))", FIRST_PORT + number * step)))
                .collect()
        }
    };
    let family = if address.is_ipv6() { "IPv6" } else { "IPv4" };
    format!(
        "{from} to {to}:{port} {family}=R=$$\nnsenter --net={NETWORKS}/{from} -- firewarden drill prober <<END | \
         sed 's/{{\"failed\":\"[^\"]*in use[^\"]*\"}}//g' | grep -Eqv 'silent|refused|failed'\n\
         {{\"patience\":{CONNECTION_MILLISECONDS},\"attempts\":[{}]}}\nEND",
        attempts.join(",")
    )
}

/// Something that was made on a host of the lab. A shell in the lab waits to mend it: it reads from a pipe whose other end only
/// this process has, and begins when that is closed, whether by [`Made::mend`] or because this process was killed.
pub struct Made<'f> {
    fault: &'f Fault,
    mender: Child,
}

/// The mender's background part outlives the shell before it, which ends with the process that started it.
const MENDER: &str = r#"exec 3<&0; (cat <&3 >/dev/null; exec sh -ec "$1") & wait $!"#;

impl<'f> Made<'f> {
    /// Makes it.
    pub fn make(lab: &Lab, fault: &'f Fault) -> Result<Made<'f>, DrillError> {
        let mut mender = lab.command(&fault.host, "sh")?;
        // Its own group: what a terminal sends to the drill isn't for it.
        mender.args(["-ec", MENDER, "sh", &fault.mend]).process_group(0);
        mender.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
        let made = Made { fault, mender: mender.spawn().map_err(no_shell)? };
        shell(lab, &fault.host, &fault.make).map(|()| made)
    }

    /// Where it was made.
    pub fn host(&self) -> &str {
        &self.fault.host
    }

    /// Mends it, now.
    pub fn mend(mut self) -> Result<(), DrillError> {
        drop(self.mender.stdin.take());
        let mut said = Vec::new();
        if let Some(mut stderr) = self.mender.stderr.take() {
            stderr.read_to_end(&mut said).map_err(no_shell)?;
        }
        let status = self.mender.wait().map_err(no_shell)?;
        let output = Output { status, stdout: Vec::new(), stderr: said };
        succeeded(&self.fault.host, &self.fault.mend, &output)
    }
}

/// Runs commands of a shell on a host of the lab.
fn shell(lab: &Lab, host: &str, script: &str) -> Result<(), DrillError> {
    let output = lab.command(host, "sh")?.args(["-ec", script]).stdin(Stdio::null()).output();
    succeeded(host, script, &output.map_err(no_shell)?)
}

fn succeeded(host: &str, script: &str, output: &Output) -> Result<(), DrillError> {
    match output.status.success() {
        true => Ok(()),
        false => Err(DrillError::Failed(format!(
            "on {host}, `{script}` failed: {}",
            last_words(&String::from_utf8_lossy(&output.stderr))
        ))),
    }
}

fn no_shell(error: io::Error) -> DrillError {
    failed("a shell can't be run in the lab", error)
}

fn file_name(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

fn failed(what: &str, error: io::Error) -> DrillError {
    DrillError::System { what: what.to_owned(), error }
}

/// The last lines that aren't empty, on one line.
fn last_words(text: &str) -> String {
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let from = lines.len().saturating_sub(4);
    match lines.get(from..) {
        Some(last) if !last.is_empty() => last.join(" "),
        _ => "it said nothing".to_owned(),
    }
}
