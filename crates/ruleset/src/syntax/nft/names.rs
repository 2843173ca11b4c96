//! The names that nft knows: headers and their fields, options, keys, and words that can't be values.
//!
//! The source is nft(8), "PAYLOAD EXPRESSIONS" and the sections around it, and the listings that nft 1.0.6 and 1.1
//! print. Where nft reads several spellings of a name, the tree has the one that it prints.

use super::ast::HeaderField;

macro_rules! fields {
    ($protocol:literal: $($name:literal)*) => {
        &[$(HeaderField { protocol: $protocol, name: $name }),*]
    };
}

/// A protocol header by name, and its fields; `None` for a word that isn't a header.
pub(super) fn header(word: &str) -> Option<(&'static str, &'static [HeaderField])> {
    let fields = header_fields(word)?;
    Some((fields.first().map_or("gretap", |field| field.protocol), fields))
}

fn header_fields(word: &str) -> Option<&'static [HeaderField]> {
    Some(match word {
        "ip" => {
            fields!("ip": "saddr" "daddr" "protocol" "dscp" "ecn" "length" "id" "frag-off" "ttl" "checksum"
            "version" "hdrlength")
        }
        "tcp" => {
            fields!("tcp": "dport" "sport" "flags" "sequence" "ackseq" "doff" "reserved" "window" "checksum"
            "urgptr")
        }
        "udp" => fields!("udp": "dport" "sport" "length" "checksum"),
        "ip6" => {
            fields!("ip6": "saddr" "daddr" "nexthdr" "hoplimit" "dscp" "ecn" "flowlabel" "length" "version")
        }
        "icmp" => fields!("icmp": "type" "code" "checksum" "id" "sequence" "gateway" "mtu"),
        "icmpv6" => {
            fields!("icmpv6": "type" "code" "checksum" "parameter-problem" "mtu" "id" "sequence" "max-delay"
            "taddr" "daddr")
        }
        "th" => fields!("th": "dport" "sport"),
        "ether" => fields!("ether": "saddr" "daddr" "type"),
        "vlan" => fields!("vlan": "id" "dei" "pcp" "type"),
        "arp" => {
            fields!("arp": "htype" "ptype" "hlen" "plen" "operation" "saddr ether" "daddr ether" "saddr ip"
            "daddr ip")
        }
        "igmp" => fields!("igmp": "type" "checksum" "mrt" "group"),
        "sctp" => fields!("sctp": "sport" "dport" "vtag" "checksum"),
        "dccp" => fields!("dccp": "sport" "dport" "type"),
        "udplite" => fields!("udplite": "sport" "dport" "csumcov" "checksum"),
        "ah" => fields!("ah": "nexthdr" "hdrlength" "reserved" "spi" "sequence"),
        "esp" => fields!("esp": "spi" "sequence"),
        "comp" => fields!("comp": "nexthdr" "flags" "cpi"),
        "gre" => fields!("gre": "version" "flags" "protocol"),
        "vxlan" => fields!("vxlan": "vni" "flags"),
        "geneve" => fields!("geneve": "vni" "type"),
        "gretap" => &[],
        _ => return None,
    })
}

/// The fields of an IPv6 extension header; `None` for a word that isn't one.
pub(super) fn extension(word: &str) -> Option<&'static [HeaderField]> {
    Some(match word {
        "hbh" => fields!("hbh": "nexthdr" "hdrlength"),
        "dst" => fields!("dst": "nexthdr" "hdrlength"),
        "rt" => fields!("rt": "nexthdr" "hdrlength" "type" "seg-left"),
        "rt0" => {
            fields!("rt0": "addr[1]" "addr[2]" "addr[3]" "addr[4]" "addr[5]" "addr[6]" "addr[7]" "addr[8]"
            "addr[9]" "addr[10]" "addr[11]" "addr[12]" "addr[13]" "addr[14]" "addr[15]" "addr[16]")
        }
        "rt2" => fields!("rt2": "addr"),
        "srh" => {
            fields!("srh": "last-entry" "flags" "tag" "sid[1]" "sid[2]" "sid[3]" "sid[4]" "sid[5]" "sid[6]"
            "sid[7]" "sid[8]" "sid[9]" "sid[10]" "sid[11]" "sid[12]" "sid[13]" "sid[14]" "sid[15]" "sid[16]")
        }
        "frag" => fields!("frag": "nexthdr" "reserved" "frag-off" "reserved2" "more-fragments" "id"),
        "mh" => fields!("mh": "nexthdr" "hdrlength" "type" "reserved" "checksum"),
        _ => return None,
    })
}

