//! What a workload accepts.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use serde::Serialize;

use super::policy::{Certificate, Trust};
use crate::inbound::{Inbound, PortAccess};

/// What a workload accepts, by the port that it listens on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Server {
    /// On ports that are not named, those in no service included.
    pub other: Acceptance,
    /// On ports that are.
    pub ports: BTreeMap<u16, Acceptance>,
}

impl Server {
    /// What a port accepts.
    pub fn acceptance(&self, port: u16) -> &Acceptance {
        self.ports.get(&port).unwrap_or(&self.other)
    }

    /// What the kernel lets in, of a pod with these probed ports.
    pub fn inbound(&self, probes: &[u16]) -> Inbound {
        let access = |acceptance: &Acceptance, is_probed| PortAccess {
            is_strict: acceptance.tls == ServerTls::MeshOnly,
            is_probed,
        };
        let apart: BTreeSet<u16> = self.ports.keys().chain(probes).copied().collect();
        let apart = apart
            .into_iter()
            .map(|port| (port, access(self.acceptance(port), probes.binary_search(&port).is_ok())));
        Inbound::new(access(&self.other, false), apart)
    }
}

/// What a port accepts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Acceptance {
    /// What TLS is ended.
    pub tls: ServerTls,
    /// How many connections at once.
    pub connections: Option<u32>,
    /// How many requests may wait.
    pub pending: Option<u32>,
    /// How many requests at once.
    pub requests: Option<u32>,
    /// How long nothing may be sent either way.
    pub idle: Option<Duration>,
}

impl Acceptance {
    /// Acceptance without limits.
    pub const fn of(tls: ServerTls) -> Self {
        Self { tls, connections: None, pending: None, requests: None, idle: None }
    }
}

/// What TLS is ended for a workload.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum ServerTls {
    /// None: all bytes reach the application as they are.
    Plain,
    /// The mesh's; other TLS and plaintext reach the application as they are.
    MeshOrPlain,
    /// The mesh's; everything else is closed without an answer.
    MeshOnly,
    /// With a certificate that an object names.
    Own {
        /// The certificate.
        certificate: Option<Certificate>,
        /// Whose clients' certificates are believed; none asks for none.
        clients: Option<Trust>,
        /// Names that those may carry; none is any.
        names: Vec<String>,
        /// Whether plaintext is accepted as well.
        or_plain: bool,
    },
}
