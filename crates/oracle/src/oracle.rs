//! The side that asks: starts a worker, turns packets into bytes and outcomes into verdicts.

use std::collections::BTreeMap;
use std::io::{BufReader, BufWriter, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, ExitCode, Stdio};
use std::thread::JoinHandle;

use crate::model::{Config, Error, Hook, LoadError, RejectKind, Ruleset, TraceStep, Verdict, Why};
use crate::namespace;
use crate::packet::{Packet, State, protocol};
use crate::wire::{self, Class, Frame, Outcome, Reply, Request};
use crate::worker;

/// Argument with which [`Launch::automatic`] starts the running program again.
pub const HELPER_ARGUMENT: &str = "__oracle";
/// Packets per message; bounds memory on both sides.
const BATCH: usize = 16_384;

/// Where the worker runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Launch {
    /// On a thread of this process; needs root rights.
    Thread,
    /// In a child process started with this program and these arguments, which must call [`serve_helper`]
    /// before it starts a thread. Makes a user namespace where root rights are missing.
    Process(PathBuf, Vec<String>),
}

impl Launch {
    /// A thread where there are root rights; else a child process that is the running program once more, with
    /// [`HELPER_ARGUMENT`] as its only argument. The program's `main` must look for that argument first and
    /// call [`serve_helper`].
    pub fn automatic() -> Result<Self, Error> {
        if namespace::privileged() {
            return Ok(Self::Thread);
        }
        let path = std::env::current_exe()
            .map_err(|e| Error::Unsupported(format!("the running program's file is unknown: {e}")))?;
        Ok(Self::Process(path, vec![HELPER_ARGUMENT.into()]))
    }
}

