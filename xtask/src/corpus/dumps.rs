//! The same ruleset as text and as JSON means the same.

use super::load::{Language, load, read};
use super::{Section, files, shown};
use firewarden_engine::Detail;
use firewarden_packet::{AtomTable, Field};
use firewarden_ruleset::ir::Ruleset;
use firewarden_ruleset::ir::dump::dump;
use firewarden_testkit::equivalence::{Equivalence, Limits, Reason, compare, questions};
use firewarden_verify::diff::align;
use std::fmt::Write;
use std::path::Path;

const LIMITS: Limits = Limits { regions: 200_000, rules: 50_000_000, detail: Detail::Rules };

/// Compares each pair of `nft/upstream-dumps`.
pub fn run(folder: &Path) -> Section {
    let mut section = Section::default();
    let (mut pairs, mut same_form, mut equivalent, mut undetermined) = (0, 0, 0, 0);
    let mut listed = String::new();
    for path in files(&folder.join("nft/upstream-dumps")) {
        let Some(name) = shown(&path, folder).strip_suffix(".json-nft").map(str::to_owned) else { continue };
        let text_path = path.with_extension("nft");
        if !text_path.is_file() {
            continue;
        }
        pairs += 1;
        let mut atoms = AtomTable::default();
        let left = load(&read(&text_path), Language::Nft, &text_path, &mut atoms).ruleset;
        let mut right = load(&read(&path), Language::Json, &path, &mut atoms).ruleset;
        align(&left, &mut right, &atoms, text_of);
        let forms = (dump(&left, &atoms), dump(&right, &atoms));
        if forms.0 == forms.1 {
            same_form += 1;
        } else {
            section
                .details
                .push(format!("{name}: text and JSON differ in form: {}", first_difference(&forms)));
        }
        match compare(&left, &right, &atoms, &questions(&[&left, &right]), LIMITS) {
            Equivalence::Equivalent { .. } => equivalent += 1,
            other => {
                undetermined += usize::from(matches!(other, Equivalence::Undetermined(_)));
                let _ = writeln!(listed, "- `{name}`: {}", tell(&other, &left, &right, &atoms));
            }
        }
    }
    if equivalent < pairs {
        section.failures.push(format!("text and JSON: {equivalent} of {pairs} equivalent"));
    }
    let _ = write!(
        section.text,
        "## Text and JSON of one ruleset\n\n{pairs} pairs of `nft/upstream-dumps`: {same_form} have the same \
         intermediate form; {equivalent} are equivalent on every hook, for both families and all states of connection \
         tracking; {undetermined} weren't decided within the limits.\n",
    );
    if !listed.is_empty() {
        let _ = write!(section.text, "\n{listed}");
    }
    section
}

/// Stateful atoms of the two are paired by kind and text.
pub fn text_of(atoms: &AtomTable, field: Field) -> Option<(String, String)> {
    let atom = atoms.get(field)?;
    Some((atom.kind.to_string(), atom.text.to_string()))
}

/// The answer of a comparison in a few words.
pub fn tell(answer: &Equivalence, left: &Ruleset, right: &Ruleset, atoms: &AtomTable) -> String {
    let difference = match answer {
        Equivalence::Equivalent { regions } => return format!("equivalent, {regions} regions"),
        Equivalence::Undetermined(Reason::Regions(count)) => {
            return format!("undetermined after {count} regions");
        }
        Equivalence::Undetermined(Reason::Rules(count)) => {
            return format!("undetermined after {count} regions: too many rules looked at");
        }
        Equivalence::Undetermined(Reason::Unconfirmed(difference)) | Equivalence::Differs(difference) => {
            difference
        }
    };
    let doubt = match answer {
        Equivalence::Undetermined(_) => "ENGINE AND INTERPRETER DISAGREE: ",
        _ => "",
    };
    let packet = firewarden_packet::text::format(&difference.packet, atoms);
    let what = match difference.field {
        None => format!("{:?} and {:?}", difference.left.fate, difference.right.fate),
        Some(field) => format!(
            "{field:?} becomes {:#x} and {:#x}",
            difference.left.after.get(field),
            difference.right.after.get(field)
        ),
    };
    let rule = |ruleset: &Ruleset, side: &firewarden_testkit::equivalence::Side| {
        let at = side.rules.last()?;
        let rule = ruleset.rule(*at)?;
        Some(firewarden_ruleset::ir::dump::dump_rule(rule, ruleset, atoms))
    };
    let rules = |ruleset: &Ruleset, side| rule(ruleset, side).unwrap_or_else(|| "the policy".to_owned());
    format!(
        "{doubt}{:?}: `{packet}`: {what}, by `{}` and `{}`",
        difference.hook,
        rules(left, &difference.left),
        rules(right, &difference.right)
    )
}

fn first_difference((left, right): &(String, String)) -> String {
    let (mut left, mut right) = (left.lines(), right.lines());
    loop {
        match (left.next(), right.next()) {
            (None, None) => return "nowhere".to_owned(),
            (one, other) if one == other => {}
            (one, other) => {
                return format!("`{}` and `{}`", one.unwrap_or("end").trim(), other.unwrap_or("end").trim());
            }
        }
    }
}
