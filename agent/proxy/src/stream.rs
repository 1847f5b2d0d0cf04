//! Connections that are carried as they are to where a route for TLS or TCP says: each draws its
//! destination by the shares, and has a place among those that the destination allows.

use std::sync::Arc;

use agent_model::requests::{
    backend::{Backend, Target},
    outbound::StreamRoute,
    policy::{Balance, ClientTls, HashKey},
};

use crate::{
    DialError, Failure, Origin, Proxy, UpstreamAddr,
    cluster::{self, Lease, Overflow, Seen, UnderWay, Wanted},
    connection::Accepted,
    reach::Reach,
    reset_stream::ResetStream,
    route::Lead,
    share::by_share,
};

/// Dials of one connection that may fail before it does: nothing was sent by them.
const MOST_DIALS: usize = 3;

/// A connection to an upstream.
#[derive(Debug)]
pub(crate) struct Reached {
    pub(crate) to: UpstreamAddr,
    pub(crate) stream: ResetStream,
    /// Its place among those of its destination, and what makes it count as load there.
    _place: Option<(Lease, Option<UnderWay>)>,
}

impl Proxy {
    /// Makes a connection to where one leads.
    pub(crate) async fn reach(
        &self,
        lead: &Lead<'_>,
        by: &Accepted,
        origin: &Origin,
    ) -> Result<Reached, Failure> {
        let route = match lead {
            Lead::Routed(route) => route,
            Lead::Dialled(route) => {
                let stream = self.connect(by, None, route.to).await?;
                return Ok(Reached { to: route.to, stream, _place: None });
            }
        };
        let backend = destination(route)?;
        let cluster = by.clusters.of(backend);
        let endpoints = self.seams().judge.endpoints(backend);
        let mut tried = Vec::new();
        loop {
            let key = key(by, backend);
            let wanted = Wanted { endpoints: &endpoints, origin, tried: &tried, key };
            let to = cluster.choose(&wanted).ok_or(Failure::NoEndpoints)?;
            let is_repeated = tried.contains(&to);
            tried.push(to);
            let lease = cluster.lease_for(to.0).map_err(|Overflow| Failure::Overflow)?;
            match self.connect(by, Some(backend), to).await {
                Ok(stream) => {
                    // A limit on requests is none on connections.
                    let place = Some((lease, cluster.begin(to).ok()));
                    return Ok(Reached { to, stream, _place: place });
                }
                Err(error) => {
                    cluster.report(to, Seen::NoAnswer);
                    if is_repeated || tried.len() >= MOST_DIALS {
                        return Err(Failure::Dial(error));
                    }
                }
            }
        }
    }

    async fn connect(
        &self,
        by: &Accepted,
        backend: Option<&Arc<Backend>>,
        to: UpstreamAddr,
    ) -> Result<ResetStream, DialError> {
        let reach = Reach {
            seams: self.seams(),
            from: by.workload,
            policy: backend.map(|backend| &backend.policy),
            patience: self.limits().connect,
        };
        reach.connect(to).await
    }
}

/// Where a connection goes, by the shares; nowhere is an error.
fn destination(route: &StreamRoute) -> Result<&Arc<Backend>, Failure> {
    let drawn = by_share(&route.to, |one| one.weight.into(), fastrand::u64(..));
    let Some(Target::Backend(backend)) = drawn.map(|one| &one.target) else {
        return Err(Failure::NoCluster);
    };
    match backend.policy.tls {
        ClientTls::Own(_) | ClientTls::Mesh(_) => Err(Failure::NeedsTls),
        ClientTls::Plain | ClientTls::Auto(_) => Ok(backend),
    }
}

/// What leads a connection to an endpoint: of all keys only the client's address.
fn key(by: &Accepted, backend: &Backend) -> Option<u64> {
    let Balance::Hash { key: HashKey::SourceAddress, .. } = backend.policy.balance else {
        return None;
    };
    Some(cluster::hash(by.peer.0.ip().to_string().as_bytes()))
}
