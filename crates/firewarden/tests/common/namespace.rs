//! Network namespaces that end with the test.

use std::io::{BufRead, BufReader};
use std::net::{TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

/// A network namespace that ends with the value, and with the test's process however that ends: whoever holds it waits
/// for the end of a pipe. It has a `/run` of its own, so that servers in it leave nothing behind.
pub struct Namespace {
    holder: Child,
    /// A process in it.
    inside: String,
    /// What is entered.
    kinds: &'static [&'static str],
}

/// A script for a namespace with mounts of its own in which sshd will run: sessions don't do what the person whose machine
/// this is has in the files of their shell, which may wait for each other.
pub const PLAIN_SESSIONS: &str = "home=$(getent passwd 0 | cut -d: -f6)
for file in .bashrc .bash_profile .bash_login .profile .zshenv .zshrc; do
    [ ! -e \"$home/$file\" ] || mount --bind /dev/null \"$home/$file\"
done
";

impl Namespace {
    /// Makes one; the error says why that isn't possible here.
    pub fn new() -> Result<Namespace, String> {
        Namespace::of(&["--net", "--mount"], &[], "")
    }

    /// Makes one whose processes end with it, servers and what they started included.
    pub fn with_processes() -> Result<Namespace, String> {
        let kinds = &["--net", "--mount", "--pid"];
        Namespace::of(kinds, &["--fork", "--kill-child"], "mount -t proc proc /proc &&")
    }

    fn of(kinds: &'static [&'static str], more: &[&str], first: &str) -> Result<Namespace, String> {
        // The shell reads its own number before `/proc` shows another one.
        let script = format!(
            "read me rest </proc/self/stat; {first} mount -t tmpfs none /run && echo $me && exec cat >/dev/null"
        );
        let mut holder = Command::new("unshare")
            .args(kinds)
            .args(more)
            .args(["--propagation", "private", "sh", "-c", &script])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| format!("cannot run unshare: {error}"))?;
        let mut inside = String::new();
        let mut out = BufReader::new(holder.stdout.take().unwrap());
        out.read_line(&mut inside).unwrap();
        if inside.is_empty() {
            let told = holder.wait_with_output().unwrap();
            return Err(String::from_utf8_lossy(&told.stderr).trim().to_owned());
        }
        Ok(Namespace { holder, inside: inside.trim().to_owned(), kinds })
    }

    /// The number of a process in it.
    pub fn id(&self) -> String {
        self.inside.clone()
    }

    pub fn path(&self) -> PathBuf {
        Path::new("/proc").join(self.id()).join("ns/net")
    }

    /// A command that runs in it, in the present folder.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        let folder = std::env::current_dir().unwrap();
        command.args(["--target", &self.inside]).args(self.kinds);
        command.arg(format!("--wdns={}", folder.display())).arg(program);
        command
    }

    /// Runs commands of a shell, one a line, that have to succeed; gives what they write.
    #[track_caller]
    pub fn shell(&self, script: &str) -> String {
        let Output { status, stdout, stderr } =
            self.command("sh").args(["-euc", script]).stdin(Stdio::null()).output().unwrap();
        assert!(status.success(), "{script}\n{}", String::from_utf8_lossy(&stderr));
        String::from_utf8_lossy(&stdout).into_owned()
    }

    pub fn within<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        firewarden_host::within(Some(&self.path()), work).unwrap()
    }

    pub fn listen(&self, address: &str) -> TcpListener {
        self.within(|| TcpListener::bind(address).unwrap())
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

/// Two hosts on a wire: client 10.1.0.2 — 10.1.0.1 host.
pub struct Pair {
    pub client: Namespace,
    pub host: Namespace,
}

impl Pair {
    /// `None` after saying why there is none here.
    pub fn new() -> Option<Pair> {
        let (client, host) = match Namespace::new().and_then(|client| Ok((client, Namespace::new()?))) {
            Ok(both) => both,
            Err(why) => {
                let in_ci = std::env::var("CI").as_deref() == Ok("true");
                assert!(!in_ci, "network namespaces are needed in CI: {why}");
                eprintln!("skipped, as there are no network namespaces here: {why}");
                return None;
            }
        };
        host.shell(&format!(
            "ip link set lo up
             ip link add lan type veth peer name eth0 netns {}
             ip address add 10.1.0.1/24 dev lan
             ip link set lan up",
            client.id()
        ));
        client.shell("ip address add 10.1.0.2/24 dev eth0; ip link set eth0 up");
        Some(Pair { client, host })
    }

    /// True where a new flow of UDP from the client to the port comes in.
    pub fn passes(&self, port: u16) -> bool {
        let receiver = self.host.within(|| UdpSocket::bind(("10.1.0.1", port)).unwrap());
        receiver.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
        let sender = self.client.within(|| UdpSocket::bind("10.1.0.2:0").unwrap());
        sender.send_to(b"x", ("10.1.0.1", port)).unwrap();
        receiver.recv(&mut [0; 4]).is_ok()
    }
}
