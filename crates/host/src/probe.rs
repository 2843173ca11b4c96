//! Probes: new connections, and in which phase they end.
//!
//! Every probe opens a connection of its own, since connection tracking lets those that exist go on whatever the rules
//! say by now. A probe says more than yes or no: a connection that is refused met a host that lives (or a rule that
//! rejects), one that times out met a rule that drops, or nobody.

mod command;

pub use command::{CommandEnding, CommandProbe, Ran};

use crate::generation::within;
use firewarden_change::plan::{Probe, ProbeTarget};
use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// The most probes that are under way at once.
const AT_ONCE: usize = 64;
/// How often a second try looks whether it is needed.
const GLANCE: Duration = Duration::from_millis(2);
/// The first status of HTTP by which a server says that it can't answer (RFC 9110, section 15.6).
const SERVER_ERROR: u16 = 500;

/// How a probe ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The connection came about, and what was asked was answered.
    Answered,
    /// The name has no address.
    Unresolved(String),
    /// A reset came back: nobody listens there, or a rule rejects with one.
    Refused,
    /// Nothing came back: a rule drops, or there is no host.
    TimedOut,
    /// An ICMP error came back, or there is no route, or a rule of this host rejects.
    Unreachable(String),
    /// The connection came about, TLS didn't.
    Tls(String),
    /// The connection came about, and the answer wasn't one.
    Protocol(String),
    /// The target can't be asked.
    Impossible(String),
}

impl Ending {
    /// True where the packets of a connection went both ways. A server that resets is reached too, but so may be a rule
    /// that says it is one, so that doesn't count.
    pub fn connected(&self) -> bool {
        matches!(self, Ending::Answered | Ending::Tls(_) | Ending::Protocol(_))
    }
}

impl std::fmt::Display for Ending {
    fn fmt(&self, text: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Ending::Answered => text.write_str("answered"),
            Ending::Unresolved(why) => write!(text, "the name has no address: {why}"),
            Ending::Refused => text.write_str("refused"),
            Ending::TimedOut => text.write_str("no answer"),
            Ending::Unreachable(why) => write!(text, "unreachable: {why}"),
            Ending::Tls(why) => write!(text, "connected, but TLS failed: {why}"),
            Ending::Protocol(why) => write!(text, "connected, but the answer is none: {why}"),
            Ending::Impossible(why) => write!(text, "can't be asked: {why}"),
        }
    }
}

/// A probe that was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probed {
    /// How it ended.
    pub ending: Ending,
    /// How long it took.
    pub took: Duration,
}

impl Probed {
    /// True where it ended as the intent wants it: an expected connection was answered, another didn't come about.
    pub fn holds(&self, probe: &Probe) -> bool {
        match probe.expected {
            true => self.ending == Ending::Answered,
            false => !self.ending.connected() && !matches!(self.ending, Ending::Impossible(_)),
        }
    }
}

