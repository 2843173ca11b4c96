//! What a host loads when it starts, against what runs: by meaning, without what other programs write later.

use super::words::{chain_text, count};
use super::{Context, Found, checks};
use crate::diff::{DiffOptions, HostPair, Names, Telling, ToldRule, align_atoms};
use crate::manager_of;
use firewarden_diagnostic::{Diagnostic, Span};
use firewarden_network::Host;
use firewarden_ruleset::ir::{ChainId, Policy, RuleRef, Ruleset};

/// What a host loads when it starts.
#[derive(Clone, Debug)]
pub struct BootRules {
    /// The enabled services that load rules.
    pub services: Vec<String>,
    /// What they load; `None` where it couldn't be read.
    pub ruleset: Option<Ruleset>,
    /// Where the services are named.
    pub span: Span,
}

/// Services that make rules out of a configuration of their own.
const WRITERS: [&str; 3] = ["ufw.service", "firewalld.service", "shorewall.service"];

/// Tells where the rules that run aren't those that the host has after a restart. The time is that of a diff.
pub fn examine(context: &mut Context<'_, '_>, unknown: &mut Vec<String>) {
    let Some(boot) = context.subject.boot.get(&context.host.name) else { return };
    if let Some(writer) = boot.services.iter().find(|service| WRITERS.contains(&service.as_str())) {
        unknown.push(format!("{writer} writes the rules of `{}`", context.host.name));
        return;
    }
    let Some(loaded) = &boot.ruleset else {
        unknown.push(format!("the files of `{}` couldn't be read", context.host.name));
        return;
    };
    if let Some(diagnostic) = difference(context, boot, loaded, unknown) {
        context.found.push(Found::new(&checks::BOOT_DIFFERS, diagnostic).of("boot", ""));
    }
}

fn difference(
    context: &Context<'_, '_>,
    boot: &BootRules,
    loaded: &Ruleset,
    unknown: &mut Vec<String>,
) -> Option<Diagnostic> {
    let (host, atoms, sources) = (context.host, context.subject.atoms, context.subject.sources);
    let mut running = Host { ruleset: own_rules(&host.ruleset, loaded), ..host.clone() };
    if boot.services.is_empty() {
        let has_rules =
            |ruleset: &Ruleset| ruleset.chains.iter().find(|chain| !chain.rules.is_empty()).cloned();
        let chain = has_rules(&running.ruleset)?;
        let message = "nothing loads these rules when the host starts: no service that does is enabled";
        return Some(
            Diagnostic::warning(checks::BOOT_DIFFERS.id, message)
                .at(chain.span, "")
                .see(boot.span, "the services that are enabled")
                .help("write them to /etc/nftables.conf, and enable it with `systemctl enable nftables`"),
        );
    }
    let started = Host { ruleset: own_rules(loaded, loaded), ..host.clone() };
    align_atoms(&started.ruleset, &mut running.ruleset, atoms);
    let compared = HostPair::new(&started, &running, atoms).compare(atoms, DiffOptions::default());
    let names = Names::new();
    let telling = Telling { before: &started, after: &running, atoms, sources, names: &names };
    let told = telling.changes(&compared);
    let Some(first) = told.first() else {
        if !compared.undecided.is_empty() {
            unknown.push(format!("the comparison for `{}` ended at its limit", host.name));
        }
        return None;
    };
    let message =
        format!("after a restart, packets fare otherwise than now: {}", count(told.len(), "difference"));
    let mut diagnostic = Diagnostic::warning(checks::BOOT_DIFFERS.id, message);
    let place = |rule: &ToldRule| rule.span;
    for (index, (span, word)) in
        [(place(&first.after), "decides now"), (place(&first.before), "decides after a restart")]
            .into_iter()
            .filter_map(|(span, word)| Some((span?, word)))
            .enumerate()
    {
        diagnostic = if index == 0 { diagnostic.at(span, word) } else { diagnostic.see(span, word) };
    }
    Some(
        diagnostic
            .because(format!(
                "for example, `{}` is {} now, and {} after a restart",
                first.witness, first.outcome_after, first.outcome_before
            ))
            .because(format!("loaded by {}", boot.services.join(", ")))
            .help(
                "load the file again, or write the rules that run into it; `firewarden diff boot.nft ruleset.nft` in the \
                 snapshot's folder shows every difference",
            ),
    )
}

/// The rules that people write. Programs that write rules come later, when the host starts: their rules are no
/// difference, and the policy of a chain that they write into is the one that `loaded` gives it.
fn own_rules(ruleset: &Ruleset, loaded: &Ruleset) -> Ruleset {
    let mut own = ruleset.clone();
    for (number, chain) in own.chains.iter_mut().enumerate() {
        let id = ChainId(number as u32);
        let at = |index: u32| RuleRef { chain: id, index };
        let many = chain.rules.len() as u32;
        let mut next = 0..many;
        chain.rules.retain(|_| next.next().is_some_and(|index| manager_of(ruleset, at(index)).is_none()));
        let written = chain.rules.len() as u32 != many || manager_of(ruleset, at(many)).is_some();
        if let (true, Some(base)) = (written, &mut chain.base) {
            base.policy = policy_of(loaded, &chain_text(ruleset, id));
        }
    }
    own
}

/// The policy of a chain by its name; accept where there is none.
fn policy_of(ruleset: &Ruleset, name: &str) -> Policy {
    let ids = (0..ruleset.chains.len()).map(|number| ChainId(number as u32));
    let found = ids.filter(|id| chain_text(ruleset, *id) == name).find_map(|id| ruleset.chain(id));
    found.and_then(|chain| chain.base.as_ref()).map_or(Policy::Accept, |base| base.policy)
}
