//! The objects of a large cluster: as its controllers and its users would write them, down to the
//! labels and annotations that are never read.

use std::net::Ipv4Addr;

use serde_json::{Value, json};

/// The most endpoints that the control plane puts into a slice.
const SLICE: u32 = 100;
/// Every so manieth Service is large: all the large ones have half of the endpoints.
const LARGE: u32 = 100;
/// Every so manieth `ServiceEntry` is for its own namespace.
const PRIVATE: u32 = 20;
pub(super) const NAMESPACES: u32 = 100;

/// How many of each.
#[derive(Clone, Copy, Debug)]
pub(in crate::bench) struct Sizes {
    pub(in crate::bench) services: u32,
    pub(in crate::bench) endpoints: u32,
    pub(in crate::bench) entries: u32,
    pub(in crate::bench) virtual_services: u32,
    pub(in crate::bench) destination_rules: u32,
}

/// An object and the collection that it belongs to.
#[derive(Debug)]
pub(super) struct Made {
    pub(super) collection: String,
    pub(super) object: Value,
}

/// Some endpoints of a Service.
#[derive(Clone, Copy, Debug)]
pub(super) struct Slice {
    service: u32,
    number: u32,
    first: u32,
    count: u32,
}

/// All slices of the cluster.
pub(super) fn slices(sizes: Sizes) -> Vec<Slice> {
    let large = sizes.services.div_ceil(LARGE).max(1);
    let small = (sizes.services - large).max(1);
    let mut slices = Vec::new();
    let mut first = 0;
    for service in 0..sizes.services {
        let (nth, of) = if service % LARGE == 0 {
            (service / LARGE, large)
        } else {
            (service - 1 - service / LARGE, small)
        };
        let half = u64::from(sizes.endpoints / 2);
        let share = |nth: u32| (half * u64::from(nth) / u64::from(of)).try_into().unwrap_or(0);
        let mut left: u32 = share(nth + 1) - share(nth);
        let mut number = 0;
        while left > 0 {
            let count = left.min(SLICE);
            slices.push(Slice { service, number, first, count });
            (number, first, left) = (number + 1, first + count, left - count);
        }
    }
    slices
}

fn namespace(number: u32) -> String {
    format!("team-{}", number % NAMESPACES)
}

pub(super) fn namespaces() -> impl Iterator<Item = Made> {
    (0..NAMESPACES).map(|number| Made {
        collection: "/api/v1/namespaces".to_owned(),
        object: json!({
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": {"name": namespace(number), "labels": {"istio-injection": "enabled"}},
        }),
    })
}

/// Everything but namespaces and pods, by number: as many as [`count`] says.
pub(super) fn nth(sizes: Sizes, slices: &[Slice], mut number: u32) -> Made {
    if number < sizes.services {
        return service(number);
    }
    number -= sizes.services;
    if let Some(slice) = slices.get(number as usize) {
        return endpoint_slice(*slice);
    }
    number -= u32::try_from(slices.len()).unwrap_or(u32::MAX);
    if number < sizes.entries {
        return entry(number);
    }
    number -= sizes.entries;
    if number < sizes.virtual_services {
        return virtual_service(number);
    }
    destination_rule(number - sizes.virtual_services)
}

pub(super) fn count(sizes: Sizes, slices: &[Slice]) -> u32 {
    let Sizes { services, entries, virtual_services, destination_rules, .. } = sizes;
    let slices = u32::try_from(slices.len()).unwrap_or(u32::MAX);
    services + slices + entries + virtual_services + destination_rules
}

fn service(number: u32) -> Made {
    let (name, namespace) = (format!("service-{number}"), namespace(number));
    Made {
        collection: format!("/api/v1/namespaces/{namespace}/services"),
        object: json!({
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {
                "name": name,
                "labels": labels(&name),
                "annotations": {
                    "meta.helm.sh/release-name": name,
                    "meta.helm.sh/release-namespace": namespace,
                },
            },
            "spec": {
                "selector": {"app.kubernetes.io/name": name, "app.kubernetes.io/instance": name},
                "ports": [
                    {"name": "http", "port": 80, "targetPort": "http"},
                    {"name": "tcp-metrics", "port": 9090, "targetPort": 9090},
                ],
            },
        }),
    }
}

