//! One hook: the base chains in order, jumps, and the deferred cuts that keep the region exact.

use crate::condition::{Around, around, fails_everywhere, holds, loss};
use crate::flow::{Flow, Origin};
use crate::index::{Index, WORTH_AN_INDEX};
use crate::lookup::Tables;
use crate::translate::{Translated, learn_type};
use firewarden_packet::{Dim, Field, IntervalSet, Point, ct_state};
use firewarden_ruleset::Surroundings;
use firewarden_ruleset::ir::{
    BaseChain, ChainId, ChainType, Hook, MapData, MapId, NatDirection, Policy, RejectWith, Rule, RuleRef,
    Ruleset, Statement, Test, Value, Verdict,
};
use smallvec::SmallVec;
use std::borrow::Cow;
use std::cell::OnceCell;
use std::collections::BTreeSet;

/// Where a packet ended up on a hook.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// All base chains accepted it.
    Accepted,
    /// A rule or a policy dropped it.
    Dropped,
    /// A rule rejected it.
    Rejected(RejectWith),
}

/// How far the region of a decision must agree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detail {
    /// All packets of the region meet the very same rules.
    Rules,
    /// As [`Detail::Fate`], and dropped packets are apart from rejected ones.
    Verdict,
    /// All packets of the region are accepted alike or refused alike, and rewritten alike; other rules may have decided
    /// for some of them. Makes larger regions.
    Fate,
}

/// What a rule did on the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StepKind {
    /// Went into another chain.
    Jumped(ChainId),
    /// Went back to the calling chain.
    Returned,
    /// Changed a mark or a header field.
    Wrote(Field),
    /// Translated an address or port.
    Translated,
    /// Exempted the packet from tracking.
    Untracked,
    /// Accepted the packet in its base chain.
    Accepted,
    /// Dropped it.
    Dropped,
    /// Rejected it.
    Rejected(RejectWith),
    /// No rule decided: the chain's policy did. The step's index is the number of the chain's rules.
    Policy(Policy),
}

/// A rule on the way of a packet. Rules that did nothing but count or log are not among them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// The rule.
    pub rule: RuleRef,
    /// What it did.
    pub kind: StepKind,
}

/// What a hook decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// Accepted or not.
    pub fate: Fate,
    /// The rules on the way of the followed point; the last one decided.
    pub steps: Vec<Step>,
    /// True where the rule that was watched for (see [`Focus`]) is on the way of the followed point.
    pub met: bool,
}

/// The step budget ended before the answer was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutOfBudget;

/// What is asked beside a packet's fate: rules that are left out, a rule that is watched for.
#[derive(Clone, Copy, Debug)]
pub struct Focus<'f> {
    /// Whether this rule acts on the packet is told in [`Decision::met`], and all packets of the region agree on it with
    /// [`Detail::Rules`]. Rules that only count or log can be watched for too.
    pub watch: Option<RuleRef>,
    /// Ask only whether the watched rule is met by way of this base chain. The walk ends there, or at the rule; the
    /// region of a decision that met it isn't cut and says nothing, and that of one that didn't holds packets that don't
    /// meet it either, whichever rules keep them from it. Larger regions than with a plain watch.
    pub only_by: Option<ChainId>,
    /// The watched rule does nothing: a packet that meets it goes on as if it weren't there. Where it is met, the walk goes
    /// on to its end with [`Focus::only_by`] too, and fate, steps and region are those without the rule; where it isn't,
    /// all is as said there.
    pub watched_is_idle: bool,
    /// Rules that count as not there.
    pub without: &'f BTreeSet<RuleRef>,
    /// Only what becomes of the followed packet is asked. The region says nothing afterwards; costs least.
    pub packet_only: bool,
}

impl Default for Focus<'_> {
    fn default() -> Self {
        static NONE: BTreeSet<RuleRef> = BTreeSet::new();
        Focus { watch: None, only_by: None, watched_is_idle: false, without: &NONE, packet_only: false }
    }
}

impl Focus<'_> {
    /// Whether a rule can be on the way: one that only counts is nowhere, except where it is watched for.
    fn counts(&self, at: RuleRef, inert: bool) -> bool {
        (!inert || self.watch == Some(at)) && (self.without.is_empty() || !self.without.contains(&at))
    }

    /// Whether all that is asked is known behind a base chain, or behind the watched rule.
    fn is_answered(&self, chain: ChainId, met: bool) -> bool {
        self.only_by.is_some_and(|only| if met { !self.watched_is_idle } else { only == chain })
    }
}

