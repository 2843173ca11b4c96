//! Rulesets and intents of any size, from a fixed seed.

use firewarden_testkit::random::Random;
use std::fmt::Write as _;
use std::io;
use std::net::Ipv4Addr;
use std::path::Path;

/// Writes `input.nft`, `edited.nft` with ten edits, `edited50.nft` with fifty, `rules.csv` for peers, `firewarden.yaml` with `intents` intents that
/// all hold, and `one.yaml` with one of them.
/// Rules have five expressions; prefixes of different lengths overlap, and a third of the rules deny. Gives the size of
/// the ruleset in bytes.
pub(super) fn write(folder: &Path, rules: usize, intents: usize) -> io::Result<usize> {
    std::fs::create_dir_all(folder)?;
    let mut dice = Random::new(1);
    let mut text = String::from(
        "table inet filter {\n\tchain input {\n\t\ttype filter hook input priority filter; policy drop;\n",
    );
    text.push_str("\t\tct state established,related accept\n");
    let mut wanted = String::new();
    let mut table = String::new();
    let every = (rules / intents.max(1)).max(1);
    let mut count = 0;
    for number in 0..rules {
        // The first octets are the rule's own, so that what an intent's answer must be is known without asking.
        let block = number as u32;
        let length = [32, 30, 28, 27][dice.below(4)];
        let source = Ipv4Addr::from((0x2000_0000 + (block << 5)) & (u32::MAX << (32 - length)));
        let port = 1024 + dice.below(60_000);
        let accept = dice.below(3) > 0;
        let verdict = if accept { "accept" } else { "drop" };
        let _ = writeln!(
            text,
            "\t\tiifname \"eth{}\" ip saddr {source}/{length} ip daddr 10.0.{}.1 tcp dport {port} {verdict}",
            block % 4,
            block % 4
        );
        let _ = writeln!(
            table,
            "eth{},{source},{length},10.0.{}.1,6,{port},{port},{verdict}",
            block % 4,
            block % 4
        );
        if number % every == 0 && count < intents {
            let expectation = if accept { "allow" } else { "deny" };
            let _ =
                writeln!(wanted, "  - {expectation}: {source}/{length} -> 10.0.{}.1 tcp/{port}", block % 4);
            count += 1;
        }
        // Broad rules between the narrow ones, so that boxes overlap as they do in real rulesets.
        if number % 500 == 499 {
            let (network, port) = (1 + dice.below(30), dice.below(1000));
            let _ = writeln!(text, "\t\tip saddr {network}.0.0.0/8 udp dport {port} drop");
            let _ = writeln!(table, ",{network}.0.0.0,8,,17,{port},{port},drop");
        }
    }
    text.push_str(
        "\t}\n\tchain output {\n\t\ttype filter hook output priority filter; policy accept;\n\t}\n}\n",
    );
    let interfaces: Vec<String> = (0..4).map(|number| format!("eth{number}: 10.0.{number}.1/24")).collect();
    let hosts = format!("  firewall: {{ rules: input.nft, interfaces: {{ {} }} }}\n", interfaces.join(", "));
    let stack = |intents: &str| format!("hosts:\n{hosts}intents:\n{intents}");
    std::fs::write(folder.join("input.nft"), &text)?;
    std::fs::write(folder.join("edited.nft"), edited(&text, rules, 10))?;
    std::fs::write(folder.join("edited50.nft"), edited(&text, rules, 50))?;
    std::fs::write(folder.join("rules.csv"), &table)?;
    std::fs::write(folder.join("firewarden.yaml"), stack(&wanted))?;
    let first: String = wanted.lines().take(1).map(|line| format!("{line}\n")).collect();
    std::fs::write(folder.join("one.yaml"), stack(&first))?;
    Ok(text.len())
}

/// Edits spread over the rules: verdicts turned round, and lines taken out.
fn edited(text: &str, rules: usize, edits: usize) -> String {
    let step = (rules / edits).max(1);
    let mut changed = String::with_capacity(text.len());
    for (number, line) in text.lines().enumerate() {
        let rule = line.contains("ip saddr") && number % step == step / 2;
        match (rule, (number / step) % 3) {
            (true, 0) => continue,
            (true, _) if line.ends_with("accept") => changed.push_str(&line.replace("accept", "drop")),
            (true, _) => changed.push_str(&line.replace("drop", "accept")),
            (false, _) => changed.push_str(line),
        }
        changed.push('\n');
    }
    changed
}
