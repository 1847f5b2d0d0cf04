//! What a node makes of objects does not depend on where they come from: every golden case, written
//! to a real API server and read from it, gives the snapshot that its file gives, word for word.
//!
//! Each object is applied as a dry run, server-side and strictly: the answer is what the server
//! would store, with its defaults, after admission and by the schemas of `deploy/crds`. So nothing
//! has to be removed between two cases. What a server does not take is left out of both sides, and
//! listed here ([`NOT_TAKEN`]). That the agent reads the same object in the same way from either
//! source is a test of its own (`source/cluster/object/tests.rs`).

#[path = "../../agent/model/tests/support/cluster.rs"]
mod cluster;
#[path = "../../agent/model/tests/support/model.rs"]
mod model;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::{Read as _, Write as _},
    net::TcpStream,
    path::{Path, PathBuf},
};

use agent_model::resource::{Kind, documents};
use anyhow::{Context as _, Result, ensure};
use cluster::Cluster;
use sekisho_tests::{
    control_plane::ControlPlane,
    kubernetes::is_left_out,
    process::Process,
    world::{Wiring, World},
};
use serde_json::{Value, json};

const PORT: u16 = 6_445;
/// Wide enough for the Services of the cases.
const RANGES: &str = "--service-cluster-ip-range=10.0.0.0/8,2001:db8::/64";
/// What no server takes, or not this one: names in capitals, fields that are misspelt or of another
/// type, an address outside its range, and its own Service at another address.
const NOT_TAKEN: [&str; 10] = [
    "golden/edge-59-protocol: Service p",
    "golden/kinds-not-applied: VirtualNode broken",
    "golden/kinds-not-applied: VirtualService x",
    "golden/refused: ServiceEntry invalid",
    "golden/refused: ServiceEntry typo",
    "golden/refused: ServiceEntry wrong-enum",
    "golden/refused: ServiceEntry wrong-type",
    "golden/s0-10-external-name: Service db",
    "golden/services: Service dual",
    "mesh/s1-legacy-policy: Service kubernetes",
];
/// What the server keeps books of by itself.
const BOOKS: [&str; 4] = ["uid", "creationTimestamp", "resourceVersion", "generation"];

/// A server that is asked in plain HTTP.
struct Server {
    _proxy: Process,
    plane: ControlPlane,
    world: World,
}

impl Server {
    /// With all definitions installed.
    fn start() -> Result<Self> {
        let world = World::new(Wiring::Routed)?;
        let plane = ControlPlane::start_with(&world, &[RANGES])?;
        let definitions = tree("deploy/crds").display().to_string();
        plane.kubectl(&world, &["create", "-f", &definitions], "")?;
        let wait = ["wait", "--for=condition=Established", "--timeout=60s", "crd", "--all"];
        plane.kubectl(&world, &wait, "")?;
        let proxy = plane.plain(&world, PORT)?;
        Ok(Self { _proxy: proxy, plane, world })
    }

    /// Makes the namespaces that objects are in: a dry run would make none.
    fn make(&self, namespaces: &BTreeSet<String>) -> Result<()> {
        let object =
            |name| json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
        let items: Vec<Value> = namespaces.iter().map(object).collect();
        let list = json!({"apiVersion": "v1", "kind": "List", "items": items});
        self.plane.apply(&self.world, &list.to_string())
    }

    /// What the server would store, or why it would not.
    fn dry_run(&self, kind: Kind, object: &Value) -> Result<Result<Value, String>> {
        let api = object["apiVersion"].as_str().unwrap_or_default();
        let root = if api.contains('/') { "apis" } else { "api" };
        let namespace = if kind.is_namespaced() {
            format!("namespaces/{}/", namespace(object))
        } else {
            String::new()
        };
        let name = object["metadata"]["name"].as_str().unwrap_or_default();
        let path = format!("/{root}/{api}/{namespace}{}/{name}", kind.plural());
        let query = "dryRun=All&fieldManager=test&fieldValidation=Strict&force=true";
        let body = object.to_string();
        let request = format!(
            "PATCH {path}?{query} HTTP/1.0\r\nHost: localhost\r\nContent-Length: {}\r\n\
             Content-Type: application/apply-patch+yaml\r\nAccept: application/json\r\n\r\n{body}",
            body.len()
        );
        let answer = self.world.node().enter(|| {
            let mut stream = TcpStream::connect(("127.0.0.1", PORT))?;
            stream.write_all(request.as_bytes())?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer)?;
            Ok(answer)
        })?;
        let (head, body) = answer.split_once("\r\n\r\n").context("no answer")?;
        let value: Value = serde_json::from_str(body).with_context(|| answer.clone())?;
        let code = head.split(' ').nth(1).unwrap_or_default();
        Ok(if code.starts_with('2') { Ok(value) } else { Err(value["message"].to_string()) })
    }
}

