//! What the node's proxy borrows from the agent: original destinations from the kernel, rulings
//! from the generation in force, sockets inside the pods' namespaces, and a place for its records.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use agent_abi::{FAMILY_V4, FAMILY_V6, Flow, OriginKey, Reason, Verdict, decide, protocol};
use agent_base::error::chain;
use agent_identity::spiffe::SpiffeId;
use agent_kernel::{
    maps::Maps,
    netns::{NetNs, Worker},
    rule_names::RuleNames,
};
use agent_model::{
    egress::{Action, EgressPolicy, ProxyDuty},
    endpoints::Endpoints,
    requests::{MeshPeer, backend::Backend, outbound::Outbound},
};
use agent_pods::sockets::{self, SocketError};
use agent_proxy::{
    Blame, Dial, DialError, Dialling, Exchanged, Judge, Opened, Origin, OriginError, OriginalDst,
    Origins, Peers, Received, Record, Records, Ruling, UpstreamAddr, WorkloadId,
};
use arc_swap::ArcSwap;
use jiff::Timestamp;
use tokio::net::TcpStream;

use crate::{
    members::Members,
    observe::{
        access_log::AccessLog,
        flow_record::{Carried, Direction, FlowReason, FlowRecord, Layer, Protocol, Source, ip},
        flow_request::FlowRequest,
        flows::FlowLog,
        service_metrics::{self, ServiceMetrics},
    },
};

/// The seams but for files.
#[derive(Debug)]
pub(crate) struct Borrowed {
    pub(crate) maps: Arc<Maps>,
    pub(crate) worker: Arc<Worker>,
    pub(crate) members: Arc<ArcSwap<Members>>,
    pub(crate) names: RuleNames,
    pub(crate) flows: Arc<FlowLog>,
    pub(crate) services: Arc<ServiceMetrics>,
    pub(crate) access_log: Arc<AccessLog>,
    /// Whether this node's pods speak the mesh's TLS.
    pub(crate) mesh_tls: bool,
}

impl Borrowed {
    fn netns(&self, workload: WorkloadId) -> Option<NetNs> {
        let members = self.members.load();
        let opened = members.pods.in_netns(workload.0)?.opened.as_ref()?;
        Some(opened.netns.clone())
    }

    /// The rule that a connection goes by. What was dialled before this agent took over from another has
    /// the number that the other one gave a rule: it goes by what the rules say of its destination now.
    fn rule_of(&self, workload: WorkloadId, origin: &agent_abi::Origin) -> u32 {
        if self.names.get(origin.rule).is_some() {
            return origin.rule;
        }
        let flow = Flow {
            netns: workload.0,
            dst: origin.dst,
            dst_port: origin.dst_port,
            protocol: protocol::TCP,
        };
        // A rule that is none, where it is denied now, has no name.
        decide(&*self.maps, &flow).rule
    }
}

impl Origins for Borrowed {
    fn origin(&self, workload: WorkloadId, accepted: &TcpStream) -> Result<Origin, OriginError> {
        let peer = accepted.peer_addr().map_err(OriginError::Lookup)?;
        let family = if peer.is_ipv4() { FAMILY_V4 } else { FAMILY_V6 };
        let key = OriginKey { netns: workload.0, port: peer.port().into(), family };
        let found =
            self.maps.origins.get(&key).map_err(|error| OriginError::Lookup(error.source))?;
        let origin = found.ok_or(OriginError::Unknown)?;
        // The entry goes with the pod's socket too; taking it now keeps the table small.
        if let Err(error) = self.maps.origins.remove(&key) {
            tracing::warn!(%error, "an original destination stays in its table");
        }
        Ok(Origin {
            dst: OriginalDst(SocketAddr::new(ip(origin.dst), origin.dst_port)),
            rule: self.rule_of(workload, &origin),
            generation: origin.generation,
            connection: origin.socket,
        })
    }
}

impl Judge for Borrowed {
    fn version(&self) -> u64 {
        self.members.load().version
    }

