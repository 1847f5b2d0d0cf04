//! Small meshes in strings, and questions to their model.

use agent_model::{
    endpoints::Endpoints,
    finding::Severity,
    pod::PodId,
    requests::{
        Request, Requests as _, Verdict,
        backend::{Backend, LoadAssignment, Target, Weighted},
        outbound::Outbound,
        policy::ClientTls,
        route::{Action, Route, VirtualHost},
    },
    resource::{Objects, documents, parse, validate},
    translate::requests::RequestModel,
};

/// The objects of a stream; each has to be valid.
pub(crate) fn objects(text: &str) -> Objects {
    let mut objects = Objects::default();
    for document in documents(text) {
        for parsed in parse(document.value.unwrap_or_else(|error| panic!("{error}: {text}"))) {
            let parsed = parsed.unwrap_or_else(|error| panic!("{error}"));
            let object = parsed.object.expect("a kind that is read");
            for finding in validate(&object) {
                assert!(finding.severity < Severity::Error, "{finding}");
            }
            objects.insert(object);
        }
    }
    objects
}

/// A namespace in the mesh.
pub(crate) fn namespace(name: &str) -> String {
    format!(
        "---\napiVersion: v1\nkind: Namespace\n\
         metadata: {{name: {name}, labels: {{istio-injection: enabled}}}}\n"
    )
}

fn split(path: &str) -> (&str, &str) {
    path.split_once('/').expect("namespace/name")
}

/// A pod; its labels are as in `a: b, c: d`.
pub(crate) fn pod(path: &str, address: &str, labels: &str) -> String {
    let (namespace, name) = split(path);
    format!(
        "---\napiVersion: v1\nkind: Pod\n\
         metadata: {{name: {name}, namespace: {namespace}, labels: {{{labels}}}}}\n\
         spec: {{nodeName: node-1, serviceAccountName: {name}, containers: []}}\n\
         status: {{podIPs: [{{ip: {address}}}]}}\n"
    )
}

/// A Service with one port, and the pods behind it.
pub(crate) fn service(path: &str, vip: &str, (port, name): (u16, &str), at: &[&str]) -> String {
    let (namespace, service) = split(path);
    let at = at.join(", ");
    format!(
        "---\napiVersion: v1\nkind: Service\nmetadata: {{name: {service}, namespace: {namespace}}}\n\
         spec: {{clusterIP: {vip}, ports: [{{name: {name}, port: {port}}}]}}\n\
         ---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {{name: {service}-1, \
         namespace: {namespace}, labels: {{kubernetes.io/service-name: {service}}}}}\n\
         addressType: IPv4\nendpoints: [{{addresses: [{at}]}}]\nports: [{{name: {name}, port: {port}}}]\n"
    )
}

/// An object of `networking.istio.io`, as old as `age` says.
pub(crate) fn object(kind: &str, path: &str, age: u32, spec: &str) -> String {
    let (namespace, name) = split(path);
    let group = match kind {
        "PeerAuthentication" | "AuthorizationPolicy" => "security.istio.io/v1",
        "MeshPolicy" | "Policy" => "authentication.istio.io/v1alpha1",
        "Mesh" | "VirtualNode" | "VirtualRouter" | "VirtualGateway" | "GatewayRoute" => {
            "appmesh.k8s.aws/v1beta2"
        }
        _ => "networking.istio.io/v1",
    };
    format!(
        "---\napiVersion: {group}\nkind: {kind}\nmetadata: {{name: {name}, namespace: {namespace}, \
         creationTimestamp: '2024-01-01T00:00:{age:02}Z'}}\nspec: {{{spec}}}\n"
    )
}

/// Where reviews are.
pub(crate) const REVIEWS: [&str; 3] = ["10.0.0.1", "10.0.0.2", "10.0.0.3"];

/// Reviews in three versions, ratings, and clients in two namespaces.
pub(crate) fn shop() -> String {
    let mut text = namespace("default") + &namespace("other");
    for (index, address) in REVIEWS.iter().enumerate() {
        let version = format!("app: reviews, version: v{}", index + 1);
        text += &pod(&format!("default/reviews-{index}"), address, &version);
    }
    text += &pod("default/client", "10.0.1.1", "app: client");
    text += &pod("other/client", "10.0.1.2", "app: client");
    text += &service("default/reviews", "10.96.0.1", (9080, "http"), &REVIEWS);
    text += &service("default/ratings", "10.96.0.2", (9080, "http"), &["10.0.0.9"]);
    text += &object(
        "DestinationRule",
        "default/reviews",
        1,
        "host: reviews, subsets: [{name: v1, labels: {version: v1}}, \
         {name: v2, labels: {version: v2}}, {name: v3, labels: {version: v3}}]",
    );
    text
}

/// The mesh's own settings.
pub(crate) fn mesh_config(text: &str) -> String {
    format!(
        "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {{name: istio, namespace: istio-system}}\n\
         data: {{mesh: '{text}'}}\n"
    )
}

pub(crate) fn id(path: &str) -> PodId {
    let (namespace, name) = split(path);
    PodId { namespace: namespace.to_owned(), name: name.to_owned() }
}

pub(crate) fn model(text: &str) -> RequestModel {
    RequestModel::new(&objects(text), "cluster.local")
}

