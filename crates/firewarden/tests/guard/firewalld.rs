//! firewalld, which changes the kernel in a process of its own that the command only talks to, by a D-Bus of its own here.

use super::{Host, finish, wait_for};

const BUS: &str = "\
<!DOCTYPE busconfig PUBLIC \"-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN\"
  \"http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd\">
<busconfig>
  <type>system</type>
  <listen>unix:path=/run/dbus/system_bus_socket</listen>
  <auth>EXTERNAL</auth>
  <policy context=\"default\">
    <allow user=\"*\"/>
    <allow own=\"*\"/>
    <allow send_type=\"method_call\"/>
    <allow send_type=\"signal\"/>
    <allow send_type=\"method_return\"/>
    <allow send_type=\"error\"/>
    <allow receive_type=\"method_call\"/>
    <allow receive_type=\"signal\"/>
    <allow receive_type=\"method_return\"/>
    <allow receive_type=\"error\"/>
  </policy>
</busconfig>
";

/// A host with firewalld, and with rules that aren't its own.
fn host() -> Option<Host> {
    let host = Host::with(&["firewalld", "firewall-cmd", "dbus-daemon", "nft"])?;
    host.folder.write("bus.conf", BUS.as_bytes());
    let folder = host.folder.path().display();
    host.namespace.shell(&format!(
        "mkdir -p /run/dbus {folder}/etc {folder}/log
         cp -a /etc/firewalld/. {folder}/etc
         mount --bind {folder}/etc /etc/firewalld
         mount --bind {folder}/log /var/log
         nft 'add table inet own; add chain inet own input {{ type filter hook input priority 10; }}; add rule inet own input tcp dport 8081 drop'
         dbus-daemon --config-file={folder}/bus.conf --fork --nopidfile
         firewalld --nofork --nopid --log-target=file </dev/null >{folder}/firewalld.log 2>&1 &"
    ));
    wait_for("firewalld runs", || {
        host.command("firewall-cmd", &["--state"]).output().unwrap().status.success()
    });
    Some(host)
}

#[test]
fn ports_and_reloads_of_firewalld_go_back_or_stay() {
    let Some(host) = host() else { return };
    let before = host.rules();
    assert!(before.nft.contains("table inet firewalld"));
    let session = host.start(&["guard", "--window", "120", "--", "firewall-cmd", "--add-port", "8080/tcp"]);
    host.wait_until_asked();
    assert!(host.rules().nft.contains("8080"));
    host.run(&["revert"]).expect(0, &["the old rules are back"]);
    finish(session)
        .expect(1, &["newly allowed: any -> any tcp/8080", "what running programs think of their rules"]);
    assert_eq!(host.rules().canonical(), before.canonical());
    // firewalld doesn't know: it is told by a reload, which finds its tables as they are and makes them anew.
    assert!(host.namespace.shell("firewall-cmd --list-ports").contains("8080/tcp"));
    host.namespace.shell("firewall-cmd -q --reload");
    assert!(!host.namespace.shell("firewall-cmd --list-ports").contains("8080/tcp"));
    assert_eq!(host.rules().canonical(), before.canonical());
    // A reload deletes firewalld's table and makes it anew, with what was saved beforehand.
    host.namespace.shell("firewall-cmd -q --permanent --add-port 9090/tcp");
    let session = host.start(&["guard", "--window", "120", "--", "firewall-cmd", "--reload"]);
    host.wait_until_asked();
    let tried = host.rules().digest();
    host.run(&["confirm"]).expect(0, &["the new rules stay"]);
    finish(session).expect(0, &["newly allowed: any -> any tcp/9090"]);
    assert_eq!(host.rules().digest(), tried);
    assert!(host.rules().nft.contains("9090"));
}
