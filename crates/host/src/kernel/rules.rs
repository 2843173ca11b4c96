//! Single rules of long chains, as the kernel gives them out and takes them back.

use super::{
    NFTABLES, RULE_CHAIN, RULE_COMPAT, RULE_EXPRESSIONS, RULE_HANDLE, RULE_POSITION, RULE_USERDATA, TABLE,
    message,
};
use firewarden_netlink::{ACK, APPEND, Attributes, CREATE, DUMP, ECHO, Message, Request, Socket, be64};
use nix::errno::Errno;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::io;

/// NFNL_MSG_BATCH_BEGIN and NFNL_MSG_BATCH_END, which belong to no subsystem.
const BATCH: [u8; 2] = [0x10, 0x11];
/// NFNL_BATCH_GENID.
const BATCH_GENERATION: u16 = 1;

/// A chain: the number of its family (`linux/netfilter.h`), its table and its name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ChainName {
    /// As nft writes it: `ip`, `inet`, ...
    pub family: String,
    /// The table.
    pub table: String,
    /// The chain.
    pub chain: String,
}

impl ChainName {
    fn number(&self) -> Option<u8> {
        Some(match self.family.as_str() {
            "inet" => 1,
            "ip" => 2,
            "arp" => 3,
            "netdev" => 5,
            "bridge" => 7,
            "ip6" => 10,
            _ => return None,
        })
    }

    fn name(&self, request: &mut Request) {
        request.attribute(TABLE, &terminated(&self.table));
        request.attribute(RULE_CHAIN, &terminated(&self.chain));
    }
}

fn terminated(name: &str) -> Vec<u8> {
    name.bytes().chain([0]).collect()
}

/// A rule as the kernel gives it out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawRule {
    /// Its number in the table.
    pub handle: u64,
    /// What it does.
    pub content: Content,
}

/// What a request needs to make a rule again: expressions, what iptables-nft says of it, comment; as attributes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Content(Vec<(u16, Vec<u8>)>);

impl RawRule {
    fn of(message: &Message<'_>) -> RawRule {
        let mut rule = RawRule { handle: 0, content: Content::default() };
        for (kind, value) in message.attributes() {
            match kind {
                RULE_HANDLE => rule.handle = be64(value).unwrap_or_default(),
                RULE_EXPRESSIONS | RULE_COMPAT | RULE_USERDATA => rule.content.0.push((kind, value.to_vec())),
                _ => {}
            }
        }
        rule
    }
}

impl Content {
    /// False where it names a set that ends with it, and so can't be named again.
    pub fn stands_alone(&self) -> bool {
        let lists = self.0.iter().filter(|(kind, _)| *kind == RULE_EXPRESSIONS);
        let named = |one: &[u8]| {
            let attribute =
                |wanted| Attributes(one).find(|(kind, _)| *kind == wanted).map(|(_, value)| value);
            let data = attribute(2).unwrap_or_default();
            Attributes(data).any(|(_, value)| value.starts_with(b"__"))
        };
        !lists.flat_map(|(_, list)| Attributes(list)).any(|(_, one)| named(one))
    }
}

/// The rules of a chain, in their order. O(rules of the chain); none where there is no such chain.
///
/// # Errors
/// The system's.
pub fn rules(chain: &ChainName) -> io::Result<Vec<RawRule>> {
    let mut rules = Vec::new();
    let Some(family) = chain.number() else { return Ok(rules) };
    let mut socket = Socket::open(0)?;
    let (mut request, sequence) = (Request::default(), socket.next_sequence());
    request.begin(NFTABLES, message::GET_RULE, DUMP, family, 0, sequence);
    chain.name(&mut request);
    request.end();
    socket.call(&request, sequence, |message| rules.push(RawRule::of(message)))?;
    Ok(rules)
}

