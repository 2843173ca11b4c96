//! The load client against a server on the loopback that works, hangs, refuses, resets, or speaks TLS.

use firewarden_lab::load::schedule::Schedule;
use firewarden_lab::load::{Line, LoadError, Options, Target, UserOptions, send};
use firewarden_lab::series::{Cause, Connections, Series};
use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::PrivatePkcs8KeyDer;

const SERVE: u8 = 0;
const HANG: u8 = 1;
const FAIL: u8 = 2;
const RESET: u8 = 3;
/// It serves, and takes its time until TLS is agreed on.
const SLOW: u8 = 4;

/// A server whose behaviour a test can change while it runs.
struct Server {
    address: SocketAddr,
    mode: Arc<AtomicU8>,
    /// From where connections came, one entry each.
    seen: Arc<Mutex<Vec<IpAddr>>>,
}

async fn server(listen: &str, tls: Option<TlsAcceptor>) -> Server {
    let listener = TcpListener::bind(listen).await.unwrap();
    let address = listener.local_addr().unwrap();
    let (mode, seen) = (Arc::new(AtomicU8::new(SERVE)), Arc::new(Mutex::new(Vec::new())));
    let (at, list) = (Arc::clone(&mode), Arc::clone(&seen));
    tokio::spawn(async move {
        while let Ok((stream, from)) = listener.accept().await {
            list.lock().unwrap().push(from.ip());
            let (mode, tls) = (Arc::clone(&at), tls.clone());
            tokio::spawn(async move {
                match tls {
                    None => answer(stream, &mode).await,
                    Some(tls) => {
                        if mode.load(Ordering::SeqCst) == SLOW {
                            tokio::time::sleep(Duration::from_millis(150)).await;
                        }
                        match tls.accept(stream).await {
                            Ok(stream) => answer(stream, &mode).await,
                            Err(_) => None,
                        }
                    }
                }
            });
        }
    });
    Server { address, mode, seen }
}

async fn answer(mut stream: impl AsyncRead + AsyncWrite + Unpin, mode: &AtomicU8) -> Option<()> {
    let mut request = Vec::new();
    loop {
        while !request.ends_with(b"\r\n\r\n") {
            request.push(stream.read_u8().await.ok()?);
        }
        request.clear();
        match mode.load(Ordering::SeqCst) {
            SERVE | SLOW => {
                stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nyes").await.ok()?;
            }
            FAIL => {
                let text = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n";
                stream.write_all(text).await.ok()?;
            }
            RESET => return None,
            _ => std::future::pending().await,
        }
        stream.flush().await.ok()?;
    }
}

fn user(connections: Connections, target: &Target) -> UserOptions {
    UserOptions { connections, source: None, target: target.clone() }
}

fn one_of_each(target: &Target) -> Vec<UserOptions> {
    Connections::ALL.map(|kind| user(kind, target)).to_vec()
}

fn options(users: Vec<UserOptions>, milliseconds: u64) -> Options {
    Options {
        users,
        rate: 20.0,
        seed: 7,
        timeout_milliseconds: 300,
        slot_milliseconds: 100,
        duration_milliseconds: Some(milliseconds),
        ..Options::default()
    }
}

async fn run(options: &Options) -> (Series, Vec<Line>) {
    let mut lines = Vec::new();
    let series = send(options, std::future::pending(), |line: &Line| lines.push(line.clone())).await.unwrap();
    (series, lines)
}

/// How many requests the schedule holds.
fn due(options: &Options) -> usize {
    let until = Duration::from_millis(options.duration_milliseconds.unwrap());
    Schedule::new(options.users.len() as u32, options.rate, options.seed)
        .take_while(|due| due.at < until)
        .count()
}

/// What a server needs for TLS, and its certificate as PEM.
fn certified() -> (TlsAcceptor, String) {
    let certified = rcgen::generate_simple_self_signed(["shop.example".to_owned()]).unwrap();
    let key = PrivatePkcs8KeyDer::from(certified.signing_key.serialize_der());
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certified.cert.der().clone()], key.into())
        .unwrap();
    (TlsAcceptor::from(Arc::new(config)), certified.cert.pem())
}

