//! The ssh session that a plan is applied over, where the plan was made by somebody else.

use super::events::Teller;
use super::read_state;
use crate::cli::trial::ApplyPlan;
use crate::commands::Stopped;
use crate::commands::meaning::Subject;
use crate::output::Color;
use firewarden_change::plan::Plan;
use firewarden_change::switch::SET;
use firewarden_host::actor::Actor;
use firewarden_host::state::State;

/// A session that a plan doesn't know. Whether it lives on is seen when the new rules are in force, from what the kernel
/// lists: the plan holds scripts, not the rules that they lead to.
pub struct OwnSession {
    before: State,
    host: Subject,
    color: Color,
}

impl OwnSession {
    /// `None` where there is no such session, where the plan looked at it already, or what happens to it is accepted.
    /// `before` are the rules that run; they are read where they weren't yet.
    ///
    /// # Errors
    /// The rules can't be read.
    pub fn of(
        plan: &Plan,
        options: &ApplyPlan,
        before: &mut Option<State>,
        color: Color,
    ) -> Result<Option<OwnSession>, Stopped> {
        let known = plan.evidence.own_session.is_some() || options.accept_findings.is_some();
        if known || Actor::current().connection.is_none() {
            return Ok(None);
        }
        let state = match before {
            Some(state) => state.clone(),
            None => before.insert(read_state()?).clone(),
        };
        Ok(Some(OwnSession { before: state, host: Subject::of(None, Some(&plan.host))?, color }))
    }

    /// How the session is cut, if it is. What can't be found out is told, and left to the one who confirms.
    pub fn cut(&self, teller: &Teller) -> Option<String> {
        let evidence = read_state().map_err(Stopped::from).and_then(|mut after| {
            after.nft = settled(&after.nft);
            self.host.evidence(&self.before, &after, self.color)
        });
        match evidence {
            Ok(evidence) => evidence.own_session,
            Err(stopped) => {
                stopped.tell(self.color);
                teller.trouble("whether this session lives on is not known");
                None
            }
        }
    }
}

/// The rules as they are once confirmed: what decides between old and new ones has a timeout, which would make both possible.
fn settled(listing: &str) -> String {
    let mut text = String::with_capacity(listing.len());
    let mut within = false;
    for line in listing.lines() {
        let words = line.trim_start();
        if words.strip_prefix("set ").is_some_and(|rest| rest.split(' ').next() == Some(SET)) {
            within = true;
        } else if words == "}" {
            within = false;
        }
        match within {
            true if words.starts_with("flags ") => continue,
            true if words.starts_with("elements ") => text.push_str("\t\telements = { ipv4, ipv6 }"),
            _ => text.push_str(line),
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_switch_of_a_trial_is_on() {
        let other = "\tset other {\n\t\ttype ipv4_addr\n\t\tflags timeout\n\t}\n}\n";
        let listing = format!(
            "table inet filter {{\n\tset fw_trial {{ # handle 3\n\t\ttype nf_proto\n\t\tflags timeout\n\t\telements = {{ ipv4 timeout 12s expires 9s, ipv6 timeout 12s expires 9s }}\n\t}}\n{other}"
        );
        assert_eq!(
            settled(&listing),
            format!(
                "table inet filter {{\n\tset fw_trial {{ # handle 3\n\t\ttype nf_proto\n\t\telements = {{ ipv4, ipv6 }}\n\t}}\n{other}"
            )
        );
    }
}
