//! The commands as people run them, on the examples.

mod common;

use common::{Folder, Run, repository, run_in};
use std::io::Read;
use std::process::{Command, Stdio};

fn run(arguments: &[&str]) -> Run {
    run_in(&repository(), arguments, b"")
}

fn json(run: &Run) -> serde_json::Value {
    serde_json::from_str(&run.stdout).unwrap_or_else(|error| panic!("{error}: {}", run.all()))
}

#[test]
fn the_web_stack_holds() {
    let found = run(&["check", "examples/webstack"]);
    found.expect(0, &["9 intents: 9 pass", "public-web"]);
    assert!(!found.stdout.contains('\u{1b}'), "no colours in a pipe");
    let colored = run(&["check", "examples/webstack", "--color", "always"]);
    assert!(colored.stdout.contains('\u{1b}'));
}

#[test]
fn each_outage_is_found_with_its_line() {
    for (outage, place, packet) in [
        ("000", "app.rules:11:1", "tcp 10.0.1.10:19999 -> 10.0.2.20:8080"),
        ("001", "lb.nft:39:9", "-> 203.0.113.1:443"),
        ("002", "db.nft:30:9", "tcp 10.0.2.20:40000 -> 10.0.3.30:5432"),
        ("003", "edge.nft:63:9", "-> 203.0.113.1:443"),
        ("004", "app.rules:7:1", "tcp 10.0.1.10:40000 -> 10.0.2.20:8080"),
    ] {
        let folder = format!("examples/outages/{outage}");
        run(&["check", &folder]).expect(1, &[&format!("{folder}/{place}"), packet]);
    }
}

#[test]
fn the_tour_tells_each_outage_from_start_to_end() {
    // It runs anywhere: nothing of it is read from the repository.
    let elsewhere = Folder::with(&[("README", "nothing")]);
    for (outage, then, rule, failed, probe) in [
        ("000", "3 h; error rate", "! --sport 20000:65535", "%)", "lb -> first server:8080: 1 answered"),
        ("001", "30 min; all users", "== syn drop", "1000 now (100 %)", "internet -> lb:443, IPv6: 0"),
        ("002", "3 h 30 min", "10.0.2.10-10.0.2.20", "400 now (40 %)", "first server -> db:5432: 0"),
        ("003", "28 h", "ip saddr != $office drop", "800 now (80 %)", "internet -> lb:443, IPv4: 0"),
        ("004", "16 h 30 min", "--dports 80,443,8080", "800 now (80 %)", "lb -> second server:8080: 0"),
    ] {
        let told = elsewhere.run(&["tour", outage]);
        let refused = "so a pipeline stops here";
        let fails = format!("FAILS  {probe}");
        let words =
            [then, rule, failed, &fails, refused, "newly blocked", "the old rules are back", "(simulated)"];
        told.expect(0, &words);
    }
    let again = elsewhere.run(&["tour", "--fast"]).stdout;
    assert_eq!(again, elsewhere.run(&["tour", "000"]).stdout, "every run is the same");
    elsewhere.run(&["tour", "005"]).expect(2, &["invalid value '005'"]);
}

#[test]
fn every_format_is_written() {
    let failing = |format: &str| run(&["check", "examples/outages/002", "--format", format]);
    failing("concise").expect(1, &["examples/outages/002/db.nft:30:9: error"]);
    failing("junit").expect(1, &["<testsuite", "app-to-db"]);
    failing("github").expect(1, &["::error file=examples/outages/002/db.nft,line=30"]);
    failing("markdown").expect(1, &["app-to-db"]);
    let report = json(&failing("json"));
    assert_eq!(report["summary"]["fail"], 1);
    assert_eq!(json(&failing("sarif"))["version"], "2.1.0");
    // Wrong input is told in the same format, so that a CI system shows it where it is.
    let folder = Folder::with(&[("a.nft", "table ip t {\n\tchain c {\n\t\ttcp dport $x accept\n\t}\n}\n")]);
    let report = folder.run(&["check", "a.nft", "--allow", "any -> 10.0.0.1", "--format", "json"]);
    assert_eq!(report.code, 2);
    assert_eq!(json(&report)["diagnostics"][0]["code"], "undefined-variable");
}

