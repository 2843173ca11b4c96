//! Connections of users: opened from an address, kept or not, with TLS or without.

use super::Target;
use crate::series::Cause;
use http_body_util::{BodyExt, Empty};
use hyper::body::Bytes;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::{CONNECTION, HOST, USER_AGENT};
use hyper::rt::{Read, Write};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;

/// How to reach a target.
#[derive(Clone)]
pub struct Way {
    pub source: Option<IpAddr>,
    pub target: Target,
    pub tls: TlsConnector,
}

/// Up to a number of connections that are used one request after the other, and opened when they are needed.
pub struct Pool {
    way: Way,
    /// How long a connection may take to open.
    patience: Duration,
    places: Semaphore,
    idle: Mutex<Vec<Connection>>,
    /// Connections that were being opened for requests whose time was over.
    opening: Mutex<Vec<Open>>,
}

type Open = JoinHandle<Result<Connection, Cause>>;

/// Gives a connection that is being opened back to the pool when the request that waits for it ends first. If each request
/// began anew with the little time that it has left after waiting for its turn, then none would ever succeed again once
/// opening takes longer than that.
struct Waiting<'a> {
    pool: &'a Pool,
    task: Option<Open>,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if let Some(task) = self.task.take() {
            self.pool.opening.lock().unwrap_or_else(PoisonError::into_inner).push(task);
        }
    }
}

struct Connection {
    sender: SendRequest<Empty<Bytes>>,
    task: JoinHandle<()>,
}

impl Drop for Connection {
    fn drop(&mut self) {
        // A connection whose peer has gone silent would otherwise wait for it.
        self.task.abort();
    }
}

impl Way {
    /// One request on a connection of its own.
    pub async fn once(&self) -> Result<(), Cause> {
        let mut connection = self.open().await?;
        connection.exchange(&self.target, true).await
    }

    async fn open(&self) -> Result<Connection, Cause> {
        let address = self.target.address;
        let stream = connect(self.source, address).await.map_err(|error| cause(&error, Cause::Local))?;
        // Requests are small, and one that waits for more to send would measure Nagle's algorithm.
        let _ = stream.set_nodelay(true);
        if !self.target.https {
            return Connection::over(TokioIo::new(stream)).await;
        }
        let name = ServerName::try_from(self.target.host.clone())
            .unwrap_or_else(|_| ServerName::IpAddress(address.ip().into()));
        let stream =
            self.tls.connect(name, stream).await.map_err(|error| match cause(&error, Cause::Tls) {
                Cause::Protocol => Cause::Tls,
                other => other,
            })?;
        Connection::over(TokioIo::new(stream)).await
    }
}

async fn connect(source: Option<IpAddr>, address: SocketAddr) -> io::Result<TcpStream> {
    let socket = if address.is_ipv6() { TcpSocket::new_v6()? } else { TcpSocket::new_v4()? };
    if let Some(source) = source {
        socket.bind(SocketAddr::new(source, 0))?;
    }
    socket.connect(address).await
}

impl Connection {
    async fn over(io: impl Read + Write + Send + Unpin + 'static) -> Result<Connection, Cause> {
        let (sender, connection) = handshake(io).await.map_err(|error| cause_of_http(&error))?;
        let task = tokio::spawn(async move {
            // The request that meets the error tells it.
            let _ = connection.await;
        });
        Ok(Connection { sender, task })
    }

    /// Sends a request and reads the answer to its end.
    async fn exchange(&mut self, target: &Target, last: bool) -> Result<(), Cause> {
        let mut request = Request::get(target.path.as_str())
            .header(HOST, target.host.as_str())
            .header(USER_AGENT, concat!("firewarden-lab/", env!("CARGO_PKG_VERSION")));
        if last {
            request = request.header(CONNECTION, "close");
        }
        let request = request.body(Empty::new()).map_err(|_| Cause::Local)?;
        self.sender.ready().await.map_err(|error| cause_of_http(&error))?;
        let answer = self.sender.send_request(request).await.map_err(|error| cause_of_http(&error))?;
        let status = answer.status();
        let mut body = answer.into_body();
        while let Some(frame) = body.frame().await {
            frame.map_err(|error| cause_of_http(&error))?;
        }
        if status >= StatusCode::INTERNAL_SERVER_ERROR { Err(Cause::Status) } else { Ok(()) }
    }
}

