//! What the oracle and its worker say to each other: length-prefixed frames over a stream socket or pipes.
//! Both ends are the same build, so there is no version; all numbers are little-endian.

use std::io::{self, Read, Write};
use std::net::IpAddr;

use crate::model::{
    Config, Destinations, Error, Hook, Interface, LoadError, Route, Ruleset, StepVerdict, TraceStep,
};

/// Longest frame in bytes, a guard against nonsense.
const MAX_FRAME_BYTES: u32 = 1 << 30;

/// How a packet gets its connection tracking state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// It is what connection tracking makes of it.
    Plain,
    /// Entry with the packet's addresses, replies seen.
    Established,
    /// Entry with the packet's addresses turned round, replies seen.
    Reply,
    /// Entry with the packet's addresses and a master.
    Related,
}

/// One packet of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Flow entry to make first.
    pub class: Class,
    /// Number of the interface it comes in by; 0 is `lo`, n the nth of the configuration.
    pub iif: u16,
    /// Number of the interface it shall leave by.
    pub oif: u16,
    /// Source MAC address.
    pub mac: [u8; 6],
    /// The packet from its IP header on.
    pub bytes: Vec<u8>,
}

/// What became of one packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing was seen after the first hook.
    Nothing,
    /// It never came to the first hook.
    BeforeHooks,
    /// It was lost between prerouting and the next hook.
    Routing,
    /// An answer was seen: the start of the answer.
    Answer(Vec<u8>),
    /// It was seen at the end of a path, with mark and outgoing interface (`u16::MAX`: none).
    End(Hook, u32, u16, Vec<u8>),
}

/// What the oracle asks of its worker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// Make a new namespace and load a ruleset.
    Load(Config, Ruleset),
    /// Send packets.
    Run(Hook, Vec<Frame>),
    /// Send packets and record the rules on the way of each.
    Trace(Hook, Vec<Frame>),
    /// List the ruleset, as JSON if true.
    List(bool),
}

/// What the worker answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// Done.
    Done,
    /// Outcomes in the order of the packets.
    Outcomes(Vec<Outcome>),
    /// A listing.
    Text(String),
    /// Steps of each packet.
    Steps(Vec<Vec<TraceStep>>),
    /// It did not work.
    Failed(Error),
}

/// Writes one frame.
pub fn send(stream: &mut impl Write, body: &[u8]) -> io::Result<()> {
    let length = u32::try_from(body.len()).ok().filter(|n| *n <= MAX_FRAME_BYTES);
    let length = length.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "message too long"))?;
    stream.write_all(&length.to_le_bytes())?;
    stream.write_all(body)?;
    stream.flush()
}

/// Reads one frame; `None` at the end of the stream.
pub fn receive(stream: &mut impl Read) -> io::Result<Option<Vec<u8>>> {
    let mut length = [0; 4];
    match stream.read_exact(&mut length) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        other => other?,
    }
    let length = u32::from_le_bytes(length);
    if length > MAX_FRAME_BYTES {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "message too long"));
    }
    let mut body = vec![0; length as usize];
    stream.read_exact(&mut body)?;
    Ok(Some(body))
}

/// Appends values to a message.
#[derive(Default)]
struct Out(Vec<u8>);

