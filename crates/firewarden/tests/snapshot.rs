//! Snapshots as files: what a stack file takes from them, and what they lack.

mod common;

use common::Folder;

const MANIFEST: &str = r#"{"format":1,"host":"app","taken":"2026-11-21T08:00:00Z","kernel":"6.18",
  "missing":{"ruleset.nft":"`nft -a list ruleset` failed: Operation not permitted"}}"#;
const ADDRESSES: &str =
    r#"[{"ifname":"eth0","flags":["UP"],"addr_info":[{"local":"10.0.2.20","prefixlen":24}]}]"#;

#[test]
fn a_stack_file_takes_the_rest_from_a_snapshot() {
    let folder = Folder::with(&[
        ("snaps/app/snapshot.json", MANIFEST),
        ("snaps/app/addresses.json", ADDRESSES),
        ("snaps/app/sockets.txt", "tcp LISTEN 0 128 *:8080 *:*\n"),
        (
            "app.nft",
            "table inet f {\nchain i {\ntype filter hook input priority 0; policy drop;\ntcp dport 8080 accept\n}\n}\n",
        ),
        (
            "firewarden.yaml",
            "hosts:\n  app: { snapshot: snaps/app, rules: app.nft }\nintents:\n  - allow any -> app tcp/8080\n  - deny any -> app tcp/22\n",
        ),
        ("without.yaml", "hosts:\n  app: { snapshot: snaps/app }\nintents:\n  - allow any -> app tcp/8080\n"),
    ]);
    folder.run(&["check", "."]).expect(0, &["2 pass"]);
    // Unknown rules are no empty rules.
    folder
        .run(&["check", "without.yaml"])
        .expect(2, &["snapshot-rules", "has no `ruleset.nft`", "named here"]);
    folder.run(&["check", "snaps", "--allow", "any -> app tcp/8080"]).expect(2, &["snapshot-rules"]);
    folder.write("snaps/app/snapshot.json", b"{\"format\":9}");
    folder.run(&["check", "."]).expect(2, &["snapshot-manifest"]);
}
