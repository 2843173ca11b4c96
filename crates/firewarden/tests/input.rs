//! What happens to input that can't be used: an exit code of 2, what is wrong, where, and what to do.

mod common;

use common::{Folder, Run};

const ALLOW: [&str; 2] = ["--allow", "any -> 10.0.0.1 tcp/443"];

fn check(folder: &Folder, path: &str) -> Run {
    folder.run(&["check", path, ALLOW[0], ALLOW[1]])
}

#[test]
fn a_missing_file() {
    let folder = Folder::with(&[]);
    check(&folder, "nowhere.nft").expect(2, &["cannot read `nowhere.nft`: no such file", "help"]);
}

#[test]
fn a_folder_without_a_stack_file() {
    let folder = Folder::with(&[("conf/edge.nft", "table ip t {\n}\n")]);
    check(&folder, "conf")
        .expect(2, &["has no `firewarden.yaml`", "give a ruleset, such as `conf/edge.nft`"]);
    let folder = Folder::with(&[("conf/firewarden.yml", "hosts: {}\n")]);
    check(&folder, "conf").expect(2, &["did you mean `conf/firewarden.yml`?"]);
}

#[test]
fn bytes_that_are_no_text() {
    let folder = Folder::with(&[]);
    folder.write("a.gz", b"\x1f\x8b\x08\x00\x00\x00");
    folder.write("b.nft", b"\xff\xfet\x00a\x00b\x00");
    folder.write("c.bin", b"\x7fELF\x02\x01\x01\x00\x00");
    check(&folder, "a.gz").expect(2, &["`a.gz` is compressed with gzip", "zcat"]);
    check(&folder, "b.nft").expect(2, &["`b.nft` is UTF-16 text", "iconv"]);
    check(&folder, "c.bin").expect(2, &["`c.bin` is binary data", "nft list ruleset"]);
}

#[test]
fn nothing_on_standard_input() {
    let folder = Folder::with(&[]);
    folder
        .pipe(&["check", "-", ALLOW[0], ALLOW[1]], b"\n")
        .expect(2, &["standard input is empty", "sudo nft list ruleset"]);
}

#[test]
fn formats_that_are_not_read() {
    let folder = Folder::with(&[
        ("a", "Chain INPUT (policy ACCEPT)\ntarget prot\n"),
        ("b.sh", "#!/bin/bash\niptables -F\n"),
    ]);
    check(&folder, "a").expect(2, &["iptables -L", "iptables-save"]);
    check(&folder, "b.sh").expect(2, &["`b.sh` is a script for bash", "run it"]);
}

#[test]
fn truncated_json() {
    let folder = Folder::with(&[("a.json", "{\"nftables\": [{\"table\": {\"family\": \"inet\", \"na")]);
    check(&folder, "a.json").expect(2, &["a.json:1:"]);
}

#[test]
fn one_line_of_ten_megabytes() {
    let folder = Folder::with(&[]);
    let mut text = "table ip t { set s { type ipv4_addr; elements = { ".to_owned();
    for number in 0..700_000_u32 {
        let [_, a, b, c] = number.to_be_bytes();
        text.push_str(&format!("10.{a}.{b}.{c}, "));
    }
    text.push_str("} }\n");
    assert!(text.len() > 7_000_000);
    let broken = text.replacen("10.0.0.9,", "10.0.0.999,", 1);
    folder.write("long.nft", text.as_bytes());
    folder.write("broken.nft", broken.as_bytes());
    let run = check(&folder, "long.nft");
    assert!(run.all().len() < 100_000, "{} bytes", run.all().len());
    let run = check(&folder, "broken.nft");
    run.expect(2, &["broken.nft:1:"]);
    assert!(run.all().len() < 100_000, "{} bytes", run.all().len());
    folder.write("letters.nft", "a".repeat(10 << 20).as_bytes());
    let run = check(&folder, "letters.nft");
    run.expect(2, &["letters.nft"]);
    assert!(run.all().len() < 100_000, "{} bytes", run.all().len());
}

