//! Stack files, good and bad, by what is said about them.

use firewarden_diagnostic::{Diagnostic, SourceMap};
use firewarden_verify::intent::{Names, Senders, conflicts, questions, resolve};
use firewarden_verify::stack::{StackFile, read_stack, stack_schema};

/// Reads a stack file and looks up everything in it. Diagnostics as `line:column code: message | help`.
fn read(text: &str) -> (StackFile, Vec<String>) {
    let mut sources = SourceMap::default();
    let file = sources.add("firewarden.yaml", text);
    let (stack, mut diagnostics) = read_stack(file, text);
    let mut resolved = Vec::new();
    for (index, intent) in stack.intents.iter().enumerate() {
        match resolve(intent, &Names::new(&stack)) {
            Ok(intent) => resolved.push((index, intent)),
            Err(errors) => diagnostics.extend(errors),
        }
    }
    diagnostics.extend(conflicts(&stack.intents, &resolved));
    let shown = diagnostics.iter().map(|diagnostic| show(diagnostic, &sources)).collect();
    (stack, shown)
}

fn show(diagnostic: &Diagnostic, sources: &SourceMap) -> String {
    let place = diagnostic.span().map(|span| sources.place(span)).unwrap_or_default();
    let marked = diagnostic.span().map(|span| sources.slice(span).to_owned()).unwrap_or_default();
    format!(
        "{} {} [{marked}]: {} | {}",
        place.trim_start_matches("firewarden.yaml:"),
        diagnostic.code,
        diagnostic.message,
        diagnostic.help.as_deref().unwrap_or("-"),
    )
}

const HOSTS: &str = "hosts:\n  lb: {address: 10.0.1.10}\n  app: {address: [10.0.2.20, 10.0.2.21]}\n  db: {address: [10.0.3.30, '2001:db8::30']}\n";

/// Checks that a file gives exactly one diagnostic that holds all the words.
fn complains(text: &str, words: &[&str]) {
    let (_, said) = read(text);
    assert_eq!(said.len(), 1, "{text}\n{said:#?}");
    for word in words {
        assert!(said[0].contains(word), "{text}\nexpected `{word}` in:\n{}", said[0]);
    }
}

#[test]
fn a_full_file_is_read() {
    let text = r#"
hosts:
  edge: { rules: edge.nft, interfaces: { wan: 203.0.113.1/24, lan: {address: [10.0.0.1/16, "2001:db8::1/64"], uplink: false} } }
  lb:   { rules: [lb.nft, lb6.rules], address: 10.0.1.10, published: 203.0.113.1, tcp_loose: false }
  no:   { address: 10.10.10.10 }
groups:
  office: [198.51.100.0/24, lb]
  one: 192.0.2.1-192.0.2.9, no
services:
  web: tcp/80,443
  dns: [udp/53, tcp/53]
assume:
  - { atom: limit rate 5/second, is: true, owner: web-team, expires: 2027-03-31 }
tracked: [haproxy.cfg, pg_hba.conf]
intents:
  - allow: internet -> lb web
    name: public
    owner: web-team
    because: customers
    probe: https://www.example.org
    via: edge
    in: eth0
    except: ["@banned", 198.51.100.7]
  - only: office -> edge tcp/22
  - deny internet -> no
"#;
    let (stack, said) = read(text);
    assert_eq!(said, Vec::<String>::new());
    let names: Vec<&str> = stack.hosts.iter().map(|host| host.name.value.as_str()).collect();
    assert_eq!(names, ["edge", "lb", "no"]);
    assert_eq!(stack.hosts[0].addresses.len(), 3);
    assert!(!stack.hosts[1].tcp_loose);
    assert_eq!(stack.services[0].services.len(), 2);
    assert_eq!(stack.intents.len(), 3);
    let texts: Vec<String> = stack.intents.iter().map(|intent| intent.intent.full_text()).collect();
    assert_eq!(texts, ["allow internet -> lb web", "only office -> edge tcp/22", "deny internet -> no"]);
    assert_eq!(stack.tracked.len(), 2);
}