fn tree(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

fn namespace(object: &Value) -> String {
    object["metadata"]["namespace"].as_str().unwrap_or("default").to_owned()
}

/// The objects of a case, by its name.
fn cases() -> Result<BTreeMap<String, Vec<Value>>> {
    let mut cases = BTreeMap::new();
    for folder in ["golden", "mesh"] {
        for entry in fs::read_dir(tree("agent/model/tests").join(folder))? {
            let path = entry?.path();
            let text = fs::read_to_string(path.join("input.yaml"))?;
            let objects = documents(&text).into_iter().map(|document| document.value);
            let objects = objects.collect::<Result<Vec<_>, _>>()?;
            let name = path.file_name().context("no name")?.to_string_lossy().into_owned();
            cases.insert(format!("{folder}/{name}"), objects);
        }
    }
    Ok(cases)
}

/// What a server wants besides, and nothing of ours asks for.
fn complete(object: &mut Value) {
    let several = |value: &Value, least| value.as_array().is_some_and(|all| all.len() >= least);
    if object["kind"] == "Pod" && !several(&object["spec"]["containers"], 1) {
        object["spec"]["containers"] = json!([{"name": "app", "image": "none"}]);
    }
    if object["kind"] == "Service" && several(&object["spec"]["clusterIPs"], 2) {
        object["spec"]["ipFamilyPolicy"] = "RequireDualStack".into();
    }
}

/// What is written to a server: without its own books, and without what others report.
fn to_write(object: &Value) -> Value {
    let mut object = object.clone();
    if let Some(fields) = object.as_object_mut() {
        fields.remove("status");
    }
    if let Some(metadata) = object["metadata"].as_object_mut() {
        metadata.retain(|field, _| !BOOKS.contains(&field.as_str()));
    }
    object
}

/// What comes from the server, with the books and the reports of the case.
fn as_served(mut served: Value, written: &Value) -> Value {
    if let Some(metadata) = served["metadata"].as_object_mut() {
        metadata.remove("managedFields");
        for field in BOOKS {
            match written["metadata"].get(field) {
                Some(value) => metadata.insert(field.to_owned(), value.clone()),
                None => metadata.remove(field),
            };
        }
    }
    if let Some(fields) = served.as_object_mut() {
        match written.get("status") {
            Some(status) => fields.insert("status".to_owned(), status.clone()),
            None => fields.remove("status"),
        };
    }
    // A server gives each Service an address; the case is about one that has none yet.
    if served["kind"] == "Service"
        && written["spec"]["clusterIP"].is_null()
        && let Some(spec) = served["spec"].as_object_mut()
    {
        spec.remove("clusterIP");
        spec.remove("clusterIPs");
    }
    served
}

fn text(objects: &[Value]) -> String {
    objects.iter().map(Value::to_string).collect::<Vec<_>>().join("\n---\n")
}

/// All that a node makes of it.
fn report(objects: &[Value]) -> String {
    let cluster = Cluster::read(&text(objects));
    let findings = cluster.findings.iter().map(|finding| format!("{finding}\n"));
    let refused = cluster.refused.iter().map(|refused| format!("refused {refused}\n"));
    let models = (!cluster.show.is_empty()).then(|| model::shown(&cluster));
    refused.chain(findings).chain([cluster.snapshot().to_string()]).chain(models).collect()
}

#[test]
fn an_object_means_the_same_from_a_file_and_from_a_server() -> Result<()> {
    if is_left_out() {
        return Ok(());
    }
    let (server, cases) = (Server::start()?, cases()?);
    server.make(&cases.values().flatten().map(namespace).collect())?;
    let (mut compared, mut refused, mut differ) = (0, BTreeMap::new(), Vec::new());
    for (name, objects) in &cases {
        let (mut from_file, mut from_server) = (Vec::new(), Vec::new());
        for object in objects {
            let mut object = object.clone();
            complete(&mut object);
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            let (api, word) = (text(&object["apiVersion"]), text(&object["kind"]));
            let Some(kind) = Kind::read(&api, &word) else {
                // The node's own description, and kinds that the agent does not read.
                from_file.push(object.clone());
                from_server.push(object);
                continue;
            };
            match server.dry_run(kind, &to_write(&object))? {
                Ok(answer) => {
                    from_server.push(as_served(answer, &object));
                    from_file.push(object);
                    compared += 1;
                }
                Err(why) => {
                    let object = format!("{name}: {word} {}", text(&object["metadata"]["name"]));
                    refused.insert(object, why);
                }
            }
        }
        let (from_file, from_server) = (report(&from_file), report(&from_server));
        if from_file != from_server {
            println!("--- {name}, from a file\n{from_file}--- from a server\n{from_server}");
            differ.push(name);
        }
    }
    println!("{compared} objects compared");
    ensure!(differ.is_empty(), "differ: {differ:?}");
    ensure!(compared > 600, "only {compared} objects were compared");
    ensure!(refused.keys().eq(NOT_TAKEN), "the server does not take {refused:#?}");
    Ok(())
}
