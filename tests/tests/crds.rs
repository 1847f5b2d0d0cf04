//! The definitions in `deploy/crds`, on a real API server: it takes them, stores what the cases
//! write, refuses what is invalid, and definitions of other owners are not overwritten.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use anyhow::{Context as _, Result, ensure};
use sekisho_tests::{
    agent::Agent,
    control_plane::ControlPlane,
    kubernetes::is_left_out,
    world::{Wiring, World},
};

struct Scene {
    world: World,
    plane: ControlPlane,
}

fn tree(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

fn definitions() -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(tree("deploy/crds"))? {
        files.push(entry?.path());
    }
    files.sort();
    ensure!(files.len() == 19, "{} definitions", files.len());
    Ok(files)
}

impl Scene {
    fn set() -> Result<Self> {
        let world = World::new(Wiring::Routed)?;
        let plane = ControlPlane::start(&world)?;
        Ok(Self { world, plane })
    }

    fn kubectl(&self, arguments: &[&str], input: &str) -> Result<String> {
        self.plane.kubectl(&self.world, arguments, input)
    }

    /// `sekisho crds install`, as a user with the administrator's kubeconfig.
    fn install(&self) -> Result<Output> {
        let mut command = Command::new(Agent::new(&self.world)?.command().get_program());
        command.args(["crds", "install", "--kubeconfig"]).arg(self.plane.admin());
        self.world.agent_place().prepare(&mut command)?;
        command.output().context("sekisho crds install")
    }

    fn wait(&self) -> Result<()> {
        let wait = ["wait", "--for=condition=Established", "--timeout=60s", "crd", "--all"];
        self.kubectl(&wait, "").map(drop)
    }

    /// Every manifest of the acceptance cases that is of a custom kind, on the server.
    fn store_cases(&self) -> Result<usize> {
        let mut stored = 0;
        for case in fs::read_dir(tree("agent/model/tests/mesh"))? {
            let text = fs::read_to_string(case?.path().join("input.yaml"))?;
            let documents: Vec<&str> = text.split("\n---\n").collect();
            let custom = documents
                .iter()
                .filter(|one| one.contains("istio.io/v") || one.contains("appmesh.k8s.aws/v"));
            for document in custom {
                let arguments = ["apply", "--server-side", "--validate=strict", "-f", "-"];
                self.kubectl(&arguments, document).with_context(|| (*document).to_owned())?;
                stored += 1;
            }
        }
        Ok(stored)
    }
}

fn said(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    text(&output.stdout) + &text(&output.stderr)
}

fn object(api: &str, kind: &str, name: &str, spec: &str) -> String {
    format!(
        "apiVersion: {api}\nkind: {kind}\nmetadata: {{name: {name}, namespace: default}}\n\
         spec: {{{spec}}}\n"
    )
}

/// Objects that break one rule each, and a word of the server's answer.
const INVALID: [(&str, &str, &str, &str, &str); 21] = [
    ("networking.istio.io/v1", "ServiceEntry", "x", "ports: []", "spec.hosts"),
    ("networking.istio.io/v1alpha3", "ServiceEntry", "x", "hosts: ['*']", "spec.hosts[0]"),
    (
        "networking.istio.io/v1beta1",
        "ServiceEntry",
        "x",
        "hosts: [a.b], ports: [{number: 70000, name: a}]",
        "ports[0].number",
    ),
    ("networking.istio.io/v1", "VirtualService", "x", "hosts: [a]", "give it http, tls or tcp"),
    (
        "networking.istio.io/v1",
        "VirtualService",
        "x",
        "hosts: [a], http: [{timeout: 0s, route: [{destination: {host: a}}]}]",
        "give 1ms at least",
    ),
    (
        "networking.istio.io/v1",
        "VirtualService",
        "x",
        "hosts: [a], http: [{route: [{destination: {host: a}, weight: -1}]}]",
        "weight",
    ),
    (
        "networking.istio.io/v1",
        "DestinationRule",
        "x",
        "host: a, trafficPolicy: {}",
        "trafficPolicy",
    ),
    (
        "networking.istio.io/v1",
        "DestinationRule",
        "x",
        "host: a, trafficPolicy: {tls: {mode: MAYBE}}",
        "Unsupported value",
    ),
    ("networking.istio.io/v1", "Gateway", "x", "servers: [{hosts: [a]}]", "port"),
    (
        "security.istio.io/v1",
        "PeerAuthentication",
        "x",
        "portLevelMtls: {'80': {mode: STRICT}}",
        "selector",
    ),
    ("authentication.istio.io/v1alpha1", "Policy", "x", "peers: [{mtls: {}}]", "named default"),
    ("authentication.istio.io/v1alpha1", "MeshPolicy", "x", "peers: [{mtls: {}}]", "named default"),
    (
        "appmesh.k8s.aws/v1beta2",
        "VirtualNode",
        "x",
        "listeners: [{portMapping: {port: 0, protocol: http}}]",
        "portMapping.port",
    ),
    (
        "appmesh.k8s.aws/v1beta2",
        "VirtualRouter",
        "x",
        "routes: [{name: r, httpRoute: {match: {}, action: {weightedTargets: []}}}]",
        "weightedTargets",
    ),
    (
        "networking.istio.io/v1",
        "ServiceEntry",
        "x",
        "hosts: [a.b], addresses: [10.0.0.0/8], resolution: DNS",
        "take a CIDR",
    ),
    (
        "networking.istio.io/v1",
        "ServiceEntry",
        "x",
        "hosts: ['*.a.b'], resolution: DNS",
        "a wildcard cannot be resolved",
    ),
    ("networking.istio.io/v1", "WorkloadEntry", "x", "labels: {a: b}", "give an address"),
    (
        "networking.istio.io/v1",
        "WorkloadEntry",
        "x",
        "address: 'unix:///a', ports: {http: 80}",
        "a Unix socket has no ports",
    ),
    ("networking.istio.io/v1", "WorkloadGroup", "x", "metadata: {labels: {a: b}}", "spec.template"),
    (
        "networking.istio.io/v1",
        "WorkloadGroup",
        "x",
        "template: {}, probe: {exec: {command: []}}",
        "spec.probe.exec.command",
    ),
    (
        "security.istio.io/v1",
        "RequestAuthentication",
        "x",
        "jwtRules: [{audiences: [a]}]",
        "give issuer or jwksUri",
    ),
];