#[test]
fn mistakes_in_the_file_are_told_with_place_and_remedy() {
    complains("", &["stack-empty"]);
    complains("hsots: {}\n", &["1:1 stack-unknown-key [hsots]", "did you mean `hosts`?"]);
    complains("hosts: {a: {address: 10.0.0.1, rule: x}}\n", &["[rule]", "did you mean `rules`?"]);
    complains(
        "hosts: {a: {address: 10.0.0.1}}\nhosts: {}\n",
        &["2:1 stack-syntax", "`hosts` is written twice"],
    );
    complains("hosts: [a]\n", &["1:8 stack-type", "is a map from names to hosts, not a list"]);
    complains("hosts: {a: {address: 10.0.0.300}}\n", &["1:22", "[10.0.0.300]", "`300` is above 255"]);
    complains("hosts: {a: {address: 10.0.0.1/24}}\n", &["a host has single addresses"]);
    complains("hosts: {a: {rules: x}}\n", &["host `a` has no address"]);
    complains("hosts: {any: {address: 10.0.0.1}}\n", &["`any` has a meaning of its own"]);
    complains("hosts: {a b: {address: 10.0.0.1}}\n", &["`a b` can't be the name of a host"]);
    complains("hosts: {a: {address: 10.0.0.1}}\ngroups: {a: 10.0.0.2}\n", &["2:10", "`a` is declared twice"]);
    complains("hosts:\n\ta: {}\n", &["a tab", "indent with spaces"]);
    complains("a: [1, 2\n", &["stack-syntax", "unclosed bracket"]);
    complains("a: 1\n---\nb: 2\n", &["more than one YAML document"]);
    complains(
        "hosts: {a: {address: 10.0.0.1, tcp_loose: no}}\n",
        &["`tcp_loose` is `true` or `false`, not `no`"],
    );
    complains("services: {web: web2}\n", &["`web2` is not a protocol"]);
    complains("services: {tcp: tcp/1}\n", &["`tcp` already means a protocol"]);
    complains("tracked: {a: b}\n", &["`tracked` is a list of files, not a map"]);
    complains("assume: [{atom: x, is: true}]\n", &["an assumption needs `owner`"]);
    complains(
        "assume: [{atom: x, is: true, owner: y, expires: 2027-02-29}]\n",
        &["[2027-02-29]", "is not a date"],
    );
    complains(
        &format!("{HOSTS}intents:\n  - allow: lb -> app\n    except: [@x]\n"),
        &["put quotes around it"],
    );
    complains(&format!("{HOSTS}intents:\n  - name: x\n"), &["needs `allow`, `deny` or `only`"]);
    complains(
        &format!("{HOSTS}intents:\n  - allow: lb -> app\n    deny: lb -> db\n"),
        &["7:5", "both `allow` and `deny`"],
    );
    complains(
        &format!("{HOSTS}intents:\n  - allow: lb -> app\n    via: egde\n"),
        &["no host is called `egde`"],
    );
    complains(
        &format!("{HOSTS}intents:\n  - allow: [lb]\n"),
        &["`allow` is an intent such as", "not a list"],
    );
}

