//! Guards and the kernel, in network namespaces of the tests' own.

mod disk;
mod iptables;
mod place;

use firewarden_change::plan::{Inverse, Loader, Persist, Script};
use firewarden_change::trial::{Asker, Outcome, Phase, Reason};
use firewarden_host::guard::{self, Change, ClientError, Extent, Wish};
use place::{NEW, OLD, Place, in_place};
use std::time::Duration;

const SOON: Duration = Duration::from_secs(20);

fn asker() -> Asker {
    Asker::new("operator", "2026-11-21T08:00:00Z", "a test")
}

fn outcome(place: &Place) -> Outcome {
    let record = guard::wait_for(&place.home, SOON, |record| record.phase.is_done()).unwrap().unwrap();
    match record.phase {
        Phase::Done(outcome) => outcome,
        other => panic!("it isn't over: {other:?}\n{}", place.log()),
    }
}

fn applied(place: &Place) {
    let applied = |phase: &Phase| matches!(phase, Phase::Applied { .. } | Phase::Done(_));
    let record = guard::wait_for(&place.home, SOON, |record| applied(&record.phase)).unwrap().unwrap();
    assert!(matches!(record.phase, Phase::Applied { .. }), "{record:?}\n{}", place.log());
}

#[test]
fn what_is_not_confirmed_goes_back_at_the_deadline() {
    in_place(|place| {
        let plan = place.plan();
        let status =
            guard::start(&place.home, Change::Plan { plan: &plan, before: None }, "t", &place.launcher);
        assert!(status.unwrap().guarded);
        applied(place);
        assert_eq!(place.rules(), NEW);
        let Outcome::Reverted { reason, .. } = outcome(place) else { panic!("{}", place.log()) };
        assert_eq!(reason, Reason::Deadline);
        assert_eq!(place.rules(), OLD);
        assert!(place.log().contains("load inverse"), "{}", place.log());
        assert!(!place.log().contains("load rollback"), "{}", place.log());
        assert_eq!(guard::confirmed(&place.home).unwrap(), None);
    });
}

#[test]
fn what_is_confirmed_stays_and_lasts() {
    in_place(|place| {
        let mut plan = place.plan();
        let file = place.folder().join("nftables.conf");
        std::fs::write(&file, "old\n").unwrap();
        let path = file.to_string_lossy().into_owned();
        plan.persist = Some(Persist { path, text: "new\n".to_owned() });
        guard::start(&place.home, Change::Plan { plan: &plan, before: None }, "t", &place.launcher).unwrap();
        applied(place);
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "old\n");
        let wish = Wish::Confirm { ruleset: Some(plan.result.clone()) };
        guard::ask(&place.home, &wish, asker()).unwrap();
        let Outcome::Confirmed { ruleset, trouble, foreign, .. } = outcome(place) else {
            panic!("{}", place.log())
        };
        assert_eq!((ruleset, trouble, foreign), (plan.result.clone(), None, false));
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "new\n");
        let (manifest, state) = guard::confirmed(&place.home).unwrap().unwrap();
        assert_eq!((manifest.ruleset, manifest.plan), (plan.result.clone(), Some(plan.hash())));
        assert_eq!(state.digest(), plan.result);
        std::thread::sleep(Duration::from_millis(1200));
        assert_eq!(place.rules(), NEW);
        // A reboot: the kernel forgets everything.
        place.nft("flush ruleset");
        let recovered = guard::recover(&place.home, Extent::Touched).unwrap();
        assert_eq!((recovered.confirmed, recovered.loaded), (Some(plan.result), true));
        assert_eq!(place.rules(), NEW);
        assert!(!guard::recover(&place.home, Extent::Touched).unwrap().loaded);
        // A trial that nobody can make sense of keeps no host from its rules.
        let state = place.home.trial().join("terms.json");
        let terms = std::fs::read(&state).unwrap();
        std::fs::write(&state, "{").unwrap();
        place.nft("flush ruleset");
        let recovered = guard::recover(&place.home, Extent::Touched).unwrap();
        assert!(recovered.loaded && recovered.trouble.is_some_and(|words| words.contains("terms.json")));
        assert_eq!(place.rules(), NEW);
        std::fs::write(&state, terms).unwrap();
        let (id, archived) = guard::archive(&place.home).unwrap();
        assert_eq!(id, "t");
        assert!(archived.join("plan.json").exists() && guard::status(&place.home).unwrap().is_none());
    });
}