/// The extension headers that `exthdr` can ask for.
pub(super) const EXTENSIONS: &[&str] = &["hbh", "rt", "frag", "dst", "mh"];

/// The spelling in the tree of a field that nft reads under several.
pub(super) fn field_spelling<'a>(protocol: &str, field: &'a str) -> &'a str {
    match (protocol, field) {
        ("vlan", "cfi") => "dei",
        ("icmpv6", "param-problem") => "parameter-problem",
        _ => field,
    }
}

/// A field by name.
pub(super) fn field(fields: &'static [HeaderField], name: &str) -> Option<&'static HeaderField> {
    fields.iter().find(|field| field.name == name)
}

/// A word of a list, as the static string.
pub(super) fn word(list: &[&'static str], name: &str) -> Option<&'static str> {
    list.iter().copied().find(|known| *known == name)
}

/// Meta keys that may stand without `meta`.
pub(super) const META_BARE: &[&str] = &[
    "iifname",
    "oifname",
    "iif",
    "oif",
    "mark",
    "iiftype",
    "oiftype",
    "skuid",
    "skgid",
    "nftrace",
    "rtclassid",
    "ibrname",
    "obrname",
    "pkttype",
    "cpu",
    "iifgroup",
    "oifgroup",
    "cgroup",
    "ipsec",
    "time",
    "day",
    "hour",
];

/// Meta keys that need `meta`.
pub(super) const META_QUALIFIED: &[&str] = &[
    "l4proto",
    "nfproto",
    "protocol",
    "length",
    "priority",
    "random",
    "secmark",
    "iifkind",
    "oifkind",
    "ibrpvid",
    "ibrvproto",
    "ibrhwaddr",
    "sdif",
    "sdifname",
    "broute",
];

/// A meta key, given after `meta`, in the spelling of the tree.
pub(super) fn meta_key(name: &str) -> Option<&'static str> {
    let name = match name {
        "ibriport" => "ibrname",
        "obriport" => "obrname",
        "secpath" => "ipsec",
        _ => name,
    };
    word(META_BARE, name).or_else(|| word(META_QUALIFIED, name))
}

/// Ct keys without a direction.
pub(super) const CT_KEYS: &[&str] = &[
    "state",
    "mark",
    "status",
    "direction",
    "expiration",
    "helper",
    "l3proto",
    "protocol",
    "saddr",
    "daddr",
    "proto-src",
    "proto-dst",
    "label",
    "event",
    "secmark",
    "id",
    "bytes",
    "packets",
    "avgpkt",
    "zone",
];

/// Ct keys after `original` or `reply`.
pub(super) const CT_DIRECTION_KEYS: &[&str] = &[
    "saddr",
    "daddr",
    "ip saddr",
    "ip daddr",
    "ip6 saddr",
    "ip6 daddr",
    "l3proto",
    "protocol",
    "proto-src",
    "proto-dst",
    "bytes",
    "packets",
    "avgpkt",
    "zone",
];

/// Keys of `rt` that are about the route, not about the routing header.
pub(super) const RT_KEYS: &[&str] = &["classid", "nexthop", "mtu", "ipsec"];

/// Keys of `socket`.
pub(super) const SOCKET_KEYS: &[&str] = &["transparent", "mark", "wildcard", "cgroupv2"];

/// Selectors of `fib`.
pub(super) const FIB_SELECTORS: &[&str] = &["saddr", "daddr", "mark", "iif", "oif"];

/// Results of `fib`.
pub(super) const FIB_RESULTS: &[&str] = &["oif", "oifname", "type", "check"];

/// Keys of `ipsec`.
pub(super) const IPSEC_KEYS: &[&str] = &["reqid", "spi", "ip saddr", "ip daddr", "ip6 saddr", "ip6 daddr"];

/// Log levels.
pub(super) const LOG_LEVELS: &[&str] =
    &["emerg", "alert", "crit", "err", "warn", "notice", "info", "debug", "audit"];

/// The level of a word, in the spelling of the tree.
pub(super) fn log_level(name: &str) -> Option<&'static str> {
    word(LOG_LEVELS, if name == "warning" { "warn" } else { name })
}

/// Priorities by name.
pub(super) const PRIORITIES: &[&str] = &["raw", "mangle", "dstnat", "filter", "security", "srcnat", "out"];

/// TCP options by name, in the spelling of the tree.
const TCP_OPTIONS: &[&str] = &[
    "maxseg",
    "window",
    "sack-perm",
    "sack",
    "sack1",
    "sack2",
    "sack3",
    "timestamp",
    "eol",
    "nop",
    "echo",
    "fastopen",
    "mptcp",
    "md5sig",
];

/// A TCP option by name.
pub(super) fn tcp_option(name: &str) -> Option<&'static str> {
    let name = match name {
        "mss" => "maxseg",
        "noop" => "nop",
        "sack-permitted" => "sack-perm",
        "sack0" => "sack",
        _ => name,
    };
    word(TCP_OPTIONS, name)
}

