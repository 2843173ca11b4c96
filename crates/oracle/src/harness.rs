//! The table that reports what happens to packets, and the programs that load it and the tested ruleset.
//!
//! Head chains count what arrives; tail chains, after everything else, log a packet and drop it, so that
//! connection tracking never confirms its flow and packets do not influence each other.

use std::io::{self, Write};
use std::process::{Command, Stdio};

use crate::model::{Error, LoadError, Ruleset};
use crate::packet::{UNTRACKED_ID, UNTRACKED_LABEL};
use crate::pieces;
use firewarden_netlink::{ACK, Attributes, DUMP, REQUEST, Request, Socket, be32, be64, text};

/// Name of the table.
pub const TABLE: &str = "zz_firewarden_oracle";
/// NFLOG group of the events.
pub const LOG_GROUP: u16 = 61_234;
/// Mark that tells the worker's own output packets from the kernel's answers.
pub const OWN_MARK: u32 = 0x4649_5245;

/// The table as an nft script.
pub fn table() -> String {
    let first = i32::MIN;
    let last = i32::MAX - 1;
    let log =
        |letter: char| format!("log prefix \"zz{letter}\" group {LOG_GROUP} snaplen 96 queue-threshold 1");
    let exempt = format!(
        "ip id {UNTRACKED_ID}-{} notrack\n ip6 flowlabel {UNTRACKED_LABEL}-{} notrack",
        u16::MAX,
        UNTRACKED_LABEL + 0xfff
    );
    let counters: String = Count::NAMES.iter().map(|name| format!(" counter {name} {{ }}\n")).collect();
    format!(
        "table inet {TABLE} {{
{counters}
 chain tracing {{
 }}
 chain pre_head {{ type filter hook prerouting priority {first}
 counter name arrived
 {exempt}
 jump tracing
 }}
 chain pre_tail {{ type filter hook prerouting priority {last}
 counter name prerouted
 }}
 chain in_head {{ type filter hook input priority {first}
 counter name routed
 }}
 chain in_tail {{ type filter hook input priority {last}
 counter name seen
 {input}
 drop
 }}
 chain fw_head {{ type filter hook forward priority {first}
 counter name routed
 }}
 chain po_tail {{ type filter hook postrouting priority {last}
 counter name seen
 {out}
 drop
 }}
 chain own {{
 counter name arrived
 {exempt}
 jump tracing
 meta mark set 0
 accept
 }}
 chain answer {{
 counter name seen
 {answer}
 drop
 }}
 chain out_head {{ type filter hook output priority {first}
 meta mark {OWN_MARK} goto own
 tcp flags & rst == rst goto answer
 icmp type destination-unreachable goto answer
 icmpv6 type destination-unreachable goto answer
 drop
 }}
}}
",
        input = log('I'),
        out = log('P'),
        answer = log('R'),
    )
}

/// Packets counted by the harness.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// At the first hook.
    pub arrived: u64,
    /// After prerouting.
    pub prerouted: u64,
    /// At input or forward.
    pub routed: u64,
    /// Logged.
    pub seen: u64,
}

impl Count {
    const NAMES: [&'static str; 4] = ["arrived", "prerouted", "routed", "seen"];

    /// Reads the counters (`NFT_MSG_GETOBJ`, linux/netfilter/nf_tables.h).
    pub fn read(socket: &mut Socket) -> io::Result<Self> {
        let mut request = Request::default();
        let sequence = socket.next_sequence();
        request.begin(10, 19, REQUEST | ACK | DUMP, 1, 0, sequence);
        request.attribute(1, &[TABLE.as_bytes(), &[0]].concat());
        request.attribute(3, &1u32.to_be_bytes());
        request.end();
        let mut values = [None; 4];
        socket.call(&request, sequence, |message| {
            let (mut table, mut name, mut kind, mut packets) = (&[][..], &[][..], None, None);
            for (attribute, value) in message.attributes() {
                match attribute {
                    1 => table = value,
                    2 => name = value,
                    3 => kind = be32(value),
                    4 => packets = Attributes(value).find(|(kind, _)| *kind == 2).and_then(|(_, v)| be64(v)),
                    _ => {}
                }
            }
            if text(table) != TABLE.as_bytes() || kind != Some(1) {
                return;
            }
            for (slot, wanted) in values.iter_mut().zip(Self::NAMES) {
                if text(name) == wanted.as_bytes() {
                    *slot = packets;
                }
            }
        })?;
        match values {
            [Some(arrived), Some(prerouted), Some(routed), Some(seen)] => {
                Ok(Self { arrived, prerouted, routed, seen })
            }
            _ => Err(io::Error::new(io::ErrorKind::NotFound, "the harness table is gone")),
        }
    }

    /// How much was counted since `earlier`.
    pub fn since(self, earlier: Self) -> Self {
        Self {
            arrived: self.arrived.wrapping_sub(earlier.arrived),
            prerouted: self.prerouted.wrapping_sub(earlier.prerouted),
            routed: self.routed.wrapping_sub(earlier.routed),
            seen: self.seen.wrapping_sub(earlier.seen),
        }
    }
}

/// Where a tail chain saw a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// End of input.
    Input,
    /// End of postrouting.
    Postrouting,
    /// An answer leaving for the sender.
    Answer,
}

