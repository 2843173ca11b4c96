//! The rules of nftables as the kernel keeps them: quick to read, exact to compare, and to put back byte for byte.
//!
//! `nft` needs seconds to list 100,000 rules, since it translates each into words. What is asked here needs none: did
//! anything change, and how are a few rules put back that were taken out of a long chain. Two equal fingerprints are equal
//! rules; two different ones may still be (a set without a name is numbered anew each time), which `nft` then has to tell.

mod rules;

pub use rules::{
    ChainName, Content, Place, RawRule, RuleEdit, carry_out, edited, is_overtaken, next, rules, transact,
    undo,
};

use firewarden_netlink::{Attributes, DUMP, Message, Request, Socket, be32, text};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::io;

use crate::generation::generation;

/// The nftables subsystem of netfilter (`linux/netfilter/nfnetlink.h`).
const NFTABLES: u8 = 10;
/// How often the rules are read anew because they changed in the meantime.
const ATTEMPTS: u32 = 5;

/// Numbers of `linux/netfilter/nf_tables.h`.
mod message {
    pub const GET_TABLE: u8 = 1;
    pub const GET_CHAIN: u8 = 4;
    pub const NEW_RULE: u8 = 6;
    pub const GET_RULE: u8 = 7;
    pub const DELETE_RULE: u8 = 8;
    pub const GET_SET: u8 = 10;
    pub const GET_ELEMENTS: u8 = 13;
    pub const GET_OBJECT: u8 = 19;
    pub const GET_FLOWTABLE: u8 = 23;
}

/// The attribute of each kind of object that names its table, and that of an object that names it. For tables, both are
/// the same.
const TABLE: u16 = 1;
const RULE_CHAIN: u16 = 2;
const RULE_HANDLE: u16 = 3;
const RULE_EXPRESSIONS: u16 = 4;
const RULE_COMPAT: u16 = 5;
const RULE_POSITION: u16 = 6;
const RULE_USERDATA: u16 = 7;
const SET_NAME: u16 = 2;
const SET_FLAGS: u16 = 3;
const ELEMENTS: u16 = 3;
const ELEMENT_EXPIRATION: u16 = 5;
const ELEMENT_EXPRESSION: u16 = 7;
const ELEMENT_EXPRESSIONS: u16 = 11;
const OBJECT_TYPE: u16 = 3;
const OBJECT_DATA: u16 = 4;
/// NFT_OBJECT_COUNTER and NFT_OBJECT_QUOTA.
const COUNTER: u32 = 1;
const QUOTA: u32 = 2;
/// NFT_SET_ANONYMOUS and NFT_SET_EVAL: a set within a rule, and one that rules add to.
const ANONYMOUS: u32 = 0x1;
const WRITTEN_BY_RULES: u32 = 0x20;
/// NFTA_TABLE_FLAGS and NFT_TABLE_F_OWNER.
const TABLE_FLAGS: u16 = 2;
const OWNED: u32 = 0x2;
/// NFTA_QUOTA_CONSUMED.
const QUOTA_CONSUMED: u16 = 4;

/// What a ruleset is, for comparison: a digest for each table, by family and name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fingerprint {
    /// SHA-256 in hexadecimal.
    pub tables: BTreeMap<String, String>,
    /// The generation that it was read at.
    pub generation: u32,
}

impl Fingerprint {
    /// Reads the tables of the calling thread's network namespace, until they were the same before and after. O(n), about a
    /// second for 1,000,000 rules. Counters, what is left of quotas, and elements that packets or a timeout govern don't
    /// count.
    ///
    /// # Errors
    /// The system's; `WouldBlock` where the rules never stay the same for as long as it takes.
    pub fn read() -> io::Result<Fingerprint> {
        for _ in 0..ATTEMPTS {
            let before = generation()?;
            let mut reading =
                Reading { socket: Socket::open(0)?, tables: BTreeMap::new(), sets: BTreeMap::new() };
            // A dump that a change gets into the way of ends early, or with an error, and is made again.
            let read = reading.everything();
            if generation()? != before {
                continue;
            }
            read?;
            let tables = reading.tables.into_iter().map(|(name, digest)| (name, hex(digest))).collect();
            return Ok(Fingerprint { tables, generation: before });
        }
        Err(io::Error::new(io::ErrorKind::WouldBlock, "the ruleset changed while it was read"))
    }
}

fn hex(digest: Sha256) -> String {
    firewarden_change::plan::hex(&digest.finalize())
}

