//! Reports made from runs that are written down here: the page, JUnit, JSON, journals.

use firewarden_lab::report::{
    Drill, Figures, Mode, Moment, Postmortem, Refusal, Run, Verdict, What, headline, journal, junit, page,
};
use firewarden_lab::series::{Cause, Connections, Series, Slot, User, median, quantile};
use std::collections::BTreeMap;

/// Two users, new and kept, for two seconds; `failed` of the four slots of the new one fail from the second on.
fn series(failed: u64) -> Series {
    let slot = |at: u64, connections| {
        let errors = u32::from(connections == Connections::New && (500..500 + failed * 500).contains(&at));
        Slot {
            at,
            connections,
            requests: 2,
            errors: errors * 2,
            users: 1,
            users_affected: errors,
            median_milliseconds: (errors == 0).then_some(4.5),
            p99_milliseconds: (errors == 0).then_some(9.0),
            causes: BTreeMap::from([(Cause::Timeout, errors * 2)]),
        }
    };
    let user = |number, connections| User {
        number,
        connections,
        source: None,
        target: "203.0.113.1:443".parse().unwrap(),
        requests: 8,
        errors: if connections == Connections::New { 2 * failed as u32 } else { 0 },
        first_error: (connections == Connections::New && failed > 0).then_some(500),
        last_error: (connections == Connections::New && failed > 0).then_some(500 * failed),
        recovered: None,
    };
    let times = [0, 500, 1000, 1500].into_iter();
    Series {
        version: 1,
        start: "2026-11-21T10:00:00Z".parse().unwrap(),
        slot_milliseconds: 500,
        slots: times.flat_map(|at| [slot(at, Connections::New), slot(at, Connections::Kept)]).collect(),
        users: vec![user(0, Connections::New), user(1, Connections::Kept)],
        latest_milliseconds: 0.5,
    }
}

fn moment(at: u64, what: What) -> Moment {
    Moment { at, what, detail: String::new() }
}

fn run(number: u32, mode: Mode, moments: Vec<Moment>) -> Run {
    Run {
        number,
        mode,
        start: "2026-11-21T10:00:00Z".parse().unwrap(),
        end: "2026-11-21T10:00:02.5Z".parse().unwrap(),
        verdict: Verdict::Passed,
        findings: Vec::new(),
        moments,
        refusal: None,
        series: (mode != Mode::Prevent).then(|| series(2)),
    }
}

fn prevented(number: u32) -> Run {
    let refusal = Refusal {
        message: "`public-web` doesn't hold & would break".to_owned(),
        place: Some("edge.nft:41".to_owned()),
        rule: Some("iifname \"wan\" drop".to_owned()),
        packet: Some("tcp 192.0.2.1:40000 -> 203.0.113.1:443".to_owned()),
        intents: vec!["public-web".to_owned()],
    };
    let moments = vec![moment(10, What::Proposed), moment(190, What::Refused)];
    Run { refusal: Some(refusal), ..run(number, Mode::Prevent, moments) }
}

fn applied(number: u32, restored: u64) -> Run {
    let moments = vec![
        moment(400, What::Steady),
        moment(500, What::Committed),
        moment(520, What::FirstUserError),
        moment(800, What::FirstFailingProbe),
        moment(restored - 100, What::Reverted),
        moment(restored, What::Restored),
    ];
    run(number, Mode::Apply, moments)
}

fn drill(runs: Vec<Run>) -> Drill {
    Drill {
        version: 1,
        scenario: "003".to_owned(),
        title: "A range rule drops everyone".to_owned(),
        about: "New connections die at <the edge>.".to_owned(),
        firewall_to_blame: true,
        change: "+iifname \"wan\" drop\n".to_owned(),
        postmortem: Some(Postmortem {
            began: "2023-06-06T10:00:00Z".parse().unwrap(),
            detected: Some("2023-06-06T10:00:00Z".parse().unwrap()),
            cause_known: Some("2023-06-07T13:00:00Z".parse().unwrap()),
            resolved: "2023-06-07T14:00:00Z".parse().unwrap(),
            impact: "80 % of users".to_owned(),
            lost_on: "seven hours on the database".to_owned(),
        }),
        stop: Some("more than 90 % of requests fail for 3 s".to_owned()),
        place: "Linux 6.18, 2 processors".to_owned(),
        runs,
    }
}

