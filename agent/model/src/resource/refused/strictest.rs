//! The strictest object of each kind that restricts.

use std::sync::Arc;

use k8s_openapi::api::core::v1::PodCondition;

use super::{Reach, Refused, Rest, Selector};
use crate::resource::{
    Custom, Kind, Metadata, Object, ObjectKey, app_mesh,
    legacy_policy::{LegacyMtls, LegacyPolicy, MeshPolicy, PeerMethod, PolicySpec, Target},
    mesh_config::{MeshConfig, MeshConfigMap},
    security::{
        AuthorizationPolicySpec, JwtRule, MtlsMode, PeerAuthenticationSpec, PeerMtls,
        RequestAuthenticationSpec, Selector as OfPods, TokenPresence,
    },
    sidecar::{EgressListener, Sidecar, SidecarSpec},
    traffic::{OutboundMode, OutboundTrafficPolicy, WorkloadSelector},
};

/// What a Sidecar shows that shows nothing.
const NOTHING: &str = "~/*";

impl Refused {
    pub(super) fn stricter(
        key: &ObjectKey,
        metadata: Metadata,
        selector: Selector,
        rest: Rest,
    ) -> Option<Self> {
        let reach = match selector {
            Selector::Unknown => Reach::Unknown,
            _ => Reach::Selected,
        };
        let stand_in = match (key.kind, selector) {
            (Kind::Namespace, _) => Object::Namespace(Arc::new(namespace(metadata))),
            (Kind::ConfigMap, _) => {
                let mesh = settings(rest);
                Object::MeshConfig(Arc::new(MeshConfigMap { metadata, mesh }))
            }
            (Kind::Pod, _) => Object::Pod(Arc::new(pod(metadata, rest))),
            (Kind::Sidecar, Selector::Workload(of)) => sidecar(metadata, of),
            (Kind::Sidecar, _) => sidecar(metadata, None),
            (Kind::PeerAuthentication, Selector::Pods(of)) => peers(metadata, of),
            (Kind::PeerAuthentication, _) => peers(metadata, None),
            (Kind::AuthorizationPolicy, Selector::Pods(of)) => access(metadata, of),
            (Kind::AuthorizationPolicy, _) => access(metadata, None),
            (Kind::RequestAuthentication, Selector::Pods(of)) => tokens(metadata, of),
            (Kind::RequestAuthentication, _) => tokens(metadata, None),
            (Kind::Policy, Selector::Targets(targets)) => legacy(metadata, targets),
            (Kind::Policy, _) => legacy(metadata, Vec::new()),
            (Kind::MeshPolicy, _) => {
                let spec = strict(Vec::new());
                Object::MeshPolicy(Arc::new(MeshPolicy { metadata, spec }))
            }
            (_, Selector::Labels(of)) => of_app_mesh(key.kind, metadata, of)?,
            _ => of_app_mesh(key.kind, metadata, None)?,
        };
        Some(Self { stand_in, reach, anywhere: false })
    }
}

impl Refused {
    /// A Sidecar that shows nothing to any pod of a namespace.
    pub fn nothing_seen(namespace: &str) -> Arc<Sidecar> {
        let metadata = Metadata { namespace: Some(namespace.to_owned()), ..Metadata::default() };
        Arc::new(nothing(metadata, None))
    }
}

fn namespace(metadata: Metadata) -> k8s_openapi::api::core::v1::Namespace {
    k8s_openapi::api::core::v1::Namespace { metadata: metadata.into(), ..Default::default() }
}

/// One that is not ready is no service's endpoint.
fn pod(metadata: Metadata, rest: Rest) -> k8s_openapi::api::core::v1::Pod {
    let mut pod = match rest {
        Rest::OfPod(pod) => *pod,
        Rest::Nothing | Rest::Root(_) => k8s_openapi::api::core::v1::Pod::default(),
    };
    let unready = PodCondition {
        type_: "Ready".to_owned(),
        status: "False".to_owned(),
        ..PodCondition::default()
    };
    pod.metadata = metadata.into();
    pod.status.get_or_insert_default().conditions = Some(vec![unready]);
    pod
}

