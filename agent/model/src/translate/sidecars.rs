//! Which `Sidecar` a pod has, and what it lets the pod see.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use k8s_openapi::api::core::v1::Pod;

use super::annotation;
use crate::{
    registry::{Filter, HostPattern, Listener, NamespacePattern},
    resource::{
        Described as _, Kind, ObjectKey, Objects, Reach, Refused,
        sidecar::{EgressListener, Sidecar},
    },
};

/// Sidecars by namespace, the oldest first.
#[derive(Debug, Default)]
pub(super) struct Sidecars {
    by_namespace: BTreeMap<String, Vec<Arc<Sidecar>>>,
    /// Those of which it is not known what they select: they may select anything.
    unknown: BTreeSet<ObjectKey>,
    /// For namespaces and pods of which not even the labels can be read.
    closed: BTreeMap<ObjectKey, Arc<Sidecar>>,
}

impl Sidecars {
    pub(super) fn new(objects: &Objects) -> Self {
        let mut by_namespace: BTreeMap<String, Vec<Arc<Sidecar>>> = BTreeMap::new();
        for sidecar in objects.sidecars() {
            let namespace = sidecar.metadata.namespace.clone().unwrap_or_default();
            by_namespace.entry(namespace).or_default().push(sidecar.clone());
        }
        for sidecars in by_namespace.values_mut() {
            // The store has them by name already, which settles ties of age.
            sidecars.sort_by_key(|sidecar| annotation::created(&sidecar.metadata));
        }
        let is_unknown = |(_, refused): &(_, &Arc<Refused>)| refused.reach == Reach::Unknown;
        let unknown = |kind| objects.refused_of(kind).filter(is_unknown).map(|(key, _)| key);
        let closed = unknown(Kind::Namespace).chain(unknown(Kind::Pod)).map(|key| {
            let namespace = if key.kind == Kind::Pod { &key.namespace } else { &key.name };
            (ObjectKey::clone(key), Refused::nothing_seen(namespace))
        });
        let unknown = unknown(Kind::Sidecar).map(|key| ObjectKey::clone(key));
        Self { by_namespace, unknown: unknown.collect(), closed: closed.collect() }
    }

    /// The own namespace's that selects the pod, else the own namespace's without selector, else
    /// the root namespace's without selector. `root` is that namespace.
    pub(super) fn of(&self, pod: &Pod, root: &str) -> Option<&Arc<Sidecar>> {
        let namespace = pod.metadata.namespace();
        let labels = &pod.metadata.labels.clone().unwrap_or_default();
        let of_namespace =
            |name: &str| self.by_namespace.get(name).map_or(&[][..], Vec::as_slice).iter();
        let selecting = |sidecar: &&Arc<Sidecar>| {
            let selector = sidecar.spec.workload_selector.as_ref();
            selector.is_some_and(|one| !one.labels.is_empty() && one.selects(labels))
                || (!self.unknown.is_empty() && self.unknown.contains(&key(sidecar)))
        };
        self.closed(pod)
            .or_else(|| of_namespace(namespace).find(selecting))
            .or_else(|| of_namespace(namespace).find(|sidecar| is_for_all(sidecar)))
            .or_else(|| of_namespace(root).find(|sidecar| is_for_all(sidecar)))
    }

    fn closed(&self, pod: &Pod) -> Option<&Arc<Sidecar>> {
        if self.closed.is_empty() {
            return None;
        }
        let (name, namespace) = (pod.metadata.name(), pod.metadata.namespace());
        let of = |key: ObjectKey| self.closed.get(&key);
        of(ObjectKey::new(Kind::Namespace, "", namespace))
            .or_else(|| of(ObjectKey::new(Kind::Pod, namespace, name)))
    }
}

/// Without a selector, or with one that has no labels, it is for the whole namespace.
pub(crate) fn is_for_all(sidecar: &Sidecar) -> bool {
    sidecar.spec.workload_selector.as_ref().is_none_or(|selector| selector.labels.is_empty())
}

pub(super) fn key(sidecar: &Sidecar) -> ObjectKey {
    ObjectKey::of(Kind::Sidecar, &sidecar.metadata)
}

/// What a Sidecar lets clients of a namespace see; all where it has no egress listeners.
pub(super) fn filter(sidecar: &Sidecar, client_namespace: &str) -> Option<Filter> {
    if sidecar.spec.egress.is_empty() {
        return None;
    }
    let listeners = sidecar.spec.egress.iter().map(|egress| listener(egress, client_namespace));
    Some(Filter { key: key(sidecar), listeners: listeners.collect() })
}

fn listener(egress: &EgressListener, client_namespace: &str) -> Listener {
    // A Unix socket and a generic HTTP proxy are for all ports of their hosts.
    let port = egress.port.as_ref();
    let port = port.filter(|port| !port.protocol.eq_ignore_ascii_case("HTTP_PROXY"));
    let port = port.and_then(|port| u16::try_from(port.number).ok()).filter(|number| *number != 0);
    let hosts = egress.hosts.iter().filter_map(|host| pattern(host, client_namespace));
    Listener { port, hosts: hosts.collect() }
}

fn pattern(text: &str, client_namespace: &str) -> Option<HostPattern> {
    let (namespace, host) = text.split_once('/')?;
    let namespace = match namespace {
        "*" => NamespacePattern::Any,
        "." => NamespacePattern::Exactly(client_namespace.to_owned()),
        "~" => NamespacePattern::None,
        name => NamespacePattern::Exactly(name.to_owned()),
    };
    Some(HostPattern { namespace, host: host.to_ascii_lowercase() })
}
