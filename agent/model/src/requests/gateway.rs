//! What the pods at the edge serve.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::{
    host::Domain,
    outbound::StreamRoute,
    policy::{Certificate, Trust},
    route::VirtualHost,
};

/// What a gateway's pods serve, by the port that they listen on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Gateway {
    /// By port.
    pub ports: BTreeMap<u16, GatewayPort>,
}

/// What one port serves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum GatewayPort {
    /// Plaintext HTTP, by its host; one that is not here is answered with 404.
    Http(Vec<VirtualHost>),
    /// Bytes as they come; none is closed.
    Tcp(Option<StreamRoute>),
    /// TLS, by the server name that is asked for; one that is not here is closed.
    Tls(Vec<TlsServer>),
}

/// What is served under some server names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TlsServer {
    /// The names.
    pub names: BTreeSet<Domain>,
    /// What happens to the TLS.
    pub tls: GatewayTls,
    /// What happens then.
    pub then: Inside,
}

/// What happens to TLS at a gateway.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum GatewayTls {
    /// It goes through as it is.
    Through,
    /// It goes through to the service that its server name spells out.
    ThroughByName,
    /// It ends here, with the mesh's certificates.
    Mesh,
    /// It ends here, with others.
    Ends(Ending),
}

/// How TLS ends at a gateway.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Ending {
    /// What is shown.
    pub certificates: Vec<Certificate>,
    /// What clients show.
    pub clients: Clients,
    /// Names that clients' certificates may carry; none is any.
    pub names: Vec<String>,
    /// Hashes of keys and of certificates that clients may have; none is any.
    pub hashes: Vec<String>,
    /// The lowest and the highest version; empty is the proxy's own.
    pub versions: (String, String),
    /// The cipher suites; none is the proxy's own.
    pub ciphers: Vec<String>,
}

/// What clients show at a gateway.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum Clients {
    /// Nothing.
    Anyone,
    /// A certificate that is believed, if they show one.
    Optional(Trust),
    /// A certificate that is believed.
    Required(Trust),
}

/// What happens to what TLS carries.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum Inside {
    /// HTTP, by its host.
    Http(Vec<VirtualHost>),
    /// Bytes: the first that matches decides.
    Tcp(Vec<StreamRoute>),
}