/// Whether a process owns a table: it goes with that process, which the kernel doesn't count as a change.
///
/// # Errors
/// The system's.
pub fn has_owned_tables() -> io::Result<bool> {
    let mut socket = Socket::open(0)?;
    let (mut request, sequence) = (Request::default(), socket.next_sequence());
    request.begin(NFTABLES, message::GET_TABLE, DUMP, 0, 0, sequence);
    request.end();
    let mut found = false;
    socket.call(&request, sequence, |message| {
        let flags = message.attributes().find(|(kind, _)| *kind == TABLE_FLAGS);
        found |= flags.and_then(|(_, value)| be32(value)).is_some_and(|flags| flags & OWNED != 0);
    })?;
    Ok(found)
}

/// The family and the name of a table or set, which is of a table.
type Named = (u8, Vec<u8>, Vec<u8>);

struct Reading {
    socket: Socket,
    tables: BTreeMap<String, Sha256>,
    /// Digests of the sets without a name of their own, which rules name.
    sets: BTreeMap<Named, Vec<u8>>,
}

impl Reading {
    /// Asks for everything. Sets come before the rules that name them.
    fn everything(&mut self) -> io::Result<()> {
        use message::{GET_CHAIN, GET_FLOWTABLE, GET_OBJECT, GET_RULE, GET_TABLE};
        // NAME and FLAGS; HOOK, POLICY, TYPE, FLAGS, USERDATA; ... without handles and counts of users.
        self.objects(GET_TABLE, &[1, 2, 6], |_, _, _| ())?;
        self.objects(GET_CHAIN, &[3, 4, 5, 7, 10, 12], |_, _, _| ())?;
        self.all_sets()?;
        self.objects(GET_FLOWTABLE, &[2, 3, 7], |_, _, _| ())?;
        self.objects(GET_OBJECT, &[2, OBJECT_TYPE, 8], |digest, message, _| object_data(digest, message))?;
        let counted = [RULE_CHAIN, RULE_COMPAT, RULE_USERDATA];
        self.objects(GET_RULE, &counted, |digest, message, sets| {
            let of = |wanted| message.attributes().find(|(kind, _)| *kind == wanted).map(|(_, value)| value);
            let table = of(TABLE).unwrap_or_default();
            let set = |name: &[u8]| sets.get(&(message.family(), table.to_vec(), name.to_vec()));
            expressions(digest, of(RULE_EXPRESSIONS).unwrap_or_default(), &set);
        })
    }

