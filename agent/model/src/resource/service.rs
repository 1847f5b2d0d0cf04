//! `Service`s, in little: a large cluster has ten thousand, of which the whole form takes two
//! kilobytes each and this one a quarter of that.

use std::{collections::BTreeMap, net::IpAddr};

use k8s_openapi::api::core::v1::{self, ServicePort};

use super::Metadata;

const EXTERNAL_NAME: &str = "ExternalName";
/// What stands for "no address".
const NONE: &str = "None";

/// A Service, as far as it is read.
#[derive(Clone, Debug, PartialEq)]
pub struct Service {
    /// Without owners and finalizers, and of labels and annotations what is read.
    pub metadata: Metadata,
    /// The name that it stands for, if that is all it does.
    pub external_name: Option<String>,
    /// Whether it has no address of its own on purpose.
    pub headless: bool,
    /// Its own addresses, the first family's first.
    pub addresses: Box<[IpAddr]>,
    /// The ports, in the object's order.
    pub ports: Box<[ServicePort]>,
    /// What its pods are labelled with; empty where it selects none.
    selector: Box<[(String, String)]>,
}

impl From<v1::Service> for Service {
    fn from(service: v1::Service) -> Self {
        let mut metadata = Metadata::from(service.metadata);
        metadata.labels.keep(|label| label == "k8s-app");
        metadata.annotations.keep(|name| name.contains("istio.io/"));
        let spec = service.spec.unwrap_or_default();
        let mut addresses: Vec<IpAddr> = Vec::new();
        for text in spec.cluster_ips.iter().flatten().chain(&spec.cluster_ip) {
            addresses.extend(text.parse::<IpAddr>().ok().filter(|one| !addresses.contains(one)));
        }
        Self {
            metadata,
            external_name: (spec.type_.as_deref() == Some(EXTERNAL_NAME))
                .then(|| spec.external_name.unwrap_or_default()),
            headless: spec.cluster_ip.as_deref() == Some(NONE),
            addresses: addresses.into(),
            ports: spec.ports.unwrap_or_default().into(),
            selector: spec.selector.into_iter().flatten().collect(),
        }
    }
}

impl Service {
    /// Whether a pod with these labels is one of its own.
    pub fn selects(&self, labels: &BTreeMap<String, String>) -> bool {
        let has = |(key, value): &(String, String)| labels.get(key) == Some(value);
        !self.selector.is_empty() && self.selector.iter().all(has)
    }

    /// Whether its endpoints are pods.
    pub fn has_selector(&self) -> bool {
        !self.selector.is_empty()
    }

    /// As a manifest that says the same.
    pub fn manifest(&self) -> v1::Service {
        let addresses: Vec<String> = if self.headless {
            vec![NONE.to_owned()]
        } else {
            self.addresses.iter().map(ToString::to_string).collect()
        };
        let spec = v1::ServiceSpec {
            type_: self.external_name.as_ref().map(|_| EXTERNAL_NAME.to_owned()),
            external_name: self.external_name.clone(),
            cluster_ip: addresses.first().cloned(),
            cluster_ips: Some(addresses),
            ports: Some(self.ports.to_vec()),
            selector: Some(self.selector.iter().cloned().collect()),
            ..v1::ServiceSpec::default()
        };
        v1::Service { metadata: self.metadata.clone().into(), spec: Some(spec), status: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(spec: &serde_json::Value) -> Service {
        let manifest = serde_json::json!({
            "metadata": {"name": "db", "namespace": "shop", "labels": {"k8s-app": "a", "b": "c"}},
            "spec": spec,
        });
        serde_json::from_value::<v1::Service>(manifest).unwrap().into()
    }

    #[test]
    fn what_is_written_back_says_the_same() {
        let port = serde_json::json!({"name": "a", "port": 80, "targetPort": "http"});
        for spec in [
            serde_json::json!({"clusterIP": "10.0.0.1", "clusterIPs": ["10.0.0.1", "fd00::1"],
                "ports": [port], "selector": {"app": "db"}}),
            serde_json::json!({"clusterIP": "None", "clusterIPs": ["None"], "ports": [port]}),
            serde_json::json!({"type": "ExternalName", "externalName": "db.example.com"}),
            serde_json::json!({}),
        ] {
            let service = read(&spec);
            assert_eq!(Service::from(service.manifest()), service, "{spec}");
        }
    }

    #[test]
    fn a_pod_is_its_own_by_all_labels_and_never_by_none() {
        let labels = |all: &[(&str, &str)]| {
            all.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
        };
        let service = read(&serde_json::json!({"selector": {"app": "db", "tier": "a"}}));
        assert!(service.selects(&labels(&[("app", "db"), ("tier", "a"), ("more", "")])));
        assert!(!service.selects(&labels(&[("app", "db")])));
        assert!(!read(&serde_json::json!({"selector": {}})).selects(&labels(&[])));
        assert_eq!(service.metadata.labels.to_map(), labels(&[("k8s-app", "a")]));
    }
}
