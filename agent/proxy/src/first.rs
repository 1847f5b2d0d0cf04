//! The first bytes of a connection whose port tells server names apart.
//!
//! A client of TLS speaks first. Where one says nothing for a moment, the server may be one that speaks
//! first (a `MySQL` server on a port that TLS has, too): the connection is then made where one without a
//! name goes, if such a one may go anywhere, and whoever speaks first decides.

use std::{io, time::Duration};

use tokio::time::{Instant, timeout, timeout_at};

use crate::{
    Failure,
    hello::{self, Hello},
    reset_stream::ResetStream,
    stream::Reached,
};

/// How long a client may say nothing before its server is asked: a client of TLS says its hello at once.
pub(crate) const QUIET: Duration = Duration::from_millis(100);
/// How long it may where nothing can be asked; as between two requests.
const IDLE: Duration = Duration::from_hours(1);
/// How long a hello may take from its first byte.
const WHOLE: Duration = Duration::from_mins(1);

/// See the module.
#[derive(Debug)]
pub(crate) enum First {
    /// TLS for this name; empty where it asks for none.
    Hello(String),
    /// Something else, or nothing.
    Bytes,
    /// The server was first, or the client had nothing to say.
    Server(Reached),
}

impl First {
    /// Of a client alone: waits for a whole hello, or for what cannot become one.
    pub(crate) async fn of_client(
        client: &ResetStream,
        read: &mut Vec<u8>,
    ) -> Result<Self, Failure> {
        let mut end = None;
        loop {
            match hello::read(read) {
                Hello::Tls(name) => return Ok(Self::Hello(name.unwrap_or_default())),
                Hello::Other => return Ok(Self::Bytes),
                Hello::Unfinished => {}
            }
            if !read.is_empty() {
                end.get_or_insert_with(|| Instant::now() + WHOLE);
            }
            let until = end.unwrap_or_else(|| Instant::now() + IDLE);
            match timeout_at(until, client.read_some(read)).await {
                Ok(Ok(0)) => return Ok(Self::Bytes),
                Ok(some) => _ = some.map_err(Failure::Client)?,
                Err(_) => return Err(Failure::Client(io::ErrorKind::TimedOut.into())),
            }
        }
    }

    /// Of a client that may be waiting for its server: nothing where it says nothing for a moment.
    pub(crate) async fn of_client_soon(
        client: &ResetStream,
        read: &mut Vec<u8>,
    ) -> Result<Option<Self>, Failure> {
        match timeout(QUIET, client.read_some(read)).await {
            Ok(Ok(0)) => Ok(Some(Self::Bytes)),
            Ok(Ok(_)) => Self::of_client(client, read).await.map(Some),
            Ok(Err(error)) => Err(Failure::Client(error)),
            Err(_) => Ok(None),
        }
    }

    /// Of a client and a server, whoever is first.
    pub(crate) async fn of_both(
        client: &ResetStream,
        read: &mut Vec<u8>,
        server: Reached,
    ) -> Result<Self, Failure> {
        let some = tokio::select! {
            biased;
            some = client.read_some(read) => some.map_err(Failure::Client)?,
            heard = server.stream.heard() => {
                heard.map_err(Failure::Upstream)?;
                return Ok(Self::Server(server));
            }
        };
        if some == 0 {
            return Ok(Self::Server(server));
        }
        match Self::of_client(client, read).await? {
            // It has a connection already.
            Self::Bytes => Ok(Self::Server(server)),
            other => Ok(other),
        }
    }
}
