//! `diff --running`: what a network namespace runs against what it would run.

mod common;

use common::namespace::Namespace;
use std::process::Output;

/// A namespace, or `None` after saying why there is none.
fn namespace() -> Option<Namespace> {
    match Namespace::new() {
        Ok(made) => Some(made),
        Err(why) => {
            assert!(
                std::env::var("CI").as_deref() != Ok("true"),
                "network namespaces are needed in CI: {why}"
            );
            eprintln!("skipped, as there are no network namespaces here: {why}");
            None
        }
    }
}

const IPV4: &str = "*nat
:PREROUTING ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
-A PREROUTING -i eth0 -p tcp -m tcp --dport 8080 -j DNAT --to-destination 172.17.0.3:80
-A POSTROUTING -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE
COMMIT
*filter
:INPUT DROP [0:0]
:FORWARD DROP [0:0]
:OUTPUT ACCEPT [0:0]
-A INPUT -i lo -j ACCEPT
-A INPUT -p tcp -m tcp --dport 443 -j ACCEPT
-A FORWARD -m conntrack --ctstate DNAT -j ACCEPT
COMMIT
";

const IPV6: &str = "*filter
:INPUT DROP [0:0]
:FORWARD DROP [0:0]
:OUTPUT ACCEPT [0:0]
-A INPUT -p tcp -m tcp --dport 22 -j ACCEPT
COMMIT
";

/// A listing of one family replaces the tables it has and nothing else, and what runs compared with its own listing is
/// the same, although the one is told by nft and the other by iptables.
#[test]
fn a_listing_replaces_its_own_tables_only() {
    let Some(host) = namespace() else { return };
    let folder = common::Folder::with(&[("load.v4", IPV4), ("load.v6", IPV6)]);
    let at = |name: &str| folder.path().join(name).display().to_string();
    host.shell(&format!(
        "iptables-nft-restore < {} && ip6tables-nft-restore < {}",
        at("load.v4"),
        at("load.v6")
    ));
    folder.write("now.v4", host.shell("iptables-nft-save").as_bytes());
    folder.write("now.v6", host.shell("ip6tables-nft-save").as_bytes());
    let diff = |name: &str| -> (Option<i32>, String) {
        let output: Output = host
            .command(env!("CARGO_BIN_EXE_firewarden"))
            .args(["diff", "--running", &at(name)])
            .output()
            .expect("the program runs");
        let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        (output.status.code(), text.into_owned())
    };
    for name in ["now.v4", "now.v6"] {
        let (code, told) = diff(name);
        assert!(code == Some(0) && told.contains("same meaning"), "{name}: {told}");
    }
    folder.write("filter.v4", IPV4[IPV4.find("*filter").unwrap()..].replace("443", "444").as_bytes());
    let (code, told) = diff("filter.v4");
    assert_eq!(code, Some(1), "{told}");
    assert!(told.contains("1 newly blocked, 1 newly allowed"), "nat and IPv6 stay: {told}");
}
