//! Programs that write rules of their own, and where to change what they write.

use firewarden_diagnostic::Manager;
use firewarden_ruleset::ir::{RuleRef, Ruleset};

/// A program known by the names of its tables, its chains or its comments.
struct Known {
    name: &'static str,
    edit: &'static str,
    tables: &'static [&'static str],
    chains: &'static [&'static str],
}

/// Beginnings of names; a name that ends with `$` must be met as a whole.
const KNOWN: [Known; 8] = [
    Known {
        name: "Docker",
        edit: "change the published ports of the container (`docker run -p`, compose file), or add rules to the chain DOCKER-USER",
        tables: &["docker-bridges$"],
        chains: &["DOCKER"],
    },
    Known {
        name: "ufw",
        edit: "change it with `ufw allow`, `ufw deny` or `ufw delete`, or in /etc/ufw/before.rules and after.rules",
        tables: &[],
        chains: &["ufw-", "ufw6-"],
    },
    Known {
        name: "firewalld",
        edit: "change it with `firewall-cmd --permanent` and `firewall-cmd --reload`",
        tables: &["firewalld$"],
        chains: &["INPUT_ZONES", "FORWARD_ZONES", "IN_public", "FWDI_", "FWDO_", "PRE_public", "POST_public"],
    },
    Known {
        name: "fail2ban",
        edit: "change it with `fail2ban-client set JAIL unbanip ADDRESS`, or in /etc/fail2ban/jail.local",
        tables: &["f2b-"],
        chains: &["f2b-", "fail2ban-"],
    },
    Known {
        name: "kube-proxy",
        edit: "change the Service or NetworkPolicy object, kube-proxy writes the rules from it",
        tables: &["kube-proxy$"],
        chains: &["KUBE-"],
    },
    Known {
        name: "Calico",
        edit: "change the network policy objects, Felix writes the rules from them",
        tables: &["calico$"],
        chains: &["cali-"],
    },
    Known {
        name: "libvirt",
        edit: "change the virtual network with `virsh net-edit`, libvirt writes the rules from it",
        tables: &["libvirt_network$"],
        chains: &["LIBVIRT_", "guest_input", "guest_output", "guest_cross", "guest_nat"],
    },
    Known {
        name: "CrowdSec",
        edit: "change it with `cscli decisions delete`, the bouncer writes the rules from the decisions",
        tables: &["crowdsec"],
        chains: &["crowdsec", "CROWDSEC"],
    },
];

/// Who manages a rule, by the names of its table and its chain. `None` for rules that people write. O(known names).
pub fn manager_of(ruleset: &Ruleset, at: RuleRef) -> Option<Manager> {
    let chain = ruleset.chain(at.chain)?;
    let table = ruleset.table(chain.table)?;
    // What people are told to put their own rules into.
    if &*chain.name == "DOCKER-USER" {
        return None;
    }
    let is = |name: &str, known: &&str| match known.strip_suffix('$') {
        Some(whole) => name == whole,
        None => name.starts_with(known),
    };
    KNOWN
        .iter()
        .find(|known| {
            known.tables.iter().any(|of| is(&table.name, of))
                || known.chains.iter().any(|of| is(&chain.name, of))
        })
        .map(|known| Manager { name: known.name.to_owned(), edit: known.edit.to_owned() })
}