#[test]
fn mistakes_in_intents_point_at_the_word() {
    for (intent, words) in [
        (
            "lb -> ap tcp/8080",
            &["6:18", "[ap]", "no host or group is called `ap`", "did you mean `app`?"][..],
        ),
        ("lb -> app tpc/8080", &["6:22", "[tpc/8080]", "`tpc` is not a protocol", "did you mean `tcp`?"]),
        ("lb -> app tcp/99999", &["[tcp/99999]", "`99999` is not a port"]),
        ("lb -> app tcp/90-80", &["did you mean `tcp/80-90`?"]),
        ("lb -> app 8080", &["[8080]", "the port `8080` has no protocol", "write `tcp/8080` or `udp/8080`"]),
        ("lb app tcp/80", &["[app]", "expected `->` after the source"]),
        ("lb to app", &["[to]", "write `->`"]),
        ("lb ->", &["expected a destination"]),
        ("-> app", &["expected a source"]),
        ("lb -> app, tcp/80", &["[tcp/80]", "`tcp/80` is a service", "put a space"]),
        ("lb -> app tcp/80 tcp/81", &["[tcp/81]", "separate services with commas"]),
        ("lb -> app tcp/80,", &["remove the comma"]),
        ("10.0.0.1/24 -> app", &["[10.0.0.1/24]", "did you mean the network `10.0.0.0/24`"]),
        ("\"@set -> app\"", &["[@set]", "can't be used here"]),
        ("\"any -> app except @x\"", &["`@x` can't be carved out of a destination"]),
        ("any -> app icmp/echo-requst", &["did you mean `icmp/echo-request`?"]),
        ("any -> app esp/80", &["`esp` has no ports"]),
        ("any -> app wbe", &["no service is called `wbe`"]),
        ("deny lb -> app", &["`deny` contradicts `allow`"]),
    ] {
        complains(&format!("{HOSTS}intents:\n  - allow: {intent}\n"), words);
    }
    complains(&format!("{HOSTS}intents:\n  - alow lb -> app\n"), &["[alow]", "did you mean `allow`?"]);
    complains(
        &format!("{HOSTS}groups: {{a: b, b: a}}\nintents:\n  - allow a -> app\n"),
        &["group `a` contains itself"],
    );
}

#[test]
fn contradictions_name_both_intents() {
    for (first, second, contradicts) in [
        ("allow lb -> app tcp/8080", "deny any -> app tcp/8000-9000", true),
        ("allow lb -> app tcp/8080", "deny any -> app tcp/9000", false),
        ("allow lb -> app tcp/8080", "deny any -> app udp", false),
        ("allow lb -> app tcp/8080", "deny any except lb -> app", false),
        ("only lb -> app tcp/8080", "allow db -> app tcp/8080", true),
        ("only lb -> app tcp/8080", "allow lb -> app tcp/8080", false),
        ("only lb -> app tcp/8080", "only db -> app tcp/8080", true),
        ("only lb -> app tcp/8080", "only db -> app tcp/8081", false),
        ("allow internet -> lb tcp/443", "deny internet -> app", false),
        ("allow internet except \"@banned\" -> lb", "deny internet -> lb tcp/22", true),
        ("allow 2001:db8::/32 -> db", "deny 10.0.0.0/8 -> db", false),
        ("allow lb -> db icmp", "deny lb -> db icmpv6", false),
    ] {
        let (first, second) = (first.replace('"', ""), second.replace('"', ""));
        let (_, said) = read(&format!("{HOSTS}intents:\n  - \"{first}\"\n  - \"{second}\"\n"));
        assert_eq!(!said.is_empty(), contradicts, "{first} / {second}: {said:#?}");
        if contradicts {
            assert_eq!(said.len(), 1, "{said:#?}");
            assert!(said[0].contains("7:6 intent-contradiction"), "{}", said[0]);
            assert!(said[0].contains(&format!("`{second}` contradicts `{first}`")), "{}", said[0]);
        }
    }
    let (_, said) = read(&format!("{HOSTS}intents:\n  - allow lb -> app\n  - allow: lb  ->  app\n"));
    assert!(said.len() == 1 && said[0].contains("intent-duplicate"), "{said:#?}");
}

