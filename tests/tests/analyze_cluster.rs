//! `sekisho analyze` on a real API server: what it finds there is what it finds in the same
//! manifests, with the right to list and no other.

use std::{path::Path, process::Command};

use anyhow::{Context as _, Result, ensure};
use sekisho_tests::{
    control_plane::ControlPlane,
    kubernetes::is_left_out,
    process::{Place, built},
    world::{Wiring, World},
};
use serde_json::Value;

const OBJECTS: &str = r#"
apiVersion: v1
kind: Namespace
metadata: {name: shop}
---
apiVersion: v1
kind: Namespace
metadata: {name: istio-system}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: istio, namespace: istio-system}
data: {mesh: "outboundTrafficPolicy: {mode: REGISTRY_ONLY}"}
---
apiVersion: v1
kind: Pod
metadata: {name: db, namespace: shop}
spec: {nodeName: elsewhere, containers: [{name: db, image: db}]}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: open, namespace: shop}
spec: {hosts: [open.example.com], ports: [{number: 3307, name: tcp, protocol: TCP}]}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: pods, namespace: shop}
spec: {hosts: [pods.example.com], addresses: [203.0.113.77], ports: [{number: 1, name: tcp, protocol: TCP}]}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: hidden, namespace: shop, labels: {un: like}}
spec: {hosts: [pods.example.com], addresses: [203.0.113.78], ports: [{number: 1, name: tcp, protocol: TCP}]}
"#;

const WRONG: &str = "
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: wrong, namespace: shop}
spec: {hosts: ['*'], addresses: [203.0.113.5], ports: [{number: 3306, name: tcp, protocol: TCP}]}
";

/// May list two kinds, and nothing else.
const READER: &str = "
apiVersion: v1
kind: ServiceAccount
metadata: {name: reader, namespace: shop}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: reader}
rules:
- {apiGroups: [''], resources: [namespaces], verbs: [list]}
- {apiGroups: [networking.istio.io], resources: [serviceentries], verbs: [list]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: reader}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: reader}
subjects: [{kind: ServiceAccount, name: reader, namespace: shop}]
";

struct Answer {
    code: Option<i32>,
    report: Value,
    complaint: String,
}

fn analyze(world: &World, arguments: &[&str], input: &str) -> Result<Answer> {
    let file = std::env::temp_dir().join(format!("{}.yaml", world.name()));
    std::fs::write(&file, input)?;
    let mut command = Command::new(built("sekisho")?);
    command.args(["analyze", "-o", "json"]).args(arguments);
    if !input.is_empty() {
        command.arg(&file);
    }
    let place = Place { netns: Some(world.node()), cgroup: None };
    place.prepare(&mut command)?;
    let output = command.output()?;
    std::fs::remove_file(&file)?;
    let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
    let report = serde_json::from_slice(&output.stdout).unwrap_or_default();
    Ok(Answer { code: output.status.code(), report, complaint })
}

impl Answer {
    /// Each finding as `severity code object field`, sorted.
    fn told(&self) -> Result<Vec<String>> {
        let findings = self.report["findings"].as_array();
        let findings = findings.with_context(|| self.complaint.clone())?;
        let text = |finding: &Value| {
            let part = |name: &str| finding[name].as_str().unwrap_or_default().to_owned();
            ["severity", "code", "namespace", "name", "field"].map(part).join(" ")
        };
        let mut told: Vec<String> = findings.iter().map(text).collect();
        told.sort();
        Ok(told)
    }
}

fn plane(world: &World) -> Result<ControlPlane> {
    let plane = ControlPlane::start(world)?;
    plane.apply(world, include_str!("../crds/minimal.yaml"))?;
    let crd = "crd/serviceentries.networking.istio.io";
    plane.kubectl(world, &["wait", "--for=condition=Established", "--timeout=30s", crd], "")?;
    plane.apply(world, OBJECTS)?;
    plane.apply(world, READER)?;
    let address = r#"{"status": {"podIP": "203.0.113.77", "podIPs": [{"ip": "203.0.113.77"}]}}"#;
    let patch = ["patch", "pod", "db", "-n", "shop", "--subresource=status", "-p", address];
    plane.kubectl(world, &patch, "")?;
    Ok(plane)
}