fn whole() -> Drill {
    drill(vec![prevented(1), applied(1, 1500), applied(2, 9000), applied(3, 1520)])
}

#[test]
fn the_headline_tells_then_and_now() {
    let cases = [
        (whole(), "Outage 003: 28 h then. Refused now; if let through, back in 1 s."),
        (drill(vec![prevented(1), prevented(2)]), "Outage 003: 28 h then. Refused now."),
        (
            drill(vec![prevented(1), run(2, Mode::Prevent, Vec::new())]),
            "Outage 003: 28 h then. Refused now in 1 of 2 runs.",
        ),
        (drill(vec![applied(1, 1500)]), "Outage 003: 28 h then. Let through on purpose, back in 1 s."),
        (
            drill(vec![run(1, Mode::Apply, vec![moment(500, What::Committed)])]),
            "Outage 003: 28 h then. Let through, it didn't come back.",
        ),
        (
            Drill { firewall_to_blame: false, ..drill(vec![run(1, Mode::Prevent, Vec::new())]) },
            "Outage 003: 28 h then. Not the firewall, and not refused.",
        ),
        (
            Drill { scenario: "two-managers".to_owned(), postmortem: None, ..drill(vec![prevented(1)]) },
            "A range rule drops everyone. Refused now.",
        ),
    ];
    for (drill, expected) in cases {
        assert_eq!(headline(&drill), expected);
    }
}

#[test]
fn medians_are_of_the_middle_and_runs_without_a_value_are_counted() {
    let drill = drill(vec![
        applied(1, 1500),
        applied(2, 9000),
        applied(3, 1520),
        run(4, Mode::Apply, vec![moment(500, What::Committed)]),
    ]);
    let figures = Figures::of(&drill, Mode::Apply);
    assert_eq!(figures.restored.values, [1000.0, 8500.0, 1020.0]);
    assert_eq!((figures.restored.median(), figures.restored.missing), (Some(1020.0), 1));
    assert_eq!(figures.noticed.median(), Some(300.0));
    assert_eq!(figures.users.median(), Some(0.5));
    assert_eq!(Figures::of(&drill, Mode::Prevent).refused.median(), None);
    assert_eq!([median(&[]), median(&[3.0]), median(&[4.0, 1.0])], [None, Some(3.0), Some(2.5)]);
    let ordered: Vec<f64> = (1..=200).map(f64::from).collect();
    assert_eq!([quantile(&ordered, 500), quantile(&ordered, 990)], [Some(100.0), Some(198.0)]);
    assert_eq!([quantile(&[], 500), quantile(&[7.0], 990)], [None, Some(7.0)]);
}

#[test]
fn the_page_stands_alone_and_escapes_what_it_is_given() {
    let page = page(&whole());
    for outside in ["<script", "http://", "https://", "src=", "@import", "url("] {
        assert!(!page.contains(outside), "{outside}");
    }
    assert!(page.contains("New connections die at &lt;the edge&gt;."));
    assert!(page.contains("rule    iifname &quot;wan&quot; drop"));
    assert!(page.contains("prefers-color-scheme: dark") && page.contains("<title id=\"apply-title\">"));
    // Every tag that is opened is closed.
    for tag in ["svg", "table", "figure", "div", "g", "tr", "details", "main"] {
        let opened = page.matches(&format!("<{tag}>")).count() + page.matches(&format!("<{tag} ")).count();
        assert_eq!(opened, page.matches(&format!("</{tag}>")).count(), "{tag}");
    }
    insta::assert_snapshot!(page.split_once("</style>").unwrap().1);
}