/// The fields of a TCP option. Options given by number only have a length.
pub(super) fn tcp_option_fields(option: &str) -> &'static [&'static str] {
    match option {
        "maxseg" => &["size", "length"],
        "window" => &["count", "length"],
        "sack" | "sack1" | "sack2" | "sack3" => &["left", "right", "length"],
        "timestamp" => &["tsval", "tsecr", "length"],
        "mptcp" => &["subtype", "length"],
        _ => &["length"],
    }
}

/// IPv4 options.
pub(super) const IP_OPTIONS: &[&str] = &["lsrr", "rr", "ssrr", "ra"];

/// The fields of IPv4 options.
pub(super) const IP_OPTION_FIELDS: &[&str] = &["type", "length", "value", "ptr", "addr"];

/// SCTP chunks.
pub(super) const SCTP_CHUNKS: &[&str] = &[
    "data",
    "init",
    "init-ack",
    "sack",
    "heartbeat",
    "heartbeat-ack",
    "abort",
    "shutdown",
    "shutdown-ack",
    "error",
    "cookie-echo",
    "cookie-ack",
    "ecne",
    "cwr",
    "shutdown-complete",
    "asconf-ack",
    "forward-tsn",
    "asconf",
];

/// The fields of an SCTP chunk.
pub(super) fn sctp_fields(chunk: &str) -> &'static [&'static str] {
    match chunk {
        "data" => &["type", "flags", "length", "tsn", "stream", "ssn", "ppid"],
        "init" | "init-ack" => &[
            "type",
            "flags",
            "length",
            "init-tag",
            "a-rwnd",
            "num-outbound-streams",
            "num-inbound-streams",
            "initial-tsn",
        ],
        "sack" => &["type", "flags", "length", "cum-tsn-ack", "a-rwnd", "num-gap-ack-blocks", "num-dup-tsns"],
        "shutdown" => &["type", "flags", "length", "cum-tsn-ack"],
        "ecne" | "cwr" => &["type", "flags", "length", "lowest-tsn"],
        "asconf" | "asconf-ack" => &["type", "flags", "length", "seqno"],
        "forward-tsn" => &["type", "flags", "length", "new-cum-tsn"],
        _ => &["type", "flags", "length"],
    }
}

/// Words that start a statement which isn't a test.
pub(super) const STATEMENTS: &[&str] = &[
    "accept",
    "drop",
    "continue",
    "return",
    "jump",
    "goto",
    "counter",
    "limit",
    "quota",
    "last",
    "log",
    "reject",
    "snat",
    "dnat",
    "masquerade",
    "redirect",
    "tproxy",
    "queue",
    "notrack",
    "dup",
    "fwd",
    "flow",
    "synproxy",
    "meter",
    "add",
    "update",
    "delete",
    "xt",
    "reset",
    "comment",
];

