//! A flow as it is written to other programs and read back by `sekisho flows`: made of a
//! [`FlowRecord`] when it leaves the agent.

use std::net::{IpAddr, SocketAddr};

use agent_abi::Verdict;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{
    abi_names,
    flow_record::{Carried, Direction, FlowRecord},
    flow_request::FlowRequest,
    status::Text,
};

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FlowView {
    /// When.
    pub(crate) time: Timestamp,
    /// What happened.
    pub(crate) event: FlowEvent,
    /// The same for all that is told of one connection; none for packets and frames.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) connection: Option<u64>,
    /// Who opened it.
    pub(crate) direction: Direction,
    /// The pod, as `namespace/name`; none where the namespace is not a known pod's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) pod: Option<String>,
    /// The cookie of the network namespace.
    pub(crate) netns: u64,
    /// The pod's address; none where the pod is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) src: Option<IpAddr>,
    /// The pod's port; none where it was not chosen yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) src_port: Option<u16>,
    /// The destination.
    pub(crate) dst: IpAddr,
    /// Its port; none where the protocol has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) dst_port: Option<u16>,
    /// The host that the rule is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) service: Option<String>,
    /// What the proxy dialled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) upstream: Option<SocketAddr>,
    /// The server name that its TLS asks for, where the proxy read it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) server_name: Option<String>,
    /// As whom the other end has shown itself by the mesh's TLS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) peer: Option<String>,
    /// What went wrong, with its causes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) error: Option<String>,
    /// `tcp`, `udp`, `icmp`, `icmpv6`, or the number.
    pub(crate) protocol: String,
    /// `connect`, `packet`, `link`, or `proxy`.
    pub(crate) layer: Text,
    /// What was decided.
    #[serde(with = "abi_names::verdict")]
    pub(crate) verdict: Verdict,
    /// Why.
    pub(crate) reason: Text,
    /// Whether it was refused or held, or would be but for an audit.
    pub(crate) denied: bool,
    /// The generation that judged.
    pub(crate) generation: u64,
    /// The object and field that decided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) rule: Option<String>,
    /// The process that called.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) pid: Option<u32>,
    /// For a close: what it carried.
    #[serde(flatten, default, skip_serializing_if = "Option::is_none")]
    pub(crate) carried: Option<Carried>,
    /// For a request: what it was, and what became of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) request: Option<FlowRequest>,
}

/// What a flow tells of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum FlowEvent {
    /// A verdict.
    Verdict,
    /// The end of a connection.
    Close,
    /// The end of a request that the proxy carried.
    Request,
}

impl FlowEvent {
    /// What a record tells of.
    pub(crate) const fn of(record: &FlowRecord) -> Self {
        match (&record.request, &record.carried) {
            (Some(_), _) => Self::Request,
            (None, Some(_)) => Self::Close,
            (None, None) => Self::Verdict,
        }
    }

    /// The name that users see.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Verdict => "verdict",
            Self::Close => "close",
            Self::Request => "request",
        }
    }
}

impl From<&FlowRecord> for FlowView {
    fn from(record: &FlowRecord) -> Self {
        Self {
            time: record.time,
            event: FlowEvent::of(record),
            connection: record.connection,
            direction: record.direction,
            pod: record.pod.as_ref().map(ToString::to_string),
            netns: record.netns,
            src: record.source.address,
            src_port: record.source.port,
            dst: record.destination.address,
            dst_port: record.destination.port,
            service: record.service().map(str::to_owned),
            upstream: record.upstream,
            server_name: record.server_name.clone(),
            peer: record.peer.clone(),
            error: record.error.clone(),
            protocol: record.protocol.to_string(),
            layer: record.layer.name().into(),
            verdict: record.verdict,
            reason: record.reason.name().into(),
            denied: record.is_denied(),
            generation: record.generation,
            rule: record.rule.as_ref().map(ToString::to_string),
            pid: record.pid,
            carried: record.carried,
            request: record.request.as_deref().cloned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use agent_abi::Reason;

    use super::*;
    use crate::observe::flow_record::test_record;

    #[test]
    fn a_view_survives_json() {
        let mut close = test_record(80, Verdict::Direct, Reason::Rule);
        close.carried = Some(Carried { bytes_sent: 1, ..Carried::default() });
        for record in [test_record(80, Verdict::Deny, Reason::NoRule), close] {
            let wanted = FlowView::from(&record);
            let text = serde_json::to_string(&wanted).unwrap();
            assert_eq!(serde_json::from_str::<FlowView>(&text).unwrap(), wanted, "{text}");
        }
    }
}
