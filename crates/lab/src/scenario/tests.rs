use super::*;
use firewarden_diagnostic::SourceMap;

fn read(text: &str) -> (Option<Scenario>, Vec<Diagnostic>) {
    let mut sources = SourceMap::default();
    let file = sources.add("drill.yaml", text);
    read_scenario(file, text)
}

const GOOD: &str = "\
name: some-drill
title: something breaks
change:
  host: lb
  edits:
    - { file: lb.nft, find: accept, put: drop }
    - { file: lb.nft, append: \"# end\\n\" }
expect: { breaks: [public-web], errors: { new: [20, 45], kept: [0, 0.5] } }
";

#[test]
fn a_drill_is_read_and_its_change_made() {
    let (scenario, found) = read(GOOD);
    assert!(found.is_empty(), "{found:?}");
    let scenario = scenario.unwrap();
    assert!(scenario.is_refused());
    assert!(scenario.expect.errors[&Connections::New].holds(0.2));
    assert!(!scenario.expect.errors[&Connections::Kept].holds(0.01));
    let old = |name: &str| (name == "lb.nft").then(|| "tcp accept\n".to_owned());
    let texts = scenario.changed(&old, &|_| None).unwrap();
    assert_eq!(texts["lb.nft"], "tcp drop\n# end\n");
}

#[test]
fn a_stop_condition_is_read_and_told() {
    let told = |stop: &str| {
        let (scenario, found) = read(&GOOD.replace("expect:", &format!("stop: {stop}\nexpect:")));
        assert!(found.is_empty(), "{found:?}");
        scenario.unwrap().stop.unwrap().to_string()
    };
    assert_eq!(told("{ errors: 12.5, seconds: 3 }"), "more than 12.5 % of requests fail for 3 s");
    let kept = "more than 0 % of requests over kept connections fail for 1 s";
    assert_eq!(told("{ errors: 0, seconds: 1, connections: kept }"), kept);
}

#[test]
fn what_cannot_be_changed_is_told() {
    let scenario = read(GOOD).0.unwrap();
    let none = scenario.changed(&|_| None, &|_| None).unwrap_err();
    assert_eq!(none.message, "there is no file `lb.nft`");
    let twice = scenario.changed(&|_| Some("accept accept".to_owned()), &|_| None).unwrap_err();
    assert_eq!(twice.message, "`lb.nft` has 2 times what is to be replaced");
    let never = scenario.changed(&|_| Some(String::new()), &|_| None).unwrap_err();
    assert_eq!(never.message, "`lb.nft` does not have what is to be replaced");
}

#[test]
fn mistakes_are_told_with_what_to_do() {
    let told = |from: &str, to: &str| {
        let (scenario, found) = read(&GOOD.replace(from, to));
        assert!(scenario.is_none(), "{to}");
        let first = found.first().expect("something is wrong");
        assert!(first.help.is_some() && first.span().is_some(), "{first:?}");
        format!("{}: {}", first.code, first.message)
    };
    for (from, to, expected) in [
        ("title:", "titel:", "drill-unknown-key: `titel` is not a key of the drill file"),
        ("name: some-drill", "name: Some Drill", "drill-name: this can't be the name of a drill"),
        ("  host: lb\n", "", "drill-missing-key: `change` needs `host`"),
        (", put: drop", "", "drill-edit: an edit does one thing"),
        ("find: accept", "from: x, find: accept", "drill-edit: an edit does one thing"),
        (
            "[20, 45]",
            "[45, 20]",
            "drill-type: `new` of `errors` is a range of percentages, the lower one first, such as `[20, 45]`, not a list",
        ),
        ("breaks: [public-web], ", "", "drill-missing-key: `expect` needs `breaks`"),
        ("expect", "expects", "drill-unknown-key: `expects` is not a key of the drill file"),
        ("expect:", "stop: { errors: 50 }\nexpect:", "drill-missing-key: `stop` needs `seconds`"),
        (
            "expect:",
            "stop: { errors: 100, seconds: 3 }\nexpect:",
            "drill-type: `errors` of `stop` is a percentage below 100, not `100`",
        ),
        (
            "expect:",
            "stop: { errors: 5, seconds: 0 }\nexpect:",
            "drill-type: `seconds` of `stop` is a number from 1 to 600, not `0`",
        ),
        (
            "expect:",
            "stop: { errors: 5, seconds: 2, connections: keep }\nexpect:",
            "drill-type: `connections` of `stop` is `new` or `kept`, not `keep`",
        ),
        (GOOD, "", "drill-type: the drill file is a map with keys, not nothing"),
        (GOOD, "{", "drill-syntax"),
    ] {
        assert!(told(from, to).starts_with(expected), "{}", told(from, to));
    }
    let times =
        "postmortem: { began: 2024-02-18T10:00:00Z, resolved: 2024-02-18T09:00:00Z, impact: all }\nchange:";
    assert_eq!(told("change:", times), "drill-times: the times of the postmortem are out of order");
    let zone =
        "postmortem: { began: 2024-02-18 10:00, resolved: 2024-02-18T09:00:00Z, impact: all }\nchange:";
    assert_eq!(told("change:", zone), "drill-time: `began` is no time");
}

#[test]
fn the_drills_that_come_along_are_read_under_their_names() {
    for built_in in BUILT_IN {
        let (scenario, found) = read(built_in.text);
        assert!(found.is_empty(), "{}: {found:?}", built_in.name);
        let scenario = scenario.unwrap();
        assert_eq!(scenario.name, built_in.name);
        assert!(!scenario.about.is_empty() && !scenario.expect.errors.is_empty(), "{}", built_in.name);
        assert_eq!(scenario.is_refused(), built_in.name != "innocent-firewall");
    }
    assert!(by_name("003").is_some() && by_name("005").is_none());
}

#[test]
fn the_schema_has_the_keys_that_are_read() {
    let schema = scenario_schema();
    let keys = |place: &str| -> Vec<String> {
        let properties = schema.pointer(&format!("{place}/properties")).unwrap_or_else(|| panic!("{place}"));
        properties.as_object().unwrap().keys().cloned().collect()
    };
    let sorted = |keys: &[&str]| {
        let mut keys: Vec<String> = keys.iter().map(|key| (*key).to_owned()).collect();
        keys.sort();
        keys
    };
    for (place, known) in [
        ("", read::KEYS.as_slice()),
        ("/$defs/Postmortem", &read::POSTMORTEM_KEYS),
        ("/$defs/Change", &read::CHANGE_KEYS),
        ("/$defs/Edit", &read::EDIT_KEYS),
        ("/$defs/Fault", &read::FAULT_KEYS),
        ("/$defs/Stop", &read::STOP_KEYS),
        ("/$defs/Expect", &read::EXPECT_KEYS),
    ] {
        let mut found = keys(place);
        found.sort();
        assert_eq!(found, sorted(known), "{place}");
    }
}