#[test]
fn a_server_takes_the_definitions_stores_the_cases_and_refuses_what_is_invalid() -> Result<()> {
    if is_left_out() {
        return Ok(());
    }
    let scene = Scene::set()?;
    for file in definitions()? {
        let file = file.display().to_string();
        scene.kubectl(&["create", "-f", &file], "").with_context(|| file)?;
    }
    scene.wait()?;
    let names = ["default", "istio-system", "mesh-test"];
    for name in names.into_iter().skip(1) {
        scene.kubectl(&["create", "namespace", name], "")?;
    }
    let stored = scene.store_cases()?;
    ensure!(stored > 15, "only {stored} objects of the cases");
    for (api, kind, name, spec, why) in INVALID {
        let manifest = object(api, kind, name, spec);
        let answer = scene.kubectl(&["create", "--validate=false", "-f", "-"], &manifest);
        let Err(refused) = answer else { anyhow::bail!("taken: {manifest}") };
        ensure!(refused.to_string().contains(why), "{manifest}: {refused}");
    }
    // A peer's null is STRICT, as an empty one is.
    let null =
        object("authentication.istio.io/v1alpha1", "Policy", "default", "peers: [{mtls: null}]");
    scene.kubectl(&["apply", "--server-side", "--force-conflicts", "-f", "-"], &null)?;
    Ok(())
}

/// A definition as another tool installs it.
const THEIRS: &str = "
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: gateways.networking.istio.io, labels: {app: istio-pilot}}
spec:
  group: networking.istio.io
  scope: Namespaced
  names: {kind: Gateway, listKind: GatewayList, plural: gateways, singular: gateway}
  versions:
  - name: v1
    served: true
    storage: true
    schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}
";

#[test]
fn only_what_is_absent_is_installed_and_what_is_there_is_left_alone() -> Result<()> {
    if is_left_out() {
        return Ok(());
    }
    let scene = Scene::set()?;
    scene.plane.apply(&scene.world, THEIRS)?;
    let name = "gateways.networking.istio.io";
    let spec = || -> Result<_> {
        let object = scene.plane.get(&scene.world, &["crd", name])?;
        Ok((object["spec"].clone(), object["metadata"]["generation"].clone()))
    };
    let before = spec()?;
    let output = scene.install()?;
    let words = said(&output);
    ensure!(output.status.success(), "{words}");
    ensure!(words.contains("kept      gateways.networking.istio.io"), "{words}");
    ensure!(words.matches("installed ").count() == 18, "{words}");
    ensure!(spec()? == before, "their definition has changed");
    let again = said(&scene.install()?);
    ensure!(again.matches("kept ").count() == 19, "{again}");
    ensure!(again.contains("kept      sidecars.networking.istio.io (ours)"), "{again}");
    // With kubectl the same: it creates, and says what is there.
    let file = tree("deploy/crds").join(format!("{name}.yaml")).display().to_string();
    let refused = scene.kubectl(&["create", "-f", &file], "").expect_err("it is there");
    ensure!(refused.to_string().contains("already exists"), "{refused}");
    Ok(())
}