/// Messages that make the rules of chains again what they were: rules that came are deleted, rules that went come back to
/// their place with everything that they had counted. `None` where that isn't possible so, because a rule that went had a
/// set of its own, or the rules that stayed changed their order. O(n).
pub fn undo(chains: &[(ChainName, Vec<RawRule>, Vec<RawRule>)]) -> Option<Vec<u8>> {
    let mut request = Request::default();
    for (chain, before, now) in chains {
        let family = chain.number()?;
        let then: BTreeSet<u64> = before.iter().map(|rule| rule.handle).collect();
        let still: BTreeSet<u64> = now.iter().map(|rule| rule.handle).collect();
        let stayed = |rules: &[RawRule], others: &BTreeSet<u64>| -> Vec<u64> {
            rules.iter().map(|rule| rule.handle).filter(|handle| others.contains(handle)).collect()
        };
        if stayed(before, &still) != stayed(now, &then) {
            return None;
        }
        for rule in now.iter().filter(|rule| !then.contains(&rule.handle)) {
            delete(&mut request, chain, family, rule.handle);
        }
        // Each comes directly behind the last one that stayed, so the last of several comes first.
        let behind = before.iter().scan(None, |last, rule| {
            let position = *last;
            if still.contains(&rule.handle) {
                *last = Some(rule.handle);
            }
            Some((rule, position))
        });
        let gone: Vec<_> = behind.filter(|(rule, _)| !still.contains(&rule.handle)).collect();
        for (rule, position) in gone.into_iter().rev() {
            if !rule.content.stands_alone() {
                return None;
            }
            let place = position.map_or(Place::First, Place::After);
            add(&mut request, chain, family, place, &rule.content);
        }
    }
    Some(request.bytes().to_vec())
}

/// Where a rule comes in its chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Place {
    /// In front of all others.
    First,
    /// Behind all others.
    Last,
    /// Directly in front of the rule with this handle.
    Before(u64),
    /// Directly behind the rule with this handle.
    After(u64),
}

/// What is done to one rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RuleEdit {
    /// It goes.
    Delete {
        /// Its chain.
        chain: ChainName,
        /// Its handle.
        handle: u64,
    },
    /// It comes.
    Add {
        /// Its chain.
        chain: ChainName,
        /// Where.
        place: Place,
        /// What it does.
        content: Content,
    },
}

impl RuleEdit {
    /// The rule's chain.
    pub fn chain(&self) -> &ChainName {
        match self {
            RuleEdit::Delete { chain, .. } | RuleEdit::Add { chain, .. } => chain,
        }
    }
}

/// Makes edits in one transaction, if the ruleset is still at this generation. Gives the new rules in their order, as the
/// kernel says that it holds them now, `None` where it names others than it was told; the generation is then [`next`]. The
/// kernel walks along a chain to find a place or a rule, so each edit is O(rules of its chain).
///
/// # Errors
/// The kernel's for the first edit that it refuses, one for which [`is_overtaken`] holds where the generation is another
/// one; then nothing was changed. The system's where there is no answer; the generation tells whether anything changed.
pub fn carry_out(edits: &[RuleEdit], generation: u32) -> io::Result<Option<Vec<RawRule>>> {
    let mut request = Request::default();
    let mut wanted = Vec::new();
    for edit in edits {
        let family = edit.chain().number().ok_or(io::ErrorKind::InvalidInput)?;
        match edit {
            RuleEdit::Delete { chain, handle } => delete(&mut request, chain, family, *handle),
            RuleEdit::Add { chain, place, content } => {
                add(&mut request, chain, family, *place, content);
                wanted.push(content);
            }
        }
    }
    let mut rules = Vec::new();
    // Of the new generation it tells as well.
    let is_rule = |message: &Message<'_>| message.kind == u16::from_be_bytes([NFTABLES, message::NEW_RULE]);
    send(request.bytes(), Some(generation), |message| {
        if is_rule(message) {
            rules.push(RawRule::of(message));
        }
    })?;
    Ok(rules.iter().map(|rule| &rule.content).eq(wanted).then_some(rules))
}