    /// Adds all objects of one kind to the digests of their tables: the attributes that are named, and what `more` adds.
    fn objects(
        &mut self,
        asked: u8,
        counted: &[u16],
        more: impl Fn(&mut Sha256, &Message<'_>, &BTreeMap<Named, Vec<u8>>),
    ) -> io::Result<()> {
        let (mut request, sequence) = (Request::default(), self.socket.next_sequence());
        request.begin(NFTABLES, asked, DUMP, 0, 0, sequence);
        request.end();
        let Reading { socket, tables, sets } = self;
        socket.call(&request, sequence, |message| {
            let digest = tables.entry(table_of(message)).or_default();
            digest.update([0xFF, asked]);
            for (kind, value) in message.attributes().filter(|(kind, _)| counted.contains(kind)) {
                part(digest, kind, value);
            }
            more(digest, message, sets);
        })
    }

    fn all_sets(&mut self) -> io::Result<()> {
        let (mut request, sequence) = (Request::default(), self.socket.next_sequence());
        request.begin(NFTABLES, message::GET_SET, DUMP, 0, 0, sequence);
        request.end();
        let mut headers = Vec::new();
        self.socket.call(&request, sequence, |message| {
            let mut digest = Sha256::new();
            // Everything but NAME, ID, HANDLE and how many elements there are just now.
            for (kind, value) in
                message.attributes().filter(|(kind, _)| matches!(kind, 3..=9 | 11..=13 | 15 | 17 | 18))
            {
                part(&mut digest, kind, value);
            }
            let of = |wanted| message.attributes().find(|(kind, _)| *kind == wanted).map(|(_, value)| value);
            let flags = of(SET_FLAGS).and_then(be32).unwrap_or_default();
            let named = (
                message.family(),
                of(TABLE).unwrap_or_default().to_vec(),
                of(SET_NAME).unwrap_or_default().to_vec(),
            );
            headers.push((table_of(message), named, flags, digest));
        })?;
        for (table, named, flags, mut digest) in headers {
            if flags & WRITTEN_BY_RULES == 0 {
                let mut elements = self.elements(&named)?;
                // The kernel hashes them with a key of its own choice.
                elements.sort_unstable();
                elements.iter().for_each(|element| digest.update(element));
            }
            if flags & ANONYMOUS != 0 {
                self.sets.insert(named, digest.finalize().to_vec());
                continue;
            }
            let of_table = self.tables.entry(table).or_default();
            of_table.update([0xFF, message::GET_SET]);
            part(of_table, SET_NAME, &named.2);
            of_table.update(digest.finalize());
        }
        Ok(())
    }

    /// The digests of a set's elements, but for those that a timeout ends.
    fn elements(&mut self, (family, table, set): &Named) -> io::Result<Vec<[u8; 32]>> {
        let (mut request, sequence) = (Request::default(), self.socket.next_sequence());
        request.begin(NFTABLES, message::GET_ELEMENTS, DUMP, *family, 0, sequence);
        request.attribute(TABLE, table);
        request.attribute(SET_NAME, set);
        request.end();
        let mut digests = Vec::new();
        self.socket.call(&request, sequence, |message| {
            let lists = message.attributes().filter(|(kind, _)| *kind == ELEMENTS);
            for (_, element) in lists.flat_map(|(_, list)| Attributes(list)) {
                if Attributes(element).any(|(kind, _)| kind == ELEMENT_EXPIRATION) {
                    continue;
                }
                let mut digest = Sha256::new();
                for (kind, value) in Attributes(element) {
                    match kind {
                        ELEMENT_EXPRESSION => expression(&mut digest, value, &|_| None),
                        ELEMENT_EXPRESSIONS => expressions(&mut digest, value, &|_| None),
                        _ => part(&mut digest, kind, value),
                    }
                }
                digests.push(digest.finalize().into());
            }
        })?;
        Ok(digests)
    }
}

/// Adds an attribute so that no other list of attributes gives the same bytes.
fn part(digest: &mut Sha256, kind: u16, value: &[u8]) {
    digest.update(kind.to_be_bytes());
    digest.update((value.len() as u64).to_be_bytes());
    digest.update(value);
}

/// The table that an object is of, as nft names it.
fn table_of(message: &Message<'_>) -> String {
    let family = match message.family() {
        1 => "inet",
        2 => "ip",
        3 => "arp",
        5 => "netdev",
        7 => "bridge",
        10 => "ip6",
        _ => "unknown",
    };
    let name = message.attributes().find(|(kind, _)| *kind == TABLE).map(|(_, value)| text(value));
    format!("{family} {}", String::from_utf8_lossy(name.unwrap_or_default()))
}

/// What a named object is, without what it counted.
fn object_data(digest: &mut Sha256, message: &Message<'_>) {
    let of = |wanted| message.attributes().find(|(kind, _)| *kind == wanted).map(|(_, value)| value);
    let data = of(OBJECT_DATA).unwrap_or_default();
    match of(OBJECT_TYPE).and_then(be32) {
        Some(COUNTER) => {}
        Some(QUOTA) => {
            for (kind, value) in Attributes(data).filter(|(kind, _)| *kind != QUOTA_CONSUMED) {
                part(digest, kind, value);
            }
        }
        _ => part(digest, OBJECT_DATA, data),
    }
}

/// The digest of the set without a name of its own that has this name.
type SetDigest<'a> = dyn Fn(&[u8]) -> Option<&'a Vec<u8>> + 'a;

/// Adds expressions without what they counted, and with what is in the sets that they name.
fn expressions(digest: &mut Sha256, list: &[u8], set: &SetDigest<'_>) {
    for (_, one) in Attributes(list) {
        digest.update([0xFE]);
        expression(digest, one, set);
    }
}

fn expression(digest: &mut Sha256, of: &[u8], set: &SetDigest<'_>) {
    let attribute = |wanted| Attributes(of).find(|(kind, _)| *kind == wanted).map(|(_, value)| value);
    let (name, data) = (text(attribute(1).unwrap_or_default()), attribute(2).unwrap_or_default());
    part(digest, 1, name);
    let skipped: &[u16] = match name {
        // Bytes and packets; when it matched last; what was used up.
        b"counter" => &[1, 2],
        b"last" => &[1, 2],
        b"quota" => &[QUOTA_CONSUMED],
        _ => &[],
    };
    // NFTA_LOOKUP_SET, NFTA_OBJREF_SET_NAME.
    let names_set = match name {
        b"lookup" => 1,
        b"objref" => 4,
        _ => 0,
    };
    for (kind, value) in Attributes(data).filter(|(kind, _)| !skipped.contains(kind)) {
        match set(value).filter(|_| kind == names_set) {
            Some(content) => part(digest, kind, content),
            None => part(digest, kind, value),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