/// Makes a probe in the network namespace of the calling thread, and soon after it a second one where the first wasn't
/// answered: one lost packet is no broken rule. Takes at most about `patience`, and tells the better ending.
pub fn probe(target: &ProbeTarget, patience: Duration) -> Probed {
    let from = Instant::now();
    let answered = AtomicBool::new(false);
    let later = patience / 4;
    let (first, second) = thread::scope(|scope| {
        let second = scope.spawn(|| {
            let until = from + later;
            while Instant::now() < until {
                if answered.load(Ordering::Relaxed) {
                    return None;
                }
                thread::sleep(GLANCE);
            }
            (!answered.load(Ordering::Relaxed)).then(|| once(target, patience - later))
        });
        let first = once(target, patience);
        answered.store(first.ending == Ending::Answered, Ordering::Relaxed);
        (first, second.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    });
    let ending = match second {
        Some(second) if second.ending == Ending::Answered => second.ending,
        _ => first.ending,
    };
    Probed { ending, took: from.elapsed() }
}

/// Makes one connection.
fn once(target: &ProbeTarget, patience: Duration) -> Probed {
    let from = Instant::now();
    let ending = match target {
        ProbeTarget::Tcp(address) => tcp(address, patience),
        ProbeTarget::Url(url) => http(url, patience),
    };
    Probed { ending, took: from.elapsed() }
}

/// Makes probes, up to 64 at once, in a network namespace where one is given. Their endings come in the order of the
/// probes; `each` is called from other threads as soon as one is known, with the number of its probe.
///
/// # Errors
/// The system's, where the namespace can't be entered.
pub fn probe_all(
    probes: &[Probe],
    namespace: Option<&Path>,
    patience: Duration,
    each: &(dyn Fn(usize, &Probed) + Sync),
) -> io::Result<Vec<Probed>> {
    let one = |number: usize, target: &ProbeTarget| -> Probed {
        let probed = probe(target, patience);
        each(number, &probed);
        probed
    };
    within(namespace, || {
        let mut endings = Vec::with_capacity(probes.len());
        for (round, some) in probes.chunks(AT_ONCE).enumerate() {
            // A thread begins in the namespace of the one that starts it.
            endings.extend(thread::scope(|scope| {
                let started: Vec<_> = some
                    .iter()
                    .enumerate()
                    .map(|(number, asked)| scope.spawn(move || one(round * AT_ONCE + number, &asked.target)))
                    .collect();
                started
                    .into_iter()
                    .map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
                    .collect::<Vec<_>>()
            }));
        }
        endings
    })
}

fn tcp(address: &str, patience: Duration) -> Ending {
    let Ok(address) = address.parse::<SocketAddr>() else {
        return Ending::Impossible(format!("`{address}` is no address with a port"));
    };
    match TcpStream::connect_timeout(&address, patience) {
        Ok(_) => Ending::Answered,
        Err(error) => of_error(&error),
    }
}

/// What an error of connecting says.
fn of_error(error: &io::Error) -> Ending {
    match error.kind() {
        ErrorKind::ConnectionRefused => Ending::Refused,
        ErrorKind::TimedOut | ErrorKind::WouldBlock => Ending::TimedOut,
        ErrorKind::ConnectionReset | ErrorKind::ConnectionAborted | ErrorKind::BrokenPipe => {
            Ending::Protocol(error.to_string())
        }
        // What a rule rejects on the way out is EPERM, on the way in the error of its ICMP message.
        _ => Ending::Unreachable(error.to_string()),
    }
}

fn http(url: &str, patience: Duration) -> Ending {
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .timeout_global(Some(patience))
        // A proxy would be probed in place of the way that packets take.
        .proxy(None)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .http_status_as_error(false)
        .tls_config(
            ureq::tls::TlsConfig::builder().root_certs(ureq::tls::RootCerts::PlatformVerifier).build(),
        )
        .build()
        .into();
    match agent.get(url).call() {
        Ok(answer) if answer.status().as_u16() < SERVER_ERROR => Ending::Answered,
        Ok(answer) => Ending::Protocol(format!("the server answers {}", answer.status())),
        Err(ureq::Error::Io(error)) if error.kind() == ErrorKind::InvalidData => {
            Ending::Tls(error.to_string())
        }
        Err(ureq::Error::Io(error)) => of_error(&error),
        Err(ureq::Error::HostNotFound) => Ending::Unresolved("no such host".to_owned()),
        Err(ureq::Error::Timeout(ureq::Timeout::Resolve)) => Ending::Unresolved("no answer".to_owned()),
        Err(ureq::Error::Timeout(ureq::Timeout::RecvResponse | ureq::Timeout::RecvBody)) => {
            Ending::Protocol("no answer to the request".to_owned())
        }
        Err(ureq::Error::Timeout(_) | ureq::Error::ConnectionFailed) => Ending::TimedOut,
        Err(ureq::Error::Tls(why)) => Ending::Tls(why.to_owned()),
        Err(ureq::Error::Rustls(error)) => Ending::Tls(error.to_string()),
        Err(ureq::Error::Http(error)) => Ending::Impossible(error.to_string()),
        Err(ureq::Error::BadUri(why)) => Ending::Impossible(why),
        Err(error) => Ending::Protocol(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::net::TcpListener;

    const PATIENCE: Duration = Duration::from_secs(5);

    /// A server on loopback that answers each connection with a text; it lives as long as the test.
    fn server(answer: &'static str) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || {
            for connection in listener.incoming() {
                let mut connection = connection.unwrap();
                let mut request = [0; 1024];
                let _ = connection.read(&mut request);
                let _ = connection.write_all(answer.as_bytes());
            }
        });
        address
    }

    fn of(target: ProbeTarget, expected: bool) -> Probe {
        Probe { intent: "allow a -> b".to_owned(), target, expected }
    }

    #[test]
    fn who_listens_answers_and_who_does_not_refuses() {
        let address = server("");
        let target = ProbeTarget::Tcp(address.to_string());
        let probed = probe(&target, PATIENCE);
        assert_eq!(probed.ending, Ending::Answered);
        assert!(probed.holds(&of(target.clone(), true)) && !probed.holds(&of(target, false)));
        // A port that was free a moment ago.
        let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let target = ProbeTarget::Tcp(free.to_string());
        let probed = probe(&target, PATIENCE);
        assert_eq!(probed.ending, Ending::Refused);
        assert!(!probed.holds(&of(target.clone(), true)) && probed.holds(&of(target, false)));
    }

    #[test]
    fn http_tells_the_phase() {
        let url = |address: SocketAddr, path: &str| ProbeTarget::Url(format!("http://{address}{path}"));
        let fine = server("HTTP/1.1 302 Found\r\nLocation: /elsewhere\r\nContent-Length: 0\r\n\r\n");
        assert_eq!(probe(&url(fine, "/healthz"), PATIENCE).ending, Ending::Answered);
        let broken = server("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n");
        let ending = probe(&url(broken, "/"), PATIENCE).ending;
        assert!(matches!(&ending, Ending::Protocol(why) if why.contains("503")), "{ending:?}");
        let strange = server("220 mail.example.org ESMTP\r\n");
        let ending = probe(&url(strange, "/"), PATIENCE).ending;
        assert!(matches!(ending, Ending::Protocol(_)) && ending.connected(), "{ending:?}");
        let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        assert_eq!(probe(&url(free, "/"), PATIENCE).ending, Ending::Refused);
        let plain = server("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
        let ending = probe(&ProbeTarget::Url(format!("https://{plain}/")), PATIENCE).ending;
        assert!(matches!(ending, Ending::Tls(_)), "{ending:?}");
        for wrong in ["", "no url", "ftp://127.0.0.1/"] {
            let ending = probe(&ProbeTarget::Url(wrong.to_owned()), PATIENCE).ending;
            assert!(!ending.connected(), "{wrong}: {ending:?}");
        }
    }

    #[test]
    fn what_cannot_be_asked_holds_neither_way() {
        let target = ProbeTarget::Tcp("nowhere".to_owned());
        let probed = probe(&target, PATIENCE);
        assert!(matches!(probed.ending, Ending::Impossible(_)));
        assert!(!probed.holds(&of(target.clone(), true)) && !probed.holds(&of(target, false)));
    }

    #[test]
    fn endings_come_in_the_order_of_the_probes() {
        let open = server("").to_string();
        let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
        let probes: Vec<Probe> = (0..150)
            .map(|number| {
                of(ProbeTarget::Tcp(if number % 3 == 0 { free.clone() } else { open.clone() }), true)
            })
            .collect();
        let told = std::sync::Mutex::new(Vec::new());
        let endings =
            probe_all(&probes, None, PATIENCE, &|number, _| told.lock().unwrap().push(number)).unwrap();
        for (number, probed) in endings.iter().enumerate() {
            assert_eq!(probed.ending == Ending::Refused, number % 3 == 0, "{number}: {:?}", probed.ending);
        }
        let mut told = told.into_inner().unwrap();
        told.sort_unstable();
        assert_eq!(told, (0..150).collect::<Vec<_>>());
    }
}
