//! The process that sends.

use super::collector::{Collector, Outcome};
use super::connection::{Pool, Way};
use super::schedule::Schedule;
use super::{Line, MAX_USERS, Options, Target, UserOptions};
use crate::series::{Cause, Connections, FORMAT_VERSION, Series};
use jiff::Timestamp;
use std::collections::BTreeMap;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use thiserror::Error;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout_at};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use tokio_rustls::rustls::crypto::{self, CryptoProvider, ring};
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::rustls::{self, ClientConfig, DigitallySignedStruct, SignatureScheme};

/// Why no load could be made.
#[derive(Debug, Error)]
pub enum LoadError {
    /// Nobody to send.
    #[error("a load needs from 1 to {MAX_USERS} users, not {0}")]
    Users(usize),
    /// The address to send from isn't of the target's family.
    #[error("user {user} can't reach `{target}` from `{from}`: one is IPv4, the other IPv6")]
    Family {
        /// Whose.
        user: usize,
        /// From where.
        from: std::net::IpAddr,
        /// To where.
        target: std::net::SocketAddr,
    },
    /// The certificate can't be read.
    #[error("cannot read the certificate `{path}`: {reason}")]
    Certificate {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// TLS can't be set up.
    #[error("cannot set up TLS: {0}")]
    Tls(#[from] rustls::Error),
    /// A process can't be started, or what it says can't be read.
    #[error("{what}: {error}")]
    Process {
        /// What was tried.
        what: &'static str,
        /// Why it failed.
        error: std::io::Error,
    },
    /// The process that sends ended before it was done.
    #[error("the load ended without a result{0}")]
    Ended(String),
    /// What the other process says is not understood.
    #[error("cannot read the line `{line}`: {reason}")]
    Line {
        /// The line, shortened.
        line: String,
        /// Why.
        reason: String,
    },
}

/// How a user's requests are made.
enum Sender {
    Each(Way),
    Shared(Arc<Pool>),
}

/// Sends what `options` say until their time is over or `stop` is ready, gives each line but the last to `on_line`, and gives
/// back everything. Requests that are due are sent whether or not earlier ones have ended.
pub async fn send(
    options: &Options,
    stop: impl Future<Output = ()>,
    mut on_line: impl FnMut(&Line),
) -> Result<Series, LoadError> {
    let senders = senders(options)?;
    let timeout = Duration::from_millis(options.timeout_milliseconds.max(1));
    let until = options.duration_milliseconds.map(Duration::from_millis);
    let mut schedule = Schedule::new(senders.len() as u32, options.rate, options.seed);
    let mut collector = Collector::new(options);
    let (told, mut outcomes) = mpsc::unbounded_channel::<(Duration, u32, Outcome)>();
    let slot = Duration::from_millis(options.slot_milliseconds.max(1));
    let (start, began) = (Timestamp::now(), Instant::now());
    on_line(&first(options, start));
    let mut tick = tokio::time::interval_at(began + slot, slot);
    let (mut under_way, mut sending, mut over) = (0usize, true, Duration::ZERO);
    let end = until.map(|until| sleep_until(began + until));
    tokio::pin!(stop);
    let mut end = Box::pin(async move {
        match end {
            Some(end) => end.await,
            None => std::future::pending().await,
        }
    });
    while sending || under_way > 0 {
        if sending {
            over = until.unwrap_or(Duration::MAX).min(began.elapsed());
        }
        let next = schedule.peek().filter(|next| sending && until.is_none_or(|until| *next < until));
        tokio::select! {
            biased;
            () = &mut stop, if sending => sending = false,
            () = sleep_until(began + next.unwrap_or_default()), if next.is_some() => {
                // Everything due by now at once, so that a busy moment doesn't stretch the schedule.
                while schedule.peek().is_some_and(|at| at <= began.elapsed() && until.is_none_or(|until| at < until)) {
                    let Some(due) = schedule.next() else { break };
                    let Some(sender) = senders.get(due.user as usize) else { continue };
                    collector.begun(due.at, began.elapsed().saturating_sub(due.at));
                    under_way += 1;
                    let (request, told) = (sender.request(), told.clone());
                    tokio::spawn(async move {
                        let result = timeout_at(began + due.at + timeout, request).await;
                        let latency = began.elapsed().saturating_sub(due.at);
                        let outcome = result.unwrap_or(Err(Cause::Timeout)).map(|()| latency);
                        // Nobody listens only when the load has been dropped as a whole.
                        let _ = told.send((due.at, due.user, outcome));
                    });
                }
            }
            // After what is due: whatever was due before the end is sent.
            () = &mut end, if sending => sending = false,
            Some((at, user, outcome)) = outcomes.recv() => {
                under_way -= 1;
                collector.ended(at, user, outcome);
            }
            _ = tick.tick() => {}
        }
        // Whatever is due before the next request of the schedule has begun.
        let begun = schedule.peek().unwrap_or(Duration::MAX).min(began.elapsed());
        tell(&mut collector, begun, &mut on_line);
    }
    // With the slot in which it ended; those after it would be of nobody.
    tell(&mut collector, (over + slot).saturating_sub(Duration::from_nanos(1)), &mut on_line);
    Ok(collector.series(start))
}

fn tell(collector: &mut Collector, until: Duration, on_line: &mut impl FnMut(&Line)) {
    for slot in collector.settle(until) {
        on_line(&Line::Slot(slot.clone()));
    }
}

fn first(options: &Options, start: Timestamp) -> Line {
    let users = |kind| options.users.iter().filter(|user| user.connections == kind).count() as u32;
    Line::Start {
        version: FORMAT_VERSION,
        start,
        slot_milliseconds: options.slot_milliseconds.max(1),
        new: users(Connections::New),
        kept: users(Connections::Kept),
        pooled: users(Connections::Pooled),
    }
}

impl Sender {
    /// The future of one request.
    fn request(&self) -> impl Future<Output = Result<(), Cause>> + Send + 'static {
        let (each, shared) = match self {
            Sender::Each(way) => (Some(way.clone()), None),
            Sender::Shared(pool) => (None, Some(Arc::clone(pool))),
        };
        async move {
            match (each, shared) {
                (Some(way), _) => way.once().await,
                (None, Some(pool)) => pool.once().await,
                (None, None) => Err(Cause::Local),
            }
        }
    }
}

fn senders(options: &Options) -> Result<Vec<Sender>, LoadError> {
    if options.users.is_empty() || options.users.len() > MAX_USERS {
        return Err(LoadError::Users(options.users.len()));
    }
    let tls = tls(options.certificate.as_deref())?;
    let patience = Duration::from_millis(options.timeout_milliseconds.max(1));
    let mut pools: BTreeMap<&Target, Arc<Pool>> = BTreeMap::new();
    let mut senders = Vec::with_capacity(options.users.len());
    for (number, user) in options.users.iter().enumerate() {
        let UserOptions { connections, source, target } = user;
        if let Some(from) = source.filter(|from| from.is_ipv6() != target.address.is_ipv6()) {
            return Err(LoadError::Family { user: number, from, target: target.address });
        }
        let way = Way { source: *source, target: target.clone(), tls: tls.clone() };
        senders.push(match connections {
            Connections::New => Sender::Each(way),
            Connections::Kept => Sender::Shared(Pool::new(way, 1, patience)),
            Connections::Pooled => {
                let pool = pools.entry(target).or_insert_with(|| Pool::new(way, options.pool, patience));
                Sender::Shared(Arc::clone(pool))
            }
        });
    }
    Ok(senders)
}

fn tls(certificate: Option<&Path>) -> Result<TlsConnector, LoadError> {
    let pinned = certificate.map(|path| {
        CertificateDer::from_pem_file(path)
            .map_err(|error| LoadError::Certificate { path: path.to_owned(), reason: error.to_string() })
    });
    let provider = Arc::new(ring::default_provider());
    let verifier = Verifier { pinned: pinned.transpose()?, provider: Arc::clone(&provider) };
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

/// Takes one certificate, or any: a lab's own server isn't vouched for by anybody, and only lab's users go there.
#[derive(Debug)]
struct Verifier {
    pinned: Option<CertificateDer<'static>>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        shown: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        match &self.pinned {
            Some(pinned) if pinned != shown => {
                Err(rustls::CertificateError::ApplicationVerificationFailure.into())
            }
            _ => Ok(ServerCertVerified::assertion()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        crypto::verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        crypto::verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