fn text(path: &Path) -> Result<&str> {
    path.to_str().context("a path that is no text")
}

#[test]
fn a_cluster_is_analysed_as_its_manifests_are() -> Result<()> {
    if is_left_out() {
        return Ok(());
    }
    let world = World::new(Wiring::Routed)?;
    let plane = plane(&world)?;
    let admin = plane.admin();
    let admin = ["--kubeconfig", text(&admin)?];
    let live = analyze(&world, &admin, "")?;
    ensure!(live.code == Some(0), "{}{}", live.report, live.complaint);
    ensure!(live.report["server"].as_str().is_some_and(|server| server.contains(":6443")));
    let told = live.told()?;
    for expected in [
        "warning IST0134 shop open spec.ports[0]",
        "warning SK0306 shop pods spec.addresses",
        "warning SK0304 shop pods spec.ports[0]",
    ] {
        let found = told.iter().any(|one| one == expected);
        // Which of the two entries of one host is the older one is a matter of the second.
        let other = expected.replace("pods spec.ports", "hidden spec.ports");
        ensure!(found || told.contains(&other), "{expected} is not among {told:?}");
    }

    // The same objects in a file give the same; there an address is a pod's only if it is said.
    let with_status = OBJECTS.replace(
        "containers: [{name: db, image: db}]}",
        "containers: [{name: db, image: db}]}\nstatus: {podIPs: [{ip: 203.0.113.77}]}",
    );
    let offline = analyze(&world, &[], &with_status)?;
    let codes = |told: Vec<String>| -> Vec<String> {
        let ours = told.into_iter().filter(|one| one.contains(" shop "));
        ours.map(|one| one.split(' ').take(2).collect::<Vec<_>>().join(" ")).collect()
    };
    let (live, offline) = (codes(told), codes(offline.told()?));
    ensure!(live == offline, "{live:?} on the server and {offline:?} in the file");
    Ok(())
}

#[test]
fn what_may_not_be_listed_is_named_and_the_rest_goes_on() -> Result<()> {
    if is_left_out() {
        return Ok(());
    }
    let world = World::new(Wiring::Routed)?;
    let mut plane = plane(&world)?;
    plane.apply(&world, WRONG)?;
    let reader = plane.account(&world, "shop", "reader")?;
    let reader = ["--kubeconfig", text(&reader)?, "--context", "test"];
    let answer = analyze(&world, &reader, "")?;
    ensure!(answer.code == Some(4), "{:?} {}", answer.code, answer.complaint);
    let told = answer.told()?;
    ensure!(told.contains(&"error SK0202 shop wrong spec.hosts[0]".to_owned()), "{told:?}");
    for resource in ["pods", "services", "sidecars.networking.istio.io"] {
        let expected = format!("warning SK0004   {resource}");
        ensure!(told.contains(&expected), "{expected:?} is not among {told:?}");
    }
    ensure!(!told.iter().any(|one| one.ends_with("  serviceentries.networking.istio.io")));
    let message = answer.report["findings"].to_string();
    ensure!(message.contains("may not list pods"), "{message}");

    // As it would be with the file applied.
    let mended = WRONG.replace("'*'", "right.example.com");
    let answer = analyze(&world, &reader, &mended)?;
    ensure!(answer.code == Some(0), "{:?} {:?}", answer.code, answer.told()?);

    let wrong = ["--kubeconfig", reader[1], "--context", "nowhere"];
    let answer = analyze(&world, &wrong, "")?;
    ensure!(
        answer.code == Some(1) && answer.complaint.contains("--context"),
        "{}",
        answer.complaint
    );
    plane.kill_server()?;
    let answer = analyze(&world, &reader, "")?;
    ensure!(answer.code == Some(1) && answer.complaint.contains("cannot be reached"));
    Ok(())
}