impl Out {
    fn u8(&mut self, value: u8) {
        self.0.push(value);
    }
    fn u16(&mut self, value: u16) {
        self.0.extend_from_slice(&value.to_le_bytes());
    }
    fn u32(&mut self, value: u32) {
        self.0.extend_from_slice(&value.to_le_bytes());
    }
    fn bytes(&mut self, value: &[u8]) {
        self.u32(value.len() as u32);
        self.0.extend_from_slice(value);
    }
    fn list<T>(&mut self, values: &[T], mut each: impl FnMut(&mut Self, &T)) {
        self.u32(values.len() as u32);
        for value in values {
            each(self, value);
        }
    }
    fn address(&mut self, value: IpAddr) {
        match value {
            IpAddr::V4(v4) => self.bytes(&v4.octets()),
            IpAddr::V6(v6) => self.bytes(&v6.octets()),
        }
    }
    fn prefix(&mut self, (address, length): (IpAddr, u8)) {
        self.address(address);
        self.u8(length);
    }
    fn step(&mut self, step: &TraceStep) {
        for text in [&step.family, &step.table, &step.chain] {
            self.bytes(text.as_bytes());
        }
        self.list(step.rule.as_slice(), |out, (index, handle)| {
            out.u32(*index);
            out.0.extend_from_slice(&handle.to_le_bytes());
        });
        let (code, chain, number) = match &step.verdict {
            StepVerdict::Accept => (0, "", 0),
            StepVerdict::Drop => (1, "", 0),
            StepVerdict::Continue => (2, "", 0),
            StepVerdict::Return => (3, "", 0),
            StepVerdict::Jump(chain) => (4, chain.as_str(), 0),
            StepVerdict::Goto(chain) => (5, chain.as_str(), 0),
            StepVerdict::Other(number) => (6, "", *number),
        };
        self.u8(code);
        self.bytes(chain.as_bytes());
        self.u32(number as u32);
    }
    fn ruleset(&mut self, ruleset: &Ruleset) {
        match ruleset {
            Ruleset::Nft(text) => {
                self.u8(0);
                self.bytes(text.as_bytes());
            }
            Ruleset::Iptables { ipset, v4, v6 } => {
                self.u8(1);
                for text in [ipset, v4, v6] {
                    self.bytes(text.as_bytes());
                }
            }
            Ruleset::NftJson(text) => {
                self.u8(2);
                self.bytes(text.as_bytes());
            }
            Ruleset::Several(all) => {
                self.u8(3);
                self.list(all, Self::ruleset);
            }
        }
    }
    fn frame(&mut self, frame: &Frame) {
        self.u8(frame.class as u8);
        self.u16(frame.iif);
        self.u16(frame.oif);
        self.0.extend_from_slice(&frame.mac);
        self.bytes(&frame.bytes);
    }
}

/// Takes values from a message; every method gives `None` where the message ends too soon.
struct In<'a>(&'a [u8]);

impl<'a> In<'a> {
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, tail) = self.0.split_first_chunk::<N>()?;
        self.0 = tail;
        Some(*head)
    }
    fn u8(&mut self) -> Option<u8> {
        self.array().map(|[byte]| byte)
    }
    fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_le_bytes)
    }
    fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }
    fn bytes(&mut self) -> Option<&'a [u8]> {
        let length = self.u32()? as usize;
        let (head, tail) = self.0.split_at_checked(length)?;
        self.0 = tail;
        Some(head)
    }
    fn text(&mut self) -> Option<String> {
        self.bytes().map(|bytes| String::from_utf8_lossy(bytes).into_owned())
    }
    fn list<T>(&mut self, mut each: impl FnMut(&mut Self) -> Option<T>) -> Option<Vec<T>> {
        let count = self.u32()?;
        (0..count).map(|_| each(self)).collect()
    }
    fn address(&mut self) -> Option<IpAddr> {
        let bytes = self.bytes()?;
        match <[u8; 4]>::try_from(bytes) {
            Ok(v4) => Some(IpAddr::from(v4)),
            Err(_) => <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from),
        }
    }
    fn prefix(&mut self) -> Option<(IpAddr, u8)> {
        Some((self.address()?, self.u8()?))
    }
    fn hook(&mut self) -> Option<Hook> {
        [Hook::Input, Hook::Forward, Hook::Output].get(usize::from(self.u8()?)).copied()
    }
    fn step(&mut self) -> Option<TraceStep> {
        let [family, table, chain] = [self.text()?, self.text()?, self.text()?];
        let rule = self.list(|input| Some((input.u32()?, input.array().map(u64::from_le_bytes)?)))?.pop();
        let (code, name, number) = (self.u8()?, self.text()?, self.u32()?);
        let verdict = match code {
            0 => StepVerdict::Accept,
            1 => StepVerdict::Drop,
            2 => StepVerdict::Continue,
            3 => StepVerdict::Return,
            4 => StepVerdict::Jump(name),
            5 => StepVerdict::Goto(name),
            _ => StepVerdict::Other(number as i32),
        };
        Some(TraceStep { family, table, chain, rule, verdict })
    }
    /// A ruleset; `several` where it may be made of others.
    fn ruleset(&mut self, several: bool) -> Option<Ruleset> {
        Some(match self.u8()? {
            0 => Ruleset::Nft(self.text()?),
            1 => Ruleset::Iptables { ipset: self.text()?, v4: self.text()?, v6: self.text()? },
            2 => Ruleset::NftJson(self.text()?),
            3 if several => Ruleset::Several(self.list(|input| input.ruleset(false))?),
            _ => return None,
        })
    }
    fn frame(&mut self) -> Option<Frame> {
        let classes = [Class::Plain, Class::Established, Class::Reply, Class::Related];
        Some(Frame {
            class: *classes.get(usize::from(self.u8()?))?,
            iif: self.u16()?,
            oif: self.u16()?,
            mac: self.array()?,
            bytes: self.bytes()?.to_vec(),
        })
    }
}