#[test]
fn one_s_own_host() {
    let nft = std::fs::read(repository().join("examples/webstack/lb.nft")).unwrap();
    let check = |option: &str, intent: &str| run_in(&repository(), &["check", "-", option, intent], &nft);
    check("--allow", "any -> 10.0.1.10 tcp/443").expect(0, &["1 intent: 1 pass"]);
    check("--deny", "any -> 10.0.1.10 tcp/443").expect(1, &["<stdin>:20", "lets it through"]);
    check("--only", "10.0.0.1 -> 10.0.1.10 tcp/22").expect(0, &["pass"]);
    check("--allow", "any -> 10.0.1.10 icmp/echo-request").expect(3, &["limit rate 10/second"]);
    check("--allow", "any to 10.0.1.10").expect(2, &["--allow:1:5", "write `->`"]);
}

#[test]
fn nothing_to_check_is_no_pass() {
    let found = run(&["check", "examples/webstack/db.nft"]);
    found.expect(2, &["there is nothing to check", "1 table", "firewarden exposed examples/webstack/db.nft"]);
    let empty = Folder::with(&[("empty.nft", "# nothing\n")]);
    empty.run(&["exposed", "empty.nft"]).expect(0, &["holds no rules"]);
}

#[test]
fn a_host_of_a_stack() {
    let found = run(&["check", "examples/webstack", "--host", "db"]);
    found.expect(0, &["app-to-db", "db-is-internal"]);
    assert!(!found.stdout.contains("public-web"));
    run(&["check", "examples/webstack", "--host", "dbb"])
        .expect(2, &["there is no host `dbb`", "did you mean `db`?"]);
}

#[test]
fn several_files_of_one_host() {
    let files = ["examples/webstack/app.rules", "examples/webstack/app6.rules"];
    let found = run(&["exposed", files[0], files[1]]);
    found.expect(0, &["tcp/8080", "10.0.1.10", "2001:db8:0:1::10", "app6.rules:14"]);
    let text: String =
        files.iter().map(|name| std::fs::read_to_string(repository().join(name)).unwrap()).collect();
    let piped = run_in(&repository(), &["exposed", "-"], text.as_bytes());
    piped.expect(0, &["tcp/8080", "10.0.1.10", "2001:db8:0:1::10", "<stdin>:"]);
    let sets = Folder::with(&[(
        "all",
        "create banned hash:ip family inet\nadd banned 192.0.2.9\n*filter\n:INPUT ACCEPT [0:0]\n:FORWARD ACCEPT [0:0]\n\
         :OUTPUT ACCEPT [0:0]\n-A INPUT -m set --match-set banned src -j DROP\nCOMMIT\n",
    )]);
    sets.run(&["check", "all", "--deny", "192.0.2.9 -> 10.0.0.1"]).expect(0, &["1 pass"]);
    sets.run(&["check", "all", "--deny", "192.0.2.8 -> 10.0.0.1"]).expect(1, &["1 fail"]);
}

#[test]
fn what_is_exposed() {
    let found = run(&["exposed", "examples/webstack"]);
    found
        .expect(0, &["edge", "tcp/80,443", "anyone", "lb.nft:20", "passes through it", "becoming 10.0.1.10"]);
    let answer = json(&run(&["exposed", "examples/webstack", "--host", "db", "--format", "json"]));
    let rows = answer["hosts"][0]["exposed"].as_array().unwrap();
    let postgres = rows.iter().find(|row| row["ports"][0]["first"] == 5432).unwrap();
    assert_eq!(postgres["ipv4"][0]["sources"]["list"], serde_json::json!(["10.0.2.20/31"]));
    run(&["exposed", "examples/webstack/lb.nft", "--format", "markdown"])
        .expect(0, &["| tcp/80,443 | anyone | anyone |"]);
}

