//! How time and memory grow with hostile input: each shape at a size and at ten times that size.
//!
//! A shape that is linear takes about ten times as long; one that is quadratic, a hundred times.

use firewarden_diagnostic::FileId;
use firewarden_fuzz::memory::peak_bytes;
use firewarden_packet::AtomTable;
use firewarden_ruleset::lower;
use firewarden_ruleset::syntax::nft::text::NoIncludes;
use firewarden_ruleset::syntax::{ipset, iptables, nft};
use firewarden_verify::stack::read_stack;
use std::fmt::Write;
use std::time::Instant;

#[derive(Clone, Copy)]
enum Language {
    Nft,
    Json,
    Iptables,
    Ipset,
    Stack,
}

/// A shape: its name, its language, its smaller size, and the text of a size.
type Shape = (&'static str, Language, usize, fn(usize) -> String);

fn each(size: usize, mut write: impl FnMut(usize, &mut String)) -> String {
    let mut text = String::new();
    (0..size).for_each(|index| write(index, &mut text));
    text
}

/// A chain of nft rules, `separator` between them.
fn nft_rules(size: usize, separator: &str) -> String {
    let rules = each(size, |index, text| {
        let _ = write!(
            text,
            "ip saddr 10.{}.{}.0/24 tcp dport {} accept{separator}",
            index >> 8 & 255,
            index & 255,
            index % 65535 + 1
        );
    });
    format!("table ip t {{ chain c {{ type filter hook input priority 0; {rules} }} }}\n")
}

fn address(index: usize) -> String {
    format!("{}.{}.{}.{}", index >> 24 & 255, index >> 16 & 255, index >> 8 & 255, index & 255)
}

const SHAPES: &[Shape] = &[
    ("nft: rules on lines", Language::Nft, 100_000, |size| nft_rules(size, "\n")),
    ("nft: rules on one line", Language::Nft, 20_000, |size| nft_rules(size, "; ")),
    ("nft: `add rule` commands", Language::Nft, 50_000, |size| {
        format!("add table t\nadd chain t c\n{}", "add rule t c tcp dport 22 accept\n".repeat(size))
    }),
    ("nft: `insert rule` commands", Language::Nft, 20_000, |size| {
        format!("add table t\nadd chain t c\n{}", "insert rule t c tcp dport 22 accept\n".repeat(size))
    }),
    ("nft: `insert rule index 0`", Language::Nft, 10_000, |size| {
        format!(
            "add table t\nadd chain t c\nadd rule t c drop\n{}",
            "insert rule t c index 0 accept\n".repeat(size)
        )
    }),
    ("nft: `add rule index 0`", Language::Nft, 10_000, |size| {
        format!(
            "add table t\nadd chain t c\nadd rule t c drop\n{}",
            "add rule t c index 0 accept\n".repeat(size)
        )
    }),
    ("nft: one set, single elements", Language::Nft, 100_000, |size| {
        let elements = each(size, |index, text| _ = write!(text, "{}, ", address(index * 7)));
        format!("table ip t {{ set s {{ type ipv4_addr; elements = {{ {elements} }} }} }}")
    }),
    ("nft: `add element` one by one", Language::Nft, 20_000, |size| {
        let adds =
            each(size, |index, text| _ = writeln!(text, "add element t s {{ {} }}", address(index * 7)));
        format!("add table t\nadd set t s {{ type ipv4_addr; }}\n{adds}")
    }),
    ("nft: add and delete elements", Language::Nft, 10_000, |size| {
        let adds =
            each(size, |index, text| _ = writeln!(text, "add element t s {{ {} }}", address(index * 7)));
        let deletes =
            each(size, |index, text| _ = writeln!(text, "delete element t s {{ {} }}", address(index * 7)));
        format!("add table t\nadd set t s {{ type ipv4_addr; }}\n{adds}{deletes}")
    }),
    ("nft: interval set", Language::Nft, 50_000, |size| {
        let elements = each(size, |index, text| _ = write!(text, "{}/31, ", address(index * 8)));
        format!("table ip t {{ set s {{ type ipv4_addr; flags interval; elements = {{ {elements} }} }} }}")
    }),
    ("nft: overlapping intervals", Language::Nft, 20_000, |size| {
        let elements = each(size, |index, text| _ = write!(text, "{}-200.0.0.0, ", address(index * 7)));
        format!("table ip t {{ set s {{ type ipv4_addr; flags interval; elements = {{ {elements} }} }} }}")
    }),
    ("nft: concatenated intervals", Language::Nft, 20_000, |size| {
        let elements = each(size, |index, text| {
            _ = write!(text, "{} . {}-{}, ", address(index * 7), index % 1000, 2000 + index % 100);
        });
        format!(
            "table ip t {{ set s {{ type ipv4_addr . inet_service; flags interval; elements = {{ {elements} }} }} }}"
        )
    }),
    ("nft: a set of names as `vmap`", Language::Nft, 20_000, |size| {
        let chains = each(size, |index, text| _ = writeln!(text, "chain c{index} {{ accept; }}"));
        let elements = each(size, |index, text| _ = write!(text, "{} : jump c{index}, ", address(index)));
        format!("table ip t {{ {chains} chain x {{ ip saddr vmap {{ {elements} }} }} }}")
    }),
    ("nft: chain of jumps", Language::Nft, 10_000, |size| {
        let chains =
            each(size, |index, text| _ = writeln!(text, "chain c{index} {{ jump c{}; }}", index + 1));
        format!(
            "table ip t {{ chain c{size} {{ }} {chains} chain b {{ type filter hook input priority 0; jump c0; }} }}"
        )
    }),
    ("nft: every chain jumps twice to the next", Language::Nft, 10_000, |size| {
        let chains = each(size, |index, text| {
            _ = writeln!(text, "chain c{index} {{ jump c{0}\n jump c{0}; }}", index + 1);
        });
        format!(
            "table ip t {{ chain c{size} {{ }} {chains} chain b {{ type filter hook input priority 0; jump c0; }} }}"
        )
    }),
    ("nft: jumps to unknown chains", Language::Nft, 10_000, |size| {
        let rules = each(size, |index, text| _ = writeln!(text, "jump nowhere{index}"));
        format!("table ip t {{ chain c {{ {rules} }} }}")
    }),
    ("nft: jumps to unknown chains beside many chains", Language::Nft, 2_000, |size| {
        let rules = each(size, |index, text| _ = writeln!(text, "jump nowhere{index}"));
        let chains = each(size, |index, text| _ = writeln!(text, "chain somewhere{index} {{ }}"));
        format!("table ip t {{ {chains} chain c {{ {rules} }} }}")
    }),
    ("nft: base chains on one hook", Language::Nft, 5_000, |size| {
        let chains = each(size, |index, text| {
            _ = writeln!(text, "chain c{index} {{ type filter hook input priority {index}; }}");
        });
        format!("table ip t {{ {chains} }}")
    }),
    ("nft: tables", Language::Nft, 10_000, |size| {
        each(size, |index, text| _ = writeln!(text, "table ip t{index} {{ chain c {{ accept; }} }}"))
    }),
    ("nft: the same table again", Language::Nft, 10_000, |size| {
        "table ip t { chain c { accept; } }\n".repeat(size)
    }),
    ("nft: sets", Language::Nft, 10_000, |size| {
        let sets = each(size, |index, text| {
            _ = writeln!(text, "set s{index} {{ type ipv4_addr; elements = {{ 1.1.1.1 }}; }}")
        });
        let rules = each(size, |index, text| _ = writeln!(text, "ip saddr @s{index} drop"));
        format!("table ip t {{ {sets} chain c {{ {rules} }} }}")
    }),
    ("nft: variables, each of the one before", Language::Nft, 10_000, |size| {
        let defines = each(size, |index, text| _ = writeln!(text, "define v{} = $v{index}", index + 1));
        format!("define v0 = 1\n{defines}table ip t {{ chain c {{ tcp dport $v{size} accept; }} }}")
    }),
    ("nft: variables that double", Language::Nft, 4, |size| {
        let defines = each(size, |index, text| {
            _ = writeln!(text, "define v{} = {{ $v{index}, $v{index} }}", index + 1);
        });
        format!("define v0 = {{ 1, 2 }}\n{defines}table ip t {{ chain c {{ tcp dport $v{size} accept; }} }}")
    }),
    ("nft: redefined variable", Language::Nft, 10_000, |size| {
        format!("define v = 1\n{}", "redefine v = 2\n".repeat(size))
    }),
    ("nft: a set of 1,000, through a variable in each rule", Language::Nft, 100, |size| {
        let elements = each(1_000, |index, text| _ = write!(text, "{}, ", address(index * 7)));
        let rules = "ip saddr $v accept\n".repeat(size);
        format!("define v = {{ {elements} }}\ntable ip t {{ chain c {{ {rules} }} }}")
    }),
    ("nft: `{`", Language::Nft, 100_000, |size| "{".repeat(size)),
    ("nft: `ip saddr { {`", Language::Nft, 100_000, |size| {
        format!("table ip t {{ chain c {{ ip saddr {}", "{".repeat(size))
    }),
    ("nft: `(`", Language::Nft, 100_000, |size| {
        format!("table ip t {{ chain c {{ mark {}", "(".repeat(size))
    }),
    ("nft: `!`", Language::Nft, 100_000, |size| {
        format!("table ip t {{ chain c {{ mark {}", "! ".repeat(size))
    }),
    ("nft: `-`", Language::Nft, 100_000, |size| {
        format!("table ip t {{ chain c {{ mark {}", "-".repeat(size))
    }),
    ("nft: `1 |`", Language::Nft, 100_000, |size| {
        format!("table ip t {{ chain c {{ mark {}1 }} }}", "1 | ".repeat(size))
    }),
    ("nft: `a .`", Language::Nft, 100_000, |size| {
        format!("table ip t {{ chain c {{ ip saddr {} tcp dport @s }} }}", ". tcp dport ".repeat(size))
    }),
    ("nft: `table t {` nested", Language::Nft, 100_000, |size| "table ip t { chain c { ".repeat(size)),
    ("nft: `jump {` nested", Language::Nft, 50_000, |size| {
        format!("table ip t {{ chain c {{ {}", "jump { ".repeat(size))
    }),
    ("nft: `jump {` one after the other", Language::Nft, 20_000, |size| {
        format!("table ip t {{ chain c {{ {} }} }}", "jump { tcp dport 1 drop; }\n".repeat(size))
    }),
    ("nft: open quotes", Language::Nft, 100_000, |size| "\" \n".repeat(size)),
    ("nft: one string", Language::Nft, 1_000_000, |size| {
        format!("table ip t {{ chain c {{ log prefix \"{}\" }} }}", "x".repeat(size))
    }),
    ("nft: one word", Language::Nft, 1_000_000, |size| "x".repeat(size)),
    ("nft: one number", Language::Nft, 1_000_000, |size| {
        format!("table ip t {{ chain c {{ mark {} }} }}", "9".repeat(size))
    }),
    ("nft: one address", Language::Nft, 1_000_000, |size| {
        format!("table ip6 t {{ chain c {{ ip6 saddr {} }} }}", "1:".repeat(size))
    }),
    ("nft: wrong statements on lines", Language::Nft, 100_000, |size| {
        format!("table ip t {{ chain c {{ {} }} }}", "frobnicate 1 2 3\n".repeat(size))
    }),
    ("nft: NUL bytes", Language::Nft, 1_000_000, |size| "\0".repeat(size)),
    ("nft: statements of one rule", Language::Nft, 20_000, |size| {
        format!("table ip t {{ chain c {{ {} }} }}", "tcp dport 22 counter ".repeat(size))
    }),
    ("nft: matches on one field in one rule", Language::Nft, 20_000, |size| {
        format!("table ip t {{ chain c {{ {} accept }} }}", "meta mark != 22 ".repeat(size))
    }),
    ("nft: rules with atoms", Language::Nft, 20_000, |size| {
        format!("table ip t {{ chain c {{ {} }} }}", "limit rate 5/second accept\n".repeat(size))
    }),
    ("nft: anonymous sets in rules", Language::Nft, 20_000, |size| {
        format!("table ip t {{ chain c {{ {} }} }}", "tcp dport { 22, 80-90 } accept\n".repeat(size))
    }),
    ("json: rules", Language::Json, 20_000, |size| {
        let rule = r#"{"rule":{"family":"ip","table":"t","chain":"c","expr":[{"match":{"op":"==","left":{"payload":{"protocol":"tcp","field":"dport"}},"right":22}},{"accept":null}]}},"#;
        format!(
            r#"{{"nftables":[{{"table":{{"family":"ip","name":"t"}}}},{{"chain":{{"family":"ip","table":"t","name":"c"}}}},{}{{"metainfo":{{}}}}]}}"#,
            rule.repeat(size)
        )
    }),
    ("json: `[`", Language::Json, 100_000, |size| format!("{{\"nftables\":{}", "[".repeat(size))),
    ("json: `{\"a\":`", Language::Json, 100_000, |size| "{\"a\":".repeat(size)),
    ("json: unknown keys of one object", Language::Json, 20_000, |size| {
        let keys = each(size, |index, text| _ = write!(text, "\"k{index}\":1,"));
        format!("{{\"nftables\":[{{\"rule\":{{{keys}\"z\":1}}}}]}}")
    }),
    ("json: one set", Language::Json, 50_000, |size| {
        let elements = each(size, |index, text| _ = write!(text, "\"{}\",", address(index * 7)));
        format!(
            r#"{{"nftables":[{{"table":{{"family":"ip","name":"t"}}}},{{"set":{{"family":"ip","table":"t","name":"s","type":"ipv4_addr","elem":[{elements}"9.9.9.9"]}}}}]}}"#
        )
    }),
    ("json: escapes", Language::Json, 200_000, |size| {
        format!("{{\"nftables\":\"{}\"}}", "\\u00e9".repeat(size))
    }),
    ("iptables: rules", Language::Iptables, 100_000, |size| {
        let rules = each(size, |index, text| {
            _ = writeln!(
                text,
                "-A INPUT -s {}/32 -p tcp -m tcp --dport {} -j ACCEPT",
                address(index * 7),
                index % 65535 + 1
            );
        });
        format!("*filter\n:INPUT DROP [0:0]\n{rules}COMMIT\n")
    }),
    ("iptables: `-I`", Language::Iptables, 20_000, |size| {
        format!("*filter\n:INPUT DROP [0:0]\n{}COMMIT\n", "-I INPUT -j ACCEPT\n".repeat(size))
    }),
    ("iptables: `-A` then `-D 1`", Language::Iptables, 20_000, |size| {
        format!(
            "*filter\n:INPUT DROP [0:0]\n{}{}COMMIT\n",
            "-A INPUT -j ACCEPT\n".repeat(size),
            "-D INPUT 1\n".repeat(size)
        )
    }),
    ("iptables: `-D` by rule, the last first", Language::Iptables, 5_000, |size| {
        let adds = each(size, |index, text| _ = writeln!(text, "-A INPUT -s {} -j ACCEPT", address(index)));
        let deletes = each(size, |index, text| {
            _ = writeln!(text, "-D INPUT -s {} -j ACCEPT", address(size - 1 - index))
        });
        format!("*filter\n:INPUT DROP [0:0]\n{adds}{deletes}COMMIT\n")
    }),
    ("iptables: chains that jump to the next", Language::Iptables, 10_000, |size| {
        let chains = each(size + 1, |index, text| _ = writeln!(text, ":c{index} - [0:0]"));
        let rules = each(size, |index, text| _ = writeln!(text, "-A c{index} -j c{}", index + 1));
        format!("*filter\n:INPUT DROP [0:0]\n{chains}-A INPUT -j c0\n{rules}COMMIT\n")
    }),
    ("iptables: jumps to unknown chains beside many chains", Language::Iptables, 2_000, |size| {
        let chains = each(size, |index, text| _ = writeln!(text, ":somewhere{index} - [0:0]"));
        let rules = each(size, |index, text| _ = writeln!(text, "-A INPUT -j nowhere{index}"));
        format!("*filter\n:INPUT DROP [0:0]\n{chains}{rules}COMMIT\n")
    }),
    ("iptables: tables one after the other", Language::Iptables, 10_000, |size| {
        "*filter\n:INPUT DROP [0:0]\n-A INPUT -j ACCEPT\nCOMMIT\n".repeat(size)
    }),
    ("iptables: one quoted word", Language::Iptables, 1_000_000, |size| {
        format!(
            "*filter\n:INPUT DROP [0:0]\n-A INPUT -m comment --comment \"{}\" -j ACCEPT\nCOMMIT\n",
            "x ".repeat(size)
        )
    }),
    ("iptables: options on one line", Language::Iptables, 50_000, |size| {
        format!(
            "*filter\n:INPUT DROP [0:0]\n-A INPUT {} -j ACCEPT\nCOMMIT\n",
            "-m comment --comment x ".repeat(size)
        )
    }),
    ("iptables: `!` on one line", Language::Iptables, 100_000, |size| {
        format!("*filter\n:INPUT DROP [0:0]\n-A INPUT {} -j ACCEPT\nCOMMIT\n", "! ".repeat(size))
    }),
    ("iptables: addresses in one `-s`", Language::Iptables, 10_000, |size| {
        let addresses = each(size, |index, text| _ = write!(text, "{},", address(index)));
        format!("*filter\n:INPUT DROP [0:0]\n-A INPUT -s {addresses}9.9.9.9 -j ACCEPT\nCOMMIT\n")
    }),
    ("iptables: addresses in `-s` and `-d`", Language::Iptables, 200, |size| {
        let addresses = each(size, |index, text| _ = write!(text, "{},", address(index)));
        format!(
            "*filter\n:INPUT DROP [0:0]\n-A INPUT -s {addresses}9.9.9.9 -d {addresses}9.9.9.9 -j ACCEPT\nCOMMIT\n"
        )
    }),
    ("ipset: entries", Language::Ipset, 100_000, |size| {
        let entries = each(size, |index, text| _ = writeln!(text, "add a {}", address(index * 7)));
        format!("create a hash:ip family inet\n{entries}")
    }),
    ("ipset: add and del", Language::Ipset, 10_000, |size| {
        let adds = each(size, |index, text| _ = writeln!(text, "add a {}", address(index * 7)));
        let deletes =
            each(size, |index, text| _ = writeln!(text, "del a {}", address((size - 1 - index) * 7)));
        format!("create a hash:ip family inet\n{adds}{deletes}")
    }),
    ("ipset: nomatch entries", Language::Ipset, 5_000, |size| {
        let entries = each(size, |index, text| {
            _ = writeln!(
                text,
                "add a {}/{}{}",
                address(index << 12),
                8 + index % 24,
                if index % 2 == 0 { " nomatch" } else { "" }
            );
        });
        format!("create a hash:net family inet\n{entries}")
    }),
    ("ipset: sets", Language::Ipset, 10_000, |size| {
        each(size, |index, text| _ = writeln!(text, "create s{index} hash:ip\nadd s{index} 1.1.1.1"))
    }),
    ("stack: hosts", Language::Stack, 2_000, |size| {
        let hosts = each(size, |index, text| {
            _ = writeln!(text, "  h{index}: {{address: {}}}", address(1 << 24 | index))
        });
        format!("hosts:\n{hosts}")
    }),
    ("stack: intents", Language::Stack, 2_000, |size| {
        format!(
            "hosts:\n  a: {{address: 10.0.0.1}}\nintents:\n{}",
            "  - allow: any -> a tcp/1\n".repeat(size)
        )
    }),
    ("stack: `[`", Language::Stack, 20_000, |size| "[".repeat(size)),
    ("stack: `- `", Language::Stack, 20_000, |size| "- ".repeat(size)),
    ("stack: `{a: `", Language::Stack, 20_000, |size| "{a: ".repeat(size)),
    ("stack: aliases that double", Language::Stack, 3, |size| {
        let rest = each(size, |index, text| {
            _ = writeln!(text, "a{}: &a{} [*a{index}, *a{index}, *a{index}]", index + 1, index + 1)
        });
        format!("a0: &a0 [x]\n{rest}")
    }),
    ("stack: one scalar", Language::Stack, 1_000_000, |size| format!("hosts: {}", "x".repeat(size))),
];

fn run(language: Language, text: &str) -> (usize, usize) {
    let file = FileId(0);
    let mut atoms = AtomTable::default();
    let nft_options = lower::nft::LowerOptions { scope: "h" };
    let iptables_options = lower::iptables::LowerOptions { scope: "h", ..Default::default() };
    let (first, second) = match language {
        Language::Nft => {
            let (script, first) = nft::text::parse(file, text, &mut NoIncludes);
            (first, lower::nft::lower(vec![script], &nft_options, &mut atoms).1)
        }
        Language::Json => {
            let (script, first) = nft::json::parse(file, text);
            (first, lower::nft::lower(vec![script], &nft_options, &mut atoms).1)
        }
        Language::Iptables => {
            let (save, first) = iptables::parse(file, text);
            (first, lower::iptables::lower(&[save], &[], &iptables_options, &mut atoms).1)
        }
        Language::Ipset => {
            let (sets, first) = ipset::parse(file, text);
            let asks = each(sets.sets.len().min(100), |index, asked| {
                let name = sets.sets.get(index).map_or("", |set| set.name);
                let _ = writeln!(asked, "-A INPUT -m set --match-set {name} src -j DROP");
            });
            let rules = format!("*filter\n:INPUT ACCEPT [0:0]\n{asks}COMMIT\n");
            let (save, _) = iptables::parse(FileId(1), &rules);
            (first, lower::iptables::lower(&[save], &[sets], &iptables_options, &mut atoms).1)
        }
        Language::Stack => (read_stack(file, text).1, Vec::new()),
    };
    (first.len(), second.len())
}

fn main() {
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    println!("| shape | size | text, KB | s | peak, MB | diagnostics | ×10 in size: × time |");
    println!("|---|---|---|---|---|---|---|");
    for &(name, language, size, shape) in SHAPES {
        if !wanted.is_empty() && !wanted.iter().any(|part| name.contains(part.as_str())) {
            continue;
        }
        let mut before = None;
        for size in [size, size * 10] {
            let text = shape(size);
            let begin = Instant::now();
            let ((first, second), peak) = peak_bytes(|| run(language, &text));
            let seconds = begin.elapsed().as_secs_f64();
            let growth = before.map_or(String::new(), |before| format!("{:.0}", seconds / before));
            before = Some(seconds.max(1e-6));
            println!(
                "| {name} | {size} | {} | {seconds:.3} | {:.1} | {first} + {second} | {growth} |",
                text.len() / 1_000,
                peak as f64 / 1e6
            );
        }
    }
}
