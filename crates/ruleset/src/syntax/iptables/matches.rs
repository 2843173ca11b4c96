//! The matches: what `-m NAME` may be followed by (iptables-extensions(8)).

use super::args::*;
use super::spec::*;

const TCP_PORTS: [OptSpec; 2] = [
    OptSpec::with("sport", PORTS).or("source-port").neg(),
    OptSpec::with("dport", PORTS).or("destination-port").neg(),
];

/// Sorted by name.
pub(super) static MATCHES: &[Module] = &[
    Module::new(
        "addrtype",
        &[
            OptSpec::with("src-type", ADDR_TYPE).neg(),
            OptSpec::with("dst-type", ADDR_TYPE).neg(),
            OptSpec::flag("limit-iface-in"),
            OptSpec::flag("limit-iface-out"),
        ],
    )
    .required(&[&["src-type", "dst-type"]])
    .exclusive(&[&["limit-iface-in", "limit-iface-out"]]),
    Module::new(
        "ah",
        &[OptSpec::with("ahspi", U32_RANGE).neg(), OptSpec::with("ahlen", U32).neg(), OptSpec::flag("ahres")],
    )
    .protocols(&[51]),
    Module::new("bpf", &[OptSpec::with("bytecode", TEXT), OptSpec::with("object-pinned", TEXT)])
        .required(&[&["bytecode", "object-pinned"]]),
    Module::new("cgroup", &[OptSpec::with("cgroup", U32).neg(), OptSpec::with("path", TEXT).neg()])
        .required(&[&["cgroup", "path"]])
        .exclusive(&[&["cgroup", "path"]]),
    Module::new(
        "cluster",
        &[
            OptSpec::with("cluster-total-nodes", U32),
            OptSpec::with("cluster-local-node", U32).neg(),
            OptSpec::with("cluster-local-nodemask", U32).neg(),
            OptSpec::with("cluster-hash-seed", U32),
        ],
    )
    .required(&[
        &["cluster-total-nodes"],
        &["cluster-local-node", "cluster-local-nodemask"],
        &["cluster-hash-seed"],
    ])
    .exclusive(&[&["cluster-local-node", "cluster-local-nodemask"]]),
    Module::new("comment", &[OptSpec::with("comment", COMMENT)]).required(&[&["comment"]]),
    Module::new(
        "connbytes",
        &[
            OptSpec::with("connbytes", U64_RANGE).neg(),
            OptSpec::with("connbytes-mode", CONNBYTES_MODE),
            OptSpec::with("connbytes-dir", CONNBYTES_DIR),
        ],
    )
    .required(&[&["connbytes"], &["connbytes-mode"], &["connbytes-dir"]]),
    Module::new("connlabel", &[OptSpec::with("label", LABEL).neg(), OptSpec::flag("set")])
        .required(&[&["label"]]),
    Module::new(
        "connlimit",
        &[
            OptSpec::with("connlimit-upto", U32).neg(),
            OptSpec::with("connlimit-above", U32).neg(),
            OptSpec::with("connlimit-mask", U8),
            OptSpec::flag("connlimit-saddr"),
            OptSpec::flag("connlimit-daddr"),
        ],
    )
    .required(&[&["connlimit-upto", "connlimit-above"]])
    .exclusive(&[&["connlimit-upto", "connlimit-above"], &["connlimit-saddr", "connlimit-daddr"]]),
    Module::new("connmark", &[OptSpec::with("mark", MARK).neg()]).required(&[&["mark"]]),
    Module::new(
        "conntrack",
        &[
            OptSpec::with("ctstate", STATES).neg(),
            OptSpec::with("ctproto", REAL_PROTOCOL).neg(),
            OptSpec::with("ctorigsrc", ONE_NETWORK).neg(),
            OptSpec::with("ctorigdst", ONE_NETWORK).neg(),
            OptSpec::with("ctreplsrc", ONE_NETWORK).neg(),
            OptSpec::with("ctrepldst", ONE_NETWORK).neg(),
            OptSpec::with("ctorigsrcport", PORTS).neg(),
            OptSpec::with("ctorigdstport", PORTS).neg(),
            OptSpec::with("ctreplsrcport", PORTS).neg(),
            OptSpec::with("ctrepldstport", PORTS).neg(),
            OptSpec::with("ctstatus", CT_STATUS).neg(),
            OptSpec::with("ctexpire", U32_RANGE).neg(),
            OptSpec::with("ctdir", DIRECTION),
        ],
    )
    .required(&[&[
        "ctstate",
        "ctproto",
        "ctorigsrc",
        "ctorigdst",
        "ctreplsrc",
        "ctrepldst",
        "ctorigsrcport",
        "ctorigdstport",
        "ctreplsrcport",
        "ctrepldstport",
        "ctstatus",
        "ctexpire",
        "ctdir",
    ]]),
    Module::new("cpu", &[OptSpec::with("cpu", U32).neg()]).required(&[&["cpu"]]),
    Module::new(
        "dccp",
        &[
            OptSpec::with("sport", PORTS).or("source-port").neg(),
            OptSpec::with("dport", PORTS).or("destination-port").neg(),
            OptSpec::with("dccp-types", DCCP_TYPES).neg(),
            OptSpec::with("dccp-option", POSITIVE_U8).neg(),
        ],
    )
    .protocols(&[33]),
    Module::new(
        "devgroup",
        &[OptSpec::with("src-group", REALM).neg(), OptSpec::with("dst-group", REALM).neg()],
    )
    .required(&[&["src-group", "dst-group"]]),
    Module::new("dscp", &[OptSpec::with("dscp", DSCP).neg(), OptSpec::with("dscp-class", DSCP_CLASS).neg()])
        .required(&[&["dscp", "dscp-class"]])
        .exclusive(&[&["dscp", "dscp-class"]]),
    Module::new("dst", &[OptSpec::with("dst-len", U32).neg(), OptSpec::with("dst-opts", HEADER_OPTIONS)])
        .only(Versions::V6),
    Module::new(
        "ecn",
        &[
            OptSpec::flag("ecn-tcp-cwr").neg(),
            OptSpec::flag("ecn-tcp-ece").neg(),
            OptSpec::with("ecn-ip-ect", UP_TO_3).neg(),
        ],
    )
    .required(&[&["ecn-tcp-cwr", "ecn-tcp-ece", "ecn-ip-ect"]]),
    Module::new("esp", &[OptSpec::with("espspi", U32_RANGE).neg()]).protocols(&[50]),
    Module::new("eui64", &[]).only(Versions::V6).hooks(PRE | IN | FWD),
    Module::new(
        "frag",
        &[
            OptSpec::with("fragid", U32_RANGE).neg(),
            OptSpec::with("fraglen", U32).neg(),
            OptSpec::flag("fragres"),
            OptSpec::flag("fragfirst"),
            OptSpec::flag("fragmore"),
            OptSpec::flag("fraglast"),
        ],
    )
    .only(Versions::V6)
    .exclusive(&[&["fragmore", "fraglast"]]),
    Module::new(
        "hashlimit",
        &[
            OptSpec::with("hashlimit-upto", HASH_RATE).or("hashlimit").neg(),
            OptSpec::with("hashlimit-above", HASH_RATE).neg(),
            OptSpec::with("hashlimit-burst", BURST),
            OptSpec::with("hashlimit-mode", HASH_MODE),
            OptSpec::with("hashlimit-srcmask", U8),
            OptSpec::with("hashlimit-dstmask", U8),
            OptSpec::with("hashlimit-name", NAME),
            OptSpec::with("hashlimit-htable-size", U32),
            OptSpec::with("hashlimit-htable-max", U32),
            OptSpec::with("hashlimit-htable-expire", U32),
            OptSpec::with("hashlimit-htable-gcinterval", U32),
            OptSpec::flag("hashlimit-rate-match"),
            OptSpec::with("hashlimit-rate-interval", U32),
        ],
    )
    .required(&[&["hashlimit-name"], &["hashlimit-upto", "hashlimit-above"]])
    .exclusive(&[&["hashlimit-upto", "hashlimit-above"]]),
    Module::new("hbh", &[OptSpec::with("hbh-len", U32).neg(), OptSpec::with("hbh-opts", HEADER_OPTIONS)])
        .only(Versions::V6),
    Module::new("helper", &[OptSpec::with("helper", NAME).neg()]).required(&[&["helper"]]),
    Module::new(
        "hl",
        &[OptSpec::with("hl-eq", U8).neg(), OptSpec::with("hl-lt", U8), OptSpec::with("hl-gt", U8)],
    )
    .only(Versions::V6)
    .required(&[&["hl-eq", "hl-lt", "hl-gt"]])
    .exclusive(&[&["hl-eq", "hl-lt", "hl-gt"]]),
    Module::new("icmp", &[OptSpec::with("icmp-type", ICMP_TYPE).neg()])
        .only(Versions::V4)
        .protocols(&[1])
        .required(&[&["icmp-type"]]),
    Module::new("icmp6", &[OptSpec::with("icmpv6-type", ICMP6_TYPE).or("icmp6-type").neg()])
        .only(Versions::V6)
        .protocols(&[58])
        .required(&[&["icmpv6-type"]]),
    Module::new("ipcomp", &[OptSpec::with("ipcompspi", U32_RANGE).neg(), OptSpec::flag("compres")])
        .protocols(&[108]),
    Module::new(
        "iprange",
        &[OptSpec::with("src-range", ADDRESS_RANGE).neg(), OptSpec::with("dst-range", ADDRESS_RANGE).neg()],
    )
    .required(&[&["src-range", "dst-range"]]),
    Module::new("ipv6header", &[OptSpec::with("header", IPV6_HEADERS).neg(), OptSpec::flag("soft")])
        .only(Versions::V6)
        .required(&[&["header"]]),
    Module::new(
        "ipvs",
        &[
            OptSpec::flag("ipvs").neg(),
            OptSpec::with("vproto", PROTOCOL).neg(),
            OptSpec::with("vaddr", ONE_NETWORK).neg(),
            OptSpec::with("vport", PORT).neg(),
            OptSpec::with("vdir", DIRECTION),
            OptSpec::with("vmethod", VMETHOD).neg(),
            OptSpec::with("vportctl", PORT).neg(),
        ],
    )
    .check(|given| given.options.is_empty().then_some("it needs at least one option")),
    Module::new("length", &[OptSpec::with("length", U16_RANGE).neg()]).required(&[&["length"]]),
    Module::new("limit", &[OptSpec::with("limit", RATE), OptSpec::with("limit-burst", U32)]),
    Module::new("mac", &[OptSpec::with("mac-source", MAC).neg()])
        .hooks(PRE | IN | FWD)
        .required(&[&["mac-source"]]),
    Module::new("mark", &[OptSpec::with("mark", MARK).neg()]).required(&[&["mark"]]),
    Module::new("mh", &[OptSpec::with("mh-type", U8_RANGE).neg()]).only(Versions::V6).protocols(&[135]),
    Module::new(
        "multiport",
        &[
            OptSpec::with("sports", PORT_LIST).or("source-ports").neg(),
            OptSpec::with("dports", PORT_LIST).or("destination-ports").neg(),
            OptSpec::with("ports", PORT_LIST).neg(),
        ],
    )
    .protocols(&[6, 17, 33, 132, 136])
    .required(&[&["sports", "dports", "ports"]])
    .exclusive(&[&["sports", "dports", "ports"]]),
    Module::new("nfacct", &[OptSpec::with("nfacct-name", NAME)]).required(&[&["nfacct-name"]]),
    Module::new(
        "osf",
        &[OptSpec::with("genre", NAME).neg(), OptSpec::with("ttl", UP_TO_2), OptSpec::with("log", UP_TO_2)],
    )
    .protocols(&[6])
    .hooks(PRE | IN | FWD)
    .required(&[&["genre"]]),
    Module::new(
        "owner",
        &[
            OptSpec::with("uid-owner", ID_RANGE).neg(),
            OptSpec::with("gid-owner", ID_RANGE).neg(),
            OptSpec::flag("socket-exists").neg(),
            OptSpec::flag("suppl-groups"),
            OptSpec::with("pid-owner", U32).neg(),
            OptSpec::with("sid-owner", U32).neg(),
            OptSpec::with("cmd-owner", NAME).neg(),
        ],
    )
    .hooks(OUT | POST)
    .check(|given| {
        let place = |name| given.options.iter().position(|option| option.0 == name);
        match (place("suppl-groups"), place("gid-owner")) {
            (Some(_), None) => Some("`--suppl-groups` needs `--gid-owner`"),
            (Some(groups), Some(gid)) if groups < gid => Some("`--suppl-groups` stands after `--gid-owner`"),
            _ if given.options.is_empty() => Some("it needs at least one option"),
            _ => None,
        }
    }),
    Module::new(
        "physdev",
        &[
            OptSpec::with("physdev-in", INTERFACE).neg(),
            OptSpec::with("physdev-out", INTERFACE).neg(),
            OptSpec::flag("physdev-is-in").neg(),
            OptSpec::flag("physdev-is-out").neg(),
            OptSpec::flag("physdev-is-bridged").neg(),
        ],
    )
    .check(|given| given.options.is_empty().then_some("it needs at least one option")),
    Module::new("pkttype", &[OptSpec::with("pkt-type", PKT_TYPE).neg()]).required(&[&["pkt-type"]]),
    Module::new(
        "policy",
        &[
            OptSpec::with("dir", POLICY_DIR),
            OptSpec::with("pol", POLICY_POL),
            OptSpec::flag("strict"),
            OptSpec::with("reqid", U32).neg().many(),
            OptSpec::with("spi", U32).neg().many(),
            OptSpec::with("proto", PROTOCOL).neg().many(),
            OptSpec::with("mode", POLICY_MODE).neg().many(),
            OptSpec::with("tunnel-src", ONE_NETWORK).neg().many(),
            OptSpec::with("tunnel-dst", ONE_NETWORK).neg().many(),
            OptSpec::flag("next").many(),
        ],
    )
    .required(&[&["dir"], &["pol"]])
    .check(|given| {
        let tunnel = given.has("tunnel-src") || given.has("tunnel-dst");
        let details =
            given.options.iter().any(|option| !matches!(option.0, "dir" | "pol" | "strict" | "next"));
        match given.get("mode") {
            mode if tunnel && mode != Some("tunnel") => {
                Some("`--tunnel-src` and `--tunnel-dst` need `--mode tunnel`")
            }
            _ if given.get("pol") == Some("none") && given.options.len() > 2 => {
                Some("`--pol none` takes no details")
            }
            _ if given.has("strict") && !details => Some("`--strict` needs the elements of the policy"),
            _ if given.has("next") && !given.has("strict") => Some("`--next` needs `--strict`"),
            _ => None,
        }
    }),
    Module::new("quota", &[OptSpec::with("quota", U64).neg()]).required(&[&["quota"]]),
    Module::new(
        "rateest",
        &[
            OptSpec::flag("rateest-delta"),
            OptSpec::with("rateest1", NAME).or("rateest"),
            OptSpec::with("rateest2", NAME),
            OptSpec::with("rateest-bps1", OPTIONAL_RATE),
            OptSpec::with("rateest-pps1", OPTIONAL_RATE),
            OptSpec::with("rateest-bps2", OPTIONAL_RATE),
            OptSpec::with("rateest-pps2", OPTIONAL_RATE),
            OptSpec::with("rateest-bps", OPTIONAL_RATE),
            OptSpec::with("rateest-pps", OPTIONAL_RATE),
            OptSpec::flag("rateest-lt").neg(),
            OptSpec::flag("rateest-gt").neg(),
            OptSpec::flag("rateest-eq").neg(),
        ],
    )
    .required(&[&["rateest1"], &["rateest-lt", "rateest-gt", "rateest-eq"]]),
    Module::new("realm", &[OptSpec::with("realm", REALM).neg()])
        .hooks(IN | FWD | OUT | POST)
        .required(&[&["realm"]]),
    Module::new(
        "recent",
        &[
            OptSpec::flag("set").neg(),
            OptSpec::flag("rcheck").neg(),
            OptSpec::flag("update").neg(),
            OptSpec::flag("remove").neg(),
            OptSpec::with("seconds", U32),
            OptSpec::flag("reap"),
            OptSpec::with("hitcount", U16),
            OptSpec::flag("rttl"),
            OptSpec::with("name", NAME),
            OptSpec::flag("rsource"),
            OptSpec::flag("rdest"),
            OptSpec::with("mask", ADDRESS),
        ],
    )
    .required(&[&["set", "rcheck", "update", "remove"]])
    .exclusive(&[&["set", "rcheck", "update", "remove"], &["rsource", "rdest"]])
    .check(|given| {
        let asks = given.has("rcheck") || given.has("update");
        if (given.has("rttl") || given.has("seconds") || given.has("hitcount")) && !asks {
            return Some("`--seconds`, `--hitcount` and `--rttl` need `--rcheck` or `--update`");
        }
        (given.has("reap") && !given.has("seconds")).then_some("`--reap` needs `--seconds`")
    }),
    Module::new(
        "rpfilter",
        &[
            OptSpec::flag("loose"),
            OptSpec::flag("validmark"),
            OptSpec::flag("accept-local"),
            OptSpec::flag("invert"),
        ],
    )
    .tables(MANGLE | RAW)
    .hooks(PRE),
    Module::new(
        "rt",
        &[
            OptSpec::with("rt-type", U8).neg(),
            OptSpec::with("rt-segsleft", U32_RANGE).neg(),
            OptSpec::with("rt-len", U32).neg(),
            OptSpec::flag("rt-0-res"),
            OptSpec::with("rt-0-addrs", ADDRESS_LIST),
            OptSpec::flag("rt-0-not-strict"),
        ],
    )
    .only(Versions::V6)
    .check(|given| {
        let type_0 = given.has("rt-0-res") || given.has("rt-0-addrs") || given.has("rt-0-not-strict");
        (type_0 && given.get("rt-type") != Some("0")).then_some("`--rt-0-…` needs `--rt-type 0`")
    }),
    Module::new(
        "sctp",
        &[
            OptSpec::with("sport", PORTS).or("source-port").neg(),
            OptSpec::with("dport", PORTS).or("destination-port").neg(),
            OptSpec::with("chunk-types", CHUNKS).neg(),
        ],
    )
    .protocols(&[132]),
    Module::new(
        "set",
        &[
            OptSpec::with("match-set", SET_FLAGS).or("set").neg(),
            OptSpec::flag("return-nomatch").neg(),
            OptSpec::flag("update-counters").neg(),
            OptSpec::flag("update-subcounters").neg(),
            OptSpec::with("packets-eq", U64).neg(),
            OptSpec::with("packets-lt", U64),
            OptSpec::with("packets-gt", U64),
            OptSpec::with("bytes-eq", U64).neg(),
            OptSpec::with("bytes-lt", U64),
            OptSpec::with("bytes-gt", U64),
        ],
    )
    .required(&[&["match-set"]]),
    Module::new(
        "socket",
        &[OptSpec::flag("transparent"), OptSpec::flag("nowildcard"), OptSpec::flag("restore-skmark")],
    )
    .hooks(PRE | IN),
    Module::new(
        "srh",
        &[
            OptSpec::with("srh-next-hdr", PROTOCOL).neg(),
            OptSpec::with("srh-hdr-len-eq", U8).neg(),
            OptSpec::with("srh-hdr-len-gt", U8).neg(),
            OptSpec::with("srh-hdr-len-lt", U8).neg(),
            OptSpec::with("srh-segs-left-eq", U8).neg(),
            OptSpec::with("srh-segs-left-gt", U8).neg(),
            OptSpec::with("srh-segs-left-lt", U8).neg(),
            OptSpec::with("srh-last-entry-eq", U8).neg(),
            OptSpec::with("srh-last-entry-gt", U8).neg(),
            OptSpec::with("srh-last-entry-lt", U8).neg(),
            OptSpec::with("srh-tag", U16).neg(),
            OptSpec::with("srh-psid", ONE_NETWORK).neg(),
            OptSpec::with("srh-nsid", ONE_NETWORK).neg(),
            OptSpec::with("srh-lsid", ONE_NETWORK).neg(),
        ],
    )
    .only(Versions::V6),
    Module::new("state", &[OptSpec::with("state", PLAIN_STATES).neg()]).required(&[&["state"]]),
    Module::new(
        "statistic",
        &[
            OptSpec::with("mode", STATISTIC_MODE),
            OptSpec::with("probability", PROBABILITY).neg(),
            OptSpec::with("every", U32).neg(),
            OptSpec::with("packet", U32),
        ],
    )
    .required(&[&["mode"]])
    .check(|given| match given.get("mode") {
        Some("random") if !given.has("probability") => Some("`--mode random` needs `--probability`"),
        Some("nth") if !given.has("every") || !given.has("packet") => {
            Some("`--mode nth` needs `--every` and `--packet`")
        }
        Some("nth") => {
            let number = |name| given.get(name).and_then(|text| number(text, u64::from(u32::MAX)));
            (number("packet") >= number("every")).then_some("`--packet` is below `--every`")
        }
        _ => None,
    }),
    Module::new(
        "string",
        &[
            OptSpec::with("string", PATTERN).neg(),
            OptSpec::with("hex-string", HEX_PATTERN).neg(),
            OptSpec::with("algo", ALGO),
            OptSpec::with("from", U16),
            OptSpec::with("to", U16),
            OptSpec::flag("icase"),
        ],
    )
    .required(&[&["string", "hex-string"], &["algo"]])
    .exclusive(&[&["string", "hex-string"]]),
    Module::new(
        "tcp",
        &[
            OptSpec::with("sport", PORTS).or("source-port").neg(),
            OptSpec::with("dport", PORTS).or("destination-port").neg(),
            OptSpec::with("tcp-flags", TCP_FLAGS).neg(),
            OptSpec::flag("syn").neg(),
            OptSpec::with("tcp-option", POSITIVE_U8).neg(),
        ],
    )
    .protocols(&[6])
    .exclusive(&[&["tcp-flags", "syn"]]),
    Module::new("tcpmss", &[OptSpec::with("mss", U16_RANGE).neg()]).protocols(&[6]).required(&[&["mss"]]),
    Module::new(
        "time",
        &[
            OptSpec::with("timestart", TIME_OF_DAY),
            OptSpec::with("timestop", TIME_OF_DAY),
            OptSpec::with("days", WEEKDAYS),
            OptSpec::with("weekdays", WEEKDAYS).neg(),
            OptSpec::with("monthdays", MONTH_DAYS).neg(),
            OptSpec::with("datestart", DATE),
            OptSpec::with("datestop", DATE),
            OptSpec::flag("contiguous"),
            OptSpec::flag("kerneltz"),
            OptSpec::flag("localtz"),
            OptSpec::flag("utc"),
        ],
    ),
    Module::new("tos", &[OptSpec::with("tos", TOS).neg()]).required(&[&["tos"]]),
    Module::new(
        "ttl",
        &[
            OptSpec::with("ttl-eq", U8).or("ttl").neg(),
            OptSpec::with("ttl-lt", U8),
            OptSpec::with("ttl-gt", U8),
        ],
    )
    .only(Versions::V4)
    .required(&[&["ttl-eq", "ttl-lt", "ttl-gt"]])
    .exclusive(&[&["ttl-eq", "ttl-lt", "ttl-gt"]]),
    Module::new("u32", &[OptSpec::with("u32", TEXT).neg()]).required(&[&["u32"]]),
    Module::new("udp", &TCP_PORTS).protocols(&[17]),
];

/// A match that isn't known: its options are taken as they come.
pub(super) static UNKNOWN: Module = Module::new("?", &[]);