#[test]
fn intents_become_questions() {
    // How many questions of which family, claim, origin and target; and the packets' sources and destinations.
    for (intent, expected) in [
        ("allow lb -> app tcp/8080", &["V4 Arrives Host(0) Host(1) 10.0.1.10 -> 10.0.2.20/31"][..]),
        ("allow lb -> 10.0.2.21 tcp/8080", &["V4 Arrives Host(0) Host(1) 10.0.1.10 -> 10.0.2.21"]),
        ("deny 192.0.2.0/24 -> db", &["V4 NeverArrives Outside Host(2) 192.0.2.0/24 -> 10.0.3.30"]),
        (
            "allow 192.0.2.0/24 except 192.0.2.128/25 -> lb",
            &["V4 Arrives Outside Host(0) 192.0.2.0/25 -> 10.0.1.10"],
        ),
        ("allow 2001:db8:1::/48 -> lb", &[]),
        (
            "only db -> lb tcp/1",
            &[
                "V4 Arrives Host(2) Host(0) 10.0.3.30 -> 10.0.1.10",
                "V4 NeverArrives Outside Host(0) 1.0.0.0-10.0.3.29, 10.0.3.31-126.255.255.255, 128.0.0.0-223.255.255.255, 1 more -> 10.0.1.10",
                "V4 NeverArrives Host(1) Host(0) 10.0.2.20/31 -> 10.0.1.10",
            ],
        ),
        // Hosts inside of a prefix send by their own rules; a denied source may be somebody else's forgery too.
        (
            "allow 10.0.2.0/24 -> db tcp/5432",
            &[
                "V4 Arrives Host(1) Host(2) 10.0.2.20/31 -> 10.0.3.30",
                "V4 Arrives Outside Host(2) 10.0.2.0-10.0.2.19, 10.0.2.22-10.0.2.255 -> 10.0.3.30",
            ],
        ),
        (
            "deny 10.0.2.0/24 except 10.0.2.21 -> db",
            &[
                "V4 NeverArrives Outside Host(2) 10.0.2.0-10.0.2.20, 10.0.2.22-10.0.2.255 -> 10.0.3.30",
                "V4 NeverArrives Host(1) Host(2) 10.0.2.20 -> 10.0.3.30",
            ],
        ),
        (
            "allow app,10.0.2.0/24 -> 10.0.3.30",
            &[
                "V4 Arrives Host(1) Host(2) 10.0.2.20/31 -> 10.0.3.30",
                "V4 Arrives Outside Host(2) 10.0.2.0-10.0.2.19, 10.0.2.22-10.0.2.255 -> 10.0.3.30",
            ],
        ),
        ("allow lb -> 192.0.2.1 udp/53", &["V4 Arrives Host(0) Elsewhere 10.0.1.10 -> 192.0.2.1"]),
        (
            "deny lb -> 10.0.3.0/24",
            &[
                "V4 NeverArrives Host(0) Host(2) 10.0.1.10 -> 10.0.3.30",
                "V4 NeverArrives Host(0) Elsewhere 10.0.1.10 -> 10.0.3.0-10.0.3.29, 10.0.3.31-10.0.3.255",
            ],
        ),
    ] {
        let (stack, said) = read(&format!("{HOSTS}intents:\n  - {intent}\n"));
        assert!(said.is_empty(), "{said:#?}");
        let resolved = resolve(&stack.intents[0], &Names::new(&stack)).unwrap();
        let shown: Vec<String> = questions(&resolved, &stack, &[], &Senders::new(&stack, &[0, 1, 2]))
            .iter()
            .map(|question| {
                let set = |set| firewarden_verify::address::format_set(question.family, set, 3);
                format!(
                    "{:?} {:?} {:?} {:?} {} -> {}",
                    question.family,
                    question.claim,
                    question.origin,
                    question.target,
                    set(&question.sources),
                    set(&question.destinations),
                )
            })
            .collect();
        assert_eq!(shown, expected, "{intent}");
    }
}