/// A ruleset, ready to be asked.
#[derive(Debug)]
pub struct Engine<'r> {
    ruleset: &'r Ruleset,
    tables: Tables,
    /// The base chains of each hook, for IPv4 and for IPv6.
    bases: [[Vec<ChainId>; 2]; Hook::ALL.len()],
    /// For each chain, made when first needed.
    indexes: Vec<OnceCell<Index>>,
    /// The bits of `ct status` that rules test: where one of a translation is among them, it matters whether the
    /// translation really changed an address.
    pub(crate) status_asked: u128,
    /// For each chain and rule.
    traits: Vec<OnceCell<Vec<RuleTraits>>>,
}

/// What is worth knowing of a rule without walking through its statements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct RuleTraits {
    /// Has nothing but tests and statements without influence.
    inert: bool,
    /// Its only effect is this verdict.
    terminal: Option<Fate>,
}

/// A run of rules of one chain that didn't match: the region must be cut so that none of them matches anywhere in it.
struct Skipped {
    chain: ChainId,
    from: u32,
    to: u32,
    /// Index into the walk's states: the packet as these rules saw it.
    state: usize,
}

/// A called chain.
struct Frame {
    chain: ChainId,
    next: u32,
}

/// How a base chain ended for the point.
struct ChainEnd {
    fate: Fate,
}

struct Walk<'w, 'a> {
    flow: &'w mut Flow<'a>,
    /// The flow as it was before each rewriting, for the deferred cuts. The present one isn't in it.
    past: Vec<Flow<'a>>,
    skipped: SmallVec<[Skipped; 4]>,
    steps: &'w mut Vec<Step>,
    budget: &'w mut u64,
    focus: &'w Focus<'w>,
    /// The watched rule acted on the point.
    met: bool,
}

impl<'r> Engine<'r> {
    /// Prepares a ruleset. O(n log n) in the number of set elements; chains are indexed when first asked.
    pub fn new(ruleset: &'r Ruleset) -> Engine<'r> {
        Engine {
            ruleset,
            tables: Tables::new(ruleset),
            bases: Hook::ALL.map(|hook| [2, 10].map(|nfproto| ruleset.base_chains(hook, nfproto))),
            status_asked: ruleset
                .chains
                .iter()
                .flat_map(|chain| &chain.rules)
                .fold(0, |bits, rule| bits | status_asked(rule)),
            indexes: ruleset.chains.iter().map(|_| OnceCell::new()).collect(),
            traits: ruleset.chains.iter().map(|_| OnceCell::new()).collect(),
        }
    }

    /// The ruleset that is asked.
    pub fn ruleset(&self) -> &'r Ruleset {
        self.ruleset
    }

    /// Follows the flow's packet through all base chains of a hook, and cuts the flow's region to the packets that are
    /// treated alike. `budget` counts rules looked at, downwards.
    ///
    /// Each matching rule costs O(log n); each rule before it that overlaps the region costs one cut.
    ///
    /// # Errors
    /// [`OutOfBudget`] when the budget ends; the flow is then of no use.
    pub fn run_hook(
        &self,
        hook: Hook,
        flow: &mut Flow<'_>,
        around: &dyn Surroundings,
        detail: Detail,
        budget: &mut u64,
    ) -> Result<Decision, OutOfBudget> {
        self.run_hook_about(hook, flow, around, detail, budget, &Focus::default())
    }

