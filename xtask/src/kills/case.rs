//! What happens in one change, from a seed.

use firewarden_testkit::random::Random;

/// How the change is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// A plan with a quick way back.
    Quick,
    /// A plan for a single rule, which the guard tells the kernel of itself.
    Direct,
    /// A plan without, in two scripts.
    Whole,
    /// By the client, as under `guard -- COMMAND`.
    Command,
    /// By a process that the client starts, which doesn't hear that it should end and goes on changing rules.
    Endless,
}

impl How {
    /// Whether the guard only looks after what somebody else does.
    pub fn is_command(self) -> bool {
        matches!(self, How::Command | How::Endless)
    }
}

/// What the client asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    Nothing,
    Confirm,
    Revert,
}

/// Who is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    Client,
    Guard,
    Standby,
    /// The guard, then its standby, then the one of that, as quickly as it goes.
    Both,
    /// The program that loads rules.
    Loader,
    /// Every process at once; the next client finds it.
    All,
    /// The system: every process, the kernel's rules, and the boot id is another.
    System,
}

/// When somebody is killed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Moment {
    /// So many microseconds after a guard announced a step for the nth time.
    Step { step: &'static str, nth: u64, after: u64 },
    /// So many millionths of the window after the client began.
    Time(u64),
}

/// A kill.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kill {
    pub moment: Moment,
    pub target: Target,
    /// `KILL`, `HUP` or `TERM`.
    pub signal: &'static str,
}

/// A change and what happens to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Case {
    pub seed: u64,
    pub how: How,
    pub wish: Wish,
    /// When the client asks for it, in thousandths of the window after the new rules are in.
    pub asks_after: u64,
    pub kills: Vec<Kill>,
}

impl Case {
    pub fn new(seed: u64) -> Case {
        let mut random = Random::new(seed);
        let how = [How::Quick, How::Direct, How::Whole, How::Command, How::Endless][random.below(5)];
        let wish = match random.below(10) {
            // Nobody can look at rules that change all the time.
            0..5 if how == How::Endless => Wish::Nothing,
            0..5 => Wish::Confirm,
            5..7 => Wish::Revert,
            _ => Wish::Nothing,
        };
        // Some ask when the deadline is there.
        let asks_after =
            if random.below(4) == 0 { 850 + below(&mut random, 150) } else { below(&mut random, 300) };
        let kills = (0..1 + random.below(3)).map(|_| kill(&mut random, how, wish)).collect();
        Case { seed, how, wish, asks_after, kills }
    }

    /// One that loads everything, is taken back when asked and in which nobody is killed.
    pub fn undisturbed() -> Case {
        let all = (0..).map(Case::new);
        let mut fitting =
            all.filter(|case| case.how == How::Whole && case.wish == Wish::Revert && case.asks_after < 20);
        Case { kills: Vec::new(), ..fitting.next().expect("seeds give every kind of change") }
    }
}

fn kill(random: &mut Random, how: How, wish: Wish) -> Kill {
    let is_quick = matches!(how, How::Quick | How::Direct);
    let mut steps = vec!["save armed", "read back", "save applied", "wait"];
    if !how.is_command() {
        steps.extend(["save applying", "load forward"]);
    }
    if is_quick {
        steps.push("resolve inverse");
    }
    if wish == Wish::Confirm {
        steps.extend(["stage", "save confirmed", "keep", "save done"]);
    } else {
        steps.extend(["save reverting", "load rollback", "save done"]);
        if how.is_command() {
            steps.extend(["hold workers", "end workers", "watch"]);
        }
        if is_quick {
            steps.extend(["load inverse", "load inverse"]);
        }
    }
    let target = match random.below(14) {
        0..2 => Target::Client,
        2..6 => Target::Guard,
        6 => Target::Standby,
        7..9 => Target::Both,
        // The guard itself is what loads then.
        9..11 if how == How::Direct => Target::Guard,
        9..11 => Target::Loader,
        11 => Target::All,
        _ => Target::System,
    };
    let signal = match random.below(8) {
        // Loaders inherit the guard's deafness to the others.
        _ if target == Target::Loader => "KILL",
        0 => "HUP",
        1 => "TERM",
        _ => "KILL",
    };
    let moment = if random.below(5) == 0 || (target == Target::Client && random.below(4) == 0) {
        let limit = if target == Target::Client { 150_000 } else { 1_300_000 };
        Moment::Time(below(random, limit))
    } else {
        let step = match target {
            Target::Loader if how.is_command() => "load rollback",
            Target::Loader if wish == Wish::Confirm || random.below(2) == 0 => "load forward",
            Target::Loader if how == How::Quick => "load inverse",
            Target::Loader => "load rollback",
            _ => random.of(&steps),
        };
        let after = match random.below(3) {
            0 => 0,
            1 => below(random, 3000),
            _ => below(random, 30_000),
        };
        let nth = if step == "read back" { 1 + below(random, 3) } else { 1 };
        Moment::Step { step, nth, after }
    };
    Kill { moment, target, signal }
}

fn below(random: &mut Random, end: u64) -> u64 {
    random.bits() % end.max(1)
}
