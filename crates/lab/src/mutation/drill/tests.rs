use super::*;

fn case(kind: Kind, result: CaseResult) -> Case {
    let what = "without `accept`".to_owned();
    Case { kind: kind.word().to_owned(), file: "edge.nft".to_owned(), line: 7, what, result }
}

fn compared(intents: &[(&str, Agreement)]) -> CaseResult {
    let each = intents.iter().enumerate().map(|(intent, (verdict, agreement))| Compared {
        intent,
        verdict: (*verdict).to_owned(),
        agreement: *agreement,
        evidence: Vec::new(),
    });
    CaseResult::Compared(each.collect())
}

fn why() -> String {
    "no such set".to_owned()
}

const EVERY: [Agreement; 5] =
    [Agreement::Agrees, Agreement::Miss, Agreement::FalseRefusal, Agreement::NotShown, Agreement::Undecided];

#[test]
fn a_case_has_what_its_intents_have() {
    let mixed = compared(&[("pass", Agreement::Miss), ("fail", Agreement::Agrees)]);
    let expected = [
        (mixed, vec![Agreement::Agrees, Agreement::Miss]),
        (compared(&[("pass", Agreement::Agrees)]), vec![Agreement::Agrees]),
        (compared(&[]), vec![]),
        // What could have been loaded was refused for nothing.
        (CaseResult::RefusedByModel { why: why() }, vec![Agreement::FalseRefusal]),
        (CaseResult::RefusedByBoth { why: why() }, vec![]),
        (CaseResult::RefusedByKernel { why: why() }, vec![]),
    ];
    for (result, has) in expected {
        let case = case(Kind::Swap, result);
        let found: Vec<Agreement> = EVERY.into_iter().filter(|agreement| case.has(*agreement)).collect();
        assert_eq!(found, has, "{case:?}");
    }
}

#[test]
fn the_gate_refuses_what_does_not_pass() {
    let is_refused = |result| case(Kind::Set, result).is_refused();
    assert!(!is_refused(compared(&[("pass", Agreement::Agrees), ("pass", Agreement::Miss)])));
    for verdict in ["fail", "depends", "undetermined", "vacuous"] {
        assert!(is_refused(compared(&[("pass", Agreement::Agrees), (verdict, Agreement::Agrees)])));
    }
    assert!(is_refused(CaseResult::RefusedByBoth { why: why() }));
    assert!(is_refused(CaseResult::RefusedByModel { why: why() }));
    assert!(!is_refused(CaseResult::RefusedByKernel { why: why() }));
}

#[test]
fn each_case_is_counted_with_its_kind_and_with_all() {
    let cases = [
        case(Kind::Delete, compared(&[("pass", Agreement::Agrees)])),
        case(Kind::Delete, compared(&[("fail", Agreement::Agrees), ("fail", Agreement::Agrees)])),
        case(Kind::Delete, compared(&[("pass", Agreement::Miss), ("pass", Agreement::Miss)])),
        case(Kind::Policy, compared(&[("pass", Agreement::Miss), ("fail", Agreement::FalseRefusal)])),
        case(Kind::Policy, compared(&[("depends", Agreement::Undecided), ("fail", Agreement::NotShown)])),
        case(Kind::Policy, CaseResult::RefusedByBoth { why: why() }),
        case(Kind::Policy, CaseResult::RefusedByKernel { why: why() }),
        case(Kind::Policy, CaseResult::RefusedByModel { why: why() }),
    ];
    let delete =
        Tally { kind: "delete".into(), planted: 3, refused: 1, harmless: 1, misses: 1, ..Tally::default() };
    let policy = Tally {
        kind: "policy".into(),
        planted: 5,
        unloadable: 2,
        refused: 3,
        harmless: 0,
        misses: 1,
        false_refusals: 2,
        not_shown: 1,
        undecided: 1,
    };
    let all = Tally {
        kind: String::new(),
        planted: 8,
        unloadable: 2,
        refused: 4,
        harmless: 1,
        misses: 2,
        false_refusals: 2,
        not_shown: 1,
        undecided: 1,
    };
    assert_eq!(tally(&cases), [delete, policy, all], "kinds that nothing was planted of are left out");
    assert_eq!(tally(&[]), [Tally::default()]);
}
