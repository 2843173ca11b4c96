use super::*;

const BEFORE: &str = "\
table inet filter { # handle 1
	set bans { # handle 9
		type ipv4_addr
		flags dynamic,timeout
		elements = { 192.0.2.1 timeout 1h expires 59m }
	}

	chain input { # handle 2
		type filter hook input priority filter; policy drop;
		ct state established accept # handle 4
		ip saddr @bans drop # handle 5
		jump services # handle 6
		log prefix \"jump services \" # handle 12
	}

	chain services { # handle 3
		tcp dport 22 accept # handle 7
	}

	chain forward { # handle 10
		type filter hook forward priority filter; policy accept;
		counter # handle 11
	}
}
";

fn staged(after: &str) -> Result<Staged, String> {
    stage(&Listing::read(BEFORE).unwrap(), &Listing::read(after).unwrap(), 12)
}

#[test]
fn callers_of_a_changed_chain_are_doubled_and_nothing_else() {
    let staged =
        staged(&BEFORE.replace("tcp dport 22 accept # handle 7", "tcp dport 22 drop # handle 7")).unwrap();
    let expected = "\
add set inet filter fw_trial { type nf_proto; flags timeout; }
add element inet filter fw_trial { ipv4 timeout 12s, ipv6 timeout 12s }
add chain inet filter input.fw-new
add chain inet filter services.fw-new
add rule inet filter input.fw-new ct state established accept
add rule inet filter input.fw-new ip saddr @bans drop
add rule inet filter input.fw-new jump services.fw-new
add rule inet filter input.fw-new log prefix \"jump services \"
add rule inet filter services.fw-new tcp dport 22 drop
insert rule inet filter input meta nfproto @fw_trial goto input.fw-new
";
    assert_eq!(staged.forward, expected);
    let chain = Inverse::DeleteRule {
        family: "inet".to_owned(),
        table: "filter".to_owned(),
        chain: "input".to_owned(),
        index: 0,
    };
    let gone = "flush chain inet filter input.fw-new\nflush chain inet filter services.fw-new\n\
                delete chain inet filter input.fw-new\ndelete chain inet filter services.fw-new\n\
                delete set inet filter fw_trial\n";
    assert_eq!(staged.inverse, [chain, Inverse::Command(gone.to_owned())]);
    assert_eq!(staged.settle, staged.inverse);
    assert!(staged.clean.starts_with("flush chain inet filter input\nadd rule inet filter input ct state"));
    assert!(staged.clean.ends_with(gone));
}

#[test]
fn a_new_policy_is_a_last_rule_of_the_new_side() {
    let after = BEFORE.replace("policy drop", "policy accept");
    assert!(
        staged(&after).unwrap().forward.contains("add rule inet filter input.fw-new accept\ninsert rule")
    );
    let leaves = after.replace("jump services #", "goto services #");
    assert!(staged(&leaves).unwrap_err().contains("the policy of input changes from drop to accept"));
}

#[test]
fn what_the_switch_cannot_hold_is_said() {
    let new_chain =
        "chain output { # handle 20\n\t\ttype filter hook output priority 0; policy accept;\n\t}\n}\n";
    let appended = BEFORE.trim_end().strip_suffix('}').unwrap().to_owned() + new_chain;
    for (after, why) in [
        (appended, "output is a base chain on one side only"),
        (
            BEFORE.replace("hook forward priority filter", "hook forward priority 5"),
            "forward is a base chain",
        ),
        (BEFORE.replace("type ipv4_addr", "type ipv6_addr"), "the set bans of the table inet filter changes"),
        (BEFORE.replace("table inet filter", "table inet other"), "the table inet filter goes away"),
        (String::new(), "the table inet filter goes away"),
        (BEFORE.to_owned(), "no rule changes"),
    ] {
        assert!(staged(&after).unwrap_err().contains(why), "{why}: {:?}", staged(&after));
    }
    // Who is banned by now is no change of rules.
    let banned = BEFORE.replace("192.0.2.1 timeout", "192.0.2.77 timeout").replace("counter #", "accept #");
    assert!(staged(&banned).is_ok());
    let rules: String =
        (0..6000).map(|port| format!("\t\ttcp dport {port} accept # handle {}\n", port + 50)).collect();
    let many = BEFORE.replace("\t\tcounter # handle 11\n", &rules);
    assert!(staged(&many).unwrap_err().contains("6000 rules would be written a second time"));
}