    /// As [`Engine::run_hook`], with some rules left out, or with a rule watched for.
    ///
    /// # Errors
    /// [`OutOfBudget`] as above.
    pub fn run_hook_about(
        &self,
        hook: Hook,
        flow: &mut Flow<'_>,
        around: &dyn Surroundings,
        detail: Detail,
        budget: &mut u64,
        focus: &Focus<'_>,
    ) -> Result<Decision, OutOfBudget> {
        let mut steps = Vec::new();
        let mut met = false;
        flow.hold(Field::NFPROTO);
        let tracking = matches!(hook, Hook::Prerouting | Hook::Output);
        let mut conntrack_passed = !tracking;
        let mut translated = false;
        if tracking {
            flow.detach_tracking();
        }
        for &id in &*self.base_chains(hook, flow.now().get(Field::NFPROTO)) {
            let Some(chain) = self.ruleset.chain(id) else { continue };
            let Some(base) = &chain.base else { continue };
            if !conntrack_passed && base.effective_priority() >= -200 {
                flow.attach_tracking();
                conntrack_passed = true;
            }
            if !translated && base.effective_priority() >= nat_priority(hook) {
                translated = true;
                flow.translate_established(hook, around);
            }
            if !self.sees(base, flow, hook) {
                continue;
            }
            let (end, met_by_now) =
                self.walk(id, base, flow, around, detail, budget, &mut steps, focus, met)?;
            met = met_by_now;
            if end.fate != Fate::Accepted || focus.is_answered(id, met) {
                return Ok(Decision { fate: end.fate, steps, met });
            }
        }
        if !conntrack_passed {
            flow.attach_tracking();
        }
        if !translated {
            flow.translate_established(hook, around);
        }
        Ok(Decision { fate: Fate::Accepted, steps, met })
    }

