//! The number of the ruleset's generation, which every change of nftables raises, and the network namespace.

use nix::sched::{CloneFlags, setns};
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, send, setsockopt,
    socket, sockopt,
};
use nix::sys::time::TimeVal;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::thread;

/// NFT_MSG_GETGEN of the nftables subsystem (`linux/netfilter/nfnetlink.h`, `linux/netfilter/nf_tables.h`).
const GET_GENERATION: u16 = 10 << 8 | 16;
/// NFT_MSG_NEWGEN.
const GENERATION: u16 = 10 << 8 | 15;
/// NFTA_GEN_ID.
const GENERATION_ID: u16 = 1;
/// NLMSG_ERROR.
const ERROR: u16 = 2;
/// NLM_F_REQUEST.
const REQUEST: u16 = 1;
/// The headers of netlink and of netfilter's netlink, in bytes.
const HEADERS: usize = 16 + 4;

/// The generation of the ruleset in the network namespace of the calling thread.
///
/// # Errors
/// The system's; `PermissionDenied` without CAP_NET_ADMIN over the namespace.
pub fn generation() -> io::Result<u32> {
    let descriptor = socket(
        AddressFamily::Netlink,
        SockType::Raw,
        SockFlag::SOCK_CLOEXEC,
        SockProtocol::NetlinkNetFilter,
    )?;
    setsockopt(&descriptor, sockopt::ReceiveTimeout, &TimeVal::new(5, 0))?;
    bind(descriptor.as_raw_fd(), &NetlinkAddr::new(0, 0))?;
    let mut request = Vec::with_capacity(HEADERS);
    request.extend((HEADERS as u32).to_ne_bytes());
    request.extend(GET_GENERATION.to_ne_bytes());
    request.extend(REQUEST.to_ne_bytes());
    // Sequence number and sender, then family, version and resource: all zero.
    request.extend([0; 12]);
    send(descriptor.as_raw_fd(), &request, MsgFlags::empty())?;
    let mut buffer = [0; 4096];
    let length = recv(descriptor.as_raw_fd(), &mut buffer, MsgFlags::empty())?;
    read_answer(buffer.get(..length).unwrap_or_default())
}

/// The number in the kernel's answer.
fn read_answer(answer: &[u8]) -> io::Result<u32> {
    let strange = || io::Error::new(io::ErrorKind::InvalidData, "the kernel's answer isn't understood");
    let short = |at: usize| Some(u16::from_ne_bytes(answer.get(at..at + 2)?.try_into().ok()?));
    match short(4).ok_or_else(strange)? {
        GENERATION => {}
        ERROR => {
            let code = answer.get(16..20).and_then(|bytes| bytes.try_into().ok()).map(i32::from_ne_bytes);
            return Err(io::Error::from_raw_os_error(-code.ok_or_else(strange)?));
        }
        _ => return Err(strange()),
    }
    let mut at = HEADERS;
    while let (Some(length), Some(kind)) = (short(at), short(at + 2)) {
        if kind & 0x3FFF == GENERATION_ID {
            let value = answer.get(at + 4..at + 8).and_then(|bytes| bytes.try_into().ok());
            return value.map(u32::from_be_bytes).ok_or_else(strange);
        }
        at += usize::from(length).next_multiple_of(4).max(4);
    }
    Err(strange())
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
    fn answers_of_the_kernel() {
        let mut answer = Vec::new();
        answer.extend(28u32.to_ne_bytes());
        answer.extend(GENERATION.to_ne_bytes());
        answer.extend([0; 14]);
        answer.extend(8u16.to_ne_bytes());
        answer.extend(GENERATION_ID.to_ne_bytes());
        answer.extend(4711u32.to_be_bytes());
        assert_eq!(read_answer(&answer).unwrap(), 4711);
        for length in 0..answer.len() {
            assert!(read_answer(&answer[..length]).is_err());
        }
        let mut refused = Vec::new();
        refused.extend(36u32.to_ne_bytes());
        refused.extend(ERROR.to_ne_bytes());
        refused.extend([0; 10]);
        refused.extend((-1i32).to_ne_bytes());
        assert_eq!(read_answer(&refused).unwrap_err().kind(), io::ErrorKind::PermissionDenied);
    }

    #[test]
    fn names_of_namespaces() {
        assert_eq!(namespace_file("blue"), Path::new("/run/netns/blue"));
        assert_eq!(namespace_file("4711"), Path::new("/proc/4711/ns/net"));
        assert_eq!(namespace_file("/proc/1/ns/net"), Path::new("/proc/1/ns/net"));
    }
}
