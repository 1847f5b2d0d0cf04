//! What several tests of answers need.

use std::sync::Arc;

use agent_model::{
    resource::{Objects, documents, parse},
    snapshot::Snapshot,
    translate::{Interner, NodeContext, translate},
};

/// What some manifests mean for `node-1`.
pub(super) fn snapshot(text: &str) -> Arc<Snapshot> {
    let parsed = documents(text).into_iter().flat_map(|document| parse(document.value.unwrap()));
    let objects: Objects = parsed.filter_map(|parsed| parsed.unwrap().object).collect();
    Arc::new(translate(&objects, &NodeContext::new("node-1"), &mut Interner::default()))
}

/// Bookinfo's reviews in two versions, a route by header, and a pod that asks for them.
pub(super) const BOOKINFO: &str = "
apiVersion: v1
kind: Namespace
metadata: {name: books, labels: {istio-injection: enabled}}
---
apiVersion: v1
kind: Pod
metadata: {name: productpage, namespace: books, annotations: {sekisho.dev/netns: /run/netns/p}}
spec: {nodeName: node-1, containers: []}
status: {podIPs: [{ip: 10.0.0.5}]}
---
apiVersion: v1
kind: Pod
metadata: {name: v1, namespace: books, labels: {app: reviews, version: v1}}
spec: {nodeName: node-2, containers: []}
status: {podIPs: [{ip: 10.0.0.6}]}
---
apiVersion: v1
kind: Pod
metadata: {name: v2, namespace: books, labels: {app: reviews, version: v2}}
spec: {nodeName: node-2, containers: []}
status: {podIPs: [{ip: 10.0.0.7}]}
---
apiVersion: v1
kind: Service
metadata: {name: reviews, namespace: books}
spec: {clusterIP: 10.96.0.9, clusterIPs: [10.96.0.9], selector: {app: reviews}, ports: [{name: http, port: 9080}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: reviews-1, namespace: books, labels: {kubernetes.io/service-name: reviews}}
addressType: IPv4
ports: [{name: http, port: 9080}]
endpoints: [{addresses: [10.0.0.6]}, {addresses: [10.0.0.7]}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: reviews, namespace: books}
spec:
  hosts: [reviews]
  http:
  - name: jason
    match: [{headers: {end-user: {exact: jason}}, uri: {prefix: /reviews}}]
    rewrite: {uri: /v2/reviews}
    route: [{destination: {host: reviews, subset: v2}}]
  - match: [{uri: {prefix: /reviews}}]
    route:
    - {destination: {host: reviews, subset: v1}, weight: 90}
    - {destination: {host: reviews, subset: v2}, weight: 10}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: reviews, namespace: books}
spec:
  host: reviews
  subsets: [{name: v1, labels: {version: v1}}, {name: v2, labels: {version: v2}}]
";
