//! The quick way back: what handles its rules got.

use crate::state::nft_tables;
use firewarden_change::plan::Inverse;

/// The most digits that a handle has.
const HANDLE_DIGITS: usize = 20;

/// The script, given what `nft -a list ruleset` prints after the change; `None` where a rule isn't found. O(n) in the
/// listing for each chain that rules are deleted from.
pub fn resolve(steps: &[Inverse], listing: &str) -> Option<String> {
    let tables = nft_tables(listing);
    let mut script = String::new();
    let mut last: Option<(String, Vec<u64>)> = None;
    for step in steps {
        match step {
            Inverse::Command(command) => script.push_str(&format!("{command}\n")),
            Inverse::DeleteRule { family, table, chain, index } => {
                let key = format!("{family} {table} {chain}");
                if last.as_ref().is_none_or(|(of, _)| *of != key) {
                    let name = format!("{family} {table}");
                    let (_, text) = tables.iter().find(|(of, _)| *of == name)?;
                    last = Some((key, handles(text, chain)));
                }
                let handle = last.as_ref()?.1.get(*index)?;
                script.push_str(&format!("delete rule {family} {table} {chain} handle {handle}\n"));
            }
        }
    }
    Some(script)
}

/// The handles of a chain's rules, in their order.
fn handles(table: &str, chain: &str) -> Vec<u64> {
    let header = format!("\tchain {chain} {{");
    let is_header =
        |line: &str| line.strip_prefix(&header).is_some_and(|rest| rest.is_empty() || rest.starts_with(" #"));
    let inside = table.lines().skip_while(|line| !is_header(line)).skip(1).take_while(|line| *line != "\t}");
    inside.filter_map(|line| line.rsplit_once(" # handle ")?.1.parse().ok()).collect()
}

/// The room that the script may need, in bytes.
pub fn room(steps: &[Inverse]) -> usize {
    let step = |step: &Inverse| match step {
        Inverse::Command(command) => command.len() + 1,
        Inverse::DeleteRule { family, table, chain, .. } => {
            family.len() + table.len() + chain.len() + HANDLE_DIGITS + "delete rule    handle \n".len()
        }
    };
    steps.iter().map(step).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LISTING: &str = "table ip t { # handle 1\n\tchain c2 { # handle 3\n\t\taccept # handle 2\n\t}\n\n\tchain c { # handle 1\n\t\ttype filter hook input priority filter; policy accept;\n\t\tip saddr 1.1.1.1 accept # handle 9\n\t\ttcp dport 22 comment \"# handle 5\" # handle 7\n\t}\n}\n";

    fn delete(index: usize) -> Inverse {
        Inverse::DeleteRule { family: "ip".into(), table: "t".into(), chain: "c".into(), index }
    }

    #[test]
    fn rules_get_their_handles_by_their_place() {
        let steps = [delete(1), Inverse::Command("add rule ip t c drop".into()), delete(0)];
        let script = resolve(&steps, LISTING).unwrap();
        assert_eq!(
            script,
            "delete rule ip t c handle 7\nadd rule ip t c drop\ndelete rule ip t c handle 9\n"
        );
        assert_eq!(resolve(&[delete(2)], LISTING), None);
        assert!(script.len() <= room(&steps));
    }
}
