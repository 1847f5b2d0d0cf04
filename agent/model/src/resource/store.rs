//! All objects, by key.

use std::{
    cmp::Ordering,
    collections::{BTreeMap, BTreeSet},
    ops::Bound,
    sync::Arc,
};

use k8s_openapi::api::core::v1::{Endpoints, Namespace, Pod};

use super::{
    EndpointSlice, Kind, Object, ObjectKey, Reach, Refused, Service, app_mesh, destination_rule,
    gateway, legacy_policy,
    mesh_config::MeshConfigMap,
    security,
    service_entry::{ServiceEntry, WorkloadEntry},
    sidecar::Sidecar,
    tag::RevisionTag,
    virtual_service,
};

/// The objects that are in force: valid ones only, each once.
///
/// Each kind has a map of its own, which clones share until one of them changes it: a large
/// cluster's objects are copied with every change of one of them.
///
/// Beside them are those that are refused, never were good, and restrict: they are handed out only by
/// [`Objects::stricter`].
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Objects(BTreeMap<Kind, Arc<OfKind>>, Arc<BTreeMap<Arc<ObjectKey>, Arc<Refused>>>);

/// Never empty.
type OfKind = BTreeMap<Arc<ObjectKey>, Object>;

impl Objects {
    /// Puts an object in place of the one with the same key.
    pub fn insert(&mut self, object: Object) -> Option<Object> {
        self.put(Arc::new(object.key()), object)
    }

    /// The same, with a key that is shared with another holder.
    pub fn put(&mut self, key: Arc<ObjectKey>, object: Object) -> Option<Object> {
        Arc::make_mut(self.0.entry(key.kind).or_default()).insert(key, object)
    }

    /// Takes an object away.
    pub fn remove(&mut self, key: &ObjectKey) -> Option<Object> {
        let of_kind = self.0.get_mut(&key.kind)?;
        if !of_kind.contains_key(key) {
            return None;
        }
        let removed = Arc::make_mut(of_kind).remove(key);
        if of_kind.is_empty() {
            self.0.remove(&key.kind);
        }
        removed
    }

    /// Notes what is left of an object that is refused, or that it is not refused any more.
    pub fn refuse(&mut self, key: &Arc<ObjectKey>, refused: Option<Arc<Refused>>) {
        match refused {
            Some(refused) if self.1.get(key) == Some(&refused) => {}
            Some(refused) => _ = Arc::make_mut(&mut self.1).insert(Arc::clone(key), refused),
            None if self.1.contains_key(key) => _ = Arc::make_mut(&mut self.1).remove(key),
            None => {}
        }
    }

    /// What is left of an object that is refused.
    pub fn refused(&self, key: &ObjectKey) -> Option<&Arc<Refused>> {
        self.1.get(key)
    }

    /// All that are refused, of a kind.
    pub fn refused_of(&self, kind: Kind) -> impl Iterator<Item = (&Arc<ObjectKey>, &Arc<Refused>)> {
        self.1.iter().filter(move |(key, _)| key.kind == kind)
    }

