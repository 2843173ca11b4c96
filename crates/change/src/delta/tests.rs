use super::*;

fn fine(before: &str, after: &str) -> Delta {
    delta(&Listing::read(before).unwrap(), &Listing::read(after).unwrap(), Manner::Fine, |_| true)
}

const BEFORE: &str = "table inet t { # handle 1
	set allowed { # handle 2
		type ipv4_addr
		elements = { 192.0.2.1, 192.0.2.2 }
	}

	chain in { # handle 3
		type filter hook input priority filter; policy accept;
		ip saddr @allowed accept # handle 4
		tcp dport 22 accept # handle 5
		counter drop # handle 6
	}
}
table ip foreign { # handle 2
	chain c { # handle 1
		accept # handle 2
	}
}
";

#[test]
fn only_what_differs_is_touched() {
    let after = BEFORE
        .replace(
            "tcp dport 22 accept # handle 5",
            "tcp dport 80 accept # handle 9\n\t\ttcp dport 443 accept # handle 10",
        )
        .replace("192.0.2.2 }", "192.0.2.3 }")
        .replace("policy accept", "policy drop");
    let found = fine(BEFORE, &after);
    assert_eq!(
        found.forward,
        "delete rule inet t in handle 5\n\
         delete element inet t allowed { 192.0.2.2 }\n\
         add element inet t allowed { 192.0.2.3 }\n\
         insert rule inet t in position 6 tcp dport 80 accept\n\
         insert rule inet t in position 6 tcp dport 443 accept\n\
         add chain inet t in { policy drop; }\n"
    );
    let deleted = |index| Inverse::DeleteRule {
        family: "inet".to_owned(),
        table: "t".to_owned(),
        chain: "in".to_owned(),
        index,
    };
    assert_eq!(found.inverse[..2], [deleted(1), deleted(2)]);
    assert!(
        found
            .inverse
            .contains(&Inverse::Command("insert rule inet t in position 6 tcp dport 22 accept".to_owned()))
    );
    assert!(!found.forward.contains("foreign") && !found.rollback.contains("foreign"));
    assert_eq!(found.tables.len(), 1);
}

#[test]
fn a_ruleset_doesnt_differ_from_itself_whatever_its_handles() {
    let other = BEFORE.replace("handle 5", "handle 55").replace("handle 1\n", "handle 7\n");
    let found = fine(BEFORE, &other);
    assert!(found.is_empty() && found.forward.is_empty() && found.inverse.is_empty(), "{found:?}");
}

#[test]
fn tables_that_may_not_be_touched_stay() {
    let found = delta(&Listing::read(BEFORE).unwrap(), &Listing::default(), Manner::Fine, |table| {
        table.name != "foreign"
    });
    assert_eq!(found.forward, "delete table inet t\n");
}

#[test]
fn a_set_of_another_type_takes_its_rules_along() {
    let after = BEFORE.replace("type ipv4_addr\n", "type ipv4_addr\n\t\tflags interval\n");
    let found = fine(BEFORE, &after);
    assert!(
        found.forward.starts_with("delete rule inet t in handle 4\ndelete set inet t allowed\nadd set"),
        "{}",
        found.forward
    );
    assert!(found.forward.contains("insert rule inet t in position 5 ip saddr @allowed accept"));
    assert!(found.notes.iter().any(|note| note.contains("made anew")), "{:?}", found.notes);
}

#[test]
fn elements_that_packets_brought_stay() {
    let dynamic = BEFORE.replace("type ipv4_addr\n", "type ipv4_addr\n\t\tflags dynamic\n");
    let after = dynamic.replace("elements = { 192.0.2.1, 192.0.2.2 }\n", "elements = { 192.0.2.9 }\n");
    let found = fine(&dynamic, &after);
    assert!(found.is_empty() && found.notes.len() == 1, "{found:?}");
    let written = BEFORE.replace("counter drop", "add @allowed { ip saddr } drop");
    let after = written.replace("192.0.2.1, 192.0.2.2", "192.0.2.9");
    assert!(fine(&written, &after).is_empty());
}

#[test]
fn elements_with_a_timeout_are_brought_and_not_taken() {
    let timed = BEFORE.replace("192.0.2.2 }", "192.0.2.2 timeout 5m }");
    let kept = fine(&timed, &BEFORE.replace("192.0.2.1, 192.0.2.2", "192.0.2.1"));
    assert!(kept.is_empty(), "{kept:?}");
    let brought = fine(&BEFORE.replace("192.0.2.1, 192.0.2.2", "192.0.2.1"), &timed);
    assert_eq!(brought.forward, "add element inet t allowed { 192.0.2.2 timeout 5m }\n");
    // It may have run out by then.
    assert_eq!(
        brought.inverse,
        [
            Inverse::Command("add element inet t allowed { 192.0.2.2 timeout 5m }".to_owned()),
            Inverse::Command("delete element inet t allowed { 192.0.2.2 }".to_owned()),
        ]
    );
}

#[test]
fn many_rules_and_one_edit() {
    use std::fmt::Write;
    let rules = |skipped: usize| {
        let mut text = String::from("table ip t { # handle 1\n\tchain c { # handle 1\n");
        for number in (0..100_000).filter(|number| *number != skipped) {
            writeln!(
                text,
                "\t\tip saddr 10.{}.{}.{} drop # handle {}",
                number >> 16,
                number >> 8 & 255,
                number & 255,
                number + 2
            )
            .unwrap();
        }
        text.push_str("\t}\n}\n");
        text
    };
    let found = fine(&rules(1_000_000), &rules(77_777));
    assert_eq!(found.forward, "delete rule ip t c handle 77779\n");
    assert_eq!(found.inverse.len(), 1);
}

/// nft says who owns a table behind its handle.
#[test]
fn a_table_with_an_owner_is_read() {
    let text = "table inet held { # handle 5 progname my daemon\n\tflags owner\n\tchain c { # handle 1\n\t\taccept # handle 2\n\t}\n}\n";
    let listing = Listing::read(text).unwrap();
    let [table] = listing.tables.as_slice() else { panic!("{listing:?}") };
    assert_eq!((table.name.to_string().as_str(), table.flags), ("inet held", Some("owner")));
    assert_eq!(Listing::read(&text.replace("handle 5 ", "")).unwrap().tables.len(), 1);
}