/// Words that start an expression about the packet, for suggestions.
pub(super) const SELECTORS: &[&str] = &[
    "ip", "ip6", "tcp", "udp", "icmp", "icmpv6", "th", "ether", "vlan", "arp", "igmp", "sctp", "dccp",
    "udplite", "ah", "esp", "comp", "gre", "gretap", "vxlan", "geneve", "hbh", "dst", "rt", "rt0", "rt2",
    "srh", "frag", "mh", "exthdr", "meta", "ct", "fib", "socket", "osf", "numgen", "jhash", "symhash",
    "tunnel",
];

/// Whether nft reads a word as a keyword wherever it stands, so that it can't be a value without quotes.
pub(super) fn reserved(word: &str) -> bool {
    matches!(
        word,
        "accept"
            | "drop"
            | "continue"
            | "return"
            | "jump"
            | "goto"
            | "counter"
            | "log"
            | "limit"
            | "quota"
            | "reject"
            | "masquerade"
            | "tproxy"
            | "queue"
            | "notrack"
            | "dup"
            | "fwd"
            | "flow"
            | "meter"
            | "synproxy"
            | "xt"
            | "meta"
            | "ct"
            | "fib"
            | "socket"
            | "osf"
            | "numgen"
            | "jhash"
            | "symhash"
            | "exthdr"
            | "iif"
            | "oif"
            | "iifname"
            | "oifname"
            | "iiftype"
            | "oiftype"
            | "iifgroup"
            | "oifgroup"
            | "skuid"
            | "skgid"
            | "nftrace"
            | "rtclassid"
            | "pkttype"
            | "cgroup"
            | "ibrname"
            | "obrname"
            | "vmap"
            | "map"
            | "set"
            | "comment"
            | "add"
            | "update"
            | "delete"
            | "insert"
            | "replace"
            | "create"
            | "flush"
            | "table"
            | "chain"
            | "rule"
            | "element"
            | "elements"
            | "define"
            | "redefine"
            | "undefine"
            | "include"
            | "timeout"
            | "expires"
            | "flags"
            | "type"
            | "typeof"
            | "hook"
            | "handle"
            | "position"
            | "th"
            | "and"
            | "or"
            | "xor"
            | "lshift"
            | "rshift"
            | "eq"
            | "ne"
            | "lt"
            | "gt"
            | "le"
            | "ge"
    )
}

/// The candidate nearest to a misspelt word, if one is near: at most a third of the letters differ.
pub(super) fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let limit = (word.len() / 3).clamp(1, 4);
    let mut best: Option<(usize, &str)> = None;
    for candidate in candidates {
        if word.len() > 64 || candidate.len().abs_diff(word.len()) > limit {
            continue;
        }
        let distance = distance(word.as_bytes(), candidate.as_bytes());
        if distance <= limit && best.is_none_or(|(least, _)| distance < least) {
            best = Some((distance, candidate));
        }
    }
    best.map(|(_, candidate)| candidate)
}

/// Edit distance where exchanging two neighbours counts once (optimal string alignment). O(a × b).
fn distance(a: &[u8], b: &[u8]) -> usize {
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut row = Vec::with_capacity(b.len() + 1);
        row.push(i + 1);
        for (j, y) in b.iter().enumerate() {
            let at = |row: &[usize], index: usize| row.get(index).copied().unwrap_or(usize::MAX / 2);
            let mut best =
                (at(&last, j) + usize::from(x != y)).min(at(&last, j + 1) + 1).min(at(&row, j) + 1);
            let swapped = i > 0 && j > 0 && a.get(i - 1) == Some(y) && b.get(j - 1) == Some(x);
            if swapped {
                best = best.min(at(&before, j - 1) + 1);
            }
            row.push(best);
        }
        before = std::mem::replace(&mut last, row);
    }
    last.last().copied().unwrap_or(0)
}
