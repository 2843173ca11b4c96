//! The mistakes, each of a kind that people make when they write such code.

/// A mistake: an expression, found by the text around it, and what it becomes.
#[derive(Debug)]
pub(super) struct Mutant {
    pub file: &'static str,
    /// What is wrong with it, for the table.
    pub mistake: &'static str,
    pub before: &'static str,
    pub right: &'static str,
    pub wrong: &'static str,
    pub after: &'static str,
}

macro_rules! mutants {
    ($($file:literal $mistake:literal: $before:literal [$right:literal => $wrong:literal] $after:literal;)*) => {
        pub(super) const MUTANTS: &[Mutant] = &[$(Mutant {
            file: $file,
            mistake: $mistake,
            before: $before,
            right: $right,
            wrong: $wrong,
            after: $after,
        }),*];
    };
}

mutants! {
    // The interpreter.
    "crates/ruleset/src/interpreter/mod.rs" "conntrack sees the packet before the raw table":
        "tracks(hook) && " ["base.effective_priority() >= CONNTRACK_PRIORITY" => "true"] " {";
    "crates/ruleset/src/interpreter/mod.rs" "nat chains see packets of connections that exist":
        "return !done && " ["(state == ct_state::NEW || state == ct_state::RELATED)" => "state != ct_state::INVALID"] ";";
    "crates/ruleset/src/interpreter/mod.rs" "goto skips the first rule":
        "*top = " ["(to, 0)" => "(to, 1)"] ";";
    "crates/ruleset/src/interpreter/mod.rs" "a chain's policy is always accept":
        "match " ["base.policy" => "Policy::Accept"] " {";
    "crates/ruleset/src/interpreter/rule.rs" "negated tests of flags aren't negated":
        "" ["inside != *negated" => "inside"] "\n";
    "crates/ruleset/src/interpreter/rule.rs" "masks are forgotten":
        "let value = " ["read(walk, *field)? & **mask" => "read(walk, *field)?"] ";\n                set.ranges";
    "crates/ruleset/src/interpreter/rule.rs" "`!= @set` reads as `@set`":
        "" ["self.is_member(key, *set, walk)? != *negated" => "self.is_member(key, *set, walk)?"] ",";
    "crates/ruleset/src/interpreter/rule.rs" "packets without a connection have a mark of one":
        "if " ["belongs_to_connection(field) && !walk.has_connection()" => "false"] " {\n        return None;";
    "crates/ruleset/src/interpreter/nat.rs" "protocols without ports get ports":
        "let has_port = " ["WITH_PORTS.contains(&walk.now.get(Field::L4PROTO))" => "true"] ";";
    "crates/ruleset/src/interpreter/nat.rs" "a translation to the same address counts as one":
        "if " ["new != old" => "true"] " {";
    "crates/ruleset/src/interpreter/walk.rs" "neighbour discovery is tracked":
        "&& " ["matches!(self.now.get(Field::ICMP_TYPE), 130..=136 | 143 | 151 | 152)" => "false"] "\n";
    // Changes on trial.
    "crates/change/src/trial.rs" "nothing comes back at the deadline":
        "fn waited(&mut self, now: u64, event: Event) -> Effect {\n        if " ["now >= self.record.deadline" => "false"] " {";
    "crates/change/src/trial.rs" "a confirmation counts after the deadline":
        "fn confirmed(&mut self, now: u64) -> Effect {\n        if " ["now >= self.record.deadline" => "false"] " {";
    "crates/change/src/trial.rs" "half of the old rules counts as the old rules":
        "(Doing::Looking, Event::Read(Ok(reading))) if " ["reading.rules == Rules::Old" => "reading.rules != Rules::New"] " =>";
    "crates/change/src/trial.rs" "the way back isn't verified":
        "(Doing::Verifying(_), Event::Read(Ok(reading))) if " ["reading.rules == Rules::Old" => "reading.rules != Rules::New"] " =>";
    "crates/change/src/trial.rs" "what somebody else made of the rules is confirmed":
        "if " ["!is_as_planned" => "false"] " || looked_at";
    "crates/change/src/trial.rs" "the quick way back is gone though it wasn't saved":
        "self.inverse = " ["event == Event::Done" => "event != Event::Time"] ";";
    "crates/change/src/trial.rs" "a reboot is taken for the death of a guard":
        "let rebooted = " ["record.boot_id != boot_id" => "record.boot_id.is_empty()"] ";";
    "crates/change/src/trial.rs" "what was confirmed is lost in a reboot":
        "Phase::Confirmed { .. } if " ["rebooted" => "rebooted && self.kept > 0"] " =>";
    "crates/change/src/trial.rs" "rules are loaded before it is saved that they will be":
        "Kind::Command => Phase::Applied { holds: None },\n        };\n        " ["self.save()" => "self.saved(now)"] "\n";
    "crates/change/src/trial.rs" "a confirmation that isn't on disk is made to last":
        "(Doing::Staging, Event::Done) => " ["self.confirmed(now)" => "self.keep()"] ",";
    "crates/change/src/trial.rs" "a guard that takes over goes the quick way back a second time":
        "Kind::Scripts { .. } => " ["self.read(Doing::Looking)" => "self.act(Attempt::Inverse)"] ",";
    "crates/change/src/trial.rs" "a disk that fails keeps the old rules from coming back":
        "// The way back needs no disk.\n            Phase::Reverting { attempt, .. } => " ["self.act(attempt)" => "self.save()"] ",";
    "crates/change/src/trial/back.rs" "what a stuck trial says isn't what the kernel holds":
        "if " ["told.as_ref() == Some(&now_holds)" => "told.is_some()"] " {";
    "crates/change/src/trial/back.rs" "a command goes on while the old rules come back":
        "if " ["self.kind == Kind::Command" => "false"] " {\n            self.doing = Doing::Holding;";
    "crates/change/src/trial/back.rs" "the rules aren't watched after the way back from a command":
        "if " ["now >= until" => "now < u64::MAX"] " {\n            return self.finish_reverted(foreign);";
    // The engine.
    "crates/engine/src/condition.rs" "negated atoms aren't negated":
        "" ["(at.get(*atom) != 0) != *negated" => "at.get(*atom) != 0"] ",";
    "crates/engine/src/condition.rs" "a region isn't cut by the flags that a rule asks for":
        "if " ["differing & (fixed | known.mask) == 0" => "false"] " {";
    "crates/engine/src/lookup.rs" "a region reaches into an element of a set":
        "value > high {\n            " ["(high + 1, to)" => "(from, to)"] "\n";
    "crates/engine/src/flow.rs" "a cut of a translated field lands on the wrong addresses":
        "" ["((cube.value ^ xor) & wanted & !shared) | (own & shared)" => "(cube.value & wanted & !shared) | (own & shared)"] ";";
    "crates/engine/src/hook.rs" "conntrack sees the packet before the raw table":
        "if !conntrack_passed && " ["base.effective_priority() >= -200" => "true"] " {";
    "crates/engine/src/hook.rs" "rules passed over before a rewrite count as if after it":
        "let unchanged_since = " ["run.state == states" => "true"] ";";
    "crates/engine/src/hook.rs" "small cuts are left out":
        "if " ["loss == 0.0" => "loss < 4.0"] " {\n                    return;";
    "crates/engine/src/hook.rs" "a chain's policy is always accept":
        "fate: if " ["base.policy == Policy::Accept" => "true"] " { Fate";
    "crates/engine/src/translate.rs" "`dnat ip to` translates IPv6 as well":
        "if " ["nat.nfproto.is_some_and(|wanted| wanted != nfproto)" => "false"] " {";
    "crates/engine/src/index.rs" "the index misses rules at the lower side of a region":
        "low[lane] = " ["self.axes[lane].rank(from)" => "self.axes[lane].rank(to)"] ";";
    "crates/engine/src/index.rs" "the index leaves a subtree too early":
        "if " ["node.first_rule >= best" => "node.last_rule >= best"] " {";
    // What both share: the representation and the lowering, which only the kernel and fixed expectations can judge.
    "crates/ruleset/src/ir/mod.rs" "nat chains run at the priority that is written":
        "(ChainType::Nat, Hook::Prerouting | Hook::Output) => " ["-100" => "self.priority"] ",";
    "crates/ruleset/src/ir/mod.rs" "inet chains see IPv4 only":
        "Family::Inet => " ["true" => "nfproto == 2"] ",";
    "crates/ruleset/src/lower/nft/matching.rs" "`>` means `>=`":
        "Operator::Gt => " ["bound.checked_add(1).map(|low| (low, want.max()))" => "Some((bound, want.max()))"] ",";
    "crates/ruleset/src/lower/nft/matching.rs" "`tcp flags syn` asks for nothing but syn":
        "Ok(if " ["bit_test" => "false"] " { Values::AnyBit";
    "crates/ruleset/src/lower/nft/matching.rs" "`<` means `<=`":
        "Operator::Lt => " ["bound.checked_sub(1).map(|high| (0, high))" => "Some((0, bound))"] ",";
    "crates/ruleset/src/lower/nft/state.rs" "insert before a rule inserts behind it":
        "(Verb::Insert, Some(rule), Some(at)) => rules.insert(" ["at" => "(at + 1).min(rules.len())"] ", rule),";
    "crates/ruleset/src/lower/iptables/matches.rs" "`--syn` looks at one flag only":
        "let mask = " ["tcp_flag::FIN | tcp_flag::SYN | tcp_flag::RST | tcp_flag::ACK" => "tcp_flag::SYN"] ";";
    "crates/ruleset/src/lower/iptables/rule.rs" "`!` is forgotten":
        "let set = " ["if negated { set.complement(max) } else { set }" => "set"] ";";
    "crates/ruleset/src/lower/iptables/conntrack.rs" "packets without a connection are asked for its protocol":
        "fits = " ["free.is_empty()" => "true"] " ||";
    "crates/ruleset/src/lower/iptables/targets.rs" "`-g` comes back":
        "Some(&chain) if goes.name() == \"goto\" => " ["Verdict::Goto(chain)" => "Verdict::Jump(chain)"] ",";
    "crates/ruleset/src/lower/iptables/mod.rs" "mangle runs after filter":
        "(\"mangle\", _) => (ChainType::Filter, " ["-150" => "50"] "),";
    "crates/packet/src/dim.rs" "a cut leaves its edge behind":
        "rest.push(Dim::Range(" ["cut_high + 1" => "cut_high"] ", high));";
    // Diff.
    "crates/verify/src/diff/pairing.rs" "the last rules of two chains are taken for the same":
        "(1..=shorter - head).take_while(|&back| " ["chains.same(left_count - back, right_count - back)" => "chains.same(left_count - back, right_count - back) || back == 1"] ")";
    "crates/verify/src/diff/pairing.rs" "rules that changed places count as kept":
        "pairs.get(end).is_some_and(|pair| " ["pair.1 < to" => "pair.1 < to || pair.0 < at"] ")";
    "crates/verify/src/diff/changed/mod.rs" "rules that are gone aren't looked at":
        "finder.rules(old, pair.before, " ["&pair.removed" => "&pair.removed[..0]"] ");";
    "crates/verify/src/diff/changed/side.rs" "addresses at a rule are those that the packet came with, whatever is translated":
        "" ["!self.written.translates.0 || before_translation(base, NatDirection::Destination)" => "true"] "\n";
    "crates/verify/src/diff/compare.rs" "the packets of a difference are those that fare alike before":
        "                region: " ["second.region().clone()" => "first.region().clone()"] ",";
    "crates/verify/src/diff/seen.rs" "dropped instead of rejected is no difference":
        "            false => " ["Seen::Differs(Effect::RefusedOtherwise)" => "Seen::Same"] ",";
    "crates/verify/src/diff/connections.rs" "answers aren't followed":
        "lost(&later(false)).or_else(|| lost(&later(" ["true" => "false"] ")))";
    "crates/verify/src/diff/cross.rs" "what is translated stays with the host":
        "// Of a host without addresses, whoever it translates to is another one.\n            self.flow.put_value(Field::FIB_DADDR_TYPE, " ["fib_type::UNICAST" => "fib_type::LOCAL"] ");";
    "crates/verify/src/diff/seen.rs" "values that the kernel chooses are never equal by chance":
        "return " ["Seen::Mostly(field)" => "Seen::Differs(Effect::Rewritten(Some(field)))"] ";";
    "crates/verify/src/diff/cover.rs" "a part is told as larger than it is":
        "let allowed = " ["whole.subtract(&outside)" => "whole.clone()"] ";";
    "crates/verify/src/diff/cover.rs" "what all packets of a change have in common is what the first have":
        "let mut others = " ["rest" => "&rest[..0]"] ".iter().map(|set| set.fields.get(&field));";
    "crates/verify/src/diff/cover.rs" "a part that others contain in part only isn't told":
        "is_some_and(|rest| " ["rest.is_empty()" => "rest.len() < 2"] ") {";
}
