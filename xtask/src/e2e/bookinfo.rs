//! Bookinfo on the cluster: its image, and its manifests with the names, ports, labels and probes that
//! everybody's walkthrough has.

use std::{fs, path::PathBuf, process::Command};

use anyhow::Context as _;

use super::client::libraries;
use crate::{
    command::{quiet, target_dir},
    image::{
        Arch,
        archive::{self, Entry},
    },
};

/// Its namespace.
pub(super) const NAMESPACE: &str = "bookinfo";
const IMAGE: &str = "localhost/sekisho-bookinfo:test";
/// The cluster's own image with curl.
const CURL: &str = "localhost/busybox:test";

/// A deployment: the service, its version, whether and how it shows stars, and the node.
const DEPLOYMENTS: [(&str, &str, Option<&str>, &str); 6] = [
    ("details", "v1", None, "node-1"),
    ("ratings", "v1", None, "node-2"),
    ("reviews", "v1", None, "node-1"),
    ("reviews", "v2", Some("black"), "node-2"),
    ("reviews", "v3", Some("red"), "node-1"),
    ("productpage", "v1", None, "node-2"),
];

/// Builds the services and makes the image of them; says where its archive is.
pub(super) fn image() -> anyhow::Result<PathBuf> {
    let mut build = Command::new("cargo");
    quiet(build.args(["build", "--quiet", "--package", "bookinfo"]))?;
    let program = target_dir().join("debug/bookinfo").display().to_string();
    let mut entries = vec![Entry {
        path: "bin/bookinfo".to_owned(),
        bytes: fs::read(&program).context("bookinfo")?,
    }];
    for library in libraries(&program)? {
        let path = library.trim_start_matches('/').to_owned();
        entries.push(Entry { path, bytes: fs::read(&library).context(library)? });
    }
    let image = archive::pack(IMAGE, Arch::of_this_machine().name(), &entries, &["tmp"])?;
    let place = target_dir().join("image").join("e2e-bookinfo.tar");
    fs::write(&place, image.bytes).with_context(|| place.display().to_string())?;
    Ok(place)
}

/// Everything but rules, in an enrolled namespace, with a client on each node.
pub(super) fn manifests(nodes: &[&str]) -> String {
    let mut text = super::manifests::namespace(NAMESPACE, true);
    text.extend(["details", "ratings", "reviews", "productpage"].map(service));
    text.extend(DEPLOYMENTS.map(deployment));
    text.extend(nodes.iter().map(|node| client_on(node)));
    text
}

fn service(name: &str) -> String {
    format!(
        "---
apiVersion: v1
kind: ServiceAccount
metadata: {{name: bookinfo-{name}, namespace: {NAMESPACE}, labels: {{account: {name}}}}}
---
apiVersion: v1
kind: Service
metadata: {{name: {name}, namespace: {NAMESPACE}, labels: {{app: {name}, service: {name}}}}}
spec:
  ipFamilyPolicy: RequireDualStack
  selector: {{app: {name}}}
  ports: [{{port: 9080, name: http}}]
"
    )
}

fn deployment((service, version, color, node): (&str, &str, Option<&str>, &str)) -> String {
    let has_stars = color.is_some();
    let color = color.unwrap_or("black");
    format!(
        "---
apiVersion: apps/v1
kind: Deployment
metadata:
  name: {service}-{version}
  namespace: {NAMESPACE}
  labels: {{app: {service}, version: {version}}}
spec:
  replicas: 1
  selector: {{matchLabels: {{app: {service}, version: {version}}}}}
  template:
    metadata: {{labels: {{app: {service}, version: {version}}}}}
    spec:
      serviceAccountName: bookinfo-{service}
      nodeSelector: {{kubernetes.io/hostname: {node}}}
      terminationGracePeriodSeconds: 0
      containers:
        - name: {service}
          image: {IMAGE}
          imagePullPolicy: Never
          command: [/bin/bookinfo, {service}]
          env:
            - {{name: SERVICE_VERSION, value: {version}}}
            - {{name: ENABLE_RATINGS, value: \"{has_stars}\"}}
            - {{name: STAR_COLOR, value: {color}}}
          ports: [{{containerPort: 9080}}]
          readinessProbe: {{httpGet: {{path: /health, port: 9080}}, periodSeconds: 1}}
          livenessProbe: {{tcpSocket: {{port: 9080}}}}
"
    )
}

fn client_on(node: &str) -> String {
    format!(
        "---
apiVersion: v1
kind: Pod
metadata: {{name: curl-{node}, namespace: {NAMESPACE}, labels: {{app: curl}}}}
spec:
  nodeName: {node}
  terminationGracePeriodSeconds: 0
  containers:
    - {{name: curl, image: {CURL}, imagePullPolicy: Never, command: [sleep, \"1000000\"]}}
"
    )
}

/// The subsets that everybody's rules name.
pub(super) const SUBSETS: &str = "
apiVersion: networking.istio.io/v1alpha3
kind: DestinationRule
metadata: {name: reviews, namespace: bookinfo}
spec:
  host: reviews
  subsets:
    - {name: v1, labels: {version: v1}}
    - {name: v2, labels: {version: v2}}
    - {name: v3, labels: {version: v3}}
---
apiVersion: networking.istio.io/v1alpha3
kind: DestinationRule
metadata: {name: ratings, namespace: bookinfo}
spec:
  host: ratings
  subsets: [{name: v1, labels: {version: v1}}]
";

/// The reviews of those whose header says so are split by these weights; the others' are of v2.
pub(super) fn split(weights: [u32; 3]) -> String {
    let [v1, v2, v3] = weights;
    format!(
        "
apiVersion: networking.istio.io/v1alpha3
kind: VirtualService
metadata: {{name: reviews, namespace: bookinfo}}
spec:
  hosts: [reviews]
  http:
    - match: [{{headers: {{end-user: {{exact: roundrobin}}}}}}]
      route:
        - {{destination: {{host: reviews, subset: v1}}, weight: {v1}}}
        - {{destination: {{host: reviews, subset: v2}}, weight: {v2}}}
        - {{destination: {{host: reviews, subset: v3}}, weight: {v3}}}
    - route: [{{destination: {{host: reviews, subset: v2}}}}]
"
    )
}

/// The same rules, the other one first.
pub(super) const SWAPPED: &str = "
apiVersion: networking.istio.io/v1alpha3
kind: VirtualService
metadata: {name: reviews, namespace: bookinfo}
spec:
  hosts: [reviews]
  http:
    - route: [{destination: {host: reviews, subset: v2}}]
    - match: [{headers: {end-user: {exact: roundrobin}}}]
      route: [{destination: {host: reviews, subset: v1}}]
";

/// Ratings that take two seconds, and reviews that have half a second.
pub(super) const SLOW: &str = "
apiVersion: networking.istio.io/v1alpha3
kind: VirtualService
metadata: {name: ratings, namespace: bookinfo}
spec:
  hosts: [ratings]
  http:
    - fault: {delay: {fixedDelay: 2s, percentage: {value: 100}}}
      route: [{destination: {host: ratings, subset: v1}}]
---
apiVersion: networking.istio.io/v1alpha3
kind: VirtualService
metadata: {name: reviews, namespace: bookinfo}
spec:
  hosts: [reviews]
  http:
    - timeout: 0.5s
      route: [{destination: {host: reviews, subset: v2}}]
";