fn labels(name: &str) -> Value {
    json!({
        "app.kubernetes.io/name": name,
        "app.kubernetes.io/instance": name,
        "app.kubernetes.io/managed-by": "Helm",
        "helm.sh/chart": format!("{name}-1.2.3"),
    })
}

fn slice_name(slice: Slice) -> String {
    format!("service-{}-{:05}", slice.service, slice.number)
}

fn endpoint_slice(slice: Slice) -> Made {
    let service = format!("service-{}", slice.service);
    let namespace = namespace(slice.service);
    let endpoint = |number: u32| {
        json!({
            "addresses": [endpoint_address(number)],
            "conditions": {"ready": true, "serving": true, "terminating": false},
            "nodeName": format!("node-{}", number % 1000),
            "targetRef": {
                "kind": "Pod",
                "name": format!("{service}-5d8f7c9b4-{number:05x}"),
                "namespace": namespace,
                "uid": format!("00000000-0000-4000-8000-{number:012x}"),
            },
            "zone": format!("zone-{}", number % 3),
        })
    };
    let endpoints: Vec<Value> = (slice.first..slice.first + slice.count).map(endpoint).collect();
    Made {
        collection: format!("/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices"),
        object: json!({
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {
                "name": slice_name(slice),
                "labels": {
                    "kubernetes.io/service-name": service,
                    "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io",
                    "app.kubernetes.io/name": service,
                },
                "ownerReferences": [{
                    "apiVersion": "v1", "kind": "Service", "name": service, "controller": true,
                    "blockOwnerDeletion": true, "uid": "00000000-0000-4000-8000-000000000000",
                }],
            },
            "addressType": "IPv4",
            "endpoints": endpoints,
            "ports": [
                {"name": "http", "port": 8080, "protocol": "TCP"},
                {"name": "tcp-metrics", "port": 9090, "protocol": "TCP"},
            ],
        }),
    }
}

/// One of 10.128.0.0/9.
fn endpoint_address(number: u32) -> String {
    Ipv4Addr::from(0x0a80_0000 + number).to_string()
}

/// One of 10.64.0.0/10 for each `ServiceEntry`, and others that its changes move it to.
fn entry_address(number: u32, turn: u32) -> String {
    Ipv4Addr::from(0x0a40_0000 + number + ((turn % 16) << 16)).to_string()
}

fn entry(number: u32) -> Made {
    let (name, namespace) = (format!("entry-{number}"), namespace(number));
    let exported = if number.is_multiple_of(PRIVATE) { "." } else { "*" };
    let mut spec = json!({
        "hosts": [format!("{name}.example.com")],
        "addresses": [entry_address(number, 0)],
        "exportTo": [exported],
        "location": "MESH_EXTERNAL",
        "ports": [
            {"number": 5432, "name": "tcp-database", "protocol": "TCP"},
            {"number": 443, "name": "tls", "protocol": "TLS"},
        ],
        "resolution": "NONE",
    });
    if number.is_multiple_of(2) {
        spec["resolution"] = "STATIC".into();
        spec["endpoints"] = json!([{"address": entry_address(number, 0)}]);
    }
    custom(("networking.istio.io/v1", "ServiceEntry", "serviceentries"), &name, &namespace, &spec)
}

fn virtual_service(number: u32) -> Made {
    let (name, namespace) = (format!("route-{number}"), namespace(number));
    let host = format!("service-{number}.{namespace}.svc.cluster.local");
    let to = |subset: &str, weight: u32| json!({"destination": {"host": host, "subset": subset, "port": {"number": 80}}, "weight": weight});
    let spec = json!({
        "hosts": [host],
        "http": [
            {
                "match": [{"uri": {"prefix": "/v2/"}, "headers": {"x-canary": {"exact": "yes"}}}],
                "route": [to("v2", 100)],
                "timeout": "3s",
                "retries": {"attempts": 3, "perTryTimeout": "1s", "retryOn": "5xx"},
            },
            {"route": [to("v1", 90), to("v2", 10)]},
        ],
    });
    custom(
        ("networking.istio.io/v1", "VirtualService", "virtualservices"),
        &name,
        &namespace,
        &spec,
    )
}

