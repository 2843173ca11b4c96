use super::*;

/// What nft 1.0.6 prints with `-s -a`.
const LISTING: &str = r#"# Warning: table ip filter is managed by iptables-nft, do not touch!
table inet t { # handle 1
	flags dormant
	comment "tab { le"

	counter c { # handle 3
		comment "hm; \"
	}

	ct timeout to { # handle 7
		protocol tcp
		l3proto ip
		policy = { established : 100, close : 4 }
	}

	set iv { # handle 12
		type ipv4_addr . inet_service
		flags interval
		auto-merge
		comment "my set"
		elements = { 10.0.0.0/8 . 1-5,
			     1.2.3.4 . 7 counter comment "a, } b",
			     1.2.3.5 . 7 timeout 5m }
	}

	map vm { # handle 14
		type inet_service : verdict
		elements = { 22 : accept, 80 : jump other }
	}

	set dyn { # handle 10
		type ipv4_addr
		size 65535
		flags dynamic,timeout
		timeout 1m
	}

	chain other { # handle 1
		comment "a chain"
	}

	chain in { # handle 2
		type filter hook input priority filter; policy drop;
		ct state vmap { invalid : drop } comment "line
two" # handle 17
		counter name "c" log prefix "a # handle 5" accept # handle 19
		update @dyn { ip saddr limit rate 10/second } accept # handle 20
		ip saddr 10.0.0.1 counter comment "odd " quote" accept # handle 21
	}
}
table netdev nd { # handle 2
	chain ing { # handle 1
		type filter hook ingress device "lo" priority filter; policy accept;
	}
}
"#;

#[test]
fn what_nft_prints_is_understood() {
    let listing = Listing::read(LISTING).unwrap();
    let [table, netdev] = listing.tables.as_slice() else { panic!("{listing:?}") };
    assert_eq!((table.flags, table.other.as_slice()), (Some("dormant"), &["comment \"tab { le\""][..]));
    assert_eq!(
        table.objects.iter().map(|object| (object.kind, object.name)).collect::<Vec<_>>(),
        [("counter", "c"), ("ct timeout", "to")]
    );
    assert_eq!(table.objects[1].body.len(), 3);
    let [iv, vm, dynamic] = table.sets.as_slice() else { panic!("{table:?}") };
    assert_eq!(iv.header, ["type ipv4_addr . inet_service", "flags interval", "auto-merge"]);
    assert_eq!(iv.comment, Some("comment \"my set\""));
    assert_eq!(
        iv.elements.keys().copied().collect::<Vec<_>>(),
        ["1.2.3.4 . 7", "1.2.3.5 . 7", "10.0.0.0/8 . 1-5"]
    );
    assert_eq!(iv.elements["1.2.3.4 . 7"].text, "1.2.3.4 . 7 counter comment \"a, } b\"");
    assert!(iv.elements["1.2.3.5 . 7"].timed && !iv.elements["1.2.3.4 . 7"].timed);
    assert_eq!(vm.elements["80"].text, "80 : jump other");
    assert!(dynamic.is_dynamic() && !iv.is_dynamic());
    assert_eq!(table.written_sets().into_iter().collect::<Vec<_>>(), ["dyn"]);
    let chain = table.chain("in").unwrap();
    assert_eq!((chain.base, chain.policy), (Some("type filter hook input priority filter"), Some("drop")));
    assert_eq!(chain.rules.iter().map(|rule| rule.handle).collect::<Vec<_>>(), [17, 19, 20, 21]);
    assert!(chain.rules[0].text.ends_with("comment \"line\ntwo\""));
    assert_eq!(netdev.chains[0].base, Some("type filter hook ingress device \"lo\" priority filter"));
}

#[test]
fn no_end_and_no_table_are_errors_not_panics() {
    for end in 0..LISTING.len() {
        let cut = &LISTING[..end];
        // Only what ends with a table is whole.
        if Listing::read(cut).is_ok() {
            assert!(
                cut.trim_end().is_empty() || cut.trim_end().ends_with('}') || cut.starts_with('#'),
                "{cut}"
            );
        }
    }
    assert!(Listing::read("accept\n").is_err());
    assert!(Listing::read("table inet t {\n\tthing x {\n\t}\n}\n").is_err());
    assert_eq!(Listing::read("").unwrap().tables.len(), 0);
}

#[test]
fn rules_that_are_printed_in_two_ways_are_equal() {
    let normal = |text: &str| normal_form(text).into_owned();
    assert_eq!(normal("tcp flags { syn | ack, syn } drop"), normal("tcp flags { syn, syn | ack } drop"));
    assert_eq!(normal("ip daddr { 10.0.0.0-10.0.2.255 } drop"), normal("ip daddr 10.0.0.0-10.0.2.255 drop"));
    let nested = "tcp dport vmap { 1 : jump { a, b }, 2 : drop } log prefix \"{ b, a\"";
    assert_eq!(normal(nested), nested);
    assert_ne!(normal("jump {\n\taccept\n\tdrop\n}"), normal("jump {\n\tdrop\n\taccept\n}"));
    for odd in ["a { b, c", "a } b, c {", "{,}", "\"{", "ct state { }", "jump {\n\taccept"] {
        assert_eq!(normal(&normal(odd)), normal(odd));
    }
}
