//! Who runs this program, as far as the system tells: for the record of a change, and to know whether a confirmation came
//! over a connection that was opened after it.

use nix::unistd::{Uid, User, ttyname};
use serde::{Deserialize, Serialize};

/// Who acts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Actor {
    /// The user that the program runs as.
    pub user: String,
    /// Its number.
    pub uid: u32,
    /// The user who became that one by sudo(8) or doas(1).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub behind: Option<String>,
    /// The user of the login session (`/proc/self/loginuid`), which sudo and su don't change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub login: Option<String>,
    /// The connection of ssh(1) that the session came over: client address and port, server address and port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connection: Option<String>,
    /// The terminal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub terminal: Option<String>,
}

/// The number that the kernel gives for "no login session".
const NO_LOGIN: u32 = u32::MAX;
/// How many processes are asked for the connection, from the parent upwards. More are no session of a person.
const ANCESTORS: u32 = 64;

impl Actor {
    /// The one who runs this process.
    pub fn current() -> Actor {
        let uid = Uid::effective();
        let login = std::fs::read_to_string("/proc/self/loginuid").ok();
        let login = login.and_then(|text| text.trim().parse().ok()).filter(|number| *number != NO_LOGIN);
        let behind = |name: &str| std::env::var(name).ok().filter(|user| !user.is_empty());
        Actor {
            user: name_of(uid),
            uid: uid.as_raw(),
            behind: behind("SUDO_USER").or_else(|| behind("DOAS_USER")),
            login: login.map(|number| name_of(Uid::from_raw(number))),
            connection: connection(),
            terminal: ttyname(std::io::stdin()).ok().map(|path| path.display().to_string()),
        }
    }

    /// The person's name to show: who logged in, if known, else whom the program runs as.
    pub fn name(&self) -> &str {
        self.behind.as_deref().or(self.login.as_deref()).unwrap_or(&self.user)
    }
}

fn name_of(uid: Uid) -> String {
    User::from_uid(uid).ok().flatten().map_or_else(|| uid.to_string(), |user| user.name)
}

/// The connection of the session: from the environment, or, since sudo takes it away, from the environment of the first
/// process above that has it.
fn connection() -> Option<String> {
    if let Ok(own) = std::env::var("SSH_CONNECTION") {
        return Some(own);
    }
    let mut process = nix::unistd::getppid().as_raw();
    for _ in 0..ANCESTORS {
        if process <= 1 {
            return None;
        }
        // Another user's environment can't be read without root rights; then it isn't known.
        let environment = std::fs::read(format!("/proc/{process}/environ")).unwrap_or_default();
        if let Some(found) = variable(&environment, b"SSH_CONNECTION=") {
            return Some(found);
        }
        let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
        let parent = status.lines().find_map(|line| line.strip_prefix("PPid:"))?;
        process = parent.trim().parse().ok()?;
    }
    None
}

/// A variable in the kernel's form of an environment: `NAME=value`, each with a zero at its end.
fn variable(environment: &[u8], named: &[u8]) -> Option<String> {
    let value = environment.split(|byte| *byte == 0).find_map(|entry| entry.strip_prefix(named))?;
    Some(String::from_utf8_lossy(value).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn the_process_has_a_user() {
        let actor = Actor::current();
        assert_eq!(actor.uid, Uid::effective().as_raw());
        assert!(!actor.name().is_empty());
    }

    #[test]
    fn a_variable_is_found_in_the_environment_of_a_process() {
        let mut child = Command::new("sleep")
            .arg("30")
            .env_clear()
            .env("SSH_CONNECTION", "192.0.2.1 40000 192.0.2.2 22")
            .env("XSSH_CONNECTION", "no")
            .spawn()
            .unwrap();
        let environment = std::fs::read(format!("/proc/{}/environ", child.id())).unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        let found = variable(&environment, b"SSH_CONNECTION=");
        assert_eq!(found.as_deref(), Some("192.0.2.1 40000 192.0.2.2 22"));
        assert_eq!(variable(b"XSSH_CONNECTION=no\0", b"SSH_CONNECTION="), None);
    }
}