impl Pool {
    /// A pool of so many connections, at least one.
    pub fn new(way: Way, size: u32, patience: Duration) -> Arc<Pool> {
        let places = Semaphore::new(size.max(1) as usize);
        let (idle, opening) = (Mutex::new(Vec::new()), Mutex::new(Vec::new()));
        Arc::new(Pool { way, patience, places, idle, opening })
    }

    /// One request on a connection of the pool; waits until one is free.
    pub async fn once(&self) -> Result<(), Cause> {
        let Ok(_place) = self.places.acquire().await else { return Err(Cause::Local) };
        loop {
            let idle = self.take();
            let used_before = idle.is_some();
            let mut connection = match idle {
                Some(connection) => connection,
                None => self.open().await?,
            };
            match connection.exchange(&self.way.target, false).await {
                // The server ended it while it was idle. As every client of HTTP does: once more on another one.
                Err(Cause::Reset) if used_before => continue,
                Err(Cause::Status) => {
                    self.put(connection);
                    return Err(Cause::Status);
                }
                Err(cause) => return Err(cause),
                Ok(()) => {
                    self.put(connection);
                    return Ok(());
                }
            }
        }
    }

    /// A fresh connection: one that is under way already, or else a new one.
    async fn open(&self) -> Result<Connection, Cause> {
        loop {
            let begun = self.under_way();
            let old = begun.as_ref().is_some_and(JoinHandle::is_finished);
            let mut waiting = Waiting { pool: self, task: Some(begun.unwrap_or_else(|| self.begin())) };
            let Some(task) = waiting.task.as_mut() else { return Err(Cause::Local) };
            let result = task.await.unwrap_or(Err(Cause::Local));
            waiting.task = None;
            match result {
                // It came to nothing, or ended since, before this request was there.
                Err(_) if old => continue,
                Ok(connection) if old && connection.sender.is_closed() => continue,
                result => return result,
            }
        }
    }

    /// A connection that was begun for a request which is gone.
    fn under_way(&self) -> Option<Open> {
        self.opening.lock().unwrap_or_else(PoisonError::into_inner).pop()
    }

    fn begin(&self) -> Open {
        let (way, patience) = (self.way.clone(), self.patience);
        tokio::spawn(async move { timeout(patience, way.open()).await.unwrap_or(Err(Cause::Timeout)) })
    }

    fn take(&self) -> Option<Connection> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.retain(|connection| !connection.sender.is_closed());
        idle.pop()
    }

    fn put(&self, connection: Connection) {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
    }
}

/// Why something of the network failed; `other` where the system's word for it says nothing.
fn cause(error: &io::Error, other: Cause) -> Cause {
    match error.kind() {
        ErrorKind::TimedOut => Cause::Timeout,
        ErrorKind::ConnectionRefused => Cause::Refused,
        ErrorKind::ConnectionReset
        | ErrorKind::ConnectionAborted
        | ErrorKind::BrokenPipe
        | ErrorKind::UnexpectedEof => Cause::Reset,
        // EACCES and EPERM are what `reject with icmpv6 admin-prohibited` and a local rule look like.
        ErrorKind::HostUnreachable
        | ErrorKind::NetworkUnreachable
        | ErrorKind::NetworkDown
        | ErrorKind::PermissionDenied => Cause::Unreachable,
        ErrorKind::InvalidData => Cause::Protocol,
        _ => other,
    }
}

fn cause_of_http(error: &hyper::Error) -> Cause {
    let source = std::error::Error::source(error).and_then(|source| source.downcast_ref::<io::Error>());
    match source {
        Some(io) => cause(io, Cause::Reset),
        None if error.is_parse() => Cause::Protocol,
        None => Cause::Reset,
    }
}
