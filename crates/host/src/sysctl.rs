//! The sysctls on which the meaning of rules hangs.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;

/// Those of the whole namespace.
const GLOBAL: [&str; 8] = [
    "net.ipv4.ip_forward",
    "net.ipv4.fib_multipath_hash_policy",
    "net.netfilter.nf_conntrack_tcp_loose",
    "net.netfilter.nf_conntrack_tcp_be_liberal",
    "net.bridge.bridge-nf-call-iptables",
    "net.bridge.bridge-nf-call-ip6tables",
    "net.bridge.bridge-nf-call-arptables",
    "net.ipv6.conf.all.disable_ipv6",
];

/// Those of each interface, by family.
const OF_INTERFACES: [(&str, &[&str]); 2] = [
    ("ipv4", &["forwarding", "rp_filter", "accept_local", "route_localnet", "src_valid_mark"]),
    ("ipv6", &["forwarding", "disable_ipv6"]),
];

/// The sysctls that matter, by name, in the namespace of the calling thread. Those that this kernel doesn't have are left
/// out.
///
/// # Errors
/// The system's, where `/proc/sys` can't be read at all.
pub fn relevant() -> io::Result<BTreeMap<String, String>> {
    let root = Path::new("/proc/sys");
    let mut values = BTreeMap::new();
    for name in GLOBAL {
        if let Ok(value) = fs::read_to_string(root.join(name.replace('.', "/"))) {
            values.insert(name.to_owned(), value.trim().to_owned());
        }
    }
    for (family, names) in OF_INTERFACES {
        let folder = root.join("net").join(family).join("conf");
        let entries = match fs::read_dir(&folder) {
            Ok(entries) => entries,
            // A kernel without IPv6.
            Err(_) if family == "ipv6" => continue,
            Err(error) => return Err(error),
        };
        for entry in entries {
            let entry = entry?;
            let Ok(interface) = entry.file_name().into_string() else { continue };
            for name in names {
                if let Ok(value) = fs::read_to_string(entry.path().join(name)) {
                    values.insert(format!("net.{family}.conf.{interface}.{name}"), value.trim().to_owned());
                }
            }
        }
    }
    Ok(values)
}