fn causes(series: &Series) -> BTreeSet<Cause> {
    series.slots.iter().flat_map(|slot| slot.causes.keys().copied()).collect()
}

#[tokio::test]
async fn kinds_of_connections_connect_as_they_say() {
    let server = server("127.0.0.1:0", None).await;
    let target = Target::new(server.address);
    let mut opened = Vec::new();
    for kind in Connections::ALL {
        let users = vec![user(kind, &target); 5];
        let options = Options { pool: 2, timeout_milliseconds: 2000, ..options(users, 500) };
        let (series, lines) = run(&options).await;
        assert_eq!(series.sum(Some(kind), 0, 500).requests, 50);
        assert_eq!(series.sum(None, 0, 500).errors, 0, "{series:?}");
        assert_eq!((series.slots.len(), lines.len()), (5, 6), "five slots, and the line of the start");
        assert!(matches!(lines[0], Line::Start { .. }));
        assert!(series.slots.iter().all(|slot| slot.median_milliseconds.is_some()));
        opened.push(std::mem::take(&mut *server.seen.lock().unwrap()).len());
    }
    assert_eq!(opened[..2], [50, 5]);
    assert!((1..=2).contains(&opened[2]), "the pool holds two: {opened:?}");
}

#[tokio::test]
async fn a_server_that_hangs_does_not_slow_the_schedule_down() {
    let server = server("127.0.0.1:0", None).await;
    server.mode.store(HANG, Ordering::SeqCst);
    let options = options(one_of_each(&Target::new(server.address)), 1000);
    let (series, _) = run(&options).await;
    let sum = series.sum(None, 0, 1000);
    // A client that waits for answers would have sent 3 or 4 from each user.
    assert_eq!(sum.requests as usize, due(&options));
    assert_eq!((sum.requests, sum.errors), (60, 60));
    for slot in &series.slots {
        assert_eq!((slot.requests, slot.errors), (2, 2), "two in each slot of 100 ms: {slot:?}");
    }
    assert_eq!(causes(&series), BTreeSet::from([Cause::Timeout]));
    assert_eq!((series.users_affected(None), series.recovered()), (3, None));
    assert!(series.latest_milliseconds < 200.0, "{}", series.latest_milliseconds);
}

#[tokio::test]
async fn errors_show_in_the_slots_where_requests_were_due_and_end_with_the_fault() {
    let server = server("127.0.0.1:0", None).await;
    let target = Target::new(server.address);
    let options = options(vec![user(Connections::New, &target), user(Connections::Kept, &target)], 1500);
    let mode = Arc::clone(&server.mode);
    tokio::spawn(async move {
        for (after, next) in [(500, HANG), (500, SERVE)] {
            tokio::time::sleep(Duration::from_millis(after)).await;
            mode.store(next, Ordering::SeqCst);
        }
    });
    let (series, _) = run(&options).await;
    assert_eq!(series.sum(None, 0, 400).errors, 0, "{series:?}");
    assert_eq!(series.sum(Some(Connections::New), 600, 900).error_rate(), 1.0, "{series:?}");
    assert_eq!(series.sum(None, 1400, 1500).errors, 0, "{series:?}");
    let (first, restored) = (series.first_error().unwrap(), series.recovered().unwrap());
    assert!((450..700).contains(&first) && (950..1400).contains(&restored), "{first} {restored}");
}

#[tokio::test]
async fn statuses_resets_and_closed_ports_are_told_apart() {
    let server = server("127.0.0.1:0", None).await;
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    for (mode, address, cause) in [
        (FAIL, server.address, Cause::Status),
        (RESET, server.address, Cause::Reset),
        (SERVE, closed, Cause::Refused),
    ] {
        server.mode.store(mode, Ordering::SeqCst);
        let (series, _) = run(&options(one_of_each(&Target::new(address)), 200)).await;
        assert_eq!(causes(&series), BTreeSet::from([cause]));
        assert_eq!(series.sum(None, 0, 200).error_rate(), 1.0);
    }
}

