//! The number of the ruleset's generation, which every change of nftables raises, and the network namespace.

use firewarden_netlink::{ACK, Request, Socket, be32};
use nix::sched::{CloneFlags, setns};
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::thread;

/// The nftables subsystem of netfilter (`linux/netfilter/nfnetlink.h`).
const NFTABLES: u8 = 10;
/// NFT_MSG_GETGEN (`linux/netfilter/nf_tables.h`).
const GET_GENERATION: u8 = 16;
/// NFTA_GEN_ID.
const GENERATION_ID: u16 = 1;

/// The generation of the ruleset in the network namespace of the calling thread.
///
/// # Errors
/// The system's; `PermissionDenied` without CAP_NET_ADMIN over the namespace.
pub fn generation() -> io::Result<u32> {
    let mut socket = Socket::open(0)?;
    let (mut request, sequence) = (Request::default(), socket.next_sequence());
    request.begin(NFTABLES, GET_GENERATION, ACK, 0, 0, sequence);
    request.end();
    let mut found = None;
    socket.call(&request, sequence, |message| {
        found =
            message.attributes().find(|(kind, _)| *kind == GENERATION_ID).and_then(|(_, value)| be32(value));
    })?;
    found.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "the kernel's answer isn't understood"))
}

/// The file of a network namespace that was given by name (as `ip netns` keeps them), by path, or by the number of a
/// process in it.
pub fn namespace_file(named: &str) -> PathBuf {
    if named.contains('/') {
        PathBuf::from(named)
    } else if !named.is_empty() && named.bytes().all(|byte| byte.is_ascii_digit()) {
        Path::new("/proc").join(named).join("ns/net")
    } else {
        Path::new("/run/netns").join(named)
    }
}

/// Moves the calling thread, and whatever it starts from now on, into a network namespace: its name as `ip netns` keeps it,
/// its path, or the number of a process in it.
///
/// # Errors
/// The system's, where the namespace isn't there or can't be entered.
pub fn enter(named: &str) -> io::Result<()> {
    setns(File::open(namespace_file(named))?, CloneFlags::CLONE_NEWNET).map_err(io::Error::from)
}

/// Does something on a thread of its own, in another network namespace where one is given.
///
/// # Errors
/// The system's, where the namespace can't be entered.
pub fn within<T: Send>(namespace: Option<&Path>, work: impl FnOnce() -> T + Send) -> io::Result<T> {
    thread::scope(|scope| {
        let worker = scope.spawn(|| {
            if let Some(path) = namespace {
                setns(File::open(path)?, CloneFlags::CLONE_NEWNET)?;
            }
            Ok(work())
        });
        worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_namespaces() {
        assert_eq!(namespace_file("blue"), Path::new("/run/netns/blue"));
        assert_eq!(namespace_file("4711"), Path::new("/proc/4711/ns/net"));
        assert_eq!(namespace_file("/proc/1/ns/net"), Path::new("/proc/1/ns/net"));
    }
}
