//! Figures as people read them.

/// A duration given in milliseconds, in the largest unit that leaves a number of some size: `42 ms`, `2.3 s`, `30 min`,
/// `16.5 h`.
pub fn duration(milliseconds: f64) -> String {
    let (value, unit) = match milliseconds {
        ms if ms < 99.5 => return format!("{ms:.0} ms"),
        ms if ms < 100_000.0 => (ms / 1000.0, "s"),
        ms if ms < 5_970_000.0 => (ms / 60_000.0, "min"),
        ms => (ms / 3_600_000.0, "h"),
    };
    let text = format!("{value:.1}");
    format!("{} {unit}", text.strip_suffix(".0").unwrap_or(&text))
}

/// Seconds with the decimals that a distance of `step` seconds needs.
pub fn seconds(milliseconds: f64) -> String {
    let text = format!("{:.2}", milliseconds / 1000.0);
    let text = text.strip_suffix('0').unwrap_or(&text);
    let text = text.strip_suffix(".0").unwrap_or(text);
    let text = if text == "-0" { "0" } else { text };
    format!("{} s", text.replace('-', "−"))
}

/// A share from 0 to 1 in percent; what is neither nothing nor all is never written as that.
pub fn percent(share: f64) -> String {
    let percent = share * 100.0;
    match percent {
        p if p <= 0.0 => "0 %".to_owned(),
        p if p >= 100.0 => "100 %".to_owned(),
        p if !(1.0..=99.0).contains(&p) => format!("{:.1} %", p.clamp(0.1, 99.9)),
        p => format!("{p:.0} %"),
    }
}

/// `1 run`, `2 runs`.
pub fn count(number: usize, one: &str) -> String {
    if number == 1 { format!("1 {one}") } else { format!("{number} {one}s") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_told_in_the_unit_that_people_use() {
        let told =
            [0.0, 42.4, 99.6, 2340.0, 59_960.0, 1_800_000.0, 12_600_000.0, 59_400_000.0, 100_800_000.0];
        let words = told.map(duration);
        assert_eq!(
            words,
            ["0 ms", "42 ms", "0.1 s", "2.3 s", "60 s", "30 min", "3.5 h", "16.5 h", "28 h"]
                .map(str::to_owned)
        );
        assert_eq!(
            [0.0, 250.0, -1500.0, 3000.0].map(seconds),
            ["0 s", "0.25 s", "−1.5 s", "3 s"].map(str::to_owned)
        );
    }

    #[test]
    fn almost_all_is_not_all_and_little_is_not_nothing() {
        let words = [0.0, 0.0001, 0.3, 0.75, 0.9999, 1.0].map(percent);
        assert_eq!(words, ["0 %", "0.1 %", "30 %", "75 %", "99.9 %", "100 %"].map(str::to_owned));
    }
}