#[test]
fn runs_that_went_otherwise_come_first() {
    let mut drill = whole();
    assert!(drill.passed() && !page(&drill).contains("went otherwise"));
    drill.runs[2].verdict = Verdict::Failed;
    drill.runs[2].findings = vec!["it took 8.5 s, and 3 s are allowed".to_owned()];
    let page = page(&drill);
    assert!(!drill.passed());
    assert!(page.contains("1 of 4 runs went otherwise than the scenario expects."));
    assert!(page.contains("apply run 2 failed: it took 8.5 s, and 3 s are allowed"));
    let text = junit(&[drill]);
    assert!(text.contains("tests=\"4\" skipped=\"0\" failures=\"1\" errors=\"0\""), "{text}");
    assert!(
        text.contains("<failure message=\"it took 8.5 s, and 3 s are allowed\" type=\"failed\">"),
        "{text}"
    );
    assert!(text.contains("<property name=\"restored_milliseconds\" value=\"8500\"/>"), "{text}");
}

/// What may be in an element of JUnit, and the attributes that it has to have: as Jenkins and GitLab read it.
const JUNIT: [(&str, &[&str], &[&str]); 8] = [
    ("testsuites", &["testsuite"], &["name", "tests", "failures", "errors"]),
    ("testsuite", &["properties", "testcase"], &["name", "tests", "failures", "errors"]),
    ("testcase", &["properties", "failure", "error", "skipped"], &["name", "classname", "time"]),
    ("properties", &["property"], &[]),
    ("property", &[], &["name", "value"]),
    ("failure", &["text"], &["message", "type"]),
    ("error", &["text"], &["message", "type"]),
    ("skipped", &["text"], &[]),
];

/// Reads JUnit; fails where it is no XML, an element is where it can't be, an attribute is missing, or counts are wrong.
/// Gives back how many test cases failed and how many couldn't be run.
#[track_caller]
fn well_formed(text: &str) -> (usize, usize) {
    use quick_xml::events::Event;
    let mut reader = quick_xml::Reader::from_str(text);
    reader.config_mut().expand_empty_elements = true;
    let mut open: Vec<String> = Vec::new();
    // The counts that each open suite announces, and those that are seen.
    let mut suites: Vec<([usize; 3], [usize; 3])> = Vec::new();
    let mut total = [0; 3];
    loop {
        match reader.read_event().unwrap_or_else(|error| panic!("{error}: {text}")) {
            Event::Start(element) => {
                let name = String::from_utf8(element.name().as_ref().to_vec()).unwrap();
                let (_, _, needed) =
                    JUNIT.iter().find(|known| known.0 == name).unwrap_or_else(|| panic!("{name}"));
                let inside = open.last().and_then(|outer| JUNIT.iter().find(|known| known.0 == outer));
                assert!(
                    inside.map_or(name == "testsuites", |outer| outer.1.contains(&&*name)),
                    "{name} in {open:?}"
                );
                let attribute = |wanted: &str| {
                    let found = element.try_get_attribute(wanted).unwrap()?;
                    Some(found.normalized_value(quick_xml::XmlVersion::Implicit1_0).unwrap().into_owned())
                };
                assert!(needed.iter().all(|wanted| attribute(wanted).is_some()), "{needed:?} of {name}");
                let count = |wanted: &str| attribute(wanted).unwrap().parse().unwrap();
                match name.as_str() {
                    "testsuites" | "testsuite" => {
                        suites.push((["tests", "failures", "errors"].map(count), [0; 3]));
                    }
                    "testcase" => {
                        assert!(attribute("time").unwrap().parse::<f64>().unwrap() >= 0.0);
                        suites.iter_mut().for_each(|(_, seen)| seen[0] += 1);
                    }
                    "failure" => suites.iter_mut().for_each(|(_, seen)| seen[1] += 1),
                    "error" => suites.iter_mut().for_each(|(_, seen)| seen[2] += 1),
                    _ => {}
                }
                open.push(name);
            }
            Event::End(_) => {
                if open.pop().is_some_and(|name| name.starts_with("testsuite")) {
                    let (announced, seen) = suites.pop().unwrap();
                    assert_eq!(announced, seen, "tests, failures, errors");
                    total = seen;
                }
            }
            Event::Text(words) => {
                let holds =
                    open.last().is_some_and(|name| ["failure", "error", "skipped"].contains(&name.as_str()));
                assert!(holds || words.iter().all(u8::is_ascii_whitespace), "text in {open:?}");
            }
            Event::GeneralRef(_) | Event::Decl(_) => {}
            Event::Eof => break,
            other => panic!("{other:?}"),
        }
    }
    assert!(open.is_empty(), "{open:?} stays open");
    // XML 1.0 has no other controls, not even as references.
    let bad =
        |c: char| c.is_control() && !['\n', '\t', '\r'].contains(&c) || ['\u{fffe}', '\u{ffff}'].contains(&c);
    assert_eq!(text.chars().find(|&c| bad(c)), None);
    (total[1], total[2])
}