/// The main function of a helper process: answers requests on standard input until it ends. To be called
/// before any thread is started.
pub fn serve_helper() -> ExitCode {
    // The worker reports what is missing when the first request fails for it; the oracle shows that.
    if !namespace::privileged()
        && let Err(error) = namespace::enter_user_namespace()
    {
        let mut output = std::io::stdout();
        let mut input = std::io::stdin();
        while let Ok(Some(_)) = wire::receive(&mut input) {
            if wire::send(&mut output, &wire::encode_reply(&Reply::Failed(error.clone()))).is_err() {
                break;
            }
        }
        return ExitCode::FAILURE;
    }
    match worker::serve(BufReader::new(std::io::stdin()), BufWriter::new(std::io::stdout())) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

enum Running {
    Thread(UnixStream, Option<JoinHandle<()>>),
    Process(Child),
}

/// A kernel that answers what happens to packets. See the crate documentation.
pub struct Oracle {
    input: Box<dyn Read + Send>,
    /// Taken when the oracle ends, which tells the worker to end.
    output: Option<Box<dyn Write + Send>>,
    running: Running,
    interfaces: BTreeMap<String, u16>,
    names: Vec<String>,
    tcp_loose: bool,
}

impl Oracle {
    /// Starts a worker. No namespace exists before [`Oracle::load`].
    pub fn start(launch: &Launch) -> Result<Self, Error> {
        let failed = |e: std::io::Error| Error::Unsupported(format!("the worker does not start: {e}"));
        let (input, output, running): (Box<dyn Read + Send>, Box<dyn Write + Send>, _) = match launch {
            Launch::Thread => {
                if !namespace::privileged() {
                    return Err(Error::Unsupported("a worker thread needs root rights".into()));
                }
                let (ours, theirs) = UnixStream::pair().map_err(failed)?;
                let handle = std::thread::Builder::new()
                    .name("oracle".into())
                    .spawn(move || {
                        let (input, output) = (BufReader::new(&theirs), BufWriter::new(&theirs));
                        // The other side notices the end of the stream.
                        let _ = worker::serve(input, output);
                    })
                    .map_err(failed)?;
                let input = ours.try_clone().map_err(failed)?;
                let output = ours.try_clone().map_err(failed)?;
                (Box::new(BufReader::new(input)), Box::new(output), Running::Thread(ours, Some(handle)))
            }
            Launch::Process(program, arguments) => {
                let mut child = Command::new(program)
                    .args(arguments)
                    .stdin(Stdio::piped())
                    .stdout(Stdio::piped())
                    .spawn()
                    .map_err(failed)?;
                let (Some(output), Some(input)) = (child.stdin.take(), child.stdout.take()) else {
                    return Err(Error::Unsupported("the worker has no pipes".into()));
                };
                (Box::new(BufReader::new(input)), Box::new(output), Running::Process(child))
            }
        };
        Ok(Self {
            input,
            output: Some(output),
            running,
            interfaces: BTreeMap::new(),
            names: Vec::new(),
            tcp_loose: false,
        })
    }

    /// Starts a worker and loads a ruleset.
    pub fn new(launch: &Launch, config: &Config, ruleset: &Ruleset) -> Result<Self, Error> {
        let mut oracle = Self::start(launch)?;
        oracle.load(config, ruleset)?;
        Ok(oracle)
    }

    /// Makes a fresh namespace for the configuration, which replaces the one before, and loads the ruleset
    /// into it. [`Error::Load`] if the ruleset is refused: unsupported here, which says nothing about
    /// packets. Takes 20 to 40 ms for a small ruleset.
    pub fn load(&mut self, config: &Config, ruleset: &Ruleset) -> Result<(), Error> {
        self.names = std::iter::once("lo".to_owned())
            .chain(config.interfaces.iter().map(|interface| interface.name.clone()))
            .collect();
        self.interfaces =
            self.names.iter().enumerate().map(|(number, name)| (name.clone(), number as u16)).collect();
        self.tcp_loose = config.tcp_loose();
        match self.call(&Request::Load(config.clone(), ruleset.clone()))? {
            Reply::Done => Ok(()),
            other => Err(unexpected(other)),
        }
    }

    /// What the kernel does with each packet, in the order of the packets. Packets do not influence each
    /// other. The whole batch fails ([`Error::Lost`]) if any event was lost; [`Error::Question`] if a packet
    /// makes no sense (mixed families, unknown interface).
    pub fn verdicts(&mut self, hook: Hook, packets: &[Packet]) -> Result<Vec<Verdict>, Error> {
        let mut verdicts = Vec::with_capacity(packets.len());
        for batch in packets.chunks(BATCH) {
            let mut frames = Vec::with_capacity(batch.len());
            let mut impossible = Vec::new();
            for packet in batch {
                let possible = packet.state_possible(self.tcp_loose);
                if possible.is_ok() {
                    frames.push(self.frame(hook, packet, frames.len())?);
                }
                impossible.push(possible);
            }
            let outcomes = if frames.is_empty() {
                Vec::new()
            } else {
                match self.call(&Request::Run(hook, frames))? {
                    Reply::Outcomes(outcomes) => outcomes,
                    other => return Err(unexpected(other)),
                }
            };
            let mut outcomes = outcomes.into_iter();
            for (packet, possible) in batch.iter().zip(impossible) {
                verdicts.push(match possible {
                    Err(why) => Verdict::NotReached(Why::State(why)),
                    Ok(()) => {
                        let outcome = outcomes.next();
                        let outcome = outcome.ok_or_else(|| Error::Stopped("too few outcomes".into()))?;
                        self.verdict(packet, outcome)
                    }
                });
            }
        }
        Ok(verdicts)
    }

    /// What each packet meets on its way, in order: matching rules, ends of chains, policies, of all tables that
    /// nft sees. A packet without a step met none. Ten times slower than [`Oracle::verdicts`]. A packet whose
    /// state is impossible makes the question bad.
    pub fn traces(&mut self, hook: Hook, packets: &[Packet]) -> Result<Vec<Vec<TraceStep>>, Error> {
        let mut traces = Vec::with_capacity(packets.len());
        for batch in packets.chunks(BATCH) {
            let mut frames = Vec::with_capacity(batch.len());
            for packet in batch {
                packet.state_possible(self.tcp_loose).map_err(|why| Error::Question(why.into()))?;
                frames.push(self.frame(hook, packet, frames.len())?);
            }
            match self.call(&Request::Trace(hook, frames))? {
                Reply::Steps(steps) => traces.extend(steps),
                other => return Err(unexpected(other)),
            }
        }
        Ok(traces)
    }

    /// `nft list ruleset` of the namespace, the harness table included.
    pub fn list(&mut self) -> Result<String, Error> {
        self.listing(false)
    }

    /// `nft -j list ruleset` of the namespace, the harness table included.
    pub fn list_json(&mut self) -> Result<String, Error> {
        self.listing(true)
    }

    fn listing(&mut self, json: bool) -> Result<String, Error> {
        match self.call(&Request::List(json))? {
            Reply::Text(text) => Ok(text),
            other => Err(unexpected(other)),
        }
    }

    fn call(&mut self, request: &Request) -> Result<Reply, Error> {
        let stopped = |e: std::io::Error| Error::Stopped(e.to_string());
        let output = self.output.as_mut().ok_or_else(|| Error::Stopped("it has ended".into()))?;
        wire::send(output, &wire::encode_request(request)).map_err(stopped)?;
        let message = wire::receive(&mut self.input).map_err(stopped)?;
        let message = message.ok_or_else(|| Error::Stopped("the worker ended".into()))?;
        match wire::decode_reply(&message) {
            Some(Reply::Failed(error)) => Err(error),
            Some(reply) => Ok(reply),
            None => Err(Error::Stopped("an answer could not be read".into())),
        }
    }

    fn frame(&self, hook: Hook, packet: &Packet, number: usize) -> Result<Frame, Error> {
        let interface = |name: &str| {
            self.interfaces
                .get(name)
                .copied()
                .ok_or_else(|| Error::Question(format!("interface `{name}` is not in the configuration")))
        };
        let first = u16::from(self.names.len() > 1);
        let class = match packet.state {
            State::New | State::Invalid | State::Untracked => Class::Plain,
            State::Established => Class::Established,
            State::EstablishedReply => Class::Reply,
            State::Related => Class::Related,
        };
        Ok(Frame {
            class,
            iif: if hook == Hook::Output { 0 } else { interface(&packet.iif)? },
            oif: match &packet.oif {
                _ if hook == Hook::Input => 0,
                Some(name) => interface(name)?,
                None => first,
            },
            mac: packet.mac,
            bytes: packet.tagged_bytes(self.tcp_loose, number).map_err(Error::Question)?,
        })
    }

    fn verdict(&self, packet: &Packet, outcome: Outcome) -> Verdict {
        match outcome {
            Outcome::BeforeHooks => Verdict::NotReached(Why::BeforeHooks),
            Outcome::Routing => Verdict::NotReached(Why::Routing),
            Outcome::Nothing if packet.more_fragments || packet.fragment_offset > 0 => {
                Verdict::NotReached(Why::Reassembly)
            }
            Outcome::Nothing => Verdict::Dropped,
            Outcome::Answer(bytes) => Verdict::Rejected(reject_kind(&bytes)),
            Outcome::End(hook, mark, oif, bytes) => {
                let mut after = packet.rewritten(&bytes);
                after.oif = self.names.get(usize::from(oif)).cloned();
                Verdict::Accepted { hook, packet: after, mark }
            }
        }
    }
}

impl Drop for Oracle {
    fn drop(&mut self) {
        drop(self.output.take());
        match &mut self.running {
            Running::Thread(stream, handle) => {
                let _ = stream.shutdown(Shutdown::Both);
                if let Some(handle) = handle.take() {
                    let _ = handle.join();
                }
            }
            Running::Process(child) => {
                let _ = child.wait();
            }
        }
    }
}

fn unexpected(reply: Reply) -> Error {
    Error::Stopped(format!(
        "an answer of the wrong kind: {}",
        match reply {
            Reply::Done => "done",
            Reply::Outcomes(_) => "outcomes",
            Reply::Text(_) => "text",
            Reply::Steps(_) => "steps",
            Reply::Failed(_) => "error",
        }
    ))
}

/// What kind of answer the bytes of an IP packet are; only the kinds that the harness logs come here.
fn reject_kind(bytes: &[u8]) -> RejectKind {
    let v4 = bytes.first().is_some_and(|byte| byte >> 4 == 4);
    let number = bytes.get(if v4 { 9 } else { 6 }).copied().unwrap_or_default();
    let code = bytes.get(if v4 { 21 } else { 41 }).copied().unwrap_or_default();
    match number {
        protocol::ICMP => RejectKind::Icmp(code),
        protocol::ICMPV6 => RejectKind::Icmpv6(code),
        _ => RejectKind::TcpReset,
    }
}

/// Whether the oracle works here; the reason if not. Starts a worker, makes a namespace, loads the harness
/// and sends one packet: about 50 ms.
pub fn supported(launch: &Launch) -> Result<(), String> {
    let try_it = || {
        let config = Config::with_interfaces(["eth0"]);
        let mut oracle = Oracle::new(launch, &config, &Ruleset::Nft(String::new()))?;
        let packet = Packet::tcp([192, 0, 2, 1].into(), [192, 0, 2, 2].into(), 80);
        match oracle.verdicts(Hook::Input, &[packet])?.as_slice() {
            [Verdict::Accepted { .. }] => Ok(()),
            other => {
                Err(Error::Unsupported(format!("a packet that no rule stops does not arrive: {other:?}")))
            }
        }
    };
    try_it().map_err(|error: Error| error.to_string())
}

/// Loads a ruleset into a throwaway namespace with these interfaces (needed where rules use `iif` or `oif`).
/// Finds what `nft -c` doesn't, such as jump loops. The outer error says that the test could not be made.
pub fn load_check(
    launch: &Launch,
    config: &Config,
    ruleset: &Ruleset,
) -> Result<Result<(), LoadError>, Error> {
    match Oracle::new(launch, config, ruleset) {
        Ok(_) => Ok(Ok(())),
        Err(Error::Load(refused)) => Ok(Err(refused)),
        Err(other) => Err(other),
    }
}
