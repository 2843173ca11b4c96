//! Interpreter against kernel, and what a diff says against the kernel ([`changes`]).

pub mod changes;

use crate::differential::{Disagreement, Plan, Tally, shown, world};
use crate::generate::{Generated, Syntax, ruleset};
use crate::host::{INTERFACES, Passage, WAYS, Way, World, addresses, interpret};
use crate::minimise::minimise;
use crate::packets::{Constants, packet};
use crate::random::Random;
use firewarden_oracle::{
    Config, Error, Hook as KernelHook, Interface, Launch, Oracle, Packet, RejectKind,
    Ruleset as KernelRuleset, State, Verdict, Why,
};
use firewarden_packet::{Field, InterfaceName, Point, ct_state, ct_status, text};
use firewarden_ruleset::interpreter::Outcome;
use firewarden_ruleset::ir::{Hook, RejectWith, Statement};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// To be called first in a program's `main`: where the program was started as the helper of an oracle, it serves as one,
/// and `Some` is what `main` then returns.
pub fn serve_as_helper() -> Option<std::process::ExitCode> {
    let helper =
        std::env::args().nth(1).is_some_and(|argument| argument == firewarden_oracle::HELPER_ARGUMENT);
    helper.then(firewarden_oracle::serve_helper)
}

/// A kernel in a namespace of its own, with the simulated host's interfaces.
#[expect(missing_debug_implementations, reason = "the oracle has no useful one")]
pub struct Kernel {
    oracle: Oracle,
    config: Config,
}

/// A packet in the words of both sides.
struct Question {
    way: Way,
    point: Point,
    packet: Packet,
}

/// Why kernel and interpreter can't be compared.
enum Failure {
    /// The kernel takes no such ruleset.
    Refused(String),
    /// The oracle broke down.
    Broken(String),
}

impl Kernel {
    /// Starts a worker, in a process of its own where there are no root rights (see [`serve_as_helper`]).
    ///
    /// # Errors
    /// Why there can be none here.
    pub fn start() -> Result<Kernel, String> {
        let launch = Launch::automatic().map_err(|error| error.to_string())?;
        firewarden_oracle::supported(&launch)?;
        let interfaces = INTERFACES
            .iter()
            .enumerate()
            .map(|(at, name)| Interface {
                name: (*name).to_owned(),
                addresses: addresses(at)
                    .map(|address| (address, if address.is_ipv4() { 24 } else { 64 }))
                    .to_vec(),
            })
            .collect();
        let config = Config { interfaces, ..Config::default() };
        let oracle = Oracle::start(&launch).map_err(|error| error.to_string())?;
        Ok(Kernel { oracle, config })
    }

    fn load(&mut self, text: &Generated) -> Result<(), Failure> {
        let ruleset = match text.syntax {
            Syntax::Nft => KernelRuleset::Nft(text.text()),
            Syntax::Iptables => {
                KernelRuleset::Iptables { ipset: String::new(), v4: text.text(), v6: String::new() }
            }
            Syntax::Ip6tables => {
                KernelRuleset::Iptables { ipset: String::new(), v4: String::new(), v6: text.text() }
            }
        };
        self.oracle.load(&self.config, &ruleset).map_err(|error| match error {
            Error::Load(refused) => Failure::Refused(refused.to_string()),
            other => Failure::Broken(other.to_string()),
        })
    }

    fn ask(&mut self, questions: &[Question]) -> Result<Vec<Verdict>, Failure> {
        let mut verdicts: Vec<Option<Verdict>> = questions.iter().map(|_| None).collect();
        for way in WAYS {
            let hook = match way {
                Way::Input => KernelHook::Input,
                Way::Forward => KernelHook::Forward,
                Way::Output => KernelHook::Output,
            };
            let asked: Vec<usize> = (0..questions.len()).filter(|&at| questions[at].way == way).collect();
            let packets: Vec<Packet> = asked.iter().map(|&at| questions[at].packet.clone()).collect();
            let answers =
                self.oracle.verdicts(hook, &packets).map_err(|error| Failure::Broken(error.to_string()))?;
            for (at, answer) in asked.into_iter().zip(answers) {
                verdicts[at] = Some(answer);
            }
        }
        Ok(verdicts.into_iter().flatten().collect())
    }

    /// Compares kernel and interpreter over rulesets from seeds until they disagree.
    ///
    /// # Errors
    /// The first disagreement, made small; a disagreement without a packet where the oracle broke down.
    pub fn compare(&mut self, plan: &Plan, tally: &mut Tally) -> Result<(), Box<Disagreement>> {
        for seed in plan.seed..plan.seed + plan.rulesets {
            let text = ruleset(seed, &plan.knobs);
            self.compare_text(seed, &text, plan.packets, tally)?;
        }
        Ok(())
    }