#[test]
fn a_request_to_revert_goes_back_at_once() {
    in_place(|place| {
        let mut plan = place.plan();
        plan.window_seconds = 600;
        plan.inverse = vec![Inverse::Command("delete table ip nowhere".to_owned())];
        plan.forward = by_nft();
        guard::start(&place.home, Change::Plan { plan: &plan, before: None }, "t", &place.launcher).unwrap();
        applied(place);
        let second =
            guard::start(&place.home, Change::Plan { plan: &plan, before: None }, "u", &place.launcher);
        assert!(matches!(second, Err(ClientError::Busy(id)) if id == "t"));
        guard::ask(&place.home, &Wish::Revert, asker()).unwrap();
        let Outcome::Reverted { reason, .. } = outcome(place) else { panic!("{}", place.log()) };
        assert_eq!(reason, Reason::Asked(asker()));
        assert_eq!(place.rules(), OLD);
        // The quick way back was refused, so the whole one was gone.
        assert!(place.log().contains("load rollback"), "{}", place.log());
        // Another trial can begin, but not with this plan: the rules have other handles now.
        guard::start(&place.home, Change::Plan { plan: &plan, before: None }, "u", &place.launcher).unwrap();
        let Outcome::Reverted { reason, .. } = outcome(place) else { panic!("{}", place.log()) };
        assert!(matches!(reason, Reason::Stale { .. }), "{reason:?}");
        let plan = place.plan();
        guard::start(&place.home, Change::Plan { plan: &plan, before: None }, "v", &place.launcher).unwrap();
        applied(place);
        guard::ask(&place.home, &Wish::Revert, asker()).unwrap();
        assert!(matches!(outcome(place), Outcome::Reverted { .. }));
        assert!(place.home.archived("t").join("guard.log").exists());
    });
}

#[test]
fn a_plan_for_other_rules_changes_nothing() {
    in_place(|place| {
        let plan = place.plan();
        place.nft("add rule ip t c ip saddr 9.9.9.9 drop");
        let before = place.rules();
        guard::start(&place.home, Change::Plan { plan: &plan, before: None }, "t", &place.launcher).unwrap();
        let Outcome::Reverted { reason, .. } = outcome(place) else { panic!("{}", place.log()) };
        assert!(matches!(reason, Reason::Stale { .. }), "{reason:?}");
        assert_eq!(place.rules(), before);
        assert!(!place.log().contains("load"), "{}", place.log());
    });
}

#[test]
fn a_forward_script_that_is_refused_is_told_with_the_loaders_words() {
    in_place(|place| {
        let mut plan = place.plan();
        plan.forward[0].text.push_str("add rule ip t nowhere accept\n");
        guard::start(&place.home, Change::Plan { plan: &plan, before: None }, "t", &place.launcher).unwrap();
        let Outcome::Reverted { reason: Reason::Refused { words }, .. } = outcome(place) else {
            panic!("{}", place.log())
        };
        assert!(words.contains("No such file or directory"), "{words}");
        assert_eq!(place.rules(), OLD);
    });
}

#[test]
fn others_who_change_their_own_tables_meanwhile_are_no_trouble() {
    in_place(|place| {
        let plan = place.plan();
        let before = firewarden_host::state::State::read().unwrap();
        let change = Change::Plan { plan: &plan, before: Some(&before) };
        guard::start(&place.home, change, "t", &place.launcher).unwrap();
        applied(place);
        place.nft("add table ip docker");
        let Outcome::Reverted { reason, foreign } = outcome(place) else { panic!("{}", place.log()) };
        assert_eq!((reason, foreign), (Reason::Deadline, true));
        assert_eq!(place.rules(), format!("table ip docker {{\n}}\n{OLD}"));
    });
}

#[test]
fn others_who_change_their_own_tables_before_the_first_look_are_no_trouble() {
    in_place(|place| {
        let mut plan = place.plan();
        // As if another writer came between the load of the new rules and the guard's look at them.
        let of_others = "add table ip docker\nadd chain ip docker c\nadd rule ip docker c drop\n";
        plan.forward.push(Script { loader: Loader::Nft, text: of_others.to_owned() });
        guard::start(&place.home, Change::Plan { plan: &plan, before: None }, "t", &place.launcher).unwrap();
        let Outcome::Reverted { reason, foreign } = outcome(place) else { panic!("{}", place.log()) };
        assert_eq!((reason, foreign), (Reason::Deadline, true));
        let docker = "table ip docker {\n\tchain c {\n\t\tdrop\n\t}\n}\n";
        assert_eq!(place.rules(), format!("{docker}{OLD}"));
    });
}

