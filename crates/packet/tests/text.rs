//! Packets as text: what is written is read back.

use firewarden_packet::{AtomTable, Field, InterfaceName, Point, Purity, text};
use proptest::prelude::*;

fn atoms() -> AtomTable {
    let mut atoms = AtomTable::default();
    atoms.atom("", "limit", "limit rate 5/second", Purity::Stateful);
    atoms.atom("", "limit", "limit rate 5/second", Purity::Stateful);
    atoms.atom("edge", "string", "-m string --string \"a\\b\"", Purity::Pure);
    atoms.choice("", "masquerade", "masquerade to :1024-65535", Purity::Stateful, (1024, 65535));
    atoms
}

#[track_caller]
fn check(written: &str) {
    let atoms = atoms();
    let point = text::parse_with_atoms(written, &atoms).unwrap();
    assert_eq!(text::format(&point, &atoms), written);
}

#[test]
fn written_as_people_write() {
    check("tcp 10.0.1.10:40000 -> 10.0.2.20:8080 in eth0 ct new");
    check("udp [2001:db8::1]:5353 -> [2001:db8::2]:53 out wan ct established");
    check("icmp echo-request 10.0.0.1 -> 10.0.0.2 ct new");
    check("icmpv6 nd-neighbor-solicit fe80::1 -> ff02::1 ct untracked");
    check("icmp type 99 10.0.0.1 -> 10.0.0.2 ct new code 3");
    check("tcp 10.0.0.1:1 -> 10.0.0.2:2 ct new flags syn,ack");
    check("tcp 10.0.0.1:1 -> 10.0.0.2:2 ct invalid flags none");
    check("protocol 200 10.0.0.1 -> 10.0.0.2 ct new ct mark 0x1 mark 0xff");
    check("gre 10.0.0.1 -> 10.0.0.2 ct new dport 7 ttl 1");
    check("tcp 10.0.0.1:1 -> 10.0.0.2:2 ct related ct status dnat ct original 10.0.0.1:1 -> 10.9.9.9:80");
    check("tcp 10.0.0.1:1 -> 10.0.0.2:2 ct new where \"limit rate 5/second\" is false");
    check(
        "tcp 10.0.0.1:1 -> 10.0.0.2:2 ct new where \"limit rate 5/second\" #2 is true and \
         \"-m string --string \\\"a\\\\b\\\"\" on \"edge\" is true and \"masquerade to :1024-65535\" is 2000",
    );
}

#[test]
fn what_is_left_out() {
    let point = text::parse("tcp 10.0.1.10 -> 10.0.2.20:8080 ct established ct direction reply").unwrap();
    assert_eq!(point.get(Field::SPORT), 40_000);
    assert_eq!(point.get(Field::TCP_FLAGS), firewarden_packet::tcp_flag::ACK);
    assert_eq!(point.get(Field::CT_ORIGINAL_SPORT), 8080);
    assert_eq!(point.get(Field::CT_ORIGINAL_SADDR), 0x0a00_0214);
    let point = text::parse("icmp 10.0.1.10 -> 10.0.2.20 out eth1").unwrap();
    assert_eq!(point.get(Field::FIB_DADDR_TYPE), firewarden_packet::fib_type::UNICAST);
    assert_eq!(point.get(Field::ICMP_TYPE), 8);
}

#[track_caller]
fn refused(written: &str, offset: usize, message: &str) {
    let error = text::parse(written).unwrap_err();
    assert_eq!((error.offset, error.message.as_str()), (offset, message));
    assert!(!error.help.is_empty());
}

#[test]
fn errors_have_a_place_and_a_remedy() {
    refused("", 0, "the packet ends where a protocol should follow");
    refused("tpc 1.2.3.4 -> 1.2.3.4", 0, "`tpc` is not a protocol");
    refused("tcp 1.2.3.4:1 -> 1.2.3.400:80", 17, "`1.2.3.400` is not an address");
    refused("tcp 1.2.3.4:1 -> 1.2.3.4", 17, "the destination has no port");
    refused("tcp 1.2.3.4:1 to 1.2.3.4:1", 14, "`to` stands where `->` should");
    refused("tcp 1.2.3.4:1 -> [::1]:1", 4, "source and destination are of two address families");
    refused("tcp 1.2.3.4:99999 -> 1.2.3.4:1", 4, "`99999` is not a port");
    refused("icmp 1.2.3.4:1 -> 1.2.3.4", 5, "this protocol has no ports");
    refused("udp 1.2.3.4:1 -> 1.2.3.4:1 ct old", 30, "`old` is not a connection state");
    refused("udp 1.2.3.4:1 -> 1.2.3.4:1 via eth0", 27, "`via` is not a field of a packet");
    refused("udp 1.2.3.4:1 -> 1.2.3.4:1 ttl 256", 31, "`256` is not a value of `ttl`");
    refused(
        "udp 1.2.3.4:1 -> 1.2.3.4:1 in abcdefghijklmnop",
        30,
        "`abcdefghijklmnop` is too long for the name of an interface",
    );
    refused(
        "udp 1.2.3.4:1 -> 1.2.3.4:1 where \"quota\" is true",
        33,
        "no opaque condition `quota` is in the ruleset",
    );
}

fn any_point() -> impl Strategy<Value = Point> {
    let values = proptest::collection::vec((any::<u128>(), any::<u8>()), Field::ALL_FIXED.len());
    (values, any::<u8>(), proptest::option::of(0u128..2)).prop_map(|(values, like, atom)| {
        let mut point = Point::default();
        for (&field, (value, chance)) in Field::ALL_FIXED.iter().zip(values) {
            let (low, high) = AtomTable::default().domain(field);
            let all = high == u128::MAX;
            let value = if all { value } else { low + value % (high - low + 1) };
            let value = match field {
                Field::NFPROTO => [2, 10, value][chance as usize % 3],
                Field::L4PROTO => [6, 17, 1, 58, 132, value][chance as usize % 6],
                Field::SADDR | Field::DADDR if like % 4 != 0 => value & 0xffff_ffff,
                Field::CT_ORIGINAL_SADDR | Field::CT_ORIGINAL_DADDR => (value & 0xffff_ffff) | 1,
                Field::IIFNAME | Field::OIFNAME if chance % 8 != 0 => {
                    InterfaceName::new(["lo", "eth0", "0x1", "a\"b", ""][chance as usize % 5]).unwrap().0
                }
                _ if chance % 2 == 0 => continue,
                _ => value,
            };
            point.set(field, value);
        }
        if let Some(value) = atom {
            let (field, _) = atoms().iter().next().unwrap();
            point.set(field, value);
        }
        point
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn what_is_written_is_read_back(point in any_point()) {
        let atoms = atoms();
        let written = text::format(&point, &atoms);
        let read = text::parse_with_atoms(&written, &atoms);
        prop_assert_eq!(read, Ok(point), "{}", written);
    }

    #[test]
    fn no_text_panics(written in "(tcp|udp|icmp|protocol) ?[-a-z0-9.:\\[\\] >\"#\\\\µ]{0,60}") {
        let _ = text::parse(&written);
    }
}