fn destination_rule(number: u32) -> Made {
    let (name, namespace) = (format!("rule-{number}"), namespace(number));
    let spec = json!({
        "host": format!("service-{number}.{namespace}.svc.cluster.local"),
        "trafficPolicy": {
            "connectionPool": {"tcp": {"maxConnections": 100}},
            "outlierDetection": {"consecutive5xxErrors": 5, "interval": "10s"},
        },
        "subsets": [
            {"name": "v1", "labels": {"version": "v1"}},
            {"name": "v2", "labels": {"version": "v2"}},
        ],
    });
    custom(
        ("networking.istio.io/v1", "DestinationRule", "destinationrules"),
        &name,
        &namespace,
        &spec,
    )
}

fn custom(
    (version, kind, plural): (&str, &str, &str),
    name: &str,
    namespace: &str,
    spec: &Value,
) -> Made {
    Made {
        collection: format!("/apis/{version}/namespaces/{namespace}/{plural}"),
        object: json!({
            "apiVersion": version,
            "kind": kind,
            "metadata": {"name": name, "labels": labels(name)},
            "spec": spec,
        }),
    }
}

/// The rule whose coming and going is timed: its path, and the object.
pub(super) fn timed(number: u32, address: &str, port: u16) -> (String, Made) {
    let name = format!("timed-{number}");
    let spec = json!({
        "hosts": [format!("{name}.example.com")],
        "addresses": [address],
        "location": "MESH_EXTERNAL",
        "ports": [{"number": port, "name": "tcp", "protocol": "TCP"}],
        "resolution": "NONE",
    });
    let kind = ("networking.istio.io/v1", "ServiceEntry", "serviceentries");
    let made = custom(kind, &name, &namespace(number), &spec);
    (format!("{}/{name}", made.collection), made)
}

/// A change of some object, by number: three of five are endpoints that move, as in a cluster that
/// rolls out; the others are of `ServiceEntry` and `VirtualService` objects by turns.
pub(super) fn change(sizes: Sizes, slices: &[Slice], number: u32) -> (String, Value) {
    // Scattered, so that neighbours do not change one after the other.
    let scattered = number.wrapping_mul(0x9e37_79b1) >> 4;
    let istio = |plural: &str, name: &str, number: u32| {
        format!("/apis/networking.istio.io/v1/namespaces/{}/{plural}/{name}", namespace(number))
    };
    let replace =
        |path: &str, value: Value| json!([{"op": "replace", "path": path, "value": value}]);
    match number % 5 {
        3 if sizes.entries > 0 => {
            let at = scattered % sizes.entries;
            // Those with endpoints keep them, so only the address that is dialled moves.
            let address = entry_address(at, 1 + number / 5);
            (
                istio("serviceentries", &format!("entry-{at}"), at),
                replace("/spec/addresses/0", address.into()),
            )
        }
        4 if sizes.virtual_services > 0 => {
            let at = scattered % sizes.virtual_services;
            (
                istio("virtualservices", &format!("route-{at}"), at),
                replace("/spec/http/0/timeout", format!("{}s", 1 + number % 50).into()),
            )
        }
        _ => {
            let slice = slices[scattered as usize % slices.len()];
            let path = format!(
                "/apis/discovery.k8s.io/v1/namespaces/{}/endpointslices/{}",
                namespace(slice.service),
                slice_name(slice)
            );
            // Beyond all that were there from the start.
            let address = endpoint_address((1 << 20) + number);
            (path, replace("/endpoints/0/addresses/0", address.into()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_endpoint_is_in_one_slice_of_a_hundred_at_most() {
        let sizes = Sizes {
            services: 1000,
            endpoints: 10_000,
            entries: 1,
            virtual_services: 1,
            destination_rules: 1,
        };
        let slices = slices(sizes);
        assert_eq!(slices.iter().map(|slice| slice.count).sum::<u32>(), 10_000);
        assert!(slices.iter().all(|slice| (1..=SLICE).contains(&slice.count)));
        let ends = slices.iter().map(|slice| slice.first + slice.count);
        assert!(ends.zip(&slices[1..]).all(|(end, next)| end == next.first));
        let kinds =
            (0..count(sizes, &slices)).map(|at| nth(sizes, &slices, at).object["kind"].to_string());
        let last: Vec<String> = kinds.skip(1000 + slices.len()).collect();
        assert_eq!(last, ["\"ServiceEntry\"", "\"VirtualService\"", "\"DestinationRule\""]);
    }
}