/// What a chain holds after edits, of which others may be in other chains, given what it held before and the new rules of
/// all edits in their order. `None` where a rule isn't there that an edit names. O(rules · edits).
pub fn edited(
    chain: &ChainName,
    before: &[RawRule],
    edits: &[RuleEdit],
    new: &[RawRule],
) -> Option<Vec<RawRule>> {
    let (mut rules, mut new) = (before.to_vec(), new.iter());
    for edit in edits {
        let rule = matches!(edit, RuleEdit::Add { .. }).then(|| new.next());
        if edit.chain() != chain {
            continue;
        }
        let find = |wanted: u64| rules.iter().position(|rule| rule.handle == wanted);
        match edit {
            RuleEdit::Delete { handle, .. } => {
                let at = find(*handle)?;
                rules.remove(at);
            }
            RuleEdit::Add { place, .. } => {
                let at = match place {
                    Place::First => 0,
                    Place::Last => rules.len(),
                    Place::Before(handle) => find(*handle)?,
                    Place::After(handle) => find(*handle)? + 1,
                };
                rules.insert(at, rule??.clone());
            }
        }
    }
    Some(rules)
}

fn delete(request: &mut Request, chain: &ChainName, family: u8, handle: u64) {
    request.begin(NFTABLES, message::DELETE_RULE, 0, family, 0, 1);
    chain.name(request);
    request.attribute(RULE_HANDLE, &handle.to_be_bytes());
    request.end();
}

fn add(request: &mut Request, chain: &ChainName, family: u8, place: Place, content: &Content) {
    let (append, position) = match place {
        Place::First => (0, None),
        Place::Last => (APPEND, None),
        Place::Before(handle) => (0, Some(handle)),
        Place::After(handle) => (APPEND, Some(handle)),
    };
    request.begin(NFTABLES, message::NEW_RULE, CREATE | ECHO | append, family, 0, 1);
    chain.name(request);
    if let Some(handle) = position {
        request.attribute(RULE_POSITION, &handle.to_be_bytes());
    }
    for (kind, value) in &content.0 {
        request.attribute(*kind, value);
    }
    request.end();
}

/// Sends messages, such as those of [`undo`], as one transaction; where a generation is given, only if the ruleset is still
/// at that one. After it, the generation is [`next`].
///
/// # Errors
/// The kernel's for the first message that it refuses, one for which [`is_overtaken`] holds where the generation is another
/// one; then nothing was changed.
pub fn transact(messages: &[u8], generation: Option<u32>) -> io::Result<()> {
    send(messages, generation, |_| ())
}

/// Whether the kernel refused a transaction because it isn't at the generation that was named.
pub fn is_overtaken(error: &io::Error) -> bool {
    error.raw_os_error() == Some(Errno::ERESTART as i32)
}

/// The generation after one transaction. The kernel leaves zero out, which stands for any generation.
pub fn next(generation: u32) -> u32 {
    generation.checked_add(1).unwrap_or(1)
}

fn send(messages: &[u8], generation: Option<u32>, each: impl FnMut(&Message<'_>)) -> io::Result<()> {
    let Some(last) = last_message(messages) else { return Ok(()) };
    let mut socket = Socket::open(0)?;
    let mut request = Request::default();
    request.begin(0, BATCH[0], 0, 0, u16::from(NFTABLES), 1);
    if let Some(generation) = generation {
        request.attribute(BATCH_GENERATION, &generation.to_be_bytes());
    }
    request.end();
    let (before, last) = messages.split_at(last);
    request.messages(before);
    // Refusals are answered by themselves, and all have the number of the last message; it asks for an answer too.
    let mut last = last.to_vec();
    if let Some(flags) = last.get_mut(6) {
        *flags |= ACK as u8;
    }
    request.messages(&last);
    request.begin(0, BATCH[1], 0, 0, u16::from(NFTABLES), 1);
    request.end();
    socket.call(&request, 1, each)
}

/// Where the last of several messages begins.
fn last_message(messages: &[u8]) -> Option<usize> {
    let (mut at, mut last) = (0, None);
    while let Some(length) = messages.get(at..).and_then(|rest| rest.first_chunk::<4>()) {
        last = Some(at);
        at += (u32::from_ne_bytes(*length) as usize).next_multiple_of(4).max(4);
    }
    last
}