/// One log event.
#[derive(Clone, Copy, Debug)]
pub struct Event<'a> {
    /// Which chain logged it.
    pub place: Place,
    /// The packet's mark.
    pub mark: u32,
    /// Index of the outgoing interface, 0 for none.
    pub out_index: u32,
    /// The packet from its IP header on, cut to 96 bytes.
    pub bytes: &'a [u8],
}

impl<'a> Event<'a> {
    /// Reads the attributes of an `NFULNL_MSG_PACKET`; `None` if another rule logged it.
    pub fn parse(attributes: Attributes<'a>) -> Option<Self> {
        let (mut place, mut mark, mut out_index, mut bytes) = (None, 0, 0, &[][..]);
        for (kind, value) in attributes {
            match kind {
                2 => mark = be32(value)?,
                5 => out_index = be32(value)?,
                9 => bytes = value,
                10 => {
                    place = match text(value) {
                        b"zzI" => Some(Place::Input),
                        b"zzP" => Some(Place::Postrouting),
                        b"zzR" => Some(Place::Answer),
                        _ => None,
                    }
                }
                _ => {}
            }
        }
        Some(Self { place: place?, mark, out_index, bytes })
    }
}

/// Subscribes the socket to the log group of the harness (linux/netfilter/nfnetlink_log.h).
pub fn subscribe(socket: &mut Socket) -> io::Result<()> {
    let settings: [(u16, &[u8]); 4] = [
        (1, &[1]),
        // Copy up to 96 bytes of each packet.
        (2, &[0, 0, 0, 96, 2, 0]),
        (3, &1024u32.to_be_bytes()),
        (5, &1u32.to_be_bytes()),
    ];
    for (kind, value) in settings {
        let mut request = Request::default();
        let sequence = socket.next_sequence();
        request.begin(4, 1, REQUEST | ACK, 0, LOG_GROUP, sequence);
        request.attribute(kind, value);
        request.end();
        socket.call(&request, sequence, |_| {})?;
    }
    Ok(())
}

/// Runs a program in the thread's namespace with `input` as its standard input and returns what it printed.
/// [`Error::Unsupported`] if it is not there, [`Error::Load`] if it fails.
pub fn run(program: &str, arguments: &[&str], input: &str) -> Result<String, Error> {
    let broken = |e: io::Error| Error::Unsupported(format!("cannot run `{program}`: {e}"));
    // Ordinary users often lack the directories where these programs are.
    let path = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin:/sbin:/usr/bin:/bin";
    let mut child = Command::new(program)
        .args(arguments)
        .env("PATH", path)
        .env("LC_ALL", "C")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(broken)?;
    let stdin = child.stdin.take();
    let output = std::thread::scope(|scope| {
        // A program that fails early closes its input; its exit status tells.
        scope.spawn(move || stdin.map(|mut stdin| stdin.write_all(input.as_bytes())));
        child.wait_with_output()
    })
    .map_err(broken)?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let mut message = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    if message.is_empty() {
        message = output.status.to_string();
    }
    Err(LoadError { program: program.to_owned(), message }.into())
}

/// Loads the tested ruleset into the thread's namespace.
pub fn load(ruleset: &Ruleset) -> Result<(), Error> {
    match ruleset {
        Ruleset::Nft(text) => {
            let arguments: &[&str] = &["-f", "-"];
            load_text("nft", arguments, arguments, text, pieces::cut_nft)
        }
        Ruleset::NftJson(text) => run("nft", &["-j", "-f", "-"], text).map(drop),
        Ruleset::Several(all) => all.iter().try_for_each(load),
        Ruleset::Iptables { ipset, v4, v6 } => {
            if !ipset.trim().is_empty() {
                run("ipset", &["restore"], ipset)?;
            }
            for (program, text) in [("iptables-restore", v4), ("ip6tables-restore", v6)] {
                if !text.trim().is_empty() {
                    load_text(program, &[], &["--noflush"], text, |text| Some(pieces::cut_iptables(text)))?;
                }
            }
            Ok(())
        }
    }
}

/// Loads a text in one transaction, or in pieces where the system refuses large ones; `more` are the arguments
/// for all pieces but the first.
fn load_text(
    program: &str,
    first: &[&str],
    more: &[&str],
    text: &str,
    cut: impl FnOnce(&str) -> Option<Vec<String>>,
) -> Result<(), Error> {
    let refused = match run(program, first, text) {
        Err(Error::Load(refused)) if too_long(&refused) => refused,
        other => return other.map(drop),
    };
    let without_root = |error| match error {
        Error::Load(refused) if too_long(&refused) => {
            Error::Unsupported(format!("without root rights, {refused}"))
        }
        other => other,
    };
    let pieces = cut(text).ok_or_else(|| without_root(refused.into()))?;
    for (number, piece) in pieces.iter().enumerate() {
        run(program, if number == 0 { first } else { more }, piece).map_err(without_root)?;
    }
    Ok(())
}

/// Whether a transaction was larger than an ordinary user's send buffer.
fn too_long(refused: &LoadError) -> bool {
    refused.message.contains("Message too long")
}

/// Whether the thread's namespace has tables that nft cannot see, of the older iptables.
pub fn legacy_tables() -> bool {
    ["ip_tables_names", "ip6_tables_names"].iter().any(|name| {
        std::fs::read_to_string(format!("/proc/thread-self/net/{name}")).is_ok_and(|names| !names.is_empty())
    })
}