    /// Compares kernel and interpreter on one ruleset. One that either of them refuses is noted in the tally.
    ///
    /// # Errors
    /// The first disagreement, made small.
    pub fn compare_text(
        &mut self,
        seed: u64,
        text: &Generated,
        packets: u64,
        tally: &mut Tally,
    ) -> Result<(), Box<Disagreement>> {
        match self.first_fault(seed, text, packets, tally)? {
            None => Ok(()),
            Some(found) => {
                let mut nothing = Tally::default();
                let packets = packets.max(200);
                let small = minimise(text, |text| {
                    self.first_fault(seed, text, packets, &mut nothing).is_ok_and(|fault| fault.is_some())
                });
                Err(Box::new(
                    self.first_fault(seed, &small, packets, &mut nothing).ok().flatten().unwrap_or(found),
                ))
            }
        }
    }

    fn first_fault(
        &mut self,
        seed: u64,
        text: &Generated,
        packets: u64,
        tally: &mut Tally,
    ) -> Result<Option<Disagreement>, Box<Disagreement>> {
        let broken = |why: String| {
            Box::new(Disagreement {
                between: "kernel and interpreter",
                seed,
                ruleset: text.clone(),
                way: Way::Input,
                packet: String::new(),
                left: String::new(),
                right: why,
            })
        };
        let world = match world(text) {
            Ok(world) => world,
            Err(why) => {
                tally.refused.push((seed, why));
                return Ok(None);
            }
        };
        match self.load(text) {
            Ok(()) => {}
            Err(Failure::Refused(why)) => {
                tally.kernel_refused.push((seed, why));
                return Ok(None);
            }
            Err(Failure::Broken(why)) => return Err(broken(why)),
        }
        tally.kernel_rulesets += 1;
        let questions = questions(seed, &world, packets);
        tally.kernel_skipped += packets.saturating_sub(questions.len() as u64);
        let answers = match self.ask(&questions) {
            Ok(answers) => answers,
            Err(Failure::Refused(why) | Failure::Broken(why)) => return Err(broken(why)),
        };
        for (question, answer) in questions.into_iter().zip(answers) {
            if matches!(answer, Verdict::NotReached(Why::State(_) | Why::BeforeHooks | Why::Reassembly)) {
                tally.kernel_skipped += 1;
                continue;
            }
            tally.kernel_packets += 1;
            let expected = interpret(&world, question.way, &question.point);
            if agree(&question, &expected, &answer) {
                continue;
            }
            // Alone, in case an entry of another packet's connection stood in the way of a translation.
            let alone = self.ask(std::slice::from_ref(&question)).ok().and_then(|mut answers| answers.pop());
            if alone.is_some_and(|answer| agree(&question, &expected, &answer)) {
                continue;
            }
            return Ok(Some(Disagreement {
                between: "kernel and interpreter",
                seed,
                ruleset: text.clone(),
                way: question.way,
                packet: text::format(&question.point, &world.atoms),
                left: shown(&expected),
                right: format!("{answer:?}"),
            }));
        }
        Ok(None)
    }
}

fn questions(seed: u64, world: &World, packets: u64) -> Vec<Question> {
    let constants = Constants::of(&world.ruleset);
    let askable = Askable::of(world);
    let mut random = Random::new(seed ^ 0x6b65_726e);
    (0..packets)
        .filter_map(|number| {
            let way = WAYS[(number % 3) as usize];
            let point = packet(&mut random, world, &constants, way);
            askable.question(&mut random, way, point)
        })
        .collect()
}

/// What the oracle can't be asked about a ruleset.
#[derive(Clone, Copy)]
struct Askable {
    /// The oracle's connections have no translation (see its documentation), and nat chains would be asked.
    translates: bool,
    /// The harness exempts packets from tracking before the first chain, where only later ones can see it.
    early: bool,
    /// What makes a TCP packet invalid here is a header longer than the packet, which these look at too: the targets
    /// drop such packets, and nft's statement ends the rule (see docs/limits.md).
    mends_options: bool,
    /// The oracle sends packets from addresses that aren't the host's, and everybody else takes those that a host makes
    /// for its own.
    source_types: bool,
}

impl Askable {
    fn of(world: &World) -> Askable {
        let chains = || world.ruleset.chains.iter();
        let text = world.text.text();
        Askable {
            translates: chains()
                .flat_map(|chain| &chain.rules)
                .any(|rule| rule.statements.iter().any(|statement| matches!(statement, Statement::Nat(_)))),
            early: chains().filter_map(|chain| chain.base.as_ref()).any(|base| {
                matches!(base.hook, Hook::Prerouting | Hook::Output) && base.effective_priority() < -200
            }),
            source_types: ["src-type", "fib saddr"].iter().any(|sign| text.contains(sign)),
            mends_options: ["TCPMSS", "TCPOPTSTRIP", "tcp option"].iter().any(|sign| text.contains(sign)),
        }
    }

