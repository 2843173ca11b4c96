//! The application of a lab: it counts and adds items in PostgreSQL, and says which server did it.
//!
//! | request | answer |
//! |---|---|
//! | `GET /` | 200, a page with the number of items |
//! | `GET /items` | 200, `{"items": 3, "server": "app1"}` |
//! | `POST /items` | 201, `{"id": 4, "server": "app1"}`: an item more |
//!
//! Everything reads or writes the database; where that doesn't answer, the answer is 503 with the reason.

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::CONTENT_TYPE;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_postgres::{Client, Config, NoTls};

/// The word that begins its command line, after those that lead to the lab's commands.
pub const WORD: &str = "application";
/// Where it listens, on the loopback only: nginx is in front of it.
pub const PORT: u16 = 9000;
/// How long the database may take to answer, connection included.
const PATIENCE: Duration = Duration::from_secs(2);
/// The user and group without any rights.
const NOBODY: u32 = 65534;

/// The databases that it asks.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// The one for requests by IPv4.
    pub database4: SocketAddr,
    /// The one for requests by IPv6: the same, by its other address.
    pub database6: SocketAddr,
    /// How many connections are kept; 0 for one of its own for each request.
    pub pool: u16,
}

/// Serves until it is killed.
///
/// # Errors
/// It can't listen, or not give up its rights.
pub fn serve(options: &Options) -> io::Result<Infallible> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let server = firewarden_host::host_name();
    runtime.block_on(async {
        let v4 = TcpListener::bind((Ipv4Addr::LOCALHOST, PORT)).await?;
        let v6 = TcpListener::bind((Ipv6Addr::LOCALHOST, PORT)).await?;
        give_up_rights()?;
        let shop = |database| Arc::new(Shop::new(database, options.pool, &server));
        let (shop4, shop6) = (shop(options.database4), shop(options.database6));
        let one = accept(v4, shop4);
        let other = accept(v6, shop6);
        tokio::join!(one, other).0
    })
}

/// It reads requests of strangers.
fn give_up_rights() -> io::Result<()> {
    if nix::unistd::Uid::effective().is_root() {
        nix::unistd::setgroups(&[])?;
        nix::unistd::setgid(NOBODY.into())?;
        nix::unistd::setuid(NOBODY.into())?;
    }
    Ok(())
}

async fn accept(listener: TcpListener, shop: Arc<Shop>) -> io::Result<Infallible> {
    loop {
        // Too many open files, say: the next one may be luckier.
        let Ok((connection, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(10)).await;
            continue;
        };
        let shop = Arc::clone(&shop);
        tokio::spawn(async move {
            let service = service_fn(|request: Request<Incoming>| {
                let shop = Arc::clone(&shop);
                async move { Ok::<_, Infallible>(shop.answer(request.method(), request.uri().path()).await) }
            });
            // A client that goes away in the middle is no matter of ours.
            let _ = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(connection), service)
                .await;
        });
    }
}

/// The items, by one family of addresses.
struct Shop {
    database: Config,
    server: String,
    pool: u16,
    /// Kept connections that nobody uses now.
    idle: Mutex<Vec<Client>>,
    /// As many as may be open.
    open: Semaphore,
}

impl Shop {
    fn new(database: SocketAddr, pool: u16, server: &str) -> Shop {
        let mut config = Config::new();
        let address: IpAddr = database.ip();
        config.hostaddr(address).port(database.port()).user("shop").dbname("shop").application_name(server);
        let open = if pool == 0 { Semaphore::MAX_PERMITS } else { usize::from(pool) };
        Shop {
            database: config,
            server: server.to_owned(),
            pool,
            idle: Mutex::default(),
            open: Semaphore::new(open),
        }
    }

    async fn answer(&self, method: &Method, path: &str) -> Response<Full<Bytes>> {
        let work = match (method, path) {
            (&Method::GET, "/" | "/items") => Work::Count,
            (&Method::POST, "/items") => Work::Add,
            (_, "/" | "/items") => return plain(StatusCode::METHOD_NOT_ALLOWED, "GET or POST\n"),
            _ => return plain(StatusCode::NOT_FOUND, "there are only / and /items\n"),
        };
        let number = match timeout(PATIENCE, self.ask(work)).await {
            Ok(Ok(number)) => number,
            Ok(Err(why)) => {
                return plain(
                    StatusCode::SERVICE_UNAVAILABLE,
                    &format!("{}: database: {why}\n", self.server),
                );
            }
            Err(_) => {
                let why = format!("{}: database: no answer in time\n", self.server);
                return plain(StatusCode::SERVICE_UNAVAILABLE, &why);
            }
        };
        match (work, path) {
            (Work::Add, _) => object(StatusCode::CREATED, &json!({ "id": number, "server": self.server })),
            (Work::Count, "/") => {
                let page = format!(
                    "<!doctype html>\n<title>Shop</title>\n<p>{number} items, counted by {}.</p>\n",
                    self.server
                );
                typed(StatusCode::OK, "text/html; charset=utf-8", page)
            }
            (Work::Count, _) => object(StatusCode::OK, &json!({ "items": number, "server": self.server })),
        }
    }

    async fn ask(&self, work: Work) -> Result<i64, String> {
        let _permit = self.open.acquire().await.map_err(|error| error.to_string())?;
        let kept = self.take();
        let client = match kept {
            Some(client) => client,
            None => self.connect().await?,
        };
        let row = match work {
            Work::Count => client.query_one("SELECT count(*) FROM items", &[]).await,
            Work::Add => {
                let statement = "INSERT INTO items (server) VALUES ($1) RETURNING id";
                client.query_one(statement, &[&self.server]).await
            }
        };
        let number = row.and_then(|row| row.try_get(0)).map_err(|error| told(&error))?;
        if self.pool > 0 {
            self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(client);
        }
        Ok(number)
    }

    /// A kept connection that still stands, as far as is known.
    fn take(&self) -> Option<Client> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some(client) = idle.pop() {
            if !client.is_closed() {
                return Some(client);
            }
        }
        None
    }

    async fn connect(&self) -> Result<Client, String> {
        let (client, connection) = self.database.connect(NoTls).await.map_err(|error| told(&error))?;
        tokio::spawn(async move {
            // Its end is seen by the next one who asks.
            let _ = connection.await;
        });
        Ok(client)
    }
}

#[derive(Clone, Copy)]
enum Work {
    Count,
    Add,
}

/// An error with its causes, in one line.
fn told(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    text
}

fn plain(status: StatusCode, text: &str) -> Response<Full<Bytes>> {
    typed(status, "text/plain; charset=utf-8", text.to_owned())
}

fn object(status: StatusCode, value: &Value) -> Response<Full<Bytes>> {
    typed(status, "application/json", format!("{value}\n"))
}

fn typed(status: StatusCode, kind: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, hyper::header::HeaderValue::from_static(kind));
    response
}
