//! Connections that are carried as they are to where a route for TLS or TCP says: each draws its
//! destination by the shares, and has a place among those that the destination allows.

use std::{sync::Arc, time::Duration};

use agent_model::requests::{
    backend::{Backend, Target},
    outbound::StreamRoute,
    policy::{Balance, HashKey},
};

use crate::{
    DialError, Failure, Origin, PeerAddr, Seams, UpstreamAddr, WorkloadId,
    cluster::{self, Lease, Overflow, Seen, UnderWay, Wanted},
    clusters::Clusters,
    race::Race,
    reach::{Apart, Reach},
    reset_stream::ResetStream,
    route::Lead,
    share::by_share,
    tls::Speaks,
};

/// A connection to an upstream.
#[derive(Debug)]
pub(crate) struct Reached {
    pub(crate) to: UpstreamAddr,
    pub(crate) stream: ResetStream,
    /// Its place among those of its destination, and what makes it count as load there.
    _place: Option<(Lease, Option<UnderWay>)>,
}

/// What connections of one client are made with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Streams<'a> {
    pub(crate) seams: &'a Seams,
    pub(crate) clusters: &'a Clusters,
    pub(crate) workload: WorkloadId,
    pub(crate) peer: PeerAddr,
    /// How long dialling may take where the destination does not say.
    pub(crate) patience: Duration,
}

impl Streams<'_> {
    /// Makes a connection to where one leads.
    pub(crate) async fn reach(&self, lead: &Lead<'_>, origin: &Origin) -> Result<Reached, Failure> {
        let route = match lead {
            Lead::Routed(route) => route,
            Lead::Dialled(route) => {
                let stream = self.connect((None, false), route.to, origin).await?;
                return Ok(Reached { to: route.to, stream, _place: None });
            }
        };
        let backend = destination(route)?;
        let cluster = self.clusters.of(backend);
        let endpoints = cluster.endpoints(backend, &*self.seams.judge);
        let (cluster, endpoints, key) = (&cluster, &endpoints, self.key(backend));
        let mutual = |to: UpstreamAddr| endpoints.is_mutual(to.0);
        let mut tried = Vec::new();
        let first = cluster.choose(&Wanted { endpoints, origin, tried: &tried, key });
        let first = first.ok_or(Failure::NoEndpoints)?;
        tried.push(first);
        let race = Race {
            dial: |to: UpstreamAddr| async move {
                let lease = cluster.lease_for(to.0).map_err(|Overflow| Failure::Overflow)?;
                Ok((self.connect((Some(backend), mutual(to)), to, origin).await?, lease))
            },
            another: || {
                let to = cluster.another(&Wanted { endpoints, origin, tried: &tried, key })?;
                tried.push(to);
                Some(to)
            },
            lost: |to| cluster.report(to, Seen::NoAnswer),
        };
        let (to, reached) = race.run(first, |failure| !matches!(failure, Failure::Dial(_))).await;
        let (stream, lease) = reached?;
        // A limit on requests is none on connections.
        let place = (lease, cluster.begin(to).ok());
        Ok(Reached { to, stream, _place: Some(place) })
    }

    async fn connect(
        &self,
        (backend, mutual): (Option<&Arc<Backend>>, bool),
        to: UpstreamAddr,
        origin: &Origin,
    ) -> Result<ResetStream, DialError> {
        // No request names a host, so the destination's own has to do.
        let client = (self.peer, origin.dst);
        let of = |backend: &Arc<Backend>| Apart::of(&backend.policy, &backend.service, client);
        let apart = backend.map(of).unwrap_or_default();
        let policy = backend.map(|backend| &backend.policy);
        let apart = apart.at(to, (policy, mutual), self.seams)?;
        let reach = Reach {
            seams: self.seams,
            from: self.workload,
            policy,
            patience: self.patience,
            speaks: Speaks::Bytes,
            apart: &apart,
        };
        reach.connect(to).await
    }

    /// What leads a connection to an endpoint: of all keys only the client's address.
    fn key(&self, backend: &Backend) -> Option<u64> {
        let Balance::Hash { key: HashKey::SourceAddress, .. } = backend.policy.balance else {
            return None;
        };
        Some(cluster::hash(self.peer.0.ip().to_string().as_bytes()))
    }
}

/// Where a connection goes, by the shares; nowhere is an error.
fn destination(route: &StreamRoute) -> Result<&Arc<Backend>, Failure> {
    let drawn = by_share(&route.to, |one| one.weight.into(), fastrand::u64(..));
    let Some(Target::Backend(backend)) = drawn.map(|one| &one.target) else {
        return Err(Failure::NoCluster);
    };
    Ok(backend)
}