    /// What neither ruleset can be asked.
    fn and(self, other: Askable) -> Askable {
        Askable {
            translates: self.translates || other.translates,
            early: self.early || other.early,
            mends_options: self.mends_options || other.mends_options,
            source_types: self.source_types || other.source_types,
        }
    }

    /// The point as a question; `None` where the oracle can't be asked.
    fn question(self, random: &mut Random, way: Way, mut point: Point) -> Option<Question> {
        let state = point.get(Field::CT_STATE);
        if (state == ct_state::RELATED && self.translates) || (state == ct_state::UNTRACKED && self.early) {
            return None;
        }
        let packet = realise(random, way, &mut point)?;
        if self.mends_options && packet.protocol == 6 && packet.state == State::Invalid {
            return None;
        }
        Some(Question { way, point, packet })
    }
}

fn address(number: u128, ipv4: bool) -> Option<IpAddr> {
    match ipv4 {
        true => u32::try_from(number).ok().map(|short| IpAddr::V4(Ipv4Addr::from(short))),
        false => Some(IpAddr::V6(Ipv6Addr::from(number))),
    }
}

/// The packet that has the point's fields as far as one can, and the point changed to what the packet then has. `None`
/// where the oracle can't make it.
fn realise(random: &mut Random, way: Way, point: &mut Point) -> Option<Packet> {
    // A connection with itself has one tuple for both directions.
    if point.get(Field::SADDR) == point.get(Field::DADDR) {
        return None;
    }
    // Such destinations are of a link, and the oracle's interfaces have no addresses of their scope.
    if point.get(Field::DADDR) >> 112 >= 0xfe80 {
        return None;
    }
    // IPv6 extension headers aren't protocols, and the oracle writes none.
    if matches!(point.get(Field::L4PROTO), 0 | 43 | 44 | 51 | 59 | 60 | 135 | 139 | 140) {
        return None;
    }
    // Conntrack takes the checksums of UDP-Lite for wrong: it counts the pseudo header as UDP's. Of DCCP, kernels since
    // 6.16 track no ports.
    if matches!(point.get(Field::L4PROTO), 33 | 136) && point.get(Field::CT_STATE) != ct_state::UNTRACKED {
        return None;
    }
    let ipv4 = point.get(Field::NFPROTO) == 2;
    let small = |field: Field| u8::try_from(point.get(field)).ok();
    let mut packet = Packet::new(
        address(point.get(Field::SADDR), ipv4)?,
        address(point.get(Field::DADDR), ipv4)?,
        small(Field::L4PROTO)?,
    );
    packet.sport = u16::try_from(point.get(Field::SPORT)).ok()?;
    packet.dport = u16::try_from(point.get(Field::DPORT)).ok()?;
    packet.tcp_flags = small(Field::TCP_FLAGS)?;
    packet.icmp_type = small(Field::ICMP_TYPE)?;
    packet.icmp_code = small(Field::ICMP_CODE)?;
    packet.ttl = small(Field::TTL)?;
    packet.dscp = small(Field::DSCP)?;
    let name = |field| InterfaceName(point.get(field)).to_string();
    packet.iif = name(Field::IIFNAME);
    packet.oif = (way != Way::Input).then(|| name(Field::OIFNAME));
    packet.mac.copy_from_slice(point.get(Field::ETHER_SADDR).to_be_bytes().get(10..)?);
    let reply = point.get(Field::CT_DIRECTION) == 1;
    packet.state = match point.get(Field::CT_STATE) {
        ct_state::NEW => State::New,
        ct_state::ESTABLISHED if reply => State::EstablishedReply,
        ct_state::ESTABLISHED => State::Established,
        ct_state::RELATED => State::Related,
        ct_state::INVALID => State::Invalid,
        _ => State::Untracked,
    };
    if packet.natural_state(false) == State::Untracked {
        // Whatever state the packet space gives such a packet, conntrack doesn't look at it.
        packet.state = State::Untracked;
    }
    // Most random sets of flags are invalid: the usual ones where a connection is wanted.
    if packet.state_possible(false).is_err() {
        packet.tcp_flags = match packet.state {
            State::New => 2,
            State::Established => random.of(&[0x10, 0x18, 0x11]),
            State::EstablishedReply => random.of(&[0x10, 0x12, 0x18]),
            State::Related => 2,
            _ => packet.tcp_flags,
        };
        packet.icmp_type = match (packet.state, ipv4) {
            (State::EstablishedReply, true) => 0,
            (State::EstablishedReply, false) => 129,
            (_, true) => 8,
            (_, false) => 128,
        };
        packet.state_possible(false).ok()?;
    }
    if matches!(packet.state, State::Established | State::EstablishedReply) {
        // The oracle makes connections of echo messages with this code.
        packet.icmp_code = 0;
    }
    let wanted = usize::try_from(point.get(Field::LENGTH)).ok()?;
    let bare = packet.to_bytes(false).ok()?.len();
    // What makes a TCP packet invalid is a header longer than the packet, which 40 bytes of payload would mend.
    let most = if packet.state == State::Invalid { 30 } else { 1300 };
    packet.payload = u16::try_from(wanted.saturating_sub(bare).min(most)).ok()?;
    if packet.protocol == 47 {
        // Translating GRE looks at eight bytes, and drops shorter packets.
        packet.payload = packet.payload.max(8);
    }
    let length = packet.to_bytes(false).ok()?.len();
    let status = match packet.state {
        State::Established | State::EstablishedReply => {
            ct_status::SEEN_REPLY | ct_status::ASSURED | ct_status::CONFIRMED
        }
        State::Related => ct_status::EXPECTED | ct_status::CONFIRMED,
        _ => 0,
    };
    let established_reply = packet.state == State::EstablishedReply;
    for (field, value) in [
        (Field::TCP_FLAGS, u128::from(packet.tcp_flags)),
        (Field::ICMP_TYPE, u128::from(packet.icmp_type)),
        (Field::ICMP_CODE, u128::from(packet.icmp_code)),
        (Field::LENGTH, length as u128),
        (Field::MARK, 0),
        (Field::CT_MARK, 0),
        (Field::CT_STATUS, status),
        (Field::CT_DIRECTION, u128::from(established_reply)),
        (Field::PKTTYPE, 0),
    ] {
        point.set(field, value);
    }
    for (original, own, other) in [
        (Field::CT_ORIGINAL_SADDR, Field::SADDR, Field::DADDR),
        (Field::CT_ORIGINAL_DADDR, Field::DADDR, Field::SADDR),
        (Field::CT_ORIGINAL_SPORT, Field::SPORT, Field::DPORT),
        (Field::CT_ORIGINAL_DPORT, Field::DPORT, Field::SPORT),
    ] {
        point.set(original, point.get(if established_reply { other } else { own }));
    }
    match way {
        Way::Input => point.set(Field::OIFNAME, 0),
        Way::Output => point.set(Field::IIFNAME, 0),
        Way::Forward => {}
    }
    Some(packet)
}

