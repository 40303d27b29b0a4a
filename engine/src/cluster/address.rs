//! Where a cluster is, and whether anybody is there.
//!
//! In: `df://host:port`. Out: a [`Cluster`], which tells within seconds that there is no scheduler, or no worker:
//! Ballista itself would wait for one for ever.

use std::fmt;
use std::io;
use std::str::FromStr;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::Instant;
use url::Url;

use super::CONNECT_SECONDS;
use crate::error::{EngineError, Result};

/// The port of a scheduler whose address names none.
const DEFAULT_PORT: u16 = 50_050;
/// How long a worker is waited for before a query is sent.
const FIRST_WORKER: Duration = Duration::from_secs(10);
/// How long a query that was sent may be without any worker; longer than it takes the scheduler to notice a loss.
const NEXT_WORKER: Duration = Duration::from_secs(30);
/// How often it is looked whether there is a worker.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// How often that is looked at while a query runs.
const LOOK_EVERY_WHILE_RUNNING: Duration = Duration::from_secs(2);
/// The longest answer of a scheduler that is looked at.
const ANSWER_BYTES: u64 = 4096;

/// The address of a cluster's scheduler.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cluster {
    host: String,
    port: u16,
}

impl FromStr for Cluster {
    type Err = EngineError;

    fn from_str(text: &str) -> Result<Self> {
        let wrong = || EngineError::usage(format!("\"{text}\" is not the address of a cluster: write df://HOST:PORT"));
        let url = Url::parse(text).map_err(|_| wrong())?;
        let is_plain = url.scheme() == "df" && matches!(url.path(), "" | "/") && url.query().is_none();
        let host = url.host_str().filter(|host| is_plain && !host.is_empty()).ok_or_else(wrong)?;
        Ok(Self { host: host.to_owned(), port: url.port().unwrap_or(DEFAULT_PORT) })
    }
}

impl fmt::Display for Cluster {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "df://{}", self.authority())
    }
}

impl Cluster {
    /// The scheduler on a host (an IPv6 address in brackets) and port.
    #[must_use]
    pub fn new(host: impl Into<String>, port: u16) -> Self {
        Self { host: host.into(), port }
    }

    /// The scheduler's host.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The scheduler's port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// `host:port`.
    #[must_use]
    pub fn authority(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }

    pub(super) fn http_url(&self) -> String {
        format!("http://{}", self.authority())
    }

    /// Waits until the cluster can take a query, for a few seconds at most.
    pub(super) async fn ready(&self) -> Result<()> {
        let until = Instant::now() + FIRST_WORKER;
        loop {
            match self.has_worker().await {
                Ok(true) => return Ok(()),
                Ok(false) if Instant::now() >= until => return Err(self.no_worker()),
                Ok(false) => tokio::time::sleep(LOOK_EVERY).await,
                Err(error) => return Err(self.no_scheduler(&error)),
            }
        }
    }

    /// Completes when a query that is under way has no worker any more and gets none.
    pub(super) async fn deserted(&self) -> EngineError {
        let mut alone_since = None;
        loop {
            tokio::time::sleep(LOOK_EVERY_WHILE_RUNNING).await;
            let error = match self.has_worker().await {
                Ok(true) => {
                    alone_since = None;
                    continue;
                }
                Ok(false) => self.no_worker(),
                Err(error) => self.no_scheduler(&error),
            };
            if alone_since.get_or_insert_with(Instant::now).elapsed() >= NEXT_WORKER {
                return error;
            }
        }
    }

    /// Whether the scheduler knows a worker that is alive.
    pub(super) async fn has_worker(&self) -> io::Result<bool> {
        let limit = Duration::from_secs(CONNECT_SECONDS as u64);
        let answer = tokio::time::timeout(limit, self.ask_whether_ready()).await.map_err(|_| {
            io::Error::new(io::ErrorKind::TimedOut, format!("no answer within {CONNECT_SECONDS} seconds"))
        })??;
        match answer.split(' ').nth(1) {
            Some("200") => Ok(true),
            Some("503") => Ok(false),
            _ => Err(io::Error::new(io::ErrorKind::InvalidData, "what answers there is no scheduler")),
        }
    }

    /// The scheduler's answer to `GET /readyz`, on the port of its other services: 200 with a worker, 503 without.
    async fn ask_whether_ready(&self) -> io::Result<String> {
        let mut stream = TcpStream::connect(self.authority()).await?;
        let request = format!("GET /readyz HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", self.authority());
        stream.write_all(request.as_bytes()).await?;
        let mut answer = Vec::new();
        stream.take(ANSWER_BYTES).read_to_end(&mut answer).await?;
        Ok(String::from_utf8_lossy(&answer).into_owned())
    }

    pub(super) fn no_scheduler(&self, error: &io::Error) -> EngineError {
        let reason = format!("{error}; start a scheduler with `sendlift cluster scheduler`");
        EngineError::io("reach", format!("the cluster at {self}"))(io::Error::new(error.kind(), reason))
    }

    pub(super) fn loses_workers(&self, attempts: usize, error: &impl fmt::Display) -> EngineError {
        let reason = format!(
            "each of the {attempts} times that the query was sent, a worker was lost; look into what ends them (their \
             memory?) and ask again. The last time: {error}"
        );
        EngineError::io("use", format!("the cluster at {self}"))(io::Error::other(reason))
    }

    fn no_worker(&self) -> EngineError {
        let reason =
            format!("it has no worker: start one with `sendlift cluster worker --scheduler {}`", self.authority());
        EngineError::io("use", format!("the cluster at {self}"))(io::Error::other(reason))
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    #[test]
    fn addresses_are_read_and_shown() {
        for (text, shown) in [
            ("df://127.0.0.1:50050", "df://127.0.0.1:50050"),
            ("df://scheduler.example", "df://scheduler.example:50050"),
            ("df://scheduler:4000/", "df://scheduler:4000"),
            ("df://[::1]:4000", "df://[::1]:4000"),
        ] {
            assert_eq!(text.parse::<Cluster>().unwrap().to_string(), shown);
        }
        for wrong in ["127.0.0.1:50050", "http://127.0.0.1:50050", "df://", "df://host:port", "df://host:1/path", ""] {
            let message = wrong.parse::<Cluster>().unwrap_err().to_string();
            assert!(message.contains("df://HOST:PORT"), "{message}");
        }
    }

    /// A scheduler that gives one answer to everybody.
    async fn answering(answer: &'static str) -> Cluster {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut request = [0; 512];
                let _ = stream.read(&mut request).await;
                let _ = stream.write_all(answer.as_bytes()).await;
            }
        });
        Cluster::new("127.0.0.1", port)
    }

    #[tokio::test]
    async fn a_scheduler_says_whether_it_has_a_worker() {
        assert!(answering("HTTP/1.1 200 OK\r\n\r\nready: 2").await.has_worker().await.unwrap());
        assert!(!answering("HTTP/1.1 503 Service Unavailable\r\n\r\n").await.has_worker().await.unwrap());
        assert!(answering("220 mail ESMTP\r\n").await.has_worker().await.is_err());
    }

    #[tokio::test]
    async fn nobody_there_is_said_with_the_address() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let cluster = Cluster::new("127.0.0.1", listener.local_addr().unwrap().port());
        drop(listener);
        let message = cluster.ready().await.unwrap_err().to_string();
        assert!(message.contains(&cluster.to_string()) && message.contains("sendlift cluster scheduler"), "{message}");
    }
}
