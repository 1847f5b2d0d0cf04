//! S4 in App Mesh's words, of which each test changes a part.

use agent_model::requests::{
    outbound::Outbound,
    route::{Action, Forward},
};

use crate::requests::{Ask, namespace, object, outbound, pod, service};

/// The pods and Services of S4, with a caller elsewhere, in a mesh by neither dialect yet.
pub(crate) fn common() -> String {
    pod("mesh-test/nginx-1", "10.0.0.1", "app: sample1, server: nginx-1")
        + &pod("mesh-test/nginx-2", "10.0.0.2", "app: sample1, server: nginx-2")
        + &pod("callers/x", "10.0.0.9", "app: x")
        + &service("mesh-test/svc-1", "10.96.0.1", (80, "http"), &["10.0.0.1"])
        + &service("mesh-test/svc-2", "10.96.0.2", (80, "http"), &["10.0.0.2"])
        // A Service that has no address yet.
        + "---\napiVersion: v1\nkind: Service\nmetadata: {name: svc-v, namespace: mesh-test}\n\
           spec: {selector: {app: sample1}, ports: [{name: http, port: 80}]}\n"
}

pub(crate) fn in_app_mesh(name: &str) -> String {
    namespace(name).replace(
        "istio-injection: enabled",
        "mesh: mesh-1, appmesh.k8s.aws/sidecarInjectorWebhook: enabled",
    )
}

/// S4 in App Mesh's words; the parts that tests change are parameters.
#[derive(Default)]
pub(crate) struct AppMesh<'a> {
    pub(crate) routes: &'a str,
    pub(crate) listener: &'a str,
    pub(crate) backend: &'a str,
}

pub(crate) const HALVES: &str = "weightedTargets: [{virtualNodeRef: {name: vnode-1}, weight: 1}, \
                      {virtualNodeRef: {name: vnode-2}, weight: 1}]";
pub(crate) const TO_ONE: &str = "weightedTargets: [{virtualNodeRef: {name: vnode-1}, weight: 1}]";

impl AppMesh<'_> {
    pub(crate) fn text(&self) -> String {
        let halves =
            format!("{{name: route-1, httpRoute: {{match: {{prefix: /}}, action: {{{HALVES}}}}}}}");
        let routes = if self.routes.is_empty() { halves.as_str() } else { self.routes };
        let mut text = in_app_mesh("mesh-test") + &in_app_mesh("callers") + &common();
        let mesh =
            "egressFilter: {type: ALLOW_ALL}, namespaceSelector: {matchLabels: {mesh: mesh-1}}";
        text += &object("Mesh", "x/mesh-1", 1, mesh);
        for number in [1, 2] {
            let node = format!(
                "podSelector: {{matchLabels: {{server: nginx-{number}}}}}, \
                 listeners: [{{portMapping: {{port: 80, protocol: http}}{}}}], \
                 serviceDiscovery: {{dns: {{hostname: svc-{number}.mesh-test.svc.cluster.local}}}}",
                self.listener
            );
            text += &object("VirtualNode", &format!("mesh-test/vnode-{number}"), 1, &node);
        }
        let spec = format!(
            "listeners: [{{portMapping: {{port: 80, protocol: http}}}}], routes: [{routes}]"
        );
        text += &object("VirtualRouter", "mesh-test/vrouter-1", 1, &spec);
        text += &virtual_service("virtualRouter: {virtualRouterRef: {name: vrouter-1}}");
        let caller = format!(
            "podSelector: {{matchLabels: {{app: x}}}}, backends: [{{virtualService: \
             {{virtualServiceRef: {{name: svc-v, namespace: mesh-test}}{}}}}}]",
            self.backend
        );
        text + &object("VirtualNode", "callers/vnode-x", 1, &caller)
    }

    pub(crate) fn outbound(&self) -> Outbound {
        outbound(&self.text(), "callers/x")
    }

    pub(crate) fn ask(&self, target: &str) -> String {
        Ask { pod: "callers/x", port: 80, host: SVC_V, target, ..Ask::default() }.of(&self.text())
    }
}

pub(crate) const SVC_V: &str = "svc-v.mesh-test.svc.cluster.local";

pub(crate) fn virtual_service(provider: &str) -> String {
    format!(
        "---\napiVersion: appmesh.k8s.aws/v1beta2\nkind: VirtualService\n\
         metadata: {{name: svc-v, namespace: mesh-test}}\nspec: {{provider: {{{provider}}}}}\n"
    )
}

pub(crate) fn forward(outbound: &Outbound) -> Forward {
    match &outbound.ports[&80].any.hosts[0].routes[0].then {
        Action::Forward(forward) => forward.clone(),
        other => panic!("{other:?}"),
    }
}
