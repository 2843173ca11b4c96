//! What `ss -Htunlp` prints (ss(8)).

use super::words::socket;
use super::{Read, lines};
use firewarden_network::{ListenAddress, Listener};
use firewarden_packet::InterfaceName;

/// The number of a protocol by the name that `ss` and conntrack use.
pub(super) fn protocol(name: &str) -> Option<u8> {
    Some(match name {
        "tcp" => 6,
        "udp" => 17,
        "sctp" => 132,
        "dccp" => 33,
        "udplite" => 136,
        "icmp" => 1,
        "icmpv6" => 58,
        _ => return None,
    })
}

/// Sockets that wait for packets or connections, from `ss -Htunlp`.
pub fn listening(listing: &str) -> Read<Listener> {
    lines(listing, "a listening socket", |line| {
        let mut words = line.split_ascii_whitespace();
        let protocol = protocol(words.next()?)?;
        let _state = words.next()?;
        let at = socket(words.nth(2)?)?;
        let _peer = words.next()?;
        let interface = match at.interface {
            Some(name) => Some(InterfaceName::new(name).ok()?),
            None => None,
        };
        let address = match at.address {
            None => ListenAddress::Any,
            Some((family, 0)) => ListenAddress::Family(family),
            Some((family, own)) => ListenAddress::One(family, own),
        };
        let rest: String = words.collect::<Vec<_>>().join(" ");
        Some(Listener { protocol, at: address, port: at.port?, interface, programs: programs(&rest) })
    })
}

/// The names in `users:(("sshd",pid=1,fd=3),("sshd",pid=2,fd=3))`, each once.
fn programs(text: &str) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for part in text.split("(\"").skip(1) {
        let name = part.split('"').next().unwrap_or_default().to_owned();
        if !name.is_empty() && !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_as_ss_lists_them() {
        let listing = "\
udp   UNCONN 0 0   127.0.0.53%lo:53      0.0.0.0:*    users:((\"systemd-resolve\",pid=512,fd=13))
udp   UNCONN 0 0   [fe80::1]%eth0:546    [::]:*
tcp   LISTEN 0 128 0.0.0.0:22            0.0.0.0:*    users:((\"sshd\",pid=1,fd=3),(\"sshd\",pid=2,fd=3))
tcp   LISTEN 0 511 *:80                  *:*          users:((\"apache2\",pid=9,fd=4),(\"apache2 w\",pid=10,fd=4))
tcp   LISTEN 0 511 [::]:443              [::]:*
tcp   LISTEN 0 5   10.0.3.30:5432        0.0.0.0:*
nonsense here
";
        let read = listening(listing);
        assert_eq!(read.unread.len(), 1);
        assert_eq!(read.unread[0].text, "nonsense here");
        let brief: Vec<_> = read
            .values
            .iter()
            .map(|socket| (socket.protocol, socket.at, socket.port, socket.programs.len()))
            .collect();
        assert_eq!(
            brief,
            [
                (17, ListenAddress::One(2, 0x7F00_0035), 53, 1),
                (17, ListenAddress::One(10, (0xFE80 << 112) | 1), 546, 0),
                (6, ListenAddress::Family(2), 22, 1),
                (6, ListenAddress::Any, 80, 2),
                (6, ListenAddress::Family(10), 443, 0),
                (6, ListenAddress::One(2, 0x0A00_031E), 5432, 0),
            ]
        );
        assert_eq!(read.values[1].interface, InterfaceName::new("eth0").ok());
        let web = &read.values[3];
        assert!(web.takes(6, 2, 1, 80) && web.takes(6, 10, 1, 80) && !web.takes(17, 2, 1, 80));
        assert!(!read.values[4].takes(6, 2, 1, 443) && read.values[5].takes(6, 2, 0x0A00_031E, 5432));
    }
}