    /// [`Ruleset::base_chains`], prepared for IPv4 and IPv6.
    fn base_chains(&self, hook: Hook, nfproto: u128) -> Cow<'_, [ChainId]> {
        let prepared = Hook::ALL.iter().position(|&known| known == hook).and_then(|at| self.bases.get(at));
        match (prepared, nfproto) {
            (Some([v4, _]), 2) => Cow::Borrowed(v4),
            (Some([_, v6]), 10) => Cow::Borrowed(v6),
            _ => Cow::Owned(self.ruleset.base_chains(hook, nfproto)),
        }
    }

    /// Nat chains see the first packet of a tracked connection until it is translated; device chains their devices.
    fn sees(&self, base: &BaseChain, flow: &mut Flow<'_>, hook: Hook) -> bool {
        if base.chain_type == ChainType::Nat {
            flow.hold(Field::CT_STATE);
            let state = flow.now().get(Field::CT_STATE);
            let done = match direction_of(hook) {
                NatDirection::Source => flow.source_done,
                NatDirection::Destination => flow.destination_done,
            };
            return !done && (state == ct_state::NEW || state == ct_state::RELATED);
        }
        let device = match hook {
            Hook::Ingress => Field::IIFNAME,
            Hook::Egress => Field::OIFNAME,
            _ => return true,
        };
        if base.devices.is_empty() {
            return true;
        }
        let names = base.devices.iter().filter_map(|name| firewarden_packet::InterfaceName::new(name).ok());
        let set: IntervalSet = names.map(|name| (name.0, name.0)).collect();
        let (low, high) = set.stretch(flow.now().get(device));
        flow.restrict(device, Dim::Range(low, high));
        set.contains(flow.now().get(device))
    }

    #[expect(clippy::too_many_arguments, reason = "the walk's parts differ in how long they are borrowed")]
    fn walk(
        &self,
        id: ChainId,
        base: &BaseChain,
        flow: &mut Flow<'_>,
        around: &dyn Surroundings,
        detail: Detail,
        budget: &mut u64,
        steps: &mut Vec<Step>,
        focus: &Focus<'_>,
        met: bool,
    ) -> Result<(ChainEnd, bool), OutOfBudget> {
        let mut walk = Walk { flow, past: Vec::new(), skipped: SmallVec::new(), steps, budget, focus, met };
        let end = self.walk_chain(id, base, &mut walk, around)?;
        let no_region = focus.packet_only || walk.met && focus.is_answered(id, true);
        if !no_region {
            let kept_from_it = !walk.met && focus.is_answered(id, false);
            self.cut_skipped(&mut walk, &end, detail, kept_from_it)?;
        }
        Ok((end, walk.met))
    }

    /// Follows the point; matching rules restrict the region at once, rules that don't match are left for
    /// [`Engine::cut_skipped`], when the region is smallest.
    fn walk_chain(
        &self,
        id: ChainId,
        base: &BaseChain,
        walk: &mut Walk<'_, '_>,
        around: &dyn Surroundings,
    ) -> Result<ChainEnd, OutOfBudget> {
        let mut callers: Vec<Frame> = Vec::new();
        let mut frame = Frame { chain: id, next: 0 };
        loop {
            let rules = self.rules(frame.chain);
            let count = rules.len() as u32;
            let found =
                self.next_match(frame.chain, rules, walk.flow, frame.next, walk.budget, walk.focus)?;
            let to = found.unwrap_or(count);
            if to > frame.next {
                let state = walk.past.len();
                walk.skipped.push(Skipped { chain: frame.chain, from: frame.next, to, state });
            }
            let Some((index, rule)) = found.and_then(|at| Some((at, rules.get(at as usize)?))) else {
                // The end of the chain.
                match callers.pop() {
                    Some(caller) => frame = caller,
                    None => return Ok(self.policy(id, base, walk)),
                }
                continue;
            };
            frame.next = index + 1;
            let at = RuleRef { chain: frame.chain, index };
            if walk.focus.watch == Some(at) {
                walk.met = true;
                if walk.focus.watched_is_idle {
                    continue;
                }
                if walk.focus.only_by.is_some() {
                    return Ok(ChainEnd { fate: Fate::Accepted });
                }
            }
            match self.apply(at, rule, walk, around) {
                Verdict::Continue => {}
                Verdict::Accept => {
                    walk.steps.push(Step { rule: at, kind: StepKind::Accepted });
                    return Ok(ChainEnd { fate: Fate::Accepted });
                }
                Verdict::Drop => {
                    walk.steps.push(Step { rule: at, kind: StepKind::Dropped });
                    return Ok(ChainEnd { fate: Fate::Dropped });
                }
                Verdict::Reject(with) => {
                    walk.steps.push(Step { rule: at, kind: StepKind::Rejected(with) });
                    return Ok(ChainEnd { fate: Fate::Rejected(with) });
                }
                Verdict::Return => {
                    walk.steps.push(Step { rule: at, kind: StepKind::Returned });
                    match callers.pop() {
                        Some(caller) => frame = caller,
                        None => return Ok(self.policy(id, base, walk)),
                    }
                }
                Verdict::Jump(to) => {
                    walk.steps.push(Step { rule: at, kind: StepKind::Jumped(to) });
                    callers.push(frame);
                    frame = Frame { chain: to, next: 0 };
                }
                Verdict::Goto(to) => {
                    walk.steps.push(Step { rule: at, kind: StepKind::Jumped(to) });
                    frame = Frame { chain: to, next: 0 };
                }
                Verdict::Opaque { atom } => {
                    walk.flow.hold(atom);
                    let accepted = walk.flow.now().get(atom) != 0;
                    let (kind, fate) = if accepted {
                        (StepKind::Accepted, Fate::Accepted)
                    } else {
                        (StepKind::Dropped, Fate::Dropped)
                    };
                    walk.steps.push(Step { rule: at, kind });
                    return Ok(ChainEnd { fate });
                }
            }
        }
    }

    fn policy(&self, id: ChainId, base: &BaseChain, walk: &mut Walk<'_, '_>) -> ChainEnd {
        let index = self.rules(id).len() as u32;
        walk.steps.push(Step { rule: RuleRef { chain: id, index }, kind: StepKind::Policy(base.policy) });
        ChainEnd { fate: if base.policy == Policy::Accept { Fate::Accepted } else { Fate::Dropped } }
    }

    fn rules(&self, chain: ChainId) -> &'r [Rule] {
        self.ruleset.chain(chain).map_or(&[], |chain| chain.rules.as_slice())
    }

    fn traits(&self, chain: ChainId) -> &[RuleTraits] {
        let Some(cell) = self.traits.get(chain.0 as usize) else { return &[] };
        cell.get_or_init(|| self.rules(chain).iter().map(traits_of).collect())
    }

    fn index(&self, chain: ChainId, rules: &[Rule]) -> Option<&Index> {
        if rules.len() < WORTH_AN_INDEX {
            return None;
        }
        Some(self.indexes.get(chain.0 as usize)?.get_or_init(|| Index::new(rules, &self.tables)))
    }

    /// The first rule from `from` on that acts on the point.
    fn next_match(
        &self,
        chain: ChainId,
        rules: &[Rule],
        flow: &Flow<'_>,
        from: u32,
        budget: &mut u64,
        focus: &Focus<'_>,
    ) -> Result<Option<u32>, OutOfBudget> {
        let traits = self.traits(chain);
        let spent = std::cell::Cell::new(0u64);
        let acts = |id: u32| {
            spent.set(spent.get() + 1);
            match (rules.get(id as usize), traits.get(id as usize)) {
                (Some(rule), Some(traits)) => {
                    focus.counts(RuleRef { chain, index: id }, traits.inert) && self.passes(rule, flow)
                }
                _ => false,
            }
        };
        let count = rules.len() as u32;
        let found = match self.index(chain, rules) {
            Some(index) => index.first(flow.now(), from, count, acts),
            None => (from..count).find(|&id| acts(id)),
        };
        *budget = budget.checked_sub(spent.get() + 1).ok_or(OutOfBudget)?;
        Ok(found)
    }

    /// Whether the tests before a rule's first effect hold at the point. Later ones are met when the rule is carried
    /// out, since the effect stays whatever they say.
    fn passes(&self, rule: &Rule, flow: &Flow<'_>) -> bool {
        for statement in &rule.statements {
            match statement {
                Statement::Test(test) => {
                    if lacks_tracking(test, flow.now()) || !holds(test, flow.now(), &self.tables) {
                        return false;
                    }
                }
                Statement::VerdictMap { key, map } => {
                    return !key.iter().any(|field| untracked_field(*field, flow.now()))
                        && self.tables.map(*map).find(key, flow.now()).is_some();
                }
                Statement::Neutral(_) => {}
                _ => return true,
            }
        }
        true
    }

    /// Carries a rule's statements out at the point. The verdict is `continue` where it has none.
    fn apply(&self, at: RuleRef, rule: &Rule, walk: &mut Walk<'_, '_>, around: &dyn Surroundings) -> Verdict {
        for statement in &rule.statements {
            match statement {
                Statement::Test(test) => {
                    if !self.meet(test, walk.flow) {
                        return Verdict::Continue;
                    }
                }
                Statement::Verdict(verdict) => return verdict.clone(),
                Statement::VerdictMap { key, map } => match self.entry(key, *map, walk.flow) {
                    Some(MapData::Verdict(verdict)) => return verdict.clone(),
                    _ => return Verdict::Continue,
                },
                Statement::Assign { field, value } => {
                    let before = walk.flow.clone();
                    let Some(origin) = self.value(*field, value, walk.flow) else { return Verdict::Continue };
                    if needs_tracking(*field) {
                        // Without a connection there is nothing to write to; the rule goes on (nft_ct_set_eval).
                        walk.flow.hold(Field::CT_STATE);
                        if untracked_field(*field, walk.flow.now()) {
                            continue;
                        }
                    }
                    walk.keep(before);
                    walk.flow.put(*field, origin);
                    learn_type(*field, walk.flow, around);
                    walk.steps.push(Step { rule: at, kind: StepKind::Wrote(*field) });
                }
                Statement::Nat(nat) => {
                    let before = walk.flow.clone();
                    match self.translate(nat, walk.flow, around) {
                        Translated::Done => {
                            walk.keep(before);
                            walk.steps.push(Step { rule: at, kind: StepKind::Translated });
                            return Verdict::Accept;
                        }
                        Translated::NoEntry => return Verdict::Continue,
                    }
                }
                Statement::Notrack => {
                    // Only for packets that have no connection; they read as untracked at once (nft_notrack_eval).
                    walk.flow.hold(Field::CT_STATE);
                    if walk.flow.now().get(Field::CT_STATE) == ct_state::INVALID {
                        walk.keep(walk.flow.clone());
                        let untracked = Origin::constant(ct_state::UNTRACKED);
                        walk.flow.put(Field::CT_STATE, untracked.clone());
                        if walk.flow.tracked_later.is_some() {
                            walk.flow.tracked_later = Some(untracked);
                        }
                        walk.steps.push(Step { rule: at, kind: StepKind::Untracked });
                    }
                }
                Statement::Opaque { fields } => {
                    walk.keep(walk.flow.clone());
                    for (field, choice) in fields {
                        let origin = walk.flow.choice(*choice);
                        walk.flow.put(*field, origin);
                        walk.steps.push(Step { rule: at, kind: StepKind::Wrote(*field) });
                    }
                }
                Statement::Neutral(_) => {}
            }
        }
        Verdict::Continue
    }

    /// Whether a test holds at the point; the region keeps only packets with the same answer.
    fn meet(&self, test: &Test, flow: &mut Flow<'_>) -> bool {
        if lacks_tracking(test, flow.now()) {
            flow.hold(Field::CT_STATE);
            return false;
        }
        if fields_of(test).iter().any(|field| needs_tracking(*field)) {
            flow.hold(Field::CT_STATE);
        }
        for (field, dim) in around(test, flow.now(), &self.tables, &|field| flow.image(field)) {
            flow.restrict(field, dim);
        }
        holds(test, flow.now(), &self.tables)
    }

    /// The data of a map for the point; the region keeps only packets with the same entry.
    fn entry(&self, key: &[Field], map: MapId, flow: &mut Flow<'_>) -> Option<&'r MapData> {
        if key.iter().any(|field| needs_tracking(*field)) {
            flow.hold(Field::CT_STATE);
            if key.iter().any(|field| untracked_field(*field, flow.now())) {
                return None;
            }
        }
        let keys = self.tables.map(map);
        for (field, dim) in keys.around(key, flow.now(), &|field| flow.image(field)) {
            flow.restrict(field, dim);
        }
        let found = keys.find(key, flow.now())?;
        self.ruleset.map(map)?.entries.get(found as usize).map(|entry| &entry.data)
    }

    /// A value at the point, with its origin; `None` where a map has no entry.
    pub(crate) fn value(&self, field: Field, value: &Value, flow: &mut Flow<'_>) -> Option<Origin> {
        match value {
            Value::Const(value) => Some(Origin::constant(*value)),
            Value::Mix { terms, xor } => {
                if terms.iter().any(|(field, _)| needs_tracking(*field)) {
                    flow.hold(Field::CT_STATE);
                    if terms.iter().any(|(field, _)| untracked_field(*field, flow.now())) {
                        return None;
                    }
                }
                Some(flow.mix(field.kind(), terms, **xor))
            }
            Value::Choice(choice) => Some(flow.choice(*choice)),
            Value::Map { key, map, component } => match self.entry(key, *map, flow)? {
                MapData::Values(values) => match values.get(usize::from(*component))? {
                    Value::Map { .. } => None,
                    inner => self.value(field, inner, flow),
                },
                MapData::Verdict(_) => None,
            },
        }
    }

    /// Cuts the region so that no rule that was passed over matches anywhere in it.
    fn cut_skipped(
        &self,
        walk: &mut Walk<'_, '_>,
        end: &ChainEnd,
        detail: Detail,
        ended: bool,
    ) -> Result<(), OutOfBudget> {
        let skipped = std::mem::take(&mut walk.skipped);
        let states = walk.past.len();
        for run in skipped.iter().rev() {
            let rules = self.rules(run.chain);
            let traits = self.traits(run.chain);
            let unchanged_since = run.state == states;
            let mut earlier = walk.past.get(run.state).cloned();
            let spent = std::cell::Cell::new(0u64);
            let cut = |id: u32, region: &mut Flow<'_>| {
                spent.set(spent.get() + 1);
                let (Some(rule), Some(traits)) = (rules.get(id as usize), traits.get(id as usize)) else {
                    return;
                };
                // Where nothing was rewritten since, a rule that would have ended the chain alike needs no cut.
                let at = RuleRef { chain: run.chain, index: id };
                let alike = unchanged_since
                    && !ended
                    && traits.terminal.is_some_and(|fate| match detail {
                        Detail::Rules => false,
                        Detail::Verdict => fate == end.fate,
                        Detail::Fate => same_side(fate, end.fate),
                    });
                // Where only the watched rule matters, whatever ends the chain before it keeps packets from it.
                let is_watched = walk.focus.watch == Some(at);
                let keeps = ended && traits.terminal.is_some() && !is_watched;
                let idle = is_watched && walk.met && walk.focus.watched_is_idle;
                if walk.focus.counts(at, traits.inert) && !alike && !keeps && !idle {
                    self.exclude(rule, region);
                }
            };
            let target: &mut Flow<'_> = match &mut earlier {
                Some(earlier) => {
                    earlier.adopt_region(walk.flow);
                    earlier
                }
                None => &mut *walk.flow,
            };
            match self.index(run.chain, rules) {
                Some(index) => {
                    let mut found: SmallVec<[u32; 32]> = SmallVec::new();
                    index.meeting(&|field| target.image(field), run.from, run.to, |id| found.push(id));
                    // The order decides which cuts are made, so it must not depend on the shape of the tree.
                    found.sort_unstable_by(|a, b| b.cmp(a));
                    found.into_iter().for_each(|id| cut(id, target));
                }
                None => (run.from..run.to).rev().for_each(|id| cut(id, target)),
            }
            if let Some(earlier) = earlier {
                walk.flow.adopt_region(&earlier);
            }
            *walk.budget = walk.budget.checked_sub(spent.get()).ok_or(OutOfBudget)?;
        }
        Ok(())
    }

    /// Cuts the region so that a rule that doesn't act on the point acts on no packet of it: along the failing test
    /// that keeps most.
    fn exclude(&self, rule: &Rule, flow: &mut Flow<'_>) {
        let mut best: Option<(f32, Around)> = None;
        {
            let image = |field: Field| flow.image(field);
            for statement in &rule.statements {
                let candidate = match statement {
                    Statement::Test(test) => {
                        if lacks_tracking(test, flow.now()) {
                            let state = flow.now().get(Field::CT_STATE);
                            Around::from_slice(&[(Field::CT_STATE, Dim::Range(state, state))])
                        } else if fails_everywhere(test, &self.tables, &image) {
                            return;
                        } else if holds(test, flow.now(), &self.tables) {
                            continue;
                        } else {
                            around(test, flow.now(), &self.tables, &image)
                        }
                    }
                    Statement::VerdictMap { key, map } => {
                        let keys = self.tables.map(*map);
                        if key.iter().any(|field| untracked_field(*field, flow.now())) {
                            let state = flow.now().get(Field::CT_STATE);
                            Around::from_slice(&[(Field::CT_STATE, Dim::Range(state, state))])
                        } else if !keys.overlaps(key, &image) {
                            return;
                        } else if keys.find(key, flow.now()).is_some() {
                            continue;
                        } else {
                            keys.around(key, flow.now(), &image)
                        }
                    }
                    Statement::Neutral(_) => continue,
                    // Tests behind an effect don't keep the effect away.
                    _ => break,
                };
                let ends = matches!(statement, Statement::VerdictMap { .. });
                let loss = loss(&candidate, &image);
                if loss == 0.0 {
                    return;
                }
                if best.as_ref().is_none_or(|(least, _)| loss < *least) {
                    best = Some((loss, candidate));
                }
                if ends {
                    break;
                }
            }
        }
        for (field, dim) in best.into_iter().flat_map(|(_, around)| around) {
            flow.restrict(field, dim);
        }
    }
}

