//! How the pods of a small cluster are judged, in a word each.

use std::collections::BTreeMap;

use agent_model::{
    egress::DefaultAction,
    finding::{Severity, code},
    snapshot::Enrolment,
};

use super::cluster::Cluster;

/// A namespace with labels.
pub(crate) fn namespace(name: &str, labels: &str) -> String {
    format!(
        "---\napiVersion: v1\nkind: Namespace\nmetadata: {{name: {name}, labels: {{{labels}}}}}\n"
    )
}

/// A pod of this node, by `namespace/name`.
pub(crate) fn pod(path: &str, labels: &str) -> String {
    let (namespace, name) = path.split_once('/').expect("namespace/name");
    format!(
        "---\napiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, namespace: {namespace}, \
         labels: {{{labels}}}, annotations: {{sekisho.dev/netns: /run/netns/{name}}}}}\n\
         spec: {{nodeName: node-1, containers: []}}\n"
    )
}

/// An object of a group and version.
pub(crate) fn object(version: &str, kind: &str, metadata: &str, spec: &str) -> String {
    format!("---\napiVersion: {version}\nkind: {kind}\nmetadata: {{{metadata}}}\nspec: {spec}\n")
}

/// An entry that everybody sees.
pub(crate) fn entry() -> String {
    object(
        "networking.istio.io/v1",
        "ServiceEntry",
        "name: db, namespace: other",
        "{hosts: [db.example.com], addresses: [203.0.113.1], ports: [{number: 1, name: tcp-a}]}",
    )
}

/// Pods `a` and `b` of one namespace of Istio's mesh and `c` of another, and [`entry`].
pub(crate) fn istio(rest: &str) -> String {
    let enabled = "istio-injection: enabled";
    namespace("shop", enabled)
        + &namespace("far", enabled)
        + &pod("shop/a", "app: a")
        + &pod("shop/b", "app: b")
        + &pod("far/c", "app: a")
        + &entry()
        + rest
}

/// A mesh's settings, as the text of their key.
pub(crate) fn settings(name: &str, mesh: &str) -> String {
    format!(
        "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}, namespace: istio-system}}\n\
         data: {{mesh: \"{mesh}\"}}\n"
    )
}

/// `denies`, `allows` or `out` for each pod by its name, with ` db` where [`entry`] is allowed and
/// each refused object that a finding on the pod names.
pub(crate) fn judged(text: &str) -> BTreeMap<String, String> {
    of(&Cluster::read(text))
}

/// The same.
pub(crate) fn of(cluster: &Cluster) -> BTreeMap<String, String> {
    let snapshot = cluster.snapshot();
    let word = |enrolment: &Enrolment| match enrolment {
        Enrolment::Pending(_) => "held".to_owned(),
        Enrolment::NotEnrolled(why) => {
            println!("{why}");
            "out".to_owned()
        }
        Enrolment::Enrolled(policy) => {
            let word = match policy.default_action {
                DefaultAction::RegistryOnly => "denies",
                DefaultAction::AllowAny => "allows",
                DefaultAction::Audit => "reports",
            };
            let has_db = policy.rules.rules().iter().any(|rule| &*rule.source.name == "db");
            format!("{word}{}", if has_db { " db" } else { "" })
        }
    };
    let named = |pod: &str| {
        let of_pod = snapshot.findings.iter().filter(|one| one.kind == "Pod" && one.name == pod);
        let named = of_pod.filter(|one| one.code == code::REFUSED_GOVERNS);
        let named = named.map(|one| {
            assert_eq!(one.severity, Severity::Error);
            let (key, _) = one.message.split_once(" is refused").expect("the object");
            format!("; {key}")
        });
        named.collect::<String>()
    };
    let pods = snapshot.pods.iter();
    pods.map(|(id, plan)| {
        (id.name.clone(), format!("{}{}", word(&plan.enrolment), named(&id.name)))
    })
    .collect()
}

/// Codes of errors on an object.
pub(crate) fn errors_on(text: &str, kind: &str, name: &str) -> Vec<&'static str> {
    let snapshot = Cluster::read(text).snapshot();
    let on = snapshot.findings.iter().filter(|one| one.kind == kind && one.name == name);
    on.filter(|one| one.severity == Severity::Error).map(|one| one.code).collect()
}