/// A request as bytes.
pub fn encode_request(request: &Request) -> Vec<u8> {
    let mut out = Out::default();
    match request {
        Request::Load(config, ruleset) => {
            out.u8(0);
            out.list(&config.interfaces, |out, interface| {
                out.bytes(interface.name.as_bytes());
                out.list(&interface.addresses, |out, prefix| out.prefix(*prefix));
            });
            out.list(&config.routes, |out, route| {
                out.prefix(route.destination);
                out.bytes(route.interface.as_bytes());
                out.list(route.via.as_slice(), |out, via| out.address(*via));
            });
            out.u8(u8::from(config.destinations == Destinations::AsRouted));
            out.list(&config.sysctls, |out, (name, value)| {
                out.bytes(name.as_bytes());
                out.bytes(value.as_bytes());
            });
            out.ruleset(ruleset);
        }
        Request::Run(hook, frames) => {
            out.u8(1);
            out.u8(*hook as u8);
            out.list(frames, Out::frame);
        }
        Request::Trace(hook, frames) => {
            out.u8(2);
            out.u8(*hook as u8);
            out.list(frames, Out::frame);
        }
        Request::List(json) => {
            out.u8(3);
            out.u8(u8::from(*json));
        }
    }
    out.0
}

/// The request that the bytes stand for.
pub fn decode_request(bytes: &[u8]) -> Option<Request> {
    let mut input = In(bytes);
    let input = &mut input;
    Some(match input.u8()? {
        0 => {
            let config = Config {
                interfaces: input.list(|input| {
                    Some(Interface { name: input.text()?, addresses: input.list(In::prefix)? })
                })?,
                routes: input.list(|input| {
                    Some(Route {
                        destination: input.prefix()?,
                        interface: input.text()?,
                        via: input.list(In::address)?.pop(),
                    })
                })?,
                destinations: match input.u8()? {
                    0 => Destinations::AsAsked,
                    _ => Destinations::AsRouted,
                },
                sysctls: input.list(|input| Some((input.text()?, input.text()?)))?,
            };
            let ruleset = input.ruleset(true)?;
            Request::Load(config, ruleset)
        }
        1 => Request::Run(input.hook()?, input.list(In::frame)?),
        2 => Request::Trace(input.hook()?, input.list(In::frame)?),
        3 => Request::List(input.u8()? != 0),
        _ => return None,
    })
}

