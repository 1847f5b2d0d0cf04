//! `EndpointSlice`s, in little: of the hundred thousands of endpoints in a large cluster every node
//! holds what it may need, an address each.

use std::{collections::BTreeMap, net::IpAddr};

use k8s_openapi::{
    api::discovery::v1::{self, Endpoint, EndpointConditions, EndpointPort},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};

use super::{Metadata, Pairs};

const SERVICE_NAME: &str = "kubernetes.io/service-name";

/// Endpoints of a Service.
#[derive(Clone, Debug, PartialEq)]
pub struct EndpointSlice {
    /// Without labels and owners.
    pub metadata: Metadata,
    /// The name of the Service; `None` for a slice without one.
    pub service: Option<String>,
    /// `IPv4`, `IPv6` or `FQDN`.
    pub address_type: String,
    /// The addresses of the endpoints that are ready.
    pub ready: Box<[IpAddr]>,
    /// Those of the others: they get no new connections, and keep the open ones.
    pub unready: Box<[IpAddr]>,
    /// By the Service port's name; `None` for a port that is not said.
    pub ports: Vec<(String, Option<u16>)>,
}

impl From<v1::EndpointSlice> for EndpointSlice {
    fn from(slice: v1::EndpointSlice) -> Self {
        let v1::EndpointSlice { address_type, endpoints, metadata, ports } = slice;
        let mut metadata = Metadata::from(metadata);
        let labels = std::mem::take(&mut metadata.labels);
        metadata.annotations = Pairs::default();
        // Unset means ready: the API says to take it so.
        let (ready, unready): (Vec<_>, Vec<_>) = endpoints.iter().partition(|endpoint| {
            endpoint.conditions.as_ref().and_then(|conditions| conditions.ready) != Some(false)
        });
        let port = |port: EndpointPort| {
            let number = port.port.and_then(|number| u16::try_from(number).ok());
            (port.name.unwrap_or_default(), number)
        };
        Self {
            service: labels.get(SERVICE_NAME).map(str::to_owned),
            metadata,
            address_type,
            ready: addresses(&ready),
            unready: addresses(&unready),
            ports: ports.into_iter().flatten().map(port).collect(),
        }
    }
}

impl EndpointSlice {
    /// As a manifest that says the same.
    pub fn manifest(&self) -> v1::EndpointSlice {
        let Self { metadata, service, address_type, ready, unready, ports } = self;
        let mut metadata = ObjectMeta::from(metadata.clone());
        let label = |name: &String| BTreeMap::from([(SERVICE_NAME.to_owned(), name.clone())]);
        metadata.labels = service.as_ref().map(label);
        let endpoint = |address: &IpAddr, ready| Endpoint {
            addresses: vec![address.to_string()],
            conditions: Some(EndpointConditions {
                ready: Some(ready),
                ..EndpointConditions::default()
            }),
            ..Endpoint::default()
        };
        let ready = ready.iter().map(|address| endpoint(address, true));
        let unready = unready.iter().map(|address| endpoint(address, false));
        let port = |(name, number): &(String, Option<u16>)| EndpointPort {
            name: Some(name.clone()),
            port: number.map(i32::from),
            ..EndpointPort::default()
        };
        v1::EndpointSlice {
            address_type: address_type.clone(),
            endpoints: ready.chain(unready).collect(),
            metadata,
            ports: Some(ports.iter().map(port).collect()),
        }
    }
}

fn addresses(endpoints: &[&Endpoint]) -> Box<[IpAddr]> {
    let all = endpoints.iter().flat_map(|endpoint| &endpoint.addresses);
    all.filter_map(|text| text.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_back_says_the_same() {
        let manifest = serde_json::json!({
            "metadata": {
                "name": "db-abcde", "namespace": "shop", "uid": "1", "generation": 2,
                "labels": {SERVICE_NAME: "db", "app": "db"},
                "creationTimestamp": "2024-01-01T00:00:00Z",
            },
            "addressType": "IPv6",
            "endpoints": [
                {"addresses": ["2001:db8::1"], "conditions": {"ready": true}},
                {"addresses": ["2001:db8::2"], "conditions": {"ready": false}},
                {"addresses": ["2001:db8::3"], "nodeName": "node-1"},
            ],
            "ports": [{"name": "tcp", "port": 5432}, {"name": "any"}],
        });
        let slice: v1::EndpointSlice = serde_json::from_value(manifest).unwrap();
        let slice = EndpointSlice::from(slice);
        assert_eq!(slice.service.as_deref(), Some("db"));
        assert_eq!(slice.ready.len(), 2);
        assert_eq!(*slice.unready, ["2001:db8::2".parse::<IpAddr>().unwrap()]);
        assert_eq!(slice.ports, [("tcp".to_owned(), Some(5432)), ("any".to_owned(), None)]);
        assert_eq!(EndpointSlice::from(slice.manifest()), slice);
    }
}