#[test]
fn variables_and_includes() {
    let folder = Folder::with(&[
        (
            "variable.nft",
            "define lan = 10.0.0.0/8\ntable ip t {\n\tchain c {\n\t\tip saddr $lam accept\n\t}\n}\n",
        ),
        ("a.nft", "include \"b.nft\"\n"),
        ("b.nft", "include \"./a.nft\"\n"),
        ("missing.nft", "include \"none.nft\"\n"),
        ("sub/good.nft", "include \"./part/*.nft\"\ninclude \"none/*.nft\"\n"),
        ("sub/part/x.nft", "table ip t {\n\tchain c {\n\t\taccept bogus\n\t}\n}\n"),
    ]);
    check(&folder, "variable.nft").expect(2, &["variable.nft:4:12", "did you mean `$lan`?"]);
    check(&folder, "a.nft").expect(2, &["b.nft:1:", "cycle"]);
    check(&folder, "missing.nft").expect(2, &["missing.nft:1:", "no such file"]);
    check(&folder, "sub/good.nft").expect(2, &["sub/part/x.nft:3:"]);
}

#[test]
fn stack_files() {
    let stack = "hosts:\n  a: { rules: a.nft, address: 10.0.0.1 }\nintents:\n";
    let folder = Folder::with(&[("a.nft", "table ip t {\n}\n")]);
    for (name, text, words) in [
        (
            "keys",
            format!("{stack}  - allow: any -> a tcp/1\n    alow: x\n"),
            ["firewarden.yaml:5:", "did you mean"],
        ),
        (
            "twice",
            format!("{stack}  - allow: any -> a\n    allow: any -> a\n"),
            ["firewarden.yaml:5:", "twice"],
        ),
        ("host", format!("{stack}  - allow: any -> aa tcp/1\n"), ["firewarden.yaml:4:", "aa"]),
        (
            "service",
            format!("{stack}  - allow: any -> a tpc/1\n"),
            ["firewarden.yaml:4:", "did you mean `tcp`?"],
        ),
        (
            "file",
            format!("{}  - allow: any -> a\n", stack.replace("a.nft", "b.nft")),
            ["firewarden.yaml:2:", "b.nft"],
        ),
        ("yaml", "hosts: [\n".to_owned(), ["firewarden.yaml:", "YAML"]),
    ] {
        folder.write("firewarden.yaml", text.as_bytes());
        let run = folder.run(&["check", "."]);
        assert_eq!(run.code, 2, "{name}: {}", run.all());
        run.expect(2, &words);
    }
    folder.write("firewarden.yaml", format!("{stack}  - allow: any -> a tcp/1\n").as_bytes());
    folder.run(&["check", ".", "--host", "b"]).expect(2, &["no host `b`"]);
    folder.run(&["check", ".", "--deny", "any ->"]).expect(2, &["expected a destination"]);
}

#[test]
fn usage() {
    let folder = Folder::with(&[]);
    folder.run(&[]).expect(2, &["Usage"]);
    folder.run(&["chek", "a"]).expect(2, &["check"]);
    folder.run(&["check", "a", "--format", "xml"]).expect(2, &["human"]);
}

#[test]
fn packets_that_are_none() {
    let folder = Folder::with(&[("a.nft", "table ip t {\n}\n")]);
    for (packet, place, words) in [
        ("", "<packet>:1:1", "the packet ends where a protocol should follow"),
        ("nonsense", "<packet>:1:1", "`nonsense` is not a protocol"),
        ("tcp 1.2.3.4 ->", "<packet>:1:15", "the destination address should follow"),
        ("tcp 1.2.3.4:99999 -> 10.0.0.1:1", "<packet>:1:5", "`99999` is not a port"),
        ("tcp 1.2.3.4:1 -> [::1]:2", "<packet>:1:5", "two address families"),
        ("tcp 1.2.3.4:1 -> 10.0.0.1:2 ct nwe", "<packet>:1:32", "`nwe` is not a connection state"),
    ] {
        folder.run(&["trace", packet, "a.nft"]).expect(2, &[place, words, "help"]);
    }
}

