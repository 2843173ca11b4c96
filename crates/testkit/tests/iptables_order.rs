//! The tables of iptables run in the order raw, mangle, nat, filter on every hook (iptables(8), "TABLES").

use firewarden_packet::{Field, Point, text};
use firewarden_ruleset::interpreter::Outcome;
use firewarden_testkit::differential::world;
use firewarden_testkit::generate::{Generated, Syntax};
use firewarden_testkit::host::{Passage, Way, interpret};

fn passage(save: &str, way: Way, packet: &str) -> Passage {
    let world = world(&Generated::fixed(Syntax::Iptables, save)).unwrap();
    let packet: Point = text::parse(packet).unwrap();
    interpret(&world, way, &packet)
}

#[test]
fn a_mark_of_mangle_is_seen_by_filter() {
    for (chain, way, packet) in [
        ("INPUT", Way::Input, "tcp 198.51.100.7 -> 10.0.0.1:22 in eth0"),
        ("FORWARD", Way::Forward, "tcp 198.51.100.7 -> 10.0.0.1:22 in eth0 out eth1"),
        ("OUTPUT", Way::Output, "tcp 198.51.100.7 -> 10.0.0.1:22 out eth1"),
    ] {
        let save = format!(
            "*filter\n:{chain} ACCEPT [0:0]\n-A {chain} -m mark --mark 0x1 -j DROP\nCOMMIT\n\
             *mangle\n:{chain} ACCEPT [0:0]\n-A {chain} -p tcp --dport 22 -j MARK --set-mark 0x1\nCOMMIT\n"
        );
        assert_eq!(passage(&save, way, packet).outcome, Outcome::Dropped, "{chain}");
        let other = packet.replace(":22", ":80");
        assert_eq!(passage(&save, way, &other).outcome, Outcome::Accepted, "{chain}");
    }
}

#[test]
fn raw_runs_before_conntrack_and_mangle_before_nat() {
    let save = "*nat\n:PREROUTING ACCEPT [0:0]\n\
        -A PREROUTING -p tcp -m mark --mark 0x1 -j DNAT --to-destination 10.0.0.9:8080\nCOMMIT\n\
        *mangle\n:PREROUTING ACCEPT [0:0]\n-A PREROUTING -m conntrack --ctstate NEW -j MARK --set-mark 0x1\nCOMMIT\n\
        *raw\n:PREROUTING ACCEPT [0:0]\n-A PREROUTING -s 192.0.2.0/24 -j CT --notrack\nCOMMIT\n";
    for (source, port) in [("198.51.100.7", 8080), ("192.0.2.1", 80)] {
        let packet = format!("tcp {source} -> 10.0.0.1:80 in eth0 out eth1");
        assert_eq!(passage(save, Way::Forward, &packet).packet.get(Field::DPORT), port, "{source}");
    }
}
