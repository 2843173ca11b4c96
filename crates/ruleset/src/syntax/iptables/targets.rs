//! The targets: what `-j NAME` may be followed by (iptables-extensions(8)).

use super::args::*;
use super::spec::*;

const LOG: &[OptSpec] = &[
    OptSpec::with("log-prefix", TEXT),
    OptSpec::with("log-level", LOG_LEVEL),
    OptSpec::flag("log-tcp-sequence"),
    OptSpec::flag("log-tcp-options"),
    OptSpec::flag("log-ip-options"),
    OptSpec::flag("log-uid"),
    OptSpec::flag("log-macdecode"),
];

const PREFIXES: &[OptSpec] = &[OptSpec::with("src-pfx", PREFIX), OptSpec::with("dst-pfx", PREFIX)];

/// Sorted by name. `ACCEPT`, `DROP`, `RETURN` and chains aren't extensions.
pub(super) static TARGETS: &[Module] = &[
    Module::target("AUDIT", &[OptSpec::with("type", AUDIT_TYPE)]).required(&[&["type"]]),
    Module::target("CHECKSUM", &[OptSpec::flag("checksum-fill")])
        .tables(MANGLE)
        .required(&[&["checksum-fill"]]),
    Module::target("CLASSIFY", &[OptSpec::with("set-class", CLASS)])
        .hooks(FWD | OUT | POST)
        .required(&[&["set-class"]]),
    Module::target(
        "CLUSTERIP",
        &[
            OptSpec::flag("new"),
            OptSpec::with("hashmode", NAME),
            OptSpec::with("clustermac", MAC),
            OptSpec::with("total-nodes", U16),
            OptSpec::with("local-node", U16),
            OptSpec::with("hash-init", U32),
        ],
    )
    .only(Versions::V4),
    Module::target(
        "CONNMARK",
        &[
            OptSpec::with("set-xmark", MARK),
            OptSpec::with("set-mark", MARK),
            OptSpec::with("and-mark", U32),
            OptSpec::with("or-mark", U32),
            OptSpec::with("xor-mark", U32),
            OptSpec::flag("save-mark"),
            OptSpec::flag("restore-mark"),
            OptSpec::with("nfmask", U32),
            OptSpec::with("ctmask", U32),
            OptSpec::with("mask", U32),
            OptSpec::with("left-shift-mark", U8),
            OptSpec::with("right-shift-mark", U8),
        ],
    )
    .required(&[&["set-xmark", "set-mark", "and-mark", "or-mark", "xor-mark", "save-mark", "restore-mark"]])
    .exclusive(&[&[
        "set-xmark",
        "set-mark",
        "and-mark",
        "or-mark",
        "xor-mark",
        "save-mark",
        "restore-mark",
    ]]),
    Module::target("CONNSECMARK", &[OptSpec::flag("save"), OptSpec::flag("restore")])
        .tables(MANGLE | SECURITY)
        .required(&[&["save", "restore"]])
        .exclusive(&[&["save", "restore"]]),
    Module::target(
        "CT",
        &[
            OptSpec::flag("notrack"),
            OptSpec::with("helper", NAME),
            OptSpec::with("timeout", NAME),
            OptSpec::with("ctevents", TEXT),
            OptSpec::with("expevents", TEXT),
            OptSpec::with("zone", ZONE),
            OptSpec::with("zone-orig", ZONE),
            OptSpec::with("zone-reply", ZONE),
        ],
    )
    .tables(RAW),
    Module::target(
        "DNAT",
        &[
            OptSpec::with("to-destination", NAT_TO),
            OptSpec::flag("random"),
            OptSpec::flag("random-fully"),
            OptSpec::flag("persistent"),
        ],
    )
    .tables(NAT)
    .hooks(PRE | OUT)
    .required(&[&["to-destination"]]),
    Module::target("DNPT", PREFIXES)
        .only(Versions::V6)
        .tables(MANGLE)
        .required(&[&["src-pfx"], &["dst-pfx"]]),
    Module::target("DSCP", &[OptSpec::with("set-dscp", DSCP), OptSpec::with("set-dscp-class", DSCP_CLASS)])
        .tables(MANGLE)
        .required(&[&["set-dscp", "set-dscp-class"]])
        .exclusive(&[&["set-dscp", "set-dscp-class"]]),
    Module::target(
        "ECN",
        &[
            OptSpec::flag("ecn-tcp-remove"),
            OptSpec::with("ecn-tcp-cwr", U8),
            OptSpec::with("ecn-tcp-ece", U8),
            OptSpec::with("ecn-ip-ect", UP_TO_3),
        ],
    )
    .only(Versions::V4)
    .protocols(&[6])
    .tables(MANGLE)
    .required(&[&["ecn-tcp-remove", "ecn-tcp-cwr", "ecn-tcp-ece", "ecn-ip-ect"]]),
    Module::target(
        "HL",
        &[
            OptSpec::with("hl-set", U8),
            OptSpec::with("hl-dec", POSITIVE_U8),
            OptSpec::with("hl-inc", POSITIVE_U8),
        ],
    )
    .only(Versions::V6)
    .tables(MANGLE)
    .required(&[&["hl-set", "hl-dec", "hl-inc"]])
    .exclusive(&[&["hl-set", "hl-dec", "hl-inc"]]),
    Module::target(
        "HMARK",
        &[
            OptSpec::with("hmark-tuple", TEXT),
            OptSpec::with("hmark-mod", U32),
            OptSpec::with("hmark-offset", U32),
            OptSpec::with("hmark-src-prefix", U8),
            OptSpec::with("hmark-dst-prefix", U8),
            OptSpec::with("hmark-sport-mask", U16),
            OptSpec::with("hmark-dport-mask", U16),
            OptSpec::with("hmark-spi-mask", U32),
            OptSpec::with("hmark-proto-mask", U16),
            OptSpec::with("hmark-rnd", U32),
            OptSpec::with("hmark-sport", PORT),
            OptSpec::with("hmark-dport", PORT),
            OptSpec::with("hmark-spi", U32),
        ],
    )
    .required(&[&["hmark-mod"]])
    .exclusive(&[&["hmark-spi-mask", "hmark-sport-mask"], &["hmark-spi-mask", "hmark-dport-mask"]]),
    Module::target(
        "IDLETIMER",
        &[OptSpec::with("timeout", U32), OptSpec::with("label", NAME), OptSpec::flag("alarm")],
    )
    .required(&[&["timeout"], &["label"]]),
    Module::target(
        "LED",
        &[
            OptSpec::with("led-trigger-id", NAME),
            OptSpec::with("led-delay", TEXT),
            OptSpec::flag("led-always-blink"),
        ],
    )
    .required(&[&["led-trigger-id"]]),
    Module::target("LOG", LOG),
    Module::target(
        "MARK",
        &[
            OptSpec::with("set-xmark", MARK),
            OptSpec::with("set-mark", MARK),
            OptSpec::with("and-mark", U32),
            OptSpec::with("or-mark", U32),
            OptSpec::with("xor-mark", U32),
        ],
    )
    .required(&[&["set-xmark", "set-mark", "and-mark", "or-mark", "xor-mark"]])
    .exclusive(&[&["set-xmark", "set-mark", "and-mark", "or-mark", "xor-mark"]]),
    Module::target(
        "MASQUERADE",
        &[OptSpec::with("to-ports", NAT_PORTS), OptSpec::flag("random"), OptSpec::flag("random-fully")],
    )
    .tables(NAT)
    .hooks(POST),
    Module::target("MIRROR", &[]).only(Versions::V4),
    Module::target("NETMAP", &[OptSpec::with("to", ONE_NETWORK)])
        .tables(NAT)
        .hooks(PRE | IN | OUT | POST)
        .required(&[&["to"]]),
    Module::target(
        "NFLOG",
        &[
            OptSpec::with("nflog-group", U16),
            OptSpec::with("nflog-prefix", TEXT),
            OptSpec::with("nflog-range", U32),
            OptSpec::with("nflog-size", U32),
            OptSpec::with("nflog-threshold", U16),
        ],
    ),
    Module::target(
        "NFQUEUE",
        &[
            OptSpec::with("queue-num", U16),
            OptSpec::with("queue-balance", BALANCE),
            OptSpec::flag("queue-bypass"),
            OptSpec::flag("queue-cpu-fanout"),
        ],
    )
    .exclusive(&[&["queue-num", "queue-balance"]]),
    Module::target("NOTRACK", &[]).tables(RAW),
    Module::target(
        "RATEEST",
        &[
            OptSpec::with("rateest-name", NAME),
            OptSpec::with("rateest-interval", TEXT),
            OptSpec::with("rateest-ewmalog", TEXT),
        ],
    )
    .required(&[&["rateest-name"], &["rateest-interval"], &["rateest-ewmalog"]]),
    Module::target(
        "REDIRECT",
        &[OptSpec::with("to-ports", NAT_PORTS), OptSpec::flag("random"), OptSpec::flag("random-fully")],
    )
    .tables(NAT)
    .hooks(PRE | OUT),
    Module::target("REJECT", &[OptSpec::with("reject-with", REJECT_WITH)])
        .tables(FILTER)
        .hooks(IN | FWD | OUT),
    Module::target(
        "SAME",
        &[OptSpec::with("to", ADDRESS_RANGE).many(), OptSpec::flag("nodst"), OptSpec::flag("random")],
    )
    .tables(NAT),
    Module::target("SECMARK", &[OptSpec::with("selctx", TEXT)])
        .tables(MANGLE | SECURITY)
        .required(&[&["selctx"]]),
    Module::target(
        "SET",
        &[
            OptSpec::with("add-set", SET_FLAGS),
            OptSpec::with("del-set", SET_FLAGS),
            OptSpec::with("map-set", SET_FLAGS),
            OptSpec::with("timeout", U32),
            OptSpec::flag("exist"),
            OptSpec::flag("map-mark"),
            OptSpec::flag("map-prio"),
            OptSpec::flag("map-queue"),
        ],
    )
    .required(&[&["add-set", "del-set", "map-set"]]),
    Module::target(
        "SNAT",
        &[
            OptSpec::with("to-source", NAT_TO),
            OptSpec::flag("random"),
            OptSpec::flag("random-fully"),
            OptSpec::flag("persistent"),
        ],
    )
    .tables(NAT)
    .hooks(IN | POST)
    .required(&[&["to-source"]]),
    Module::target("SNPT", PREFIXES)
        .only(Versions::V6)
        .tables(MANGLE)
        .required(&[&["src-pfx"], &["dst-pfx"]]),
    Module::target(
        "SYNPROXY",
        &[
            OptSpec::flag("sack-perm"),
            OptSpec::flag("timestamp"),
            OptSpec::flag("ecn"),
            OptSpec::with("wscale", U8),
            OptSpec::with("mss", U16),
        ],
    )
    .protocols(&[6])
    .hooks(IN | FWD),
    Module::target("TCPMSS", &[OptSpec::with("set-mss", U16), OptSpec::flag("clamp-mss-to-pmtu")])
        .protocols(&[6])
        .required(&[&["set-mss", "clamp-mss-to-pmtu"]])
        .exclusive(&[&["set-mss", "clamp-mss-to-pmtu"]]),
    Module::target("TCPOPTSTRIP", &[OptSpec::with("strip-options", TCP_OPTIONS)])
        .protocols(&[6])
        .tables(MANGLE),
    Module::target("TEE", &[OptSpec::with("gateway", ADDRESS), OptSpec::with("oif", INTERFACE)])
        .required(&[&["gateway"]]),
    Module::target(
        "TOS",
        &[
            OptSpec::with("set-tos", TOS),
            OptSpec::with("and-tos", U8),
            OptSpec::with("or-tos", U8),
            OptSpec::with("xor-tos", U8),
        ],
    )
    .tables(MANGLE)
    .required(&[&["set-tos", "and-tos", "or-tos", "xor-tos"]])
    .exclusive(&[&["set-tos", "and-tos", "or-tos", "xor-tos"]]),
    Module::target(
        "TPROXY",
        &[
            OptSpec::with("on-port", PORT),
            OptSpec::with("on-ip", ADDRESS),
            OptSpec::with("tproxy-mark", MARK),
        ],
    )
    .protocols(&[6, 17])
    .tables(MANGLE)
    .hooks(PRE)
    .required(&[&["on-port"]]),
    Module::target("TRACE", &[]).tables(RAW),
    Module::target(
        "TTL",
        &[
            OptSpec::with("ttl-set", U8),
            OptSpec::with("ttl-dec", POSITIVE_U8),
            OptSpec::with("ttl-inc", POSITIVE_U8),
        ],
    )
    .only(Versions::V4)
    .tables(MANGLE)
    .required(&[&["ttl-set", "ttl-dec", "ttl-inc"]])
    .exclusive(&[&["ttl-set", "ttl-dec", "ttl-inc"]]),
    Module::target(
        "ULOG",
        &[
            OptSpec::with("ulog-nlgroup", U8),
            OptSpec::with("ulog-prefix", TEXT),
            OptSpec::with("ulog-cprange", U32),
            OptSpec::with("ulog-qthreshold", U32),
        ],
    )
    .only(Versions::V4),
];

/// The options of a rule itself, with their long names.
pub(super) static RULE: Module = Module::new(
    "rule",
    &[
        OptSpec::with("source", NETWORK).or("src").neg(),
        OptSpec::with("destination", NETWORK).or("dst").neg(),
        OptSpec::with("protocol", PROTOCOL).or("proto").neg(),
        OptSpec::with("in-interface", INTERFACE).neg(),
        OptSpec::with("out-interface", INTERFACE).neg(),
        OptSpec::flag("fragment").neg(),
        OptSpec::with("jump", NAME),
        OptSpec::with("goto", NAME),
        OptSpec::with("match", NAME).many(),
        OptSpec::with("set-counters", TEXT),
    ],
);
