use super::*;
use crate::kernel::tests::{in_namespace, load, nft};
use crate::kernel::{carry_out, edited, is_overtaken, next, rules};
use crate::{generation, guard::raw};

const RULES: &str = "table inet t {\n chain c {\n  type filter hook input priority 0\n  tcp dport 1 accept\n  tcp dport 2 counter packets 7 bytes 9 accept\n  tcp dport 3 accept\n }\n chain other { }\n}\n";

/// The rules of `inet t`, without handles.
fn listing() -> String {
    nft(&["list", "table", "inet", "t"], "")
}

fn compiled(text: &str) -> Option<Vec<RuleEdit>> {
    compile(&[Script { loader: Loader::Nft, text: text.to_owned() }])
}

fn chain() -> ChainName {
    ChainName { family: "inet".into(), table: "t".into(), chain: "c".into() }
}

#[test]
fn what_hangs_on_others_is_left_to_nft() {
    in_namespace(|| {
        for text in [
            "add rule inet t c tcp dport { 1, 2 } accept\n",
            "add rule inet t c ip saddr @hosts accept\n",
            "add rule inet t c iif \"nowhere\" accept\n",
            "add rule inet t c counter name \"hits\" accept\n",
            "add rule inet t c accept; flush ruleset\n",
            "add rule inet t c index 3 accept\n",
            "add rule inet t c position x accept\n",
            "delete rule inet t c index 3\n",
            "flush chain inet t c\n",
            "add rule inet t c nonsense\n",
            "add rule inet t\n",
            "\n",
        ] {
            assert_eq!(compiled(text), None, "{text}");
        }
        let many = "add rule inet t c accept\n".repeat(MAX_DIRECT + 1);
        assert_eq!(compiled(&many), None);
        let script = Script { loader: Loader::Nft, text: "add rule inet t c accept\n".into() };
        assert_eq!(compile(&[script.clone(), script.clone()]), None);
        assert_eq!(compile(&[Script { loader: Loader::IptablesRestore, ..script }]), None);
        assert_eq!(compiled("").unwrap(), []);
    });
}

#[test]
fn edits_do_what_nft_does_and_are_taken_back() {
    in_namespace(|| {
        load(RULES);
        let (before, listed) = (rules(&chain()).unwrap(), listing());
        let [first, second, third] = [0, 1, 2].map(|index: usize| before[index].handle);
        let script = format!(
            "delete rule inet t c handle {second}\n\
             insert rule inet t c position {third} tcp dport 21 jump other\n\
             insert rule inet t c position {third} iif \"lo\" ip saddr 10.0.0.0/8 limit rate 5/second log prefix \"x y\" drop comment \"a b\"\n\
             add rule inet t c position {first} tcp dport 11 accept\n\
             insert rule inet t c ct state established accept\n\
             add rule inet t c meta l4proto icmp accept\n\
             add rule inet t other tcp dport 9 reject\n"
        );
        let edits = compiled(&script).unwrap();
        load(&script);
        let wanted = listing();
        load(&format!("flush ruleset\n{RULES}"));
        // Handles begin anew with a new table.
        let start = rules(&chain()).unwrap();
        assert_eq!(start, before);
        let read = raw::before(&edits).unwrap();
        let generation = generation().unwrap();
        let new = carry_out(&edits, generation).unwrap().expect("the kernel tells what it made");
        assert_eq!(crate::generation().unwrap(), next(generation));
        assert_eq!(listing(), wanted);
        let found = edited(&chain(), &start, &edits, &new).unwrap();
        assert_eq!(found, rules(&chain()).unwrap());
        let back = raw::back_from(&edits, read, &new).unwrap().into_text().unwrap();
        raw::go_back(&back, Some(next(generation))).unwrap().unwrap();
        assert_eq!(listing(), listed);
    });
}

#[test]
fn whoever_comes_in_between_is_not_run_over() {
    in_namespace(|| {
        load(RULES);
        let generation = generation().unwrap();
        let edits = compiled("add rule inet t c tcp dport 4 drop\n").unwrap();
        load("add rule inet t other accept\n");
        let listed = listing();
        let error = carry_out(&edits, generation).unwrap_err();
        assert!(is_overtaken(&error), "{error}");
        assert_eq!(listing(), listed);
        let now = crate::generation().unwrap();
        let new = carry_out(&edits, now).unwrap().unwrap();
        let back = raw::back_from(&edits, Default::default(), &new).unwrap().into_text().unwrap();
        let error = raw::go_back(&back, Some(now)).unwrap().unwrap_err();
        assert!(is_overtaken(&error), "{error}");
        assert_ne!(listing(), listed);
        raw::go_back(&back, None).unwrap().unwrap();
        assert_eq!(listing(), listed);
        // A refusal changes nothing, and is another error.
        let error = raw::go_back(&back, None).unwrap().unwrap_err();
        assert!(!is_overtaken(&error), "{error}");
        assert_eq!(next(u32::MAX), 1);
    });
}