#[tokio::test]
async fn each_user_sends_from_its_own_address() {
    let server = server("127.0.0.1:0", None).await;
    let sources: Vec<IpAddr> = (2..6).map(|last| IpAddr::from([127, 0, 1, last])).collect();
    let target = Target::new(server.address);
    let from = |&source| UserOptions { source: Some(source), ..user(Connections::New, &target) };
    let (series, _) = run(&options(sources.iter().map(from).collect(), 200)).await;
    assert_eq!(series.users_affected(None), 0);
    let seen: BTreeSet<IpAddr> = server.seen.lock().unwrap().iter().copied().collect();
    assert_eq!(seen, sources.into_iter().collect());
}

#[tokio::test]
async fn a_load_that_cannot_be_is_refused_with_the_reason() {
    let target = Target::new("[::1]:80".parse().unwrap());
    let from = IpAddr::from([127, 0, 0, 1]);
    let wrong = UserOptions { source: Some(from), ..user(Connections::New, &target) };
    let result = send(&options(vec![wrong], 100), std::future::pending(), |_| {}).await;
    assert!(matches!(result, Err(LoadError::Family { user: 0, .. })), "{result:?}");
    let result = send(&options(Vec::new(), 100), std::future::pending(), |_| {}).await;
    assert!(matches!(result, Err(LoadError::Users(0))), "{result:?}");
}

#[tokio::test]
async fn told_to_stop_it_stops_with_what_it_has() {
    let server = server("127.0.0.1:0", None).await;
    let target = Target::new(server.address);
    let users = vec![user(Connections::New, &target), user(Connections::Kept, &target)];
    let options = Options { duration_milliseconds: None, ..options(users, 0) };
    let series = send(&options, tokio::time::sleep(Duration::from_millis(450)), |_| {}).await.unwrap();
    let sum = series.sum(None, 0, u64::MAX);
    assert!((14..=22).contains(&sum.requests), "{series:?}");
    assert_eq!(series.slots.last().unwrap().at, 400);
}

#[tokio::test]
async fn https_takes_the_pinned_certificate_and_no_other() {
    let (acceptor, ours) = certified();
    let (_, other) = certified();
    let server = server("127.0.0.1:0", Some(acceptor)).await;
    let target = Target::new(server.address).https("shop.example");
    let folder = tempfile::tempdir().unwrap();
    let users = vec![user(Connections::New, &target), user(Connections::Kept, &target)];
    for (shown, errors) in [(Some(&ours), 0), (Some(&other), 12), (None, 0)] {
        let certificate = shown.map(|certified| {
            let path = folder.path().join("certificate.pem");
            std::fs::write(&path, certified).unwrap();
            path
        });
        let timeout_milliseconds = 2000;
        let options = Options { certificate, timeout_milliseconds, ..options(users.clone(), 300) };
        let (series, _) = run(&options).await;
        let sum = series.sum(None, 0, 300);
        assert_eq!((sum.requests, sum.errors), (12, errors), "{series:?}");
        assert_eq!(causes(&series).contains(&Cause::Tls), errors > 0);
    }
}

#[tokio::test]
async fn kept_connections_that_open_slowly_are_had_again_after_a_fault() {
    let (acceptor, _) = certified();
    let server = server("127.0.0.1:0", Some(acceptor)).await;
    let target = Target::new(server.address).https("shop.example");
    server.mode.store(HANG, Ordering::SeqCst);
    let mode = Arc::clone(&server.mode);
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(600)).await;
        mode.store(SLOW, Ordering::SeqCst);
    });
    // When the turn of a request comes, the one before it has waited to its end: a twentieth of a second is left then, and
    // opening takes three of these.
    let users = vec![user(Connections::Kept, &target)];
    let series = run(&options(users, 2500)).await.0;
    assert_eq!(series.sum(None, 0, 200).error_rate(), 1.0, "{series:?}");
    assert_eq!(series.sum(None, 2000, 2500).errors, 0, "{series:?}");
    assert!(series.recovered().unwrap() > 600, "nobody is served before the server serves");
}
