//! Whose pods matter on every node: those that objects choose among by labels, and those in the mesh
//! where its TLS is spoken with them.

use std::{collections::BTreeSet, sync::Arc};

use super::{CLUSTER_DOMAIN, MeshTls, enrol, requests::expand};
use crate::{
    requests::host::Domain,
    resource::{Described as _, Objects, destination_rule::DestinationRule},
};

/// The namespaces in which an object chooses among pods of any node: a `ServiceEntry` by its selector,
/// a `DestinationRule` by the labels of a subset, a `VirtualNode` that AWS Cloud Map would find. Where the
/// mesh's TLS is spoken, also those with pods in the mesh, as far as that is known: a pod that enrols
/// itself in a namespace that does not enrol its pods is known on its own node alone.
pub fn chosen_among(objects: &Objects, mesh_tls: MeshTls) -> BTreeSet<Arc<str>> {
    let entries = objects.service_entries().filter(|one| one.spec.workload_selector.is_some());
    let entries = entries.filter_map(|one| one.metadata.namespace.as_deref());
    let nodes = objects.virtual_nodes().filter(|node| {
        node.spec.service_discovery.as_ref().is_some_and(|one| one.aws_cloud_map.is_some())
    });
    let nodes = nodes.filter_map(|node| node.metadata.namespace.as_deref());
    let mut found: BTreeSet<Arc<str>> = entries.chain(nodes).map(Arc::from).collect();
    for rule in objects.destination_rules().filter(|rule| !rule.spec.subsets.is_empty()) {
        of_rule(rule, objects, &mut found);
    }
    if mesh_tls == MeshTls::On {
        found.extend(enrol::namespaces(objects).into_iter().map(Arc::from));
    }
    found
}

/// The namespaces of the Services that a rule is for.
fn of_rule(rule: &DestinationRule, objects: &Objects, found: &mut BTreeSet<Arc<str>>) {
    let own = rule.metadata.namespace.as_deref().unwrap_or_default();
    let host = expand(&rule.spec.host, own, CLUSTER_DOMAIN);
    let suffix = format!(".svc.{CLUSTER_DOMAIN}");
    let within = host.strip_suffix(&suffix).and_then(|short| short.split_once('.'));
    match within {
        Some((_, namespace)) if !namespace.contains('*') => _ = found.insert(namespace.into()),
        _ if host.starts_with('*') => {
            let host = Domain::new(&host);
            found.extend(objects.services().filter_map(|service| {
                let (name, namespace) = (service.metadata.name(), service.metadata.namespace());
                let full = Domain::new(&format!("{name}.{namespace}{suffix}"));
                host.covers(&full).then(|| Arc::from(namespace))
            }));
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resource::{documents, parse};

    #[test]
    fn subsets_choose_among_the_pods_of_their_services_namespaces() {
        let service = |namespace: &str| {
            format!(
                "---\napiVersion: v1\nkind: Service\nmetadata: {{name: a, namespace: {namespace}}}\n\
                 spec: {{clusterIP: 10.96.0.1, ports: [{{port: 80}}]}}\n"
            )
        };
        let services = service("shop") + &service("lab");
        for (host, subsets, wanted) in [
            ("a", "[{name: v1}]", &["own"][..]),
            ("a", "[]", &[]),
            ("a.shop", "[{name: v1}]", &[]),
            ("a.shop.svc.cluster.local", "[{name: v1}]", &["shop"]),
            ("*.shop.svc.cluster.local", "[{name: v1}]", &["shop"]),
            ("*.local", "[{name: v1}]", &["lab", "shop"]),
            ("*", "[{name: v1}]", &["lab", "shop"]),
            ("*.example.com", "[{name: v1}]", &[]),
            ("api.example.com", "[{name: v1}]", &[]),
        ] {
            let text = format!(
                "{services}---\napiVersion: networking.istio.io/v1\nkind: DestinationRule\n\
                 metadata: {{name: a, namespace: own}}\nspec: {{host: \"{host}\", subsets: {subsets}}}\n"
            );
            let values = documents(&text).into_iter().map(|one| one.value.unwrap());
            let parsed = values.flat_map(parse).filter_map(|one| one.unwrap().object);
            let found = chosen_among(&parsed.collect(), MeshTls::Off);
            let found: Vec<&str> = found.iter().map(|one| &**one).collect();
            assert_eq!(found, wanted, "{host} {subsets}");
        }
    }
}
