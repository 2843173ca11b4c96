//! Programs that write rules of their own, and where to change what they write.

use firewarden_diagnostic::Manager;
use firewarden_ruleset::ir::{Rule, RuleRef, Ruleset, Statement, Verdict};

/// A program, known by the names of its tables and chains or by what it writes into comments.
struct Known {
    name: &'static str,
    edit: &'static str,
    /// Beginnings of names; one that ends with `$` must be met as a whole.
    tables: &'static [&'static str],
    chains: &'static [&'static str],
    /// Beginnings of comments, which rules in everybody's chains have.
    comments: &'static [&'static str],
}

const KNOWN: [Known; 17] = [
    Known {
        name: "Docker",
        edit: "change the published ports of the container (`docker run -p`, compose file), or add rules to the chain DOCKER-USER",
        tables: &["docker-bridges$"],
        chains: &["DOCKER"],
        comments: &[],
    },
    Known {
        name: "ufw",
        edit: "change it with `ufw allow`, `ufw deny` or `ufw delete`, or in /etc/ufw/before.rules and after.rules",
        tables: &[],
        chains: &["ufw-", "ufw6-"],
        comments: &[],
    },
    Known {
        name: "firewalld",
        edit: "change it with `firewall-cmd --permanent` and `firewall-cmd --reload`",
        tables: &["firewalld$", "firewalld_"],
        chains: &["INPUT_ZONES", "FORWARD_ZONES", "IN_public", "FWDI_", "FWDO_", "PRE_public", "POST_public"],
        comments: &[],
    },
    Known {
        name: "fail2ban",
        edit: "change it with `fail2ban-client set JAIL unbanip ADDRESS`, or in /etc/fail2ban/jail.local",
        tables: &["f2b-"],
        chains: &["f2b-", "fail2ban-"],
        comments: &[],
    },
    Known {
        name: "kube-proxy",
        edit: "change the Service or NetworkPolicy object, kube-proxy writes the rules from it",
        tables: &["kube-proxy$"],
        chains: &["KUBE-"],
        comments: &["kubernetes "],
    },
    Known {
        name: "Calico",
        edit: "change the network policy objects, Felix writes the rules from them",
        tables: &["calico$"],
        chains: &["cali-"],
        comments: &["cali:"],
    },
    Known {
        name: "Cilium",
        edit: "change the network policy objects, the Cilium agent writes the rules",
        tables: &[],
        chains: &["CILIUM_", "OLD_CILIUM_"],
        comments: &["cilium: ", "cilium-feeder: "],
    },
    Known {
        name: "flannel",
        edit: "change flannel's configuration (the ConfigMap `kube-flannel-cfg`), flanneld writes the rules from it",
        tables: &["flannel-ipv"],
        chains: &["FLANNEL-"],
        comments: &["flanneld "],
    },
    Known {
        name: "a CNI plugin",
        edit: "change the network's configuration in /etc/cni/net.d or the pod's host ports, the plugin writes the rules",
        tables: &["cni_hostport$"],
        chains: &["CNI-"],
        comments: &["CNI portfwd", "CNI firewall plugin"],
    },
    Known {
        name: "Podman",
        edit: "change the published ports of the container (`podman run -p`), netavark writes the rules from them",
        tables: &["netavark$"],
        chains: &["NETAVARK"],
        comments: &[],
    },
    Known {
        name: "LXD",
        edit: "change the network with `lxc network edit`, LXD writes the rules from it",
        tables: &["lxd$"],
        chains: &[],
        comments: &["generated for LXD"],
    },
    Known {
        name: "Incus",
        edit: "change the network with `incus network edit`, Incus writes the rules from it",
        tables: &["incus$"],
        chains: &[],
        comments: &["generated for Incus"],
    },
    Known {
        name: "libvirt",
        edit: "change the virtual network with `virsh net-edit`, libvirt writes the rules from it",
        tables: &["libvirt_network$"],
        chains: &["LIBVIRT_", "guest_input", "guest_output", "guest_cross", "guest_nat"],
        comments: &[],
    },
    Known {
        name: "CrowdSec",
        edit: "change it with `cscli decisions delete`, the bouncer writes the rules from the decisions",
        tables: &["crowdsec"],
        chains: &["crowdsec", "CROWDSEC"],
        comments: &["CrowdSec:"],
    },
    Known {
        name: "Tailscale",
        edit: "change it with `tailscale set --netfilter-mode`, or in the tailnet's policy",
        tables: &[],
        chains: &["ts-input$", "ts-forward$", "ts-postrouting$"],
        comments: &[],
    },
    Known {
        name: "miniupnpd",
        edit: "change the port mapping on the device that asked for it, or /etc/miniupnpd/miniupnpd.conf",
        tables: &["miniupnpd$"],
        chains: &["MINIUPNPD"],
        comments: &[],
    },
    Known {
        name: "OpenWrt's firewall",
        edit: "change /etc/config/firewall and run `service firewall reload`",
        tables: &["fw4$"],
        chains: &[],
        comments: &["!fw4: ", "!fw3"],
    },
];

impl Known {
    fn owns_chain(&self, name: &str) -> bool {
        self.chains.iter().any(|known| begins(name, known))
    }

