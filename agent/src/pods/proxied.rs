//! What the node's proxy borrows from the agent: original destinations from the kernel, rulings
//! from the generation in force, sockets inside the pods' namespaces, and a place for its records.

use std::{
    collections::{BTreeMap, HashMap},
    net::SocketAddr,
    sync::Arc,
    time::Duration,
};

use agent_abi::{FAMILY_V4, FAMILY_V6, OriginKey};
use agent_model::{
    egress::{Action, DefaultAction, RuleSource},
    snapshot::{Endpoints, PodId},
};
use agent_proxy::{
    Blame, Dial, DialError, Dialling, Judge, Origin, OriginError, OriginalDst, Origins, Record,
    Records, Ruling, UpstreamAddr, WorkloadId,
};
use arc_swap::ArcSwap;
use jiff::Timestamp;
use tokio::net::TcpStream;

use super::{
    netns::{NetNs, Worker},
    sockets::{self, SocketError},
};
use crate::{
    kernel::maps::Maps,
    observe::flows::{Carried, FlowLog, FlowRecord, ip},
    sync::plan::RuleNames,
};

/// A pod as the proxy needs to know it.
#[derive(Clone, Debug)]
pub(crate) struct Member {
    /// The pod's name.
    pub(crate) id: PodId,
    /// Its namespace.
    pub(crate) netns: NetNs,
    /// What happens where no rule matches; `None` for a pod that is not judged (any more).
    pub(crate) default_action: Option<DefaultAction>,
}

/// What the generation in force says to the proxy.
#[derive(Debug, Default)]
pub(crate) struct Members {
    /// The pods, by the cookies of their namespaces.
    pub(crate) pods: HashMap<u64, Member>,
    /// Where rules send what they match, by their source; see [`Snapshot::upstreams`].
    ///
    /// [`Snapshot::upstreams`]: agent_model::snapshot::Snapshot::upstreams
    pub(crate) upstreams: Arc<BTreeMap<Arc<RuleSource>, Endpoints>>,
}

/// The four seams.
#[derive(Debug)]
pub(crate) struct Borrowed {
    pub(crate) maps: Arc<Maps>,
    pub(crate) worker: Arc<Worker>,
    pub(crate) members: Arc<ArcSwap<Members>>,
    pub(crate) names: RuleNames,
    pub(crate) flows: Arc<FlowLog>,
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
            rule: origin.rule,
            generation: origin.generation,
        })
    }
}

impl Judge for Borrowed {
    fn judge(&self, workload: WorkloadId, origin: &Origin) -> Option<Ruling> {
        let members = self.members.load();
        let default_action = members.pods.get(&workload.0)?.default_action?;
        let decision = self.names.get(origin.rule)?;
        match decision.action {
            Action::Proxy(duty) => {
                let upstream = members.upstreams.get(&decision.source).cloned();
                Some(Ruling { duty, default_action, upstream })
            }
            Action::Direct => None,
        }
    }
}

impl Dial for Borrowed {
    fn dial(&self, from: WorkloadId, to: UpstreamAddr, patience: Duration) -> Dialling<'_> {
        Box::pin(async move {
            let netns = self.members.load().pods.get(&from.0).map(|member| member.netns.clone());
            let netns = netns.ok_or_else(|| DialError::Local("the pod is gone".into()))?;
            let mark_and_patience = (&*self.maps as &dyn sockets::Mark, patience);
            sockets::dial(&self.worker, &netns, to.0, mark_and_patience)
                .await
                .map_err(|error| dial_error(to, error))
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
    fn record(&self, record: Record) {
        let Record { workload, client, origin, failure, .. } = &record;
        let blame = failure.as_ref().map(agent_proxy::Failure::blame);
        let member = self.members.load().pods.get(&workload.0).map(|member| member.id.to_string());
        let dst = origin.map_or(client.0, |origin| origin.dst.0);
        let rule = origin.and_then(|origin| self.names.get(origin.rule));
        self.flows.record(FlowRecord {
            time: Timestamp::now(),
            event: "close".into(),
            pod: member.map(Into::into),
            netns: workload.0,
            dst: dst.ip(),
            port: dst.port(),
            protocol: "tcp".into(),
            layer: "proxy".into(),
            verdict: if blame == Some(Blame::Policy) { "deny" } else { "proxy" }.into(),
            reason: match failure {
                Some(failure) => failure.cause().into(),
                None if record.would_deny => "would-deny".into(),
                None => "rule".into(),
            },
            generation: origin.map_or(0, |origin| origin.generation),
            rule: rule.map(|rule| rule.source.to_string().into()),
            pid: None,
            carried: Some(Carried {
                bytes_sent: record.bytes_sent,
                bytes_received: record.bytes_received,
                duration_us: u64::try_from(record.duration.as_micros()).unwrap_or(u64::MAX),
                rtt_us: 0,
            }),
        });
    }
}
