//! ufw, which writes `/etc/ufw` and loads it by iptables-restore: here it has copies of its files.

use super::{Host, finish};

/// A host with ufw, and with rules that aren't ufw's.
fn host() -> Option<Host> {
    let host = Host::with(&["ufw", "iptables", "iptables-nft-save", "nft"])?;
    let copy = host.folder.path().join("copy").display().to_string();
    host.namespace.shell(&format!(
        "for place in /etc/ufw /etc/default /lib/ufw /usr/share/ufw; do
           [ -d $place ] || continue
           mkdir -p {copy}$place
           cp -a $place/. {copy}$place/
           mount --bind {copy}$place $place
         done
         nft 'add table inet own; add chain inet own input {{ type filter hook input priority 10; }}; add rule inet own input tcp dport 8081 drop'
         iptables-nft -A INPUT -p tcp --dport 8080 -j DROP"
    ));
    Some(host)
}

#[test]
fn without_a_confirmation_everything_of_ufw_is_gone() {
    let Some(host) = host() else { return };
    let before = host.rules();
    let session = host.start(&["guard", "--window", "120", "--", "ufw", "--force", "enable"]);
    host.wait_until_asked();
    assert!(host.rules().iptables.contains("ufw-user-input") || host.rules().nft.contains("ufw-user-input"));
    host.run(&["revert", "--because", "ssh fails"]).expect(0, &["the old rules are back"]);
    let words = ["newly blocked", "files that the command wrote", "ssh fails"];
    let run = finish(session);
    run.expect(1, &words);
    assert!(!run.all().contains("same-table"), "{}", run.all());
    let after = host.rules();
    assert_eq!(after.canonical(), before.canonical());
    assert_eq!(after.digest(), before.digest());
    // The kernel's rules are the old ones; that ufw comes up at the next boot is a file of its own.
    assert!(host.namespace.shell("cat /etc/ufw/ufw.conf").contains("ENABLED=yes"));
}

#[test]
fn confirmed_rules_of_ufw_stay() {
    let Some(host) = host() else { return };
    let script = "ufw default deny incoming && ufw allow 22/tcp && ufw --force enable";
    let session = host.start(&["guard", "--window", "120", "--", "sh", "-c", script]);
    host.wait_until_asked();
    let tried = host.rules().digest();
    host.run(&["confirm"]).expect(0, &["the new rules stay"]);
    finish(session).expect(0, &["the new rules stay: confirmed by"]);
    assert_eq!(host.rules().digest(), tried);
    assert!(host.namespace.shell("ufw status").contains("22/tcp"));
    // What was confirmed comes back after it was lost.
    host.namespace.shell("nft flush ruleset");
    host.run(&["restore", "--last-confirmed", "--because", "flushed by mistake"])
        .expect(0, &["are loaded, as read back"]);
    assert_eq!(host.rules().digest(), tried);
    assert!(host.namespace.shell("ufw status").contains("22/tcp"));
}