#[test]
fn junit_has_the_shape_that_readers_of_it_expect() {
    let mut drills = vec![whole(), drill(Vec::new()), drill(vec![prevented(1)])];
    assert_eq!(well_formed(&junit(&drills)), (0, 0));
    drills[0].title = "<a \"b\" & 'c' ]]> \u{0}\u{1b}[31m \u{ffff}".to_owned();
    for (run, verdict) in drills[0].runs.iter_mut().zip([Verdict::Failed, Verdict::Stopped, Verdict::Error]) {
        run.verdict = verdict;
        run.findings = vec!["two\nlines <b>&amp;</b> ]]> \u{8}".to_owned(), "another".to_owned()];
    }
    // Whatever the findings are: none at all is one case of it.
    drills[0].runs[1].findings.clear();
    assert_eq!(well_formed(&junit(&drills)), (2, 1));
    assert_eq!(well_formed(&junit(&[])), (0, 0));
}

#[test]
fn labels_of_moments_never_meet() {
    // Many moments at almost one time, and others far away.
    let times = [500, 501, 502, 505, 510, 900, 901, 1500];
    let all = [What::Proposed, What::Committed, What::FirstUserError, What::FirstFailingProbe];
    let moments = times.iter().zip(all.iter().cycle()).map(|(&at, &what)| moment(at, what)).collect();
    let page = page(&drill(vec![run(1, Mode::Apply, moments)]));
    let mut placed: Vec<(f64, f64, f64)> = Vec::new();
    for label in page.split("<g class=\"mark").skip(1) {
        let text = label.split("<text x=\"").nth(1).unwrap();
        let number = |after: &str| -> f64 { after.split('"').next().unwrap().parse().unwrap() };
        let (x, y) = (number(text), number(text.split("y=\"").nth(1).unwrap()));
        let words = text.split('>').nth(1).unwrap().split('<').next().unwrap().len() + 6;
        for &(other, level, end) in &placed {
            assert!(level != y || end < x || x > other + 40.0, "{x} {y} meets {other} {level}");
        }
        placed.push((x, y, x + 6.0 * words as f64));
    }
    assert_eq!(placed.len(), 8);
}

#[test]
fn json_can_be_read_again_and_the_journal_has_the_fields_of_chaos_toolkit() {
    let drill = whole();
    assert_eq!(serde_json::from_str::<Drill>(&drill.json()).unwrap(), drill);
    let journal = journal(&drill, &drill.runs[1]);
    insta::assert_snapshot!(serde_json::to_string_pretty(&journal).unwrap());
}

#[test]
fn nothing_at_all_is_still_a_page() {
    let mut empty = drill(Vec::new());
    assert!(page(&empty).contains("0 runs"));
    empty.runs = vec![Run {
        series: Some(Series { slots: Vec::new(), users: Vec::new(), ..series(0) }),
        ..run(1, Mode::Observe, Vec::new())
    }];
    assert!(page(&empty).ends_with("</html>\n"));
}

#[test]
fn users_whose_requests_failed_before_the_fault_are_not_hit_by_it() {
    let committed = |at| drill(vec![run(1, Mode::Apply, vec![moment(at, What::Committed)])]);
    for (at, hit) in [(500, 1), (1250, 1), (1251, 0)] {
        let named = format!("name=\"users_affected\" value=\"{hit}\"");
        let told = junit(&[committed(at)]);
        assert!(told.contains(&named), "{at}: {told}");
    }
}