    fn judge(&self, workload: WorkloadId, origin: &Origin) -> Option<Ruling> {
        let members = self.members.load();
        let policy = members.pods.in_netns(workload.0)?.policy()?;
        let EgressPolicy { default_action, reads_all, .. } = **policy;
        let by_endpoint = self.mesh_tls;
        let decision = self.names.get(origin.rule)?;
        match decision.action {
            Action::Proxy(duty) => {
                let upstream = members.upstreams.get(&decision.source).cloned();
                Some(Ruling { duty, default_action, upstream, reads_all, by_endpoint })
            }
            // It came by the proxy before the rule was one for connections that do not.
            Action::Direct => {
                let duty = ProxyDuty::AddressAllowed;
                Some(Ruling { duty, default_action, upstream: None, reads_all, by_endpoint })
            }
        }
    }

    fn outbound(&self, workload: WorkloadId) -> Option<Arc<Outbound>> {
        self.members.load().outbound(workload.0)
    }

    fn endpoints(&self, backend: &Backend) -> Endpoints {
        self.members.load().endpoints(backend)
    }
}

/// Who speaks the mesh's TLS, in the generation in force.
pub(crate) struct MeshPeers(pub(crate) Arc<ArcSwap<Members>>);

impl Peers for MeshPeers {
    fn own(&self, workload: WorkloadId) -> Option<SpiffeId> {
        self.0.load().identity(workload.0)
    }

    fn at(&self, address: IpAddr) -> Option<MeshPeer> {
        self.0.load().mesh_peer(address)
    }
}

impl Dial for Borrowed {
    fn dial(&self, from: WorkloadId, to: UpstreamAddr, patience: Duration) -> Dialling<'_> {
        Box::pin(async move {
            let netns =
                self.netns(from).ok_or_else(|| DialError::Local("the pod is gone".into()))?;
            let dialled = sockets::dial(&self.worker, &netns, to.0, &*self.maps, patience).await;
            dialled.map_err(|error| dial_error(to, error))
        })
    }
}

fn dial_error(addr: UpstreamAddr, error: SocketError) -> DialError {
    match error {
        SocketError::Connect { source, .. }
            if source.kind() == std::io::ErrorKind::ConnectionRefused =>
        {
            DialError::Refused { addr }
        }
        SocketError::Connect { source, .. } => DialError::Unreachable { addr, source },
        SocketError::TimedOut { after, .. } => DialError::TimedOut { addr, after },
        other => DialError::Local(Box::new(other)),
    }
}

impl Records for Borrowed {
    fn opened(&self, opened: Opened) {
        let Opened { workload, origin, upstream } = opened;
        let members = self.members.load();
        self.services.opened(service_metrics::Opened {
            workload: members.pods.in_netns(workload.0).map(|pod| Arc::clone(&pod.workload)),
            rule: self.names.get(origin.rule).map(|decision| decision.source),
            upstream: upstream.0.ip(),
        });
    }

    fn record(&self, record: Record) {
        let Record { workload, client, origin, failure, .. } = &record;
        let members = self.members.load();
        let pod = members.pods.in_netns(workload.0);
        let dialled = origin.map_or(client.0, |origin| origin.dst.0);
        let rule = origin.and_then(|origin| self.names.get(origin.rule));
        let is_refused = failure.as_ref().is_some_and(|failure| failure.blame() == Blame::Policy);
        self.flows.record(FlowRecord {
            time: Timestamp::now(),
            connection: origin.map(|origin| origin.connection),
            direction: Direction::Outbound,
            netns: workload.0,
            pod: pod.map(|pod| pod.id.clone()),
            workload: pod.map(|pod| Arc::clone(&pod.workload)),
            source: Source {
                address: pod.and_then(|pod| pod.address_towards(dialled.ip())),
                port: Some(client.0.port()),
            },
            destination: dialled.into(),
            protocol: Protocol::TCP,
            layer: Layer::Proxy,
            verdict: if is_refused { Verdict::Deny } else { Verdict::Proxy },
            reason: match failure {
                Some(failure) => FlowReason::Proxy(failure.cause()),
                None if record.would_deny => FlowReason::Rules(Reason::WouldDeny),
                None => FlowReason::Rules(Reason::Rule),
            },
            generation: origin.map_or(0, |origin| origin.generation),
            rule: rule.map(|decision| decision.source),
            pid: None,
            upstream: record.upstream.map(|upstream| upstream.0),
            server_name: Some(record.server_name.clone()).filter(|name| !name.is_empty()),
            peer: None,
            error: record.failure.as_ref().map(|failure| chain(failure)),
            carried: Some(Carried {
                bytes_sent: record.bytes_sent,
                bytes_received: record.bytes_received,
                duration_us: u64::try_from(record.duration.as_micros()).unwrap_or(u64::MAX),
                rtt_us: 0,
            }),
            request: None,
        });
    }