impl<'a> Walk<'_, 'a> {
    /// Remembers the flow before it is rewritten, if any rule passed over so far may still have to be cut in its terms.
    fn keep(&mut self, before: Flow<'a>) {
        self.past.push(before);
    }
}

fn nat_priority(hook: Hook) -> i32 {
    match hook {
        Hook::Prerouting | Hook::Output => -100,
        _ => 100,
    }
}

/// Which end a nat chain on this hook may translate.
pub(crate) fn direction_of(hook: Hook) -> NatDirection {
    match hook {
        Hook::Prerouting | Hook::Output => NatDirection::Destination,
        _ => NatDirection::Source,
    }
}

fn same_side(left: Fate, right: Fate) -> bool {
    (left == Fate::Accepted) == (right == Fate::Accepted)
}

/// Fields of the connection, which packets without a connection don't have: tests of them fail, whichever way they ask
/// (nft_ct_get_eval breaks the rule). `ct state` itself is always there.
fn needs_tracking(field: Field) -> bool {
    matches!(
        field,
        Field::CT_STATUS
            | Field::CT_DIRECTION
            | Field::CT_MARK
            | Field::CT_ORIGINAL_SADDR
            | Field::CT_ORIGINAL_DADDR
            | Field::CT_ORIGINAL_SPORT
            | Field::CT_ORIGINAL_DPORT
    )
}