/// Whether the kernel's verdict is what the interpreter says.
fn agree(question: &Question, passage: &Passage, verdict: &Verdict) -> bool {
    match (passage.outcome, verdict) {
        (Outcome::Accepted, Verdict::Accepted { hook, packet, mark }) => {
            let local = passage.hook == Hook::Input;
            (*hook == KernelHook::Input) == local && same_fields(&passage.packet, packet, *mark)
        }
        (Outcome::Rejected(with), Verdict::Rejected(kind)) => {
            (with == RejectWith::TcpReset) == (*kind == RejectKind::TcpReset)
        }
        (Outcome::Rejected(_), Verdict::Dropped) => unanswerable(&question.packet),
        (Outcome::Dropped, Verdict::Dropped) => true,
        _ => false,
    }
}

/// Packets that a reject may leave without an answer: resets, ICMP, broken headers, protocols that are rarely rejected.
fn unanswerable(packet: &Packet) -> bool {
    let reset = packet.protocol == 6 && packet.tcp_flags & 4 != 0;
    reset || !matches!(packet.protocol, 6 | 17) || packet.state == State::Invalid
}

fn same_fields(point: &Point, packet: &Packet, mark: u32) -> bool {
    let ported = matches!(packet.protocol, 6 | 17 | 33 | 132 | 136);
    let number = crate::host::number;
    let mut pairs = vec![
        (point.get(Field::SADDR), number(packet.src)),
        (point.get(Field::DADDR), number(packet.dst)),
        (point.get(Field::MARK), u128::from(mark)),
        (point.get(Field::TTL), u128::from(packet.ttl)),
        (point.get(Field::DSCP), u128::from(packet.dscp)),
    ];
    if ported {
        pairs.push((point.get(Field::SPORT), u128::from(packet.sport)));
        pairs.push((point.get(Field::DPORT), u128::from(packet.dport)));
    }
    pairs.iter().all(|(left, right)| left == right)
}