    fn received(&self, received: Received) {
        let Received { workload, client, to, failure, .. } = &received;
        let members = self.members.load();
        let pod = members.pods.in_netns(workload.0);
        self.flows.record(FlowRecord {
            time: Timestamp::now(),
            connection: None,
            direction: Direction::Inbound,
            netns: workload.0,
            pod: pod.map(|pod| pod.id.clone()),
            workload: pod.map(|pod| Arc::clone(&pod.workload)),
            source: Source {
                address: Some(client.0.ip().to_canonical()),
                port: Some(client.0.port()),
            },
            destination: (*to).into(),
            protocol: Protocol::TCP,
            layer: Layer::Proxy,
            verdict: if failure.is_some() { Verdict::Deny } else { Verdict::Proxy },
            reason: failure.as_ref().map_or(FlowReason::Rules(Reason::Rule), |failure| {
                FlowReason::Proxy(failure.cause())
            }),
            generation: 0,
            rule: None,
            pid: None,
            upstream: None,
            server_name: None,
            peer: received.peer.clone(),
            error: failure.as_ref().map(|failure| chain(failure)),
            carried: Some(Carried {
                bytes_sent: received.bytes_sent,
                bytes_received: received.bytes_received,
                duration_us: u64::try_from(received.duration.as_micros()).unwrap_or(u64::MAX),
                rtt_us: 0,
            }),
            request: None,
        });
    }

    fn exchanged(&self, exchanged: Exchanged) {
        let Exchanged { workload, client, origin, upstream, would_deny, is_denied, .. } = exchanged;
        let members = self.members.load();
        let pod = members.pods.in_netns(workload.0);
        let destination = origin.dst.0;
        let record = Arc::new(FlowRecord {
            time: Timestamp::now(),
            connection: None,
            direction: Direction::Outbound,
            netns: workload.0,
            pod: pod.map(|pod| pod.id.clone()),
            workload: pod.map(|pod| Arc::clone(&pod.workload)),
            source: Source {
                address: pod.and_then(|pod| pod.address_towards(destination.ip())),
                port: Some(client.0.port()),
            },
            destination: destination.into(),
            protocol: Protocol::TCP,
            layer: Layer::Proxy,
            verdict: if is_denied { Verdict::Deny } else { Verdict::Proxy },
            reason: match (is_denied, would_deny) {
                (true, _) => FlowReason::Proxy("unknown-host"),
                (false, true) => FlowReason::Rules(Reason::WouldDeny),
                (false, false) => FlowReason::Rules(Reason::Rule),
            },
            generation: origin.generation,
            rule: self.names.get(origin.rule).map(|decision| decision.source),
            pid: None,
            upstream: upstream.map(|upstream| upstream.0),
            server_name: None,
            peer: None,
            error: exchanged.error.as_deref().map(|error| chain(error)),
            carried: Some(Carried {
                bytes_sent: exchanged.bytes_sent,
                bytes_received: exchanged.bytes_received,
                duration_us: u64::try_from(exchanged.duration.as_micros()).unwrap_or(u64::MAX),
                rtt_us: 0,
            }),
            request: Some(Box::new(FlowRequest::from(exchanged))),
        });
        self.access_log.take(&record, pod.and_then(|pod| pod.access_log));
        self.flows.record(record);
    }
}