/// A reply as bytes.
pub fn encode_reply(reply: &Reply) -> Vec<u8> {
    let mut out = Out::default();
    match reply {
        Reply::Done => out.u8(0),
        Reply::Outcomes(outcomes) => {
            out.u8(1);
            out.list(outcomes, |out, outcome| match outcome {
                Outcome::Nothing => out.u8(0),
                Outcome::BeforeHooks => out.u8(1),
                Outcome::Routing => out.u8(2),
                Outcome::Answer(bytes) => {
                    out.u8(3);
                    out.bytes(bytes);
                }
                Outcome::End(hook, mark, oif, bytes) => {
                    out.u8(4);
                    out.u8(*hook as u8);
                    out.u32(*mark);
                    out.u16(*oif);
                    out.bytes(bytes);
                }
            });
        }
        Reply::Text(text) => {
            out.u8(2);
            out.bytes(text.as_bytes());
        }
        Reply::Steps(traces) => {
            out.u8(3);
            out.list(traces, |out, steps| out.list(steps, Out::step));
        }
        Reply::Failed(error) => {
            out.u8(4);
            let (kind, first, second) = match error {
                Error::Unsupported(text) => (0, text, ""),
                Error::Load(LoadError { program, message }) => (1, program, message.as_str()),
                Error::Question(text) => (2, text, ""),
                Error::Lost(text) => (3, text, ""),
                Error::Stopped(text) => (4, text, ""),
            };
            out.u8(kind);
            out.bytes(first.as_bytes());
            out.bytes(second.as_bytes());
        }
    }
    out.0
}

/// The reply that the bytes stand for.
pub fn decode_reply(bytes: &[u8]) -> Option<Reply> {
    let mut input = In(bytes);
    let input = &mut input;
    Some(match input.u8()? {
        0 => Reply::Done,
        1 => Reply::Outcomes(input.list(|input| {
            Some(match input.u8()? {
                0 => Outcome::Nothing,
                1 => Outcome::BeforeHooks,
                2 => Outcome::Routing,
                3 => Outcome::Answer(input.bytes()?.to_vec()),
                _ => Outcome::End(input.hook()?, input.u32()?, input.u16()?, input.bytes()?.to_vec()),
            })
        })?),
        2 => Reply::Text(input.text()?),
        3 => Reply::Steps(input.list(|input| input.list(In::step))?),
        4 => {
            let kind = input.u8()?;
            let (first, message) = (input.text()?, input.text()?);
            Reply::Failed(match kind {
                0 => Error::Unsupported(first),
                1 => Error::Load(LoadError { program: first, message }),
                2 => Error::Question(first),
                3 => Error::Lost(first),
                _ => Error::Stopped(first),
            })
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_survive_the_wire_and_cut_ones_are_refused() {
        let prefix = ("10.0.0.1".parse().unwrap(), 24);
        let config = Config {
            interfaces: vec![Interface { name: "eth0".into(), addresses: vec![prefix] }],
            routes: vec![Route {
                destination: ("::".parse().unwrap(), 0),
                interface: "eth0".into(),
                via: Some("fe80::1".parse().unwrap()),
            }],
            destinations: Destinations::AsRouted,
            sysctls: vec![("ipv4.ip_forward".into(), "0".into())],
        };
        let frame = Frame { class: Class::Reply, iif: 1, oif: 0, mac: [1; 6], bytes: vec![9; 40] };
        let requests = [
            Request::Load(config.clone(), Ruleset::Nft("flush ruleset".into())),
            Request::Load(
                config,
                Ruleset::Several(vec![
                    Ruleset::NftJson("{\"nftables\": []}".into()),
                    Ruleset::Iptables {
                        ipset: "create s hash:ip".into(),
                        v4: "*filter".into(),
                        v6: String::new(),
                    },
                ]),
            ),
            Request::Run(Hook::Forward, vec![frame.clone(), frame.clone()]),
            Request::Trace(Hook::Output, vec![frame]),
            Request::List(true),
        ];
        for request in requests {
            let bytes = encode_request(&request);
            assert_eq!(decode_request(&bytes), Some(request));
            for end in 0..bytes.len() {
                assert_eq!(decode_request(&bytes[..end]), None);
            }
        }
        let step = TraceStep {
            family: "inet".into(),
            table: "t".into(),
            chain: "c".into(),
            rule: Some((3, 17)),
            verdict: StepVerdict::Jump("d".into()),
        };
        let replies = [
            Reply::Steps(vec![vec![step], Vec::new()]),
            Reply::Outcomes(vec![Outcome::Nothing, Outcome::End(Hook::Output, 7, 1, vec![1, 2])]),
            Reply::Failed(LoadError { program: "nft".into(), message: "no".into() }.into()),
        ];
        for reply in replies {
            let bytes = encode_reply(&reply);
            assert_eq!(decode_reply(&bytes), Some(reply));
        }
    }
}