    /// By the comment, or since the rule calls a chain of the program: it put that rule there, too.
    fn wrote(&self, rule: &Rule, ruleset: &Ruleset) -> bool {
        let calls = |statement: &Statement| match statement {
            Statement::Verdict(Verdict::Jump(to) | Verdict::Goto(to)) => {
                ruleset.chain(*to).is_some_and(|chain| self.owns_chain(&chain.name))
            }
            _ => false,
        };
        let comment = rule.comment.as_deref().unwrap_or_default();
        self.comments.iter().any(|known| begins(comment, known)) || rule.statements.iter().any(calls)
    }
}

/// Who manages a rule: by its comment, or by the names of its table, its chain or the chain that it jumps to. `None` for
/// rules that people write. O(known names).
pub fn manager_of(ruleset: &Ruleset, at: RuleRef) -> Option<Manager> {
    let chain = ruleset.chain(at.chain)?;
    let table = ruleset.table(chain.table)?;
    // What people are told to put their own rules into.
    if &*chain.name == "DOCKER-USER" {
        return None;
    }
    let rule = ruleset.rule(at);
    KNOWN
        .iter()
        .find(|known| {
            known.tables.iter().any(|of| begins(&table.name, of))
                || known.owns_chain(&chain.name)
                || rule.is_some_and(|rule| known.wrote(rule, ruleset))
        })
        .map(|known| Manager { name: known.name.to_owned(), edit: known.edit.to_owned() })
}

/// The program that a chain belongs to, by its name; `None` for chains of people, DOCKER-USER among them. O(known names).
pub fn chain_manager(name: &str) -> Option<&'static str> {
    KNOWN.iter().find(|known| name != "DOCKER-USER" && known.owns_chain(name)).map(|known| known.name)
}

fn begins(name: &str, known: &str) -> bool {
    match known.as_bytes() {
        [whole @ .., b'$'] => name.as_bytes() == whole,
        beginning => name.as_bytes().starts_with(beginning),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use firewarden_diagnostic::SourceMap;
    use firewarden_packet::AtomTable;
    use firewarden_ruleset::ir::ChainId;
    use firewarden_ruleset::lower;
    use firewarden_ruleset::syntax::{iptables, nft};

    /// Who manages each rule of the first chain that has some.
    fn managers(text: &str) -> Vec<Option<String>> {
        let file = SourceMap::default().add("rules", text);
        let mut atoms = AtomTable::default();
        let (ruleset, said) = if text.starts_with('*') {
            let (save, _) = iptables::parse(file, text);
            let options = lower::iptables::LowerOptions { scope: "host", ..Default::default() };
            lower::iptables::lower(&[save], &[], &options, &mut atoms)
        } else {
            let (script, _) = nft::text::parse(file, text, &mut nft::text::NoIncludes);
            lower::nft::lower(vec![script], &lower::nft::LowerOptions { scope: "host" }, &mut atoms)
        };
        assert!(said.is_empty(), "{said:#?}");
        let (index, chain) =
            ruleset.chains.iter().enumerate().find(|(_, chain)| !chain.rules.is_empty()).unwrap();
        let at = |rule| RuleRef { chain: ChainId(index as u32), index: rule };
        let rules = 0..chain.rules.len() as u32;
        rules.map(|rule| manager_of(&ruleset, at(rule)).map(|manager| manager.name)).collect()
    }

    #[test]
    fn by_comment_by_jump_and_by_chain() {
        let text = "*filter
:INPUT ACCEPT [0:0]
:FORWARD ACCEPT [0:0]
:cali-INPUT - [0:0]
:f2b-sshd - [0:0]
-A INPUT -m comment --comment \"cali:Cz_u1IQiXIMmKD4c\" -j cali-INPUT
-A INPUT -m comment --comment \"kubernetes health check rules\" -j DROP
-A INPUT -i lxdbr0 -m comment --comment \"generated for LXD network lxdbr0\" -j ACCEPT
-A INPUT -p tcp -m tcp --dport 22 -j f2b-sshd
-A INPUT -m comment --comment \"about kubernetes\" -j ACCEPT
-A INPUT -j ACCEPT
COMMIT
";
        let names = managers(text);
        let names: Vec<Option<&str>> = names.iter().map(Option::as_deref).collect();
        assert_eq!(names, [Some("Calico"), Some("kube-proxy"), Some("LXD"), Some("fail2ban"), None, None]);
        let own =
            |chain: &str| format!("*filter\n:{chain} - [0:0]\n-A {chain} -s 10.0.0.1/32 -j DROP\nCOMMIT\n");
        assert_eq!(managers(&own("DOCKER-ISOLATION-STAGE-1")), [Some("Docker".to_owned())]);
        assert_eq!(managers(&own("DOCKER-USER")), [None]);
    }

    #[test]
    fn by_table() {
        let table =
            |name: &str| format!("table inet {name} {{\n chain c {{\n  tcp dport 22 accept\n }}\n}}\n");
        assert_eq!(managers(&table("firewalld")), [Some("firewalld".to_owned())]);
        assert_eq!(managers(&table("fw4")), [Some("OpenWrt's firewall".to_owned())]);
        assert_eq!(managers(&table("fw44")), [None]);
    }
}
