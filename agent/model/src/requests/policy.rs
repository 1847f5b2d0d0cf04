//! How a service is dialled: which endpoint is next, how many connections, what TLS.

use std::{collections::BTreeMap, time::Duration};

use serde::Serialize;

/// How a service is dialled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ClientPolicy {
    /// Which endpoint is next.
    pub balance: Balance,
    /// Near endpoints first; none treats all alike.
    pub locality: Option<Locality>,
    /// A slow start for new endpoints.
    pub warmup: Option<Warmup>,
    /// How much at once.
    pub limits: Limits,
    /// When endpoints that fail are left out.
    pub ejection: Option<Ejection>,
    /// What TLS is spoken.
    pub tls: ClientTls,
    /// Through an HTTP proxy.
    pub tunnel: Option<Tunnel>,
    /// The version of the PROXY protocol's header.
    pub proxy_protocol: Option<u8>,
    /// How much of the load may be retries: in millionths, and how many at least.
    pub retry_budget: Option<(u32, u32)>,
}

/// Which endpoint is next.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub enum Balance {
    /// The less busy one of two.
    #[default]
    LeastRequest,
    /// Each in turn.
    RoundRobin,
    /// Any.
    Random,
    /// The one that was dialled.
    Dialled,
    /// The one that the key leads to; any where there is no key.
    Hash {
        /// What the key is.
        key: HashKey,
        /// How keys are spread.
        table: HashTable,
    },
}

/// A key that leads to an endpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum HashKey {
    /// A header, by its name in lower case.
    Header(String),
    /// A cookie. With a time it is set where the client sends none; without, there is no key then.
    Cookie {
        /// Its name.
        name: String,
        /// Where it is for.
        path: String,
        /// How long it lives.
        ttl: Option<Duration>,
        /// What else is said of it.
        attributes: Vec<(String, String)>,
    },
    /// The client's address.
    SourceAddress,
    /// A parameter of the query.
    Query(String),
}

/// How keys are spread.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum HashTable {
    /// On a ring of at least so many points.
    Ring(u64),
    /// In a table of so many places.
    Maglev(u64),
}

/// Near endpoints first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Locality {
    /// Shares by place: from, to with weights.
    pub distribute: Vec<(String, BTreeMap<String, u32>)>,
    /// Where to go when a place is out: from, to.
    pub failover: Vec<(String, String)>,
    /// Labels by which near and far are told.
    pub priority: Vec<String>,
}

/// A slow start; shares in millionths.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Warmup {
    /// How long it takes.
    pub time: Duration,
    /// The share to begin with.
    pub minimum: u32,
    /// How steeply it grows.
    pub aggression: u32,
}

/// How much at once; none is no limit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Limits {
    /// Connections.
    pub connections: Option<u32>,
    /// How long dialling may take.
    pub connect_timeout: Duration,
    /// Keep-alive probes.
    pub keepalive: Option<Keepalive>,
    /// How long a connection may live.
    pub connection_age: Option<Duration>,
    /// How long a TCP connection may be idle; none is the proxy's own.
    pub tcp_idle: Option<Duration>,
    /// Requests that wait for a connection.
    pub pending: Option<u32>,
    /// Requests at once.
    pub requests: Option<u32>,
    /// Requests of one connection; one is no keep-alive.
    pub per_connection: Option<u32>,
    /// Retries at once.
    pub retries: Option<u32>,
    /// How long an HTTP connection may be idle; none is the proxy's own.
    pub http_idle: Option<Duration>,
    /// Whether HTTP/2 is spoken where HTTP/1 is declared.
    pub upgrade: Upgrade,
    /// Streams of one connection.
    pub streams: Option<u32>,
}

impl Limits {
    /// No limit but on dialling.
    pub const fn none(connect_timeout: Duration) -> Self {
        Self {
            connections: None,
            connect_timeout,
            keepalive: None,
            connection_age: None,
            tcp_idle: None,
            pending: None,
            requests: None,
            per_connection: None,
            retries: None,
            http_idle: None,
            upgrade: Upgrade::AsDeclared,
            streams: None,
        }
    }
}

/// Keep-alive probes; none is the system's own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Keepalive {
    /// How many unanswered ones end a connection.
    pub probes: Option<u32>,
    /// How long until the first.
    pub time: Option<Duration>,
    /// How long between two.
    pub interval: Option<Duration>,
}

/// Which HTTP is spoken to a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Upgrade {
    /// What its port declares.
    AsDeclared,
    /// HTTP/2.
    ToHttp2,
    /// What the client speaks.
    AsClient,
}

/// When endpoints that fail are left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Ejection {
    /// So many answers of 5xx in a row; none is not looked at.
    pub server_errors: Option<u32>,
    /// So many of 502, 503, 504 or failures to connect.
    pub gateway_errors: Option<u32>,
    /// So many failures on this side; with it, those do not count as the others.
    pub local_errors: Option<u32>,
    /// Whether failures on this side are told from answers.
    pub split: bool,
    /// How often it is looked at.
    pub interval: Duration,
    /// How long an endpoint is out, times how often it was.
    pub base: Duration,
    /// How many at most, in per cent; at least one.
    pub most_percent: u32,
    /// With fewer healthy ones than this, in per cent, ejected ones are used too; 0 is never.
    pub panic_percent: u32,
}

/// What TLS is spoken to a service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum ClientTls {
    /// None is added.
    Plain,
    /// As said here.
    Own(OwnTls),
    /// The mesh's, with every endpoint; with one outside the mesh it fails.
    Mesh(MeshTls),
    /// The mesh's with those endpoints that speak it, none with the others.
    Auto(MeshTls),
}

/// TLS with the mesh's certificates.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct MeshTls {
    /// Which identities the peer may have, where an object says; none is any identity of an endpoint.
    pub names: Vec<String>,
    /// The server name that is sent.
    pub server_name: String,
}

/// TLS with certificates that an object names.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct OwnTls {
    /// The client's namespace, whose files and secrets are named here.
    pub namespace: String,
    /// Who signs the server's certificate.
    pub trust: Trust,
    /// Whether the server's certificate is looked at.
    pub verify: bool,
    /// Names that it may carry, one of them; none is the server name that is sent.
    pub names: Vec<String>,
    /// The server name that is sent; none is the request's own host.
    pub server_name: Option<String>,
    /// What is shown to the server.
    pub certificate: Option<Certificate>,
}

/// Who signs certificates that are believed.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub enum Trust {
    /// Whom the system believes.
    System,
    /// Those in a file, and which of theirs are revoked.
    File(String, Option<String>),
    /// Those in a secret.
    Secret(String),
    /// Those in a registry that is not reached from here.
    Elsewhere(Vec<String>),
}

/// A certificate with its key.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub enum Certificate {
    /// In two files: the chain, the key.
    Files(String, String),
    /// In a secret.
    Secret(String),
    /// In a registry that is not reached from here.
    Elsewhere(String),
}

/// A way through an HTTP proxy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Tunnel {
    /// Whether by POST rather than CONNECT.
    pub by_post: bool,
    /// Where to.
    pub host: String,
    /// On which port.
    pub port: u16,
}