fn untracked_field(field: Field, at: &Point) -> bool {
    needs_tracking(field) && matches!(at.get(Field::CT_STATE), ct_state::INVALID | ct_state::UNTRACKED)
}

fn fields_of(test: &Test) -> &[Field] {
    match test {
        Test::Range { field, .. } | Test::Bits { field, .. } | Test::Masked { field, .. } => {
            std::slice::from_ref(field)
        }
        Test::Lookup { key, .. } => key,
        Test::Atom { .. } => &[],
    }
}

fn lacks_tracking(test: &Test, at: &Point) -> bool {
    fields_of(test).iter().any(|field| untracked_field(*field, at))
}

/// The bits of `ct status` that a rule's answer or effect hangs on.
fn status_asked(rule: &Rule) -> u128 {
    let all = Field::CT_STATUS.max_value();
    let whole = |asked: bool| if asked { all } else { 0 };
    let of_statement = |statement: &Statement| match statement {
        Statement::Test(Test::Bits { field: Field::CT_STATUS, cubes, .. }) => {
            cubes.iter().fold(0, |bits, cube| bits | cube.mask)
        }
        Statement::Test(test) => whole(fields_of(test).contains(&Field::CT_STATUS)),
        Statement::VerdictMap { key, .. } => whole(key.contains(&Field::CT_STATUS)),
        Statement::Assign { value: Value::Mix { terms, .. }, .. } => {
            whole(terms.iter().any(|(field, _)| *field == Field::CT_STATUS))
        }
        Statement::Assign { value: Value::Map { key, .. }, .. } => whole(key.contains(&Field::CT_STATUS)),
        _ => 0,
    };
    rule.statements.iter().map(of_statement).fold(0, |bits, more| bits | more)
}

