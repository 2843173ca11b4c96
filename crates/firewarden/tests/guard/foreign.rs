//! Rules beside those that are changed: of other programs, and of the other iptables.

use super::{Host, finish, wait_for};

/// What `nftables.service` reloads, as Debian's file begins.
const CONFIGURATION: &str = "\
#!/usr/sbin/nft -f

flush ruleset

table inet filter {
  chain input {
    type filter hook input priority filter; policy drop;
    ct state established,related accept
    iif lo accept
    tcp dport { 22, 80 } accept
  }
}
";

/// Rules as Docker and fail2ban make them, the latter in both of its ways.
const OTHERS: &str = "\
iptables-nft -t nat -N DOCKER
iptables-nft -t nat -A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER
iptables-nft -t nat -A POSTROUTING -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE
iptables-nft -t nat -A DOCKER ! -i docker0 -p tcp -m tcp --dport 8080 -j DNAT --to-destination 172.17.0.2:80
iptables-nft -N DOCKER
iptables-nft -N DOCKER-USER
iptables-nft -A FORWARD -j DOCKER-USER
iptables-nft -A FORWARD -o docker0 -j DOCKER
iptables-nft -A DOCKER -d 172.17.0.2/32 ! -i docker0 -o docker0 -p tcp -m tcp --dport 80 -j ACCEPT
iptables-nft -A DOCKER-USER -j RETURN
iptables-nft -N f2b-sshd
iptables-nft -A INPUT -p tcp -m multiport --dports 22 -j f2b-sshd
iptables-nft -A f2b-sshd -s 192.0.2.66/32 -j REJECT --reject-with icmp-port-unreachable
iptables-nft -A f2b-sshd -j RETURN
nft -f - <<'END'
table inet f2b-table {
  set addr-set-sshd {
    type ipv4_addr
    elements = { 192.0.2.67, 192.0.2.68 }
  }
  chain f2b-chain {
    type filter hook input priority filter - 1; policy accept;
    tcp dport 22 ip saddr @addr-set-sshd reject
  }
}
END
";

#[test]
fn what_a_reload_of_nftables_flushes_comes_back() {
    let Some(host) = Host::with(&["nft", "iptables-nft"]) else { return };
    host.folder.write("nftables.conf", CONFIGURATION.replace("{ 22, 80 }", "22").as_bytes());
    let file = host.folder.path().join("nftables.conf").display().to_string();
    host.namespace.shell(&format!("nft -f {file}"));
    host.namespace.shell(OTHERS);
    let before = host.rules();
    host.folder.write("nftables.conf", CONFIGURATION.as_bytes());
    let session = host.start(&["guard", "--window", "120", "--", "nft", "-f", &file]);
    host.wait_until_asked();
    assert!(!host.rules().nft.contains("DOCKER"));
    host.run(&["revert"]).expect(0, &["the old rules are back"]);
    finish(session).expect(
        1,
        &[
            "gone, and it may be another program's: table inet f2b-table (chain f2b-chain)",
            "gone, and it may be another program's: table ip filter (chains ",
            "gone, and it may be another program's: table ip nat (chains ",
            "DOCKER-USER",
            "newly allowed",
        ],
    );
    let after = host.rules();
    assert_eq!(after.canonical(), before.canonical());
    for program in ["iptables-nft", "iptables-nft -t nat"] {
        let rules = host.namespace.shell(&format!("{program} -S"));
        assert!(rules.contains("-N DOCKER"), "{program} does not know its chains any more:\n{rules}");
    }
    host.namespace.shell("iptables-nft -C f2b-sshd -s 192.0.2.66/32 -j REJECT; nft get element inet f2b-table addr-set-sshd '{ 192.0.2.67 }'");
}

#[test]
fn rules_of_the_old_iptables_are_seen_told_and_taken_back() {
    let Some(host) = Host::with(&["nft", "iptables-nft", "iptables-legacy", "iptables-legacy-save"]) else {
        return;
    };
    host.namespace.shell(
        "iptables-nft -A INPUT -p tcp --dport 8080 -j DROP
         iptables-legacy -A INPUT -p tcp --dport 8081 -j DROP",
    );
    let before = host.rules();
    assert!(before.legacy_iptables.contains("8081"));
    let session =
        host.start(&["guard", "--window", "120", "--", "iptables-legacy", "-A", "INPUT", "-j", "DROP"]);
    host.wait_until_asked();
    assert!(host.rules().legacy_iptables.contains("-A INPUT -j DROP"));
    host.run(&["revert"]).expect(0, &["the old rules are back"]);
    finish(session).expect(1, &["newly blocked: any -> any"]);
    assert_eq!(host.rules().canonical(), before.canonical());
    // Where the kernel had no table of it before.
    let host = Host::with(&["nft"]).unwrap();
    let before = host.rules();
    let session = host.start(&["guard", "--window", "120", "--", "iptables-legacy", "-P", "INPUT", "DROP"]);
    host.wait_until_asked();
    host.run(&["revert"]).expect(0, &["the old rules are back"]);
    finish(session).expect(1, &["newly blocked"]);
    assert!(host.namespace.shell("iptables-legacy -S").contains("-P INPUT ACCEPT"));
    assert_eq!(before.nft, host.rules().nft);
}

/// A table that the process which made it owns: nobody else can delete it, while that lives. It is one that the guard can't
/// tell from others: in a session of its own, without the command's environment, and whoever started it is gone.
const OWNED: &str =
    "env -u FIREWARDEN_TRIAL setsid sh -c '{ (echo \"add table inet held { flags owner; }\"; exec sleep 300) | nft -i; } &' </dev/null >/dev/null 2>&1
  until nft list tables | grep -q held; do sleep 0.1; done";

/// Ends the owner of the table; with its input, nft ends.
fn release(host: &Host) {
    host.namespace.shell(
        "for process in /proc/[0-9]*; do
       [ \"$(cat $process/comm)\" != sleep ] || kill ${process#/proc/}
     done; while nft list tables | grep -q held; do sleep 0.1; done",
    );
}

#[test]
fn a_trial_that_is_stuck_says_so_and_goes_on_until_it_is_not() {
    let Some(host) = Host::with(&["nft"]) else { return };
    host.namespace.shell("nft add table inet own");
    let before = host.rules().canonical();
    for gives_up in [false, true] {
        let session = host.start(&["guard", "--window", "120", "--", "sh", "-c", OWNED]);
        host.wait_until_asked();
        host.run(&["revert"]).expect(1, &["the old rules do NOT come back"]);
        finish(session).expect(1, &["the old rules do NOT come back"]);
        host.run(&["status"]).expect(1, &["STUCK: the old rules do not come back"]);
        if gives_up {
            host.run(&["revert", "--abandon"]).expect(0, &["given up by", "the old rules did not come back"]);
            host.run(&["status"]).expect(1, &["given up by"]);
            release(&host);
        } else {
            release(&host);
            wait_for("the way back", || host.run(&["status"]).code == 0);
            host.run(&["status"]).expect(0, &["the old rules are back, as read back from the kernel"]);
        }
        assert_eq!(host.rules().canonical(), before);
    }
}

#[test]
fn without_a_way_back_nothing_begins() {
    let Some(host) = Host::with(&["nft"]) else { return };
    host.namespace.shell(OWNED);
    let run = host.run(&["guard", "--", "nft", "add", "table", "inet", "never"]);
    run.expect(2, &["error[no-way-back]", "nft inet held", "nothing was changed"]);
    assert!(!host.rules().nft.contains("never"));
    host.run(&["status"]).expect(0, &["nothing is on trial"]);
    release(&host);
}
