//! The process that probes.

use super::{Attempt, Ending, Question, Target};
use nix::sys::socket::{
    AddressFamily, Backlog, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrStorage, bind, listen, recv,
    sendto, setsockopt, socket, sockopt,
};
use nix::sys::time::{TimeVal, TimeValLike};
use std::io::{self, BufRead, Write};
use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpListener};
use std::os::fd::AsRawFd;
use std::time::Duration;
use tokio::net::TcpSocket;
use tokio::task::JoinSet;
use tokio::time::timeout;

/// Answers questions until there are no more. `ports` are those on which connections are taken meanwhile, under whatever
/// address they come in for.
///
/// # Errors
/// The system's, or a question that isn't one.
pub fn serve(questions: impl BufRead, mut answers: impl Write, ports: &[u16]) -> io::Result<()> {
    for port in ports {
        take(*port)?;
    }
    // Who may send echo requests without a raw socket. Where it can't be said, those fail with the system's words.
    let _ = std::fs::write("/proc/sys/net/ipv4/ping_group_range", "0 2147483647");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    for line in questions.lines() {
        let question: Question = serde_json::from_str(&line?)?;
        let endings = runtime.block_on(all(question));
        let mut line = serde_json::to_string(&endings)?;
        line.push('\n');
        answers.write_all(line.as_bytes())?;
        answers.flush()?;
    }
    Ok(())
}

/// Takes connections on a port, under every address of both families, and closes them.
fn take(port: u16) -> io::Result<()> {
    let kind = (AddressFamily::Inet6, SockType::Stream, SockFlag::SOCK_CLOEXEC);
    let socket = socket(kind.0, kind.1, kind.2, None)?;
    // Without it, the kernel doesn't answer in the name of an address that it doesn't have.
    setsockopt(&socket, sockopt::IpTransparent, &true)?;
    setsockopt(&socket, sockopt::ReuseAddr, &true)?;
    bind(socket.as_raw_fd(), &SockaddrStorage::from(SocketAddr::from((Ipv6Addr::UNSPECIFIED, port))))?;
    listen(&socket, Backlog::MAXCONN)?;
    let listener = TcpListener::from(socket);
    std::thread::spawn(move || {
        for connection in listener.incoming() {
            drop(connection);
        }
    });
    Ok(())
}

/// All of them at once.
async fn all(question: Question) -> Vec<Ending> {
    let patience = Duration::from_millis(question.patience);
    let mut endings = vec![Ending::Silent; question.attempts.len()];
    let mut running = JoinSet::new();
    for (index, attempt) in question.attempts.into_iter().enumerate() {
        running.spawn(async move { (index, one(&attempt, patience).await) });
    }
    while let Some(ended) = running.join_next().await {
        match ended {
            Ok((index, ending)) => endings[index] = ending,
            Err(error) => {
                // Nobody knows whose it was: none of this question's is an answer then.
                return vec![Ending::Failed(error.to_string()); endings.len()];
            }
        }
    }
    endings
}

async fn one(attempt: &Attempt, patience: Duration) -> Ending {
    let source = SocketAddr::new(attempt.source, attempt.source_port.unwrap_or(0));
    let result = match attempt.target {
        Target::Tcp(target) => timeout(patience, connect(source, target, attempt.hops)).await,
        Target::Echo(target) => {
            let asked = tokio::task::spawn_blocking(move || echo(source.ip(), target, patience)).await;
            Ok(asked.unwrap_or_else(|error| Err(io::Error::other(error))))
        }
    };
    match result {
        Err(_) => Ending::Silent,
        Ok(Ok(())) => Ending::Answered,
        Ok(Err(error)) => match error.kind() {
            io::ErrorKind::ConnectionRefused => Ending::Refused,
            io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => Ending::Silent,
            _ => Ending::Failed(error.to_string()),
        },
    }
}

async fn connect(source: SocketAddr, target: SocketAddr, hops: Option<u8>) -> io::Result<()> {
    let socket = if target.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // The kernel takes this option of IPv4 for sockets of IPv6 as well.
    setsockopt(&socket, sockopt::IpTransparent, &true)?;
    socket.set_reuseaddr(true)?;
    match (hops, target) {
        (Some(hops), SocketAddr::V4(_)) => setsockopt(&socket, sockopt::Ipv4Ttl, &i32::from(hops))?,
        (Some(hops), SocketAddr::V6(_)) => setsockopt(&socket, sockopt::Ipv6Ttl, &i32::from(hops))?,
        (None, _) => {}
    }
    // Closed by a reset: nothing of it is left that the next one could meet.
    socket.set_zero_linger()?;
    socket.bind(source)?;
    socket.connect(target).await.map(drop)
}

/// Sends an echo request and waits for the answer.
fn echo(source: IpAddr, target: IpAddr, patience: Duration) -> io::Result<()> {
    /// The type of an echo request (RFC 792, RFC 4443).
    const REQUEST: [u8; 2] = [8, 128];
    let (family, protocol, request) = match target {
        IpAddr::V4(_) => (AddressFamily::Inet, SockProtocol::Icmp, REQUEST[0]),
        IpAddr::V6(_) => (AddressFamily::Inet6, SockProtocol::IcmpV6, REQUEST[1]),
    };
    // The kernel fills in number and checksum of a socket of this kind, and gives it its own answers only.
    let socket = socket(family, SockType::Datagram, SockFlag::SOCK_CLOEXEC, protocol)?;
    setsockopt(&socket, sockopt::IpTransparent, &true)?;
    let milliseconds = i64::try_from(patience.as_millis()).unwrap_or(i64::MAX);
    setsockopt(&socket, sockopt::ReceiveTimeout, &TimeVal::milliseconds(milliseconds))?;
    bind(socket.as_raw_fd(), &SockaddrStorage::from(SocketAddr::new(source, 0)))?;
    let packet = [request, 0, 0, 0, 0, 0, 0, 1];
    sendto(
        socket.as_raw_fd(),
        &packet,
        &SockaddrStorage::from(SocketAddr::new(target, 0)),
        MsgFlags::empty(),
    )?;
    recv(socket.as_raw_fd(), &mut [0; 64], MsgFlags::empty())?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn endings_are_told_apart() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let open = listener.local_addr().unwrap();
        let closed = {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            listener.local_addr().unwrap()
        };
        let tcp = |target| Attempt {
            source: open.ip(),
            source_port: None,
            hops: None,
            target: Target::Tcp(target),
        };
        let question = Question { attempts: vec![tcp(closed), tcp(open), tcp(open)], patience: 500 };
        let line = serde_json::to_string(&question).unwrap() + "\n";
        let mut answers = Vec::new();
        serve((line.clone() + &line).as_bytes(), &mut answers, &[]).unwrap();
        let answers = String::from_utf8(answers).unwrap();
        let lines: Vec<Vec<Ending>> =
            answers.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines, vec![vec![Ending::Refused, Ending::Answered, Ending::Answered]; 2]);
        assert!(serve(&b"{}\n"[..], &mut Vec::new(), &[]).is_err());
    }
}