#[test]
fn intents_that_are_none() {
    let folder = Folder::with(&[("a.nft", "table ip t {\n}\n")]);
    for (intent, place, words) in [
        ("", "--allow:1:1", "expected a source"),
        ("x", "--allow:1:2", "expected `->`"),
        ("any -> 10.0.0.1 tcp/99999", "--allow:1:17", "`99999` is not a port"),
        ("any -> 10.0.0.1/40", "--allow:1:8", "`/40` is not a prefix length"),
        ("any -> 10.0.0.1 tcp/90-80", "--allow:1:17", "did you mean `tcp/80-90`?"),
        ("1:2:3:4:5:6:7:8:9 -> 10.0.0.1", "--allow:1:1", "is not an IP address"),
    ] {
        folder.run(&["check", "a.nft", "--allow", intent]).expect(2, &[place, words, "help"]);
    }
}

#[test]
fn a_stack_file_with_thousands_of_mistakes() {
    let mut text = "hosts:\n  a: { rules: a.nft, address: 10.0.0.1 }\nintents:\n".to_owned();
    for _ in 0..3000 {
        text.push_str("  - allow: any -> a tcp/1\n    bogus: 1\n");
    }
    let folder = Folder::with(&[("firewarden.yaml", &text), ("a.nft", "table ip t {\n}\n")]);
    let run = folder.run(&["check", ".", "--format", "concise"]);
    run.expect(2, &["firewarden.yaml:5:5", "2000 more about the stack file are not shown"]);
    assert_eq!(run.all().matches("`bogus`").count(), 1000);
}

#[test]
fn marks_line_ends_and_bytes() {
    let folder = Folder::with(&[]);
    folder.write("crlf.nft", b"table ip t {\r\n}\r\n");
    check(&folder, "crlf.nft").expect(2, &["crlf.nft:1:13", "dos2unix"]);
    folder.write("bom.rules", b"\xef\xbb\xbf*filter\r\n:INPUT DROP [0:0]\r\nCOMMIT\r\n");
    check(&folder, "bom.rules").expect(1, &["bom.rules:2:"]);
    folder.write("nul.nft", b"table ip t {\n\tchain c {\n\t\tcounter \x00 accept\n\t}\n}\n");
    check(&folder, "nul.nft").expect(2, &["`nul.nft` is binary data"]);
    folder.write("latin.nft", b"table ip t {\n\tchain c {\n\t\taccept comment \"caf\xe9\"\n\t}\n}\n");
    check(&folder, "latin.nft").expect(0, &["latin.nft:3:22", "is not UTF-8"]);
    folder.write("loop.nft", b"table ip t {\n chain b { jump c; }\n chain c { goto b; }\n}\n");
    check(&folder, "loop.nft").expect(2, &["loop.nft:3:12", "jumps form a loop", "remove one of the jumps"]);
}

#[test]
fn a_trace_without_the_interface_it_leaves_by_says_so() {
    let text = "table ip t {
\tchain f { type filter hook forward priority 0; policy drop; oifname \"lan\" accept; }
\tchain p { type nat hook prerouting priority dstnat; dnat to 10.0.0.9; }
}
";
    let folder = Folder::with(&[("a.nft", text)]);
    let trace = |packet: &str| folder.run(&["trace", packet, "a.nft"]);
    trace("tcp 8.8.8.8:40000 -> 10.0.0.1:80 in wan ct new").expect(0, &["name it in the packet", "dropped"]);
    let named = trace("tcp 8.8.8.8:40000 -> 10.0.0.1:80 in wan out lan ct new");
    named.expect(0, &["accepted"]);
    assert!(!named.all().contains("name it in the packet"), "{}", named.all());
}
