//! What an audit looks for: one stable id for each, with the control it serves.

/// One thing that an audit looks for.
#[derive(Debug, PartialEq, Eq)]
pub struct Check {
    /// Stable id in kebab-case, never reused with another meaning; `docs/audit.md` has a section for each.
    pub id: &'static str,
    /// What holds where nothing is found, as one sentence.
    pub claim: &'static str,
    /// Numbered controls of standards that ask for it.
    pub controls: &'static [&'static str],
}

macro_rules! checks {
    ($($name:ident = $id:literal, $claim:literal, [$($control:literal),*];)*) => {
        $(#[doc = $claim] pub const $name: Check = Check { id: $id, claim: $claim, controls: &[$($control),*] };)*

        /// All checks, in the order in which they are reported.
        pub const ALL: &[&Check] = &[$(&$name),*];
    };
}

checks! {
    SHADOWED_DENY = "shadowed-deny", "no rule that denies is behind rules that accept its packets", [];
    SHADOWED_ACCEPT = "shadowed-accept", "no rule that accepts is behind rules that deny its packets", [];
    UNREACHABLE_RULE = "unreachable-rule", "every rule with another effect meets some packet", [];
    CONTRADICTORY_RULE = "contradictory-rule", "no rule asks for what no packet that comes there can be", [];
    SHADOWED_DUPLICATE = "shadowed-duplicate", "no rule repeats what earlier rules have decided alike", [];
    REDUNDANT_RULE = "redundant-rule", "every rule changes something", [];
    REPEATS_DEFAULT = "repeats-default", "no rule does only what happens at the end of its chain anyway", [];
    EMPTY_JUMP = "empty-jump", "no rule calls a chain that does nothing", [];
    UNUSED_CHAIN = "unused-chain", "every chain is called", [];
    UNUSED_SET = "unused-set", "every set and map is used", [];
    DEFAULT_ACCEPT = "default-accept", "what no rule names is denied, by IPv4 and by IPv6", ["PCI DSS 4 1.3.1"];
    ANY_ANY_ACCEPT = "any-any-accept", "no rule accepts everything", ["PCI DSS 4 1.3.1"];
    OPEN_MANAGEMENT = "open-management", "nobody on the internet reaches ports that machines are managed by", ["PCI DSS 4 1.4.2"];
    OPEN_DATABASE = "open-database", "nobody on the internet reaches databases and caches", ["PCI DSS 4 1.4.4"];
    OPEN_BY_IPV6_ONLY = "open-by-ipv6-only", "IPv6 lets in what IPv4 lets in, and no more", [];
    OPEN_BY_IPV4_ONLY = "open-by-ipv4-only", "IPv4 lets in what IPv6 lets in, and no more", [];
    DOCKER_BYPASSES_INPUT = "docker-bypasses-input", "no port that Docker publishes is reached past the input chain", ["PCI DSS 4 1.4.2"];
    NAT_BYPASSES_FILTER = "nat-bypasses-filter", "no translated packet is forwarded by a rule that looks at neither its port nor its destination", ["PCI DSS 4 1.4.2"];
    NO_ESTABLISHED = "no-established", "packets of established connections are accepted where the rest is denied", [];
    LOOPBACK_DENIED = "loopback-denied", "the host reaches itself over the loopback interface", [];
    LOOPBACK_SPOOFING = "loopback-spoofing", "loopback addresses from other interfaces are refused", [];
    SPOOFED_SOURCE = "spoofed-source", "private source addresses that come from the internet are refused", ["PCI DSS 4 1.4.3"];
    INVALID_ACCEPTED = "invalid-accepted", "packets that belong to no connection and can't start one are refused", [];
    RELOAD_LEAK = "reload-leak", "reloading lets nothing through", [];
    DOUBLED_ON_RELOAD = "doubled-on-reload", "loading a file twice gives what loading it once gives", [];
    FLUSH_BESIDE_MANAGER = "flush-beside-manager", "no file flushes the rules that other programs have put beside its own", [];
    HOSTNAME_IN_RULE = "hostname-in-rule", "no rule hangs on what a name server says while it is loaded", [];
    INTERFACE_BY_INDEX = "interface-by-index", "rules name interfaces so that they hold when the interface comes late", [];
    FLAGS_BIT_TEST = "flags-bit-test", "rules about TCP flags say whether they mean a bit or exact flags", [];
    EXACT_STATUS = "exact-status", "rules about the connection's status ask for bits", [];
    LISTENING_UNNAMED = "listening-unnamed", "every port that something listens on, other than on the loopback, is named by a rule", [];
    DROPS_NOT_LOGGED = "drops-not-logged", "what is denied by default is logged", [];
    BOOT_DIFFERS = "boot-differs", "the host has the rules that run now after a restart, too", ["PCI DSS 4 1.2.8"];
    SUPPRESSION_EXPIRED = "suppression-expired", "no exception has expired", [];
    SUPPRESSION_INVALID = "suppression-invalid", "every exception names a known check and gives a reason", [];
    SUPPRESSION_UNUSED = "suppression-unused", "every exception is about something that is found", [];
}

/// A check by its id.
pub fn by_id(id: &str) -> Option<&'static Check> {
    ALL.iter().copied().find(|check| check.id == id)
}

#[cfg(test)]
mod tests {
    use super::ALL;

    #[test]
    fn ids_are_unique_and_documented() {
        let page =
            std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/audit.md")).unwrap();
        for (index, check) in ALL.iter().enumerate() {
            assert!(!ALL[..index].iter().any(|other| other.id == check.id), "{} twice", check.id);
            assert!(
                page.contains(&format!("\n### {}\n", check.id)),
                "docs/audit.md has no section {}",
                check.id
            );
        }
        let sections = page.lines().filter(|line| line.starts_with("### ")).count();
        assert_eq!(sections, ALL.len(), "docs/audit.md has sections for checks that don't exist");
    }
}