#[test]
fn tables_of_others_that_changed_since_the_plan_was_made_are_looked_at_anew() {
    in_place(|place| {
        let plan = place.plan();
        place.nft("add table ip docker");
        guard::start(&place.home, Change::Plan { plan: &plan, before: None }, "t", &place.launcher).unwrap();
        let Outcome::Reverted { reason, .. } = outcome(place) else { panic!("{}", place.log()) };
        assert!(matches!(reason, Reason::Stale { .. }), "{reason:?}");
    });
}

/// The plan's change in a form that only nft loads.
fn by_nft() -> Vec<Script> {
    let text = "insert rule ip t c ip saddr 2.2.2.2 drop # by nft\n".to_owned();
    vec![Script { loader: Loader::Nft, text }]
}

#[test]
fn a_single_rule_comes_and_goes_without_a_listing_and_is_listed_before_it_is_confirmed() {
    in_place(|place| {
        let mut plan = place.plan();
        plan.window_seconds = 60;
        // Without a quick way back in the plan: the guard knows one by itself.
        plan.inverse = Vec::new();
        guard::start(&place.home, Change::Plan { plan: &plan, before: None }, "t", &place.launcher).unwrap();
        applied(place);
        assert_eq!(place.rules(), NEW);
        guard::ask(&place.home, &Wish::Revert, asker()).unwrap();
        assert!(matches!(outcome(place), Outcome::Reverted { foreign: false, .. }), "{}", place.log());
        assert_eq!(place.rules(), OLD);
        assert!(place.log().contains("load inverse"), "{}", place.log());
        assert!(!place.log().contains("load rollback"), "{}", place.log());
    });
}

#[test]
fn what_the_kernel_was_told_is_listed_afterwards_and_goes_back_where_the_plan_says_otherwise() {
    in_place(|place| {
        let mut plan = place.plan();
        plan.window_seconds = 60;
        let other = "insert rule ip t c ip saddr 3.3.3.3 drop\n".to_owned();
        plan.forward = vec![Script { loader: Loader::Nft, text: other }];
        guard::start(&place.home, Change::Plan { plan: &plan, before: None }, "t", &place.launcher).unwrap();
        let Outcome::Reverted { reason, .. } = outcome(place) else { panic!("{}", place.log()) };
        assert!(matches!(reason, Reason::Mismatch { .. }), "{reason:?}");
        assert_eq!(place.rules(), OLD);
    });
}

#[test]
fn whatever_a_command_did_goes_back() {
    in_place(|place| {
        place.nft("add table ip other; add counter ip other c; add rule ip t c counter");
        let before = firewarden_host::state::State::read().unwrap();
        let rules = place.rules();
        let words = ["ufw".to_owned(), "enable".to_owned()];
        let change = Change::Command { words: &words, window: Duration::from_secs(1), before: &before };
        guard::start(&place.home, change, "t", &place.launcher).unwrap();
        applied(place);
        place.nft("flush ruleset; add table ip ufw; add chain ip ufw x");
        let Outcome::Reverted { reason, .. } = outcome(place) else { panic!("{}", place.log()) };
        assert_eq!(reason, Reason::Deadline);
        assert_eq!(place.rules(), rules);
        // And again, confirmed this time.
        guard::start(&place.home, change, "u", &place.launcher).unwrap();
        applied(place);
        place.nft("add table ip ufw");
        let digest = firewarden_host::state::State::read().unwrap().digest();
        let stale = Wish::Confirm { ruleset: Some(before.digest()) };
        guard::ask(&place.home, &stale, asker()).unwrap();
        let noted = guard::wait_for(&place.home, SOON, |record| record.note.is_some()).unwrap().unwrap();
        assert!(noted.note.is_some_and(|note| note.contains(&digest)), "{}", place.log());
        guard::ask(&place.home, &Wish::Confirm { ruleset: Some(digest.clone()) }, asker()).unwrap();
        let Outcome::Confirmed { ruleset, .. } = outcome(place) else { panic!("{}", place.log()) };
        assert_eq!(ruleset, digest);
    });
}
