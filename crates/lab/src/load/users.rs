//! The users of a lab: which there are, and where they send to.

use super::{Line, LoadError, Options, Running, Target, UserOptions};
use crate::outside::{self, CLIENT, USERS};
use crate::place::{CERTIFICATE, Lab};
use crate::series::Connections;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;

/// The name that users know the site by.
const SITE: &str = "shop.example";
/// What they ask for: a page that is read from the database.
const PATH: &str = "/items";
const HTTPS: u16 = 443;

/// How many users there are, and how they differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Crowd {
    /// Users with a new connection for each request.
    pub new: u32,
    /// Users with a connection that is kept.
    pub kept: u32,
    /// Users who share connections.
    pub pooled: u32,
    /// How many of a hundred users of each kind come by IPv6, evenly among them.
    pub ipv6_percent: u32,
}

/// The users of a lab. Those of each kind have the addresses of the client in turn, so that a range of addresses is a share
/// of the users of each kind. O(users).
pub fn users(crowd: Crowd, site: impl Fn(bool) -> Option<IpAddr>) -> Vec<UserOptions> {
    let counts = [crowd.new, crowd.kept, crowd.pooled];
    let percent = u64::from(crowd.ipv6_percent.min(100));
    let mut users = Vec::new();
    for (connections, count) in Connections::ALL.into_iter().zip(counts) {
        for number in 0..count {
            let so_far = |number: u64| number * percent / 100;
            let ipv6 = so_far(u64::from(number) + 1) > so_far(u64::from(number));
            let Some(address) = site(ipv6) else { continue };
            let source = outside::user((number % u32::from(USERS)) as u8, ipv6);
            let target = Target::new(SocketAddr::new(address, HTTPS)).https(SITE);
            let target = Target { path: PATH.to_owned(), ..target };
            users.push(UserOptions { connections, source: Some(source), target });
        }
    }
    users
}

impl Options {
    /// A crowd that uses the site of a lab, which has to show the lab's own certificate.
    pub fn of_lab(lab: &Lab, crowd: Crowd) -> Options {
        Options {
            users: users(crowd, |ipv6| lab.site(ipv6)),
            certificate: Some(PathBuf::from(CERTIFICATE)),
            ..Options::default()
        }
    }
}

impl Running {
    /// Starts a load on the lab's client. `words` lead this program, as the lab has it, to [`super::serve`]. It has a group
    /// of its own, so that an interrupt at the terminal is left to whoever started it.
    pub fn in_lab(
        lab: &Lab,
        words: &[&str],
        options: &Options,
        on_line: impl FnMut(&Line) + Send + 'static,
    ) -> Result<Running, LoadError> {
        let mut command =
            lab.command(CLIENT, "firewarden").map_err(|error| LoadError::Ended(format!(": {error}")))?;
        command.args(words).process_group(0);
        Running::start(command, options, on_line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn users_of_each_kind_have_their_own_addresses_in_both_families() {
        let site = |ipv6| Some(if ipv6 { "2001:db8::10" } else { "203.0.113.1" }.parse().unwrap());
        let all = users(Crowd { new: 20, kept: 20, pooled: 0, ipv6_percent: 25 }, site);
        assert_eq!(all.len(), 40);
        for kind in [Connections::New, Connections::Kept] {
            let of: Vec<&UserOptions> = all.iter().filter(|user| user.connections == kind).collect();
            assert_eq!(of.iter().map(|user| user.source).collect::<BTreeSet<_>>().len(), 20);
            assert_eq!(of.iter().filter(|user| user.target.address.is_ipv6()).count(), 5);
        }
        assert!(all.iter().all(|user| user.source.unwrap().is_ipv6() == user.target.address.is_ipv6()));
    }

    #[test]
    fn a_site_without_ipv6_has_no_users_there() {
        let site = |ipv6: bool| (!ipv6).then(|| "203.0.113.1".parse().unwrap());
        let all = users(Crowd { new: 4, kept: 0, pooled: 0, ipv6_percent: 50 }, site);
        assert_eq!(all.len(), 2);
    }
}
