//! All objects, by key.

use std::{collections::BTreeMap, ops::Bound, sync::Arc};

use k8s_openapi::api::{
    core::v1::{Endpoints, Namespace, Pod, Service},
    discovery::v1::EndpointSlice,
};

use super::{
    Kind, Object, ObjectKey, app_mesh, destination_rule, gateway, legacy_policy,
    mesh_config::MeshConfigMap,
    security,
    service_entry::{ServiceEntry, WorkloadEntry},
    sidecar::Sidecar,
    virtual_service,
};

/// The objects that are in force: valid ones only, each once.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Objects(BTreeMap<ObjectKey, Object>);

impl Objects {
    /// Puts an object in place of the one with the same key.
    pub fn insert(&mut self, object: Object) -> Option<Object> {
        self.0.insert(object.key(), object)
    }

    /// Takes an object away.
    pub fn remove(&mut self, key: &ObjectKey) -> Option<Object> {
        self.0.remove(key)
    }

    /// Looks an object up.
    pub fn get(&self, key: &ObjectKey) -> Option<&Object> {
        self.0.get(key)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All, by kind, namespace and name.
    pub fn iter(&self) -> impl Iterator<Item = (&ObjectKey, &Object)> {
        self.0.iter()
    }

    /// All of a kind, by namespace and name.
    pub fn of_kind(&self, kind: Kind) -> impl Iterator<Item = &Object> {
        let first = ObjectKey { kind, namespace: String::new(), name: String::new() };
        self.0
            .range((Bound::Included(first), Bound::Unbounded))
            .take_while(move |(key, _)| key.kind == kind)
            .map(|(_, object)| object)
    }
}

impl FromIterator<Object> for Objects {
    fn from_iter<I: IntoIterator<Item = Object>>(objects: I) -> Self {
        Self(objects.into_iter().map(|object| (object.key(), object)).collect())
    }
}

macro_rules! typed {
    ($($name:ident: $variant:ident $kind:ident $type:ty),+ $(,)?) => {
        impl Objects {
            $(
                #[doc = concat!("All of kind ", stringify!($kind), ".")]
                pub fn $name(&self) -> impl Iterator<Item = &Arc<$type>> {
                    self.of_kind(Kind::$kind).filter_map(|object| match object {
                        Object::$variant(object) => Some(object),
                        _ => None,
                    })
                }
            )+
        }
    };
}

typed!(
    namespaces: Namespace Namespace Namespace,
    pods: Pod Pod Pod,
    services: Service Service Service,
    endpoints: Endpoints Endpoints Endpoints,
    endpoint_slices: EndpointSlice EndpointSlice EndpointSlice,
    mesh_configs: MeshConfig ConfigMap MeshConfigMap,
    service_entries: ServiceEntry ServiceEntry ServiceEntry,
    workload_entries: WorkloadEntry WorkloadEntry WorkloadEntry,
    sidecars: Sidecar Sidecar Sidecar,
    virtual_services: VirtualService VirtualService virtual_service::VirtualService,
    destination_rules: DestinationRule DestinationRule destination_rule::DestinationRule,
    gateways: Gateway Gateway gateway::Gateway,
    workload_groups: WorkloadGroup WorkloadGroup gateway::WorkloadGroup,
    peer_authentications: PeerAuthentication PeerAuthentication security::PeerAuthentication,
    authorization_policies: AuthorizationPolicy AuthorizationPolicy security::AuthorizationPolicy,
    request_authentications: RequestAuthentication RequestAuthentication security::RequestAuthentication,
    mesh_policies: MeshPolicy MeshPolicy legacy_policy::MeshPolicy,
    policies: Policy Policy legacy_policy::Policy,
    meshes: Mesh Mesh app_mesh::Mesh,
    virtual_nodes: VirtualNode VirtualNode app_mesh::VirtualNode,
    virtual_routers: VirtualRouter VirtualRouter app_mesh::VirtualRouter,
    app_mesh_virtual_services: AppMeshVirtualService AppMeshVirtualService app_mesh::VirtualService,
    virtual_gateways: VirtualGateway VirtualGateway app_mesh::VirtualGateway,
    gateway_routes: GatewayRoute GatewayRoute app_mesh::GatewayRoute,
    backend_groups: BackendGroup BackendGroup app_mesh::BackendGroup,
);

impl FromIterator<(ObjectKey, Object)> for Objects {
    fn from_iter<I: IntoIterator<Item = (ObjectKey, Object)>>(objects: I) -> Self {
        Self(objects.into_iter().collect())
    }
}