#[test]
fn hostile_files_are_refused_quickly() {
    let bomb: String =
        (1..12).map(|n| format!("a{n}: &a{n} [{}]\n", vec![format!("*a{}", n - 1); 10].join(", "))).collect();
    for text in [
        "[".repeat(200_000),
        "{a: ".repeat(10_000),
        format!("a0: &a0 [x]\n{bomb}"),
        format!("hosts: {}", "x".repeat(5_000_000)),
        "\u{0}\u{1}\u{2}".to_owned(),
        "? [a, b]\n: c\n".to_owned(),
        "null: x\n".to_owned(),
        "hosts: {a: {address: [[[[10.0.0.1]]]]}}\n".to_owned(),
        "&a a: *a\n".to_owned(),
        "intents: [.nan, 1, true, ~]\n".to_owned(),
    ] {
        let (_, said) = read(&text);
        assert!(!said.is_empty(), "{}", &text[..40.min(text.len())]);
        assert!(said.iter().all(|line| !line.split(": ").nth(1).unwrap_or_default().is_empty()));
    }
}

#[test]
fn marks_of_editors_and_stray_bytes_in_stack_files() {
    let text = "hosts:\n  a: {address: 10.0.0.1}\nintents:\n  - allow: any -> a tcp/443\n";
    for same in [text.replace('\n', "\r\n"), format!("\u{feff}{text}")] {
        let (stack, said) = read(&same);
        assert_eq!((said, stack.hosts.len(), stack.intents.len()), (Vec::new(), 1, 1), "{same:?}");
    }
    for (bad, words) in [
        (text.replace("  a:", "  a: {}\n  a:"), "3:3 stack-syntax [a]: the key `a` is written twice"),
        (format!("{text}hosts: {{}}\n"), "5:1 stack-syntax [hosts]: the key `hosts` is written twice"),
        (
            text.replace("{address: 10.0.0.1}", "{address: 10.0.0.1, address: 10.0.0.2}"),
            "2:26 stack-syntax [address]: the key",
        ),
        (text.replace("10.0.0.1", "10.0.0.\0"), "2:"),
        (text.replace("10.0.0.1", "10.0.0.\u{fffd}"), "2:16"),
        (text.replace("\n  a", "\n\ta"), "2:"),
    ] {
        let (_, said) = read(&bad);
        assert!(said.first().is_some_and(|line| line.starts_with(words)), "{bad:?}: {said:#?}");
        assert!(said.iter().all(|line| !line.ends_with("| -") && !line.ends_with("| ")), "{said:#?}");
    }
}

#[test]
fn the_schema_has_the_readers_keys() {
    let schema = stack_schema();
    let keys = |pointer: &str| -> Vec<String> {
        let object = schema.pointer(pointer).unwrap_or_else(|| panic!("{pointer} in {schema:#}"));
        object.as_object().unwrap().keys().cloned().collect()
    };
    // Every key of the schema is one the reader knows: it says nothing about unknown keys.
    for (pointer, before, after) in [
        ("/properties", "", ""),
        ("/$defs/Host/properties", "hosts: {h: {", "}}"),
        ("/$defs/InterfaceMap/properties", "hosts: {h: {interfaces: {i: {", "}}}}"),
        ("/$defs/IntentMap/properties", "intents: [{", "}]"),
        ("/$defs/Assumption/properties", "assume: [{", "}]"),
    ] {
        for key in keys(pointer) {
            let (_, said) = read(&format!("{before}{key}: {after}\n"));
            assert!(said.iter().all(|line| !line.contains("stack-unknown-key")), "{key}: {said:#?}");
        }
        // And what the reader calls its keys is all in the schema.
        let (_, said) = read(&format!("{before}zzzzzzzz: {after}\n"));
        let help = said.iter().find(|line| line.contains("stack-unknown-key")).unwrap();
        let known: Vec<&str> = help.rsplit(" are ").next().unwrap().split(", ").collect();
        let mut known: Vec<String> = known.iter().map(|key| key.trim_matches('`').to_owned()).collect();
        known.sort();
        let mut declared = keys(pointer);
        declared.sort();
        assert_eq!(known, declared);
    }
}