fn traits_of(rule: &Rule) -> RuleTraits {
    let mut effects = 0;
    let mut terminal = None;
    for statement in &rule.statements {
        match statement {
            Statement::Test(_) | Statement::Neutral(_) | Statement::Verdict(Verdict::Continue) => {}
            Statement::Verdict(verdict) => {
                effects += 1;
                terminal = match verdict {
                    Verdict::Accept => Some(Fate::Accepted),
                    Verdict::Drop => Some(Fate::Dropped),
                    Verdict::Reject(with) => Some(Fate::Rejected(*with)),
                    _ => None,
                };
            }
            _ => effects += 1,
        }
    }
    RuleTraits { inert: effects == 0, terminal: terminal.filter(|_| effects == 1) }
}

impl Flow<'_> {
    /// Takes over the smaller region of the same packet at another moment.
    pub(crate) fn adopt_region(&mut self, other: &Flow<'_>) {
        self.set_region(other.region().clone());
    }

    /// Before conntrack has seen the packet, its state reads as invalid (nft_ct_get_eval without a connection).
    pub(crate) fn detach_tracking(&mut self) {
        if self.tracked_later.is_none() {
            self.tracked_later = Some(self.take(Field::CT_STATE));
            self.put_value(Field::CT_STATE, ct_state::INVALID);
        }
    }

    /// Whether conntrack leaves the packet alone by itself, as it does with the messages by which IPv6 finds neighbours,
    /// routers and multicast listeners (nf_conntrack_icmpv6_error). The region keeps only packets of the same kind.
    fn exempt_from_tracking(&mut self) -> bool {
        if self.now().get(Field::NFPROTO) != 10 {
            return false;
        }
        let icmp = IntervalSet::single(58);
        let protocol = self.now().get(Field::L4PROTO);
        let (low, high) = icmp.stretch(protocol);
        self.restrict(Field::L4PROTO, Dim::Range(low, high));
        if !icmp.contains(protocol) {
            return false;
        }
        let exempt: IntervalSet = [(130, 136), (143, 143), (151, 152)].into_iter().collect();
        let kind = self.now().get(Field::ICMP_TYPE);
        let (low, high) = exempt.stretch(kind);
        self.restrict(Field::ICMP_TYPE, Dim::Range(low, high));
        exempt.contains(kind)
    }

    /// Conntrack sees the packet: its state counts from here on, and the first packet's addresses become the original
    /// ones of the connection.
    pub(crate) fn attach_tracking(&mut self) {
        let Some(state) = self.tracked_later.take() else { return };
        let exempt = self.exempt_from_tracking();
        self.put(Field::CT_STATE, if exempt { Origin::constant(ct_state::UNTRACKED) } else { state });
        self.hold(Field::CT_STATE);
        if self.now().get(Field::CT_STATE) == ct_state::NEW {
            for (original, present) in [
                (Field::CT_ORIGINAL_SADDR, Field::SADDR),
                (Field::CT_ORIGINAL_DADDR, Field::DADDR),
                (Field::CT_ORIGINAL_SPORT, Field::SPORT),
                (Field::CT_ORIGINAL_DPORT, Field::DPORT),
            ] {
                let origin = self.take(present);
                self.put(original, origin);
            }
            self.put_value(Field::CT_DIRECTION, 0);
        }
    }
}
