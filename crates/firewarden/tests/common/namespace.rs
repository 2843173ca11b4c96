//! Network namespaces that end with the test.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

/// A network namespace that ends with the value, and with the test's process however that ends: whoever holds it waits
/// for the end of a pipe. It has a `/run` of its own, so that servers in it leave nothing behind.
pub struct Namespace {
    holder: Child,
}

impl Namespace {
    /// Makes one; the error says why that isn't possible here.
    pub fn new() -> Result<Namespace, String> {
        let script = "mount -t tmpfs none /run && echo ready && exec cat >/dev/null";
        let mut holder = Command::new("unshare")
            .args(["--net", "--mount", "--propagation", "private", "sh", "-c", script])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| format!("cannot run unshare: {error}"))?;
        let mut ready = String::new();
        let mut out = BufReader::new(holder.stdout.take().unwrap());
        out.read_line(&mut ready).unwrap();
        if ready != "ready\n" {
            let told = holder.wait_with_output().unwrap();
            return Err(String::from_utf8_lossy(&told.stderr).trim().to_owned());
        }
        Ok(Namespace { holder })
    }

    /// The number of a process in it.
    pub fn id(&self) -> String {
        self.holder.id().to_string()
    }

    pub fn path(&self) -> PathBuf {
        Path::new("/proc").join(self.id()).join("ns/net")
    }

    /// A command that runs in it, in the present folder.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        let folder = std::env::current_dir().unwrap();
        command.args(["--target", &self.id(), "--net", "--mount"]);
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
