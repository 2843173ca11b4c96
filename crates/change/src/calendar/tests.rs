use super::*;

fn window(days: &[Weekday], from: i8, to: i8) -> Window {
    Window {
        days: days.to_vec(),
        from: Time::new(from, 0, 0, 0).unwrap(),
        to: Time::new(to, 0, 0, 0).unwrap(),
    }
}

fn berlin(windows: Vec<Window>, freezes: Vec<Freeze>) -> Calendar {
    Calendar { zone: zone("Europe/Berlin").unwrap(), windows, freezes }
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

const WEEK: [Weekday; 4] = [Weekday::Monday, Weekday::Tuesday, Weekday::Wednesday, Weekday::Thursday];

#[test]
fn zones_are_those_of_the_program() {
    assert!(zone("Europe/Berlin").is_some());
    assert_eq!(zone("UTC"), Some(TimeZone::UTC));
    for name in ["", "Europe/Berlun", "../../etc/passwd", "local"] {
        assert!(zone(name).is_none(), "{name}");
    }
}

#[test]
fn windows_are_of_the_zone_in_summer_and_winter() {
    let calendar = berlin(vec![window(&WEEK, 9, 16)], Vec::new());
    // 2026-11-23 is a Monday; Berlin is an hour ahead in winter and two in summer.
    for (moment, open) in [
        ("2026-11-23T07:59:59Z", false),
        ("2026-11-23T08:00:00Z", true),
        ("2026-11-23T14:59:59Z", true),
        ("2026-11-23T15:00:00Z", false),
        ("2026-07-06T07:00:00Z", true),
        ("2026-07-06T14:00:00Z", false),
        ("2026-11-27T10:00:00Z", false),
    ] {
        assert_eq!(calendar.season(at(moment)) == Season::Open, open, "{moment}");
    }
    // On Friday the next is Monday's.
    assert_eq!(
        calendar.season(at("2026-11-27T10:00:00Z")),
        Season::Closed { next: Some(at("2026-11-30T08:00:00Z")) }
    );
    // The clocks go back on 2026-10-25, between Friday and Monday.
    assert_eq!(
        calendar.season(at("2026-10-23T18:00:00Z")),
        Season::Closed { next: Some(at("2026-10-26T08:00:00Z")) }
    );
}

#[test]
fn a_window_may_go_on_past_midnight() {
    let calendar = berlin(vec![window(&[Weekday::Saturday], 22, 2)], Vec::new());
    for (moment, open) in [
        // 2026-11-21 is a Saturday.
        ("2026-11-21T20:59:00Z", false),
        ("2026-11-21T21:00:00Z", true),
        ("2026-11-22T00:59:00Z", true),
        ("2026-11-22T01:00:00Z", false),
        ("2026-11-21T00:30:00Z", false),
        ("2026-11-22T21:30:00Z", false),
    ] {
        assert_eq!(calendar.season(at(moment)) == Season::Open, open, "{moment}");
    }
    // From and to alike: the whole day from then on.
    let whole = berlin(vec![window(&[Weekday::Sunday], 0, 0)], Vec::new());
    assert_eq!(whole.season(at("2026-11-22T22:59:59Z")), Season::Open);
    assert_ne!(whole.season(at("2026-11-22T23:00:00Z")), Season::Open);
}

#[test]
fn hours_that_come_twice_or_not_at_all() {
    // On 2026-10-25 the hour from 2 to 3 comes twice in Berlin, and on 2026-03-29 not at all.
    let calendar = berlin(vec![window(&[Weekday::Sunday], 2, 3)], Vec::new());
    for (moment, open) in [
        ("2026-10-24T23:59:00Z", false),
        ("2026-10-25T00:30:00Z", true),
        ("2026-10-25T01:30:00Z", true),
        ("2026-10-25T02:00:00Z", false),
        ("2026-03-29T00:59:00Z", false),
        ("2026-03-29T01:00:00Z", false),
    ] {
        assert_eq!(calendar.season(at(moment)) == Season::Open, open, "{moment}");
    }
    // A missing begin doesn't keep a longer window shut.
    let longer = berlin(vec![window(&[Weekday::Sunday], 2, 6)], Vec::new());
    assert_eq!(longer.season(at("2026-03-29T01:00:00Z")), Season::Open);
    assert_eq!(
        longer.season(at("2026-03-28T12:00:00Z")),
        Season::Closed { next: Some(at("2026-03-29T01:00:00Z")) }
    );
}

#[test]
fn freezes_count_more_than_windows() {
    let freeze = Freeze {
        from: "2026-12-18T00:00:00".parse().unwrap(),
        to: end_of("2027-01-04".parse().unwrap()).unwrap(),
        reason: "year-end trade".to_owned(),
    };
    let calendar = berlin(vec![window(&WEEK, 9, 16)], vec![freeze.clone()]);
    assert_eq!(calendar.season(at("2026-12-17T10:00:00Z")), Season::Open);
    let frozen =
        Season::Frozen { reason: "year-end trade".to_owned(), next: Some(at("2027-01-05T08:00:00Z")) };
    assert_eq!(calendar.season(at("2026-12-21T10:00:00Z")), frozen);
    // The last day counts, to its end in the zone.
    assert_eq!(calendar.season(at("2027-01-04T22:59:59Z")), frozen);
    // Without windows it opens as the freeze ends.
    let always = berlin(Vec::new(), vec![freeze.clone()]);
    assert_eq!(
        always.season(at("2026-12-21T10:00:00Z")),
        Season::Frozen { reason: freeze.reason, next: Some(at("2027-01-04T23:00:00Z")) }
    );
    assert_eq!(always.season(at("2027-01-04T23:00:00Z")), Season::Open);
}

#[test]
fn a_calendar_that_never_opens_says_so() {
    let never = berlin(vec![window(&[], 9, 16)], Vec::new());
    assert_eq!(never.season(at("2026-11-23T10:00:00Z")), Season::Closed { next: None });
    let for_ever = Freeze { from: DateTime::MIN, to: DateTime::MAX, reason: "wound up".to_owned() };
    let frozen = berlin(vec![window(&WEEK, 9, 16)], vec![for_ever]);
    assert_eq!(
        frozen.season(at("2026-11-23T10:00:00Z")),
        Season::Frozen { reason: "wound up".to_owned(), next: None }
    );
    // The ends of time are no reason to panic.
    for moment in [Timestamp::MIN, Timestamp::MAX] {
        let _ = frozen.season(moment);
        let _ = never.season(moment);
    }
}

#[test]
fn moments_are_told_in_the_zone() {
    assert_eq!(
        berlin(Vec::new(), Vec::new()).told(at("2026-11-23T08:00:00Z")),
        "Monday 2026-11-23 09:00 CET"
    );
}