/// What a pod may dial.
pub(crate) fn outbound(text: &str, pod: &str) -> Outbound {
    model(text).outbound(&id(pod)).expect("an enrolled pod").as_ref().clone()
}

/// What becomes of `GET target` for a host, with headers.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Ask<'a> {
    pub(crate) pod: &'a str,
    pub(crate) port: u16,
    pub(crate) host: &'a str,
    pub(crate) target: &'a str,
    pub(crate) headers: &'a [(&'a str, &'a str)],
}

impl<'a> Ask<'a> {
    pub(crate) fn request(&self) -> Request<'a> {
        Request {
            method: "GET",
            scheme: "http",
            authority: self.host,
            target: if self.target.is_empty() { "/" } else { self.target },
            headers: self.headers,
        }
    }

    /// In a word: the shares of the destinations, or how it fails.
    pub(crate) fn of(&self, text: &str) -> String {
        let model = model(text);
        let outbound = model.outbound(&id(self.pod)).expect("an enrolled pod");
        let hosts = outbound.ports.get(&self.port).map(|port| &port.any.hosts[..]);
        self.told(hosts.unwrap_or_default(), &|one| share_served(&model, one))
    }

    /// The same of hosts, whatever serves their backends.
    pub(crate) fn among(&self, hosts: &[VirtualHost]) -> String {
        self.told(hosts, &share)
    }

    fn told(&self, hosts: &[VirtualHost], share: &dyn Fn(&Weighted) -> String) -> String {
        let request = self.request();
        match request.among(hosts) {
            Verdict::UnknownHost => "unknown".to_owned(),
            Verdict::NoRoute => "404".to_owned(),
            Verdict::Route(route) => shown(route, &request, share),
        }
    }
}

fn shown(route: &Route, request: &Request<'_>, share: &dyn Fn(&Weighted) -> String) -> String {
    match &route.then {
        Action::Forward(forward) => {
            let shares: Vec<String> = forward.to.iter().map(share).collect();
            shares.join(", ")
        }
        Action::Redirect(redirect) => format!("{} {}", redirect.status, redirect.location(request)),
        Action::Answer(answer) => answer.status.to_string(),
        Action::Continue { routes, .. } => format!("{} routes", routes.len()),
    }
}

fn share_served(model: &RequestModel, one: &Weighted) -> String {
    match &one.target {
        Target::Backend(to) if model.load_assignment(to) == LoadAssignment::nobody() => {
            format!("{}x 503 none at {}", one.weight, named(to))
        }
        _ => share(one),
    }
}

pub(crate) fn share(one: &Weighted) -> String {
    let to = match &one.target {
        Target::Missing(missing) => format!("503 {missing:?}"),
        Target::Backend(to) => named(to),
    };
    format!("{}x {to}", one.weight)
}

fn named(to: &Backend) -> String {
    let service = to.service.strip_suffix(".svc.cluster.local").unwrap_or(&to.service);
    match &to.subset {
        Some(subset) => format!("{service}:{}/{subset}", to.port),
        None => format!("{service}:{}", to.port),
    }
}

/// Every destination of a model.
pub(crate) fn backends(outbound: &Outbound) -> Vec<&Backend> {
    outbound.clusters().into_values().collect()
}

/// The destination of a service, wherever it is reached.
pub(crate) fn backend(text: &str, pod: &str, service: &str) -> Backend {
    served(text, pod, service).0
}

/// The destination of a service, and who serves it.
pub(crate) fn served(text: &str, pod: &str, service: &str) -> (Backend, LoadAssignment) {
    let model = model(text);
    let outbound = model.outbound(&id(pod)).expect("an enrolled pod");
    let found = backends(&outbound).into_iter().find(|to| named(to).starts_with(service));
    let found = found.unwrap_or_else(|| panic!("no {service}"));
    (found.clone(), model.load_assignment(found))
}

/// How each endpoint is spoken to: `mesh` or `plain`.
pub(crate) fn spoken((to, served): &(Backend, LoadAssignment)) -> String {
    let word = |mutual: bool| if mutual { "mesh" } else { "plain" };
    let each = match &served.endpoints {
        Endpoints::Listed(all) => {
            all.iter().map(|one| word(one.mutual)).collect::<Vec<_>>().join(" ")
        }
        Endpoints::Dialled { mutual, .. } | Endpoints::Named { mutual, .. } => {
            word(*mutual).to_owned()
        }
        Endpoints::AsRequested { .. } => "plain".to_owned(),
    };
    match to.policy.tls {
        ClientTls::Own(_) => "own".to_owned(),
        _ => each,
    }
}

/// The shop with one rule for reviews, `spec.http`.
pub(crate) fn routed(http: &str) -> String {
    shop()
        + &object(
            "VirtualService",
            "default/reviews",
            1,
            &format!("hosts: [reviews], http: {http}"),
        )
}

pub(crate) fn reviews<'a>() -> Ask<'a> {
    Ask { pod: "default/client", port: 9080, host: "reviews:9080", ..Ask::default() }
}

pub(crate) fn to(subset: &str) -> String {
    format!("route: [{{destination: {{host: reviews, subset: {subset}}}}}]")
}