fn settings(rest: Rest) -> MeshConfig {
    let usual = MeshConfig::default();
    let root_namespace = match rest {
        Rest::Root(name) => Some(name),
        Rest::Nothing | Rest::OfPod(_) => None,
    };
    let mode = OutboundMode::RegistryOnly;
    MeshConfig {
        outbound_traffic_policy: OutboundTrafficPolicy { mode, egress_proxy: None },
        root_namespace: root_namespace.unwrap_or(usual.root_namespace.clone()),
        ..usual
    }
}

fn sidecar(metadata: Metadata, selector: Option<WorkloadSelector>) -> Object {
    Object::Sidecar(Arc::new(nothing(metadata, selector)))
}

fn nothing(metadata: Metadata, workload_selector: Option<WorkloadSelector>) -> Sidecar {
    let mode = OutboundMode::RegistryOnly;
    let nothing = EgressListener { hosts: vec![NOTHING.to_owned()], ..EgressListener::default() };
    let spec = SidecarSpec {
        workload_selector,
        egress: vec![nothing],
        outbound_traffic_policy: Some(OutboundTrafficPolicy { mode, egress_proxy: None }),
        ..SidecarSpec::default()
    };
    Custom { metadata, spec }
}

fn peers(metadata: Metadata, selector: Option<OfPods>) -> Object {
    let mtls = Some(PeerMtls { mode: MtlsMode::Strict });
    let spec = PeerAuthenticationSpec { selector, mtls, ..PeerAuthenticationSpec::default() };
    Object::PeerAuthentication(Arc::new(Custom { metadata, spec }))
}

/// One that allows, and has no rule, lets nothing in.
fn access(metadata: Metadata, selector: Option<OfPods>) -> Object {
    let spec = AuthorizationPolicySpec { selector, ..AuthorizationPolicySpec::default() };
    Object::AuthorizationPolicy(Arc::new(Custom { metadata, spec }))
}

/// One that wants a token, and has no key by which one could be good.
fn tokens(metadata: Metadata, selector: Option<OfPods>) -> Object {
    let none = JwtRule { presence: TokenPresence::Required, ..JwtRule::default() };
    let jwt_rules = vec![none];
    let spec = RequestAuthenticationSpec { selector, jwt_rules, ..Default::default() };
    Object::RequestAuthentication(Arc::new(Custom { metadata, spec }))
}

fn legacy(metadata: Metadata, targets: Vec<Target>) -> Object {
    Object::Policy(Arc::new(LegacyPolicy { metadata, spec: strict(targets) }))
}

fn strict(targets: Vec<Target>) -> PolicySpec {
    let mutual = PeerMethod { mtls: Some(LegacyMtls::default()), jwt: None };
    PolicySpec { targets, peers: vec![mutual], ..PolicySpec::default() }
}

/// A mesh without a filter drops what no backend names, and a node without backends has none.
fn of_app_mesh(
    kind: Kind,
    metadata: Metadata,
    selector: Option<k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector>,
) -> Option<Object> {
    Some(match kind {
        Kind::Mesh => {
            let namespace_selector = selector;
            let spec = app_mesh::MeshSpec { namespace_selector, ..Default::default() };
            Object::Mesh(Arc::new(Custom { metadata, spec }))
        }
        Kind::VirtualNode => {
            let pod_selector = selector;
            let spec = app_mesh::node::VirtualNodeSpec { pod_selector, ..Default::default() };
            Object::VirtualNode(Arc::new(Custom { metadata, spec }))
        }
        Kind::VirtualGateway => {
            let pod_selector = selector;
            let spec = app_mesh::node::VirtualGatewaySpec { pod_selector, ..Default::default() };
            Object::VirtualGateway(Arc::new(Custom { metadata, spec }))
        }
        _ => return None,
    })
}
