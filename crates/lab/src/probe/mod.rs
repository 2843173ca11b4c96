//! New packets on the wires of a lab, and what comes of them. A prober runs in the namespace that they leave from; it is
//! asked by a line of JSON with all that is to be tried at once, and answers with a line.

mod prober;
mod probers;

pub use prober::serve;
pub use probers::Probers;

use serde::{Deserialize, Serialize};
use std::fmt;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{IpAddr, SocketAddr};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

/// A connection to try, or a packet to send.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Attempt {
    /// The address that it comes from, whether the namespace has it or not.
    pub source: IpAddr,
    /// The port that it comes from; any one without.
    pub source_port: Option<u16>,
    /// How many hops it has left when it leaves; what the system sends otherwise.
    pub hops: Option<u8>,
    /// Where to.
    pub target: Target,
}

/// Where an attempt goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Target {
    /// A new connection of TCP.
    Tcp(SocketAddr),
    /// An echo request of ICMP or ICMPv6.
    Echo(IpAddr),
}

impl fmt::Display for Target {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Target::Tcp(address) => write!(formatter, "tcp {address}"),
            Target::Echo(address) => write!(formatter, "echo {address}"),
        }
    }
}

/// What came of an attempt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ending {
    /// A connection, or an answer to the echo request.
    Answered,
    /// The target has no service there, and said so itself.
    Refused,
    /// Nothing came back in time.
    Silent,
    /// Somebody on the way said that there is no way, or it couldn't be tried; in the system's words.
    Failed(String),
}

impl fmt::Display for Ending {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Ending::Answered => "answered",
            Ending::Refused => "refused by the target",
            Ending::Silent => "no answer",
            Ending::Failed(words) => words,
        })
    }
}

impl Ending {
    /// Whether the packet got to the target. (A firewall that refuses in the target's name looks the same.)
    pub fn arrived(&self) -> bool {
        matches!(self, Ending::Answered | Ending::Refused)
    }
}

/// What a prober is asked.
#[derive(Debug, Serialize, Deserialize)]
struct Question {
    attempts: Vec<Attempt>,
    /// How long one may take, in milliseconds.
    patience: u64,
}

/// A prober that runs.
#[derive(Debug)]
pub struct Prober {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Prober {
    /// Starts one; the command has to end in [`serve`].
    ///
    /// # Errors
    /// The system's.
    pub fn start(mut command: Command) -> io::Result<Prober> {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let (Some(input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(io::Error::other("the prober has no pipes"));
        };
        Ok(Prober { child, input, output: BufReader::new(output) })
    }

    /// Asks for attempts, without waiting for what comes of them. Several probers can be at work side by side.
    ///
    /// # Errors
    /// The prober is gone.
    pub fn ask(&mut self, attempts: &[Attempt], patience: u64) -> io::Result<()> {
        let mut line = serde_json::to_string(&Question { attempts: attempts.to_vec(), patience })?;
        line.push('\n');
        self.input.write_all(line.as_bytes())?;
        self.input.flush()
    }

    /// What came of the attempts that were asked for, in their order.
    ///
    /// # Errors
    /// The prober is gone, or something else answers.
    pub fn answer(&mut self) -> io::Result<Vec<Ending>> {
        let mut line = String::new();
        if self.output.read_line(&mut line)? == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the prober is gone"));
        }
        Ok(serde_json::from_str(&line)?)
    }
}

impl Drop for Prober {
    fn drop(&mut self) {
        // It ends by itself at the end of its input; this is for one that hangs.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