#[test]
fn the_way_of_a_packet() {
    let packet = "tcp 198.51.100.7:40000 -> 203.0.113.1:443 in wan";
    let found = run(&["trace", packet, "examples/webstack"]);
    found.expect(0, &["edge.nft:81", "dnat to 10.0.1.10", "lb.nft:20", "delivered to lb"]);
    let one = run(&[
        "trace",
        "tcp 10.0.1.10:40000 -> 10.0.2.20:8081 in eth0 ct new",
        "examples/webstack/app.rules",
    ]);
    one.expect(0, &["app.rules:4", "policy drop", "dropped"]);
    let told = run(&["trace", "tcp 10.0.1.10:40000 => 10.0.2.20:80", "examples/webstack/app.rules"]);
    told.expect(2, &["<packet>:1:", "help"]);
    // The packet of a finding can be given as it stands.
    let report = json(&run(&["check", "examples/outages/003", "--format", "json"]));
    let witness = report["results"][0]["findings"][0]["witnesses"][0]["packet"].as_str().unwrap().to_owned();
    run(&["trace", &witness, "examples/outages/003"]).expect(0, &["edge.nft:63", "dropped by edge"]);
}

#[test]
fn what_packagers_need() {
    run(&["completions", "bash"]).expect(0, &["_firewarden", "exposed"]);
    run(&["man"]).expect(0, &[".TH firewarden", "check"]);
    let folder = Folder::with(&[]);
    folder.run(&["man", "--out", "man1"]).expect(0, &[]);
    assert!(folder.path().join("man1/firewarden-check.1").exists());
    for format in ["report", "stack", "exposed", "trace"] {
        assert!(json(&run(&["schema", format]))["$schema"].is_string(), "{format}");
    }
    for command in ["check", "exposed", "trace", "completions", "man", "schema"] {
        run(&[command, "--help"]).expect(0, &["Example", &format!("firewarden {command}")]);
    }
}

#[test]
fn a_pipe_that_closes_early() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_firewarden"))
        .args(["completions", "bash"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let mut errors = String::new();
    child.stderr.take().unwrap().read_to_string(&mut errors).unwrap();
    assert_eq!((child.wait().unwrap().code(), errors.as_str()), (Some(0), ""));
}

#[test]
fn equal_input_gives_equal_output() {
    for arguments in [["check", "examples/outages/003"], ["exposed", "examples/webstack"]] {
        assert_eq!(run(&arguments).stdout, run(&arguments).stdout);
    }
}

/// Needs a kernel that can be asked: root or user namespaces, and nft and iptables.
#[test]
fn the_kernel_confirms_findings() {
    for outage in ["000", "001", "002", "003", "004"] {
        let found = run(&["check", &format!("examples/outages/{outage}"), "--confirm", "kernel"]);
        if found.all().contains("no-kernel") {
            assert!(std::env::var("CI").as_deref() != Ok("true"), "{}", found.all());
            eprintln!("skipped: {}", found.all());
            return;
        }
        found.expect(1, &["the kernel agrees: dropped"]);
        assert!(
            !found.all().contains("disagrees") && !found.all().contains("was not asked"),
            "{}",
            found.all()
        );
    }
}

#[test]
#[cfg(not(feature = "lab"))]
fn the_lab_names_its_feature() {
    for command in ["lab", "drill"] {
        for rest in [&[][..], &["--help"], &["up", "--name", "mine"]] {
            let arguments: Vec<&str> = std::iter::once(command).chain(rest.iter().copied()).collect();
            run(&arguments)
                .expect(2, &[&format!("`firewarden {command}`"), "feature `lab`", "--features lab"]);
        }
    }
}

#[test]
#[cfg(not(feature = "apply"))]
fn a_command_of_a_feature_names_it() {
    for command in
        ["plan", "apply", "guard", "confirm", "revert", "status", "recover", "restore", "change", "journal"]
    {
        for rest in [&[][..], &["--help"], &["--", "ufw", "enable"], &["--window", "5", "new.nft"]] {
            let arguments: Vec<&str> = std::iter::once(command).chain(rest.iter().copied()).collect();
            run(&arguments)
                .expect(2, &[&format!("`firewarden {command}`"), "feature `apply`", "--features apply"]);
        }
    }
    let help = run(&["--help"]);
    help.expect(0, &["check"]);
    assert!(!help.stdout.contains("guard") && !help.stdout.contains("journal"), "{}", help.stdout);
}