    /// Whether the very same are refused here and there.
    pub fn same_refused(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.1, &other.1) || self.1 == other.1
    }

    /// Whether it is not known what a refused object selects.
    pub fn is_reach_unknown(&self, key: &ObjectKey) -> bool {
        self.refused(key).is_some_and(|refused| refused.reach == Reach::Unknown)
    }

    /// These, and for each that is refused the strictest that may have been meant.
    #[must_use]
    pub fn stricter(&self) -> Self {
        let mut stricter = self.clone();
        for (key, refused) in &*self.1 {
            if refused.anywhere {
                stricter.refuse_everywhere(key);
            }
        }
        for (key, refused) in &*Arc::clone(&stricter.1) {
            if !refused.anywhere && stricter.get(key).is_none() {
                stricter.put(Arc::clone(key), refused.stand_in.clone());
            }
        }
        stricter
    }

    /// Notes something that may be in any namespace in each; a Namespace, for each that none has.
    fn refuse_everywhere(&mut self, key: &ObjectKey) {
        let known: BTreeSet<String> =
            self.namespaces().filter_map(|one| one.metadata.name.clone()).collect();
        let of_pods = self.pods().filter_map(|one| one.metadata.namespace.clone());
        let of_pods: BTreeSet<String> = of_pods.collect();
        let keys: Vec<ObjectKey> = match key.kind {
            Kind::Namespace => {
                let nobodys = of_pods.difference(&known);
                nobodys.map(|name| ObjectKey::new(key.kind, "", name.as_str())).collect()
            }
            kind if kind.is_namespaced() => {
                let all = known.union(&of_pods);
                all.map(|own| ObjectKey::new(kind, own.as_str(), key.name.clone())).collect()
            }
            _ => vec![key.clone()],
        };
        for key in keys {
            let refused = Refused::unnamed(&key, false).map(Arc::new);
            self.refuse(&Arc::new(key), refused);
        }
    }

    /// Looks an object up.
    pub fn get(&self, key: &ObjectKey) -> Option<&Object> {
        self.0.get(&key.kind)?.get(key)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.values().map(|of_kind| of_kind.len()).sum()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many there are of each kind that has any.
    pub fn counts(&self) -> impl Iterator<Item = (Kind, usize)> {
        self.0.iter().map(|(kind, of_kind)| (*kind, of_kind.len()))
    }

    /// All, by kind, namespace and name.
    pub fn iter(&self) -> impl Iterator<Item = (&Arc<ObjectKey>, &Object)> {
        self.0.values().flat_map(|of_kind| of_kind.iter())
    }

    /// All of a kind, by namespace and name.
    pub fn of_kind(&self, kind: Kind) -> impl Iterator<Item = &Object> {
        self.0.get(&kind).into_iter().flat_map(|of_kind| of_kind.values())
    }

    /// All of a kind in a namespace, by name.
    pub fn of_kind_in<'a, 'n>(
        &'a self,
        kind: Kind,
        namespace: &'n str,
    ) -> impl Iterator<Item = &'a Object> + use<'a, 'n> {
        let first = ObjectKey::new(kind, namespace, "");
        let of_kind = self.0.get(&kind).into_iter();
        let from_first = move |of_kind: &'a Arc<OfKind>| {
            of_kind.range::<ObjectKey, _>((Bound::Included(&first), Bound::Unbounded))
        };
        of_kind
            .flat_map(from_first)
            .take_while(move |(key, _)| key.namespace == namespace)
            .map(|(_, object)| object)
    }

    /// The objects of a kind that are other ones here than before, or not there, or not here. What
    /// is the very same in memory did not change; what is equal and elsewhere counts as another.
    pub fn changes(&self, before: &Self, kind: Kind) -> Vec<Arc<ObjectKey>> {
        let mut changes = Vec::new();
        if self.shares(before, kind) {
            return changes;
        }
        let entries = |all: &'_ Self| all.0.get(&kind).cloned().unwrap_or_default();
        let (old, new) = (entries(before), entries(self));
        let (mut old, mut new) = (old.iter().peekable(), new.iter().peekable());
        loop {
            let order = match (old.peek(), new.peek()) {
                (None, None) => return changes,
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some((one, _)), Some((other, _))) if Arc::ptr_eq(one, other) => Ordering::Equal,
                (Some((one, _)), Some((other, _))) => one.cmp(other),
            };
            let was = (order != Ordering::Greater).then(|| old.next()).flatten();
            let is = (order != Ordering::Less).then(|| new.next()).flatten();
            match (was, is) {
                (Some((_, was)), Some((_, is))) if was.is_same(is) => {}
                (Some((key, _)), _) | (None, Some((key, _))) => changes.push(Arc::clone(key)),
                (None, None) => {}
            }
        }
    }

    /// Whether all of a kind are the very same here and there, and so surely equal.
    pub fn shares(&self, other: &Self, kind: Kind) -> bool {
        match (self.0.get(&kind), other.0.get(&kind)) {
            (Some(one), Some(other)) => Arc::ptr_eq(one, other),
            (None, None) => true,
            _ => false,
        }
    }
}

impl FromIterator<Object> for Objects {
    fn from_iter<I: IntoIterator<Item = Object>>(objects: I) -> Self {
        let mut all = Self::default();
        for object in objects {
            all.insert(object);
        }
        all
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
    revision_tags: RevisionTag MutatingWebhookConfiguration RevisionTag,
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
    policies: Policy Policy legacy_policy::LegacyPolicy,
    meshes: Mesh Mesh app_mesh::Mesh,
    virtual_nodes: VirtualNode VirtualNode app_mesh::VirtualNode,
    virtual_routers: VirtualRouter VirtualRouter app_mesh::VirtualRouter,
    app_mesh_virtual_services: AppMeshVirtualService AppMeshVirtualService app_mesh::VirtualService,
    virtual_gateways: VirtualGateway VirtualGateway app_mesh::VirtualGateway,
    gateway_routes: GatewayRoute GatewayRoute app_mesh::GatewayRoute,
    backend_groups: BackendGroup BackendGroup app_mesh::BackendGroup,
);
