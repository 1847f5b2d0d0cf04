//! What the definitions in `deploy/crds` say at `kubectl apply`, and what `sekisho analyze` says: of
//! objects that are a few changes away from a good one, both refuse the same, but for what `known`
//! lists with its reason.
//!
//! `SEKISHO_MUTANTS=2000` tries so many of each kind, `SEKISHO_MUTANTS_SEED=2,3` those of other seeds.

mod known;
mod mutants;

use std::{
    collections::BTreeMap,
    fs,
    io::{Read as _, Write as _},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
};

use agent_model::{
    finding::Severity,
    resource::{documents, parse, validate},
};
use anyhow::{Context as _, Result, ensure};
use known::KNOWN;
use mutants::mutant;
use sekisho_tests::{
    control_plane::ControlPlane,
    kubernetes::is_left_out,
    world::{Wiring, World},
};
use serde_json::{Value, json};

/// How many objects of each kind are tried by default.
const USUAL: usize = 100;

/// A kind, as its definition has it.
struct Definition {
    kind: String,
    api: String,
    /// Where objects are created.
    path: String,
    schema: Value,
    /// Good values of `spec`.
    good: Vec<Value>,
}

fn tree(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

/// All documents of the files below a folder.
fn manifests(folder: &Path) -> Result<Vec<Value>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            found.extend(manifests(&path)?);
        } else if path.extension().is_some_and(|end| end == "yaml") {
            let text = fs::read_to_string(&path)?;
            found.extend(documents(&text).into_iter().filter_map(|one| one.value.ok()));
        }
    }
    Ok(found)
}

fn kinds() -> Result<Vec<Definition>> {
    let mut good = manifests(&tree("agent/model/tests"))?;
    good.extend(manifests(&tree("tests/tests/crds_agree"))?);
    let mut found = Vec::new();
    for definition in manifests(&tree("deploy/crds"))? {
        let spec = &definition["spec"];
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let (group, kind) = (text(&spec["group"]), text(&spec["names"]["kind"]));
        let version = text(&spec["versions"][0]["name"]);
        let namespace = if spec["scope"] == "Namespaced" { "namespaces/default/" } else { "" };
        let plural = text(&spec["names"]["plural"]);
        let is_one = |one: &&Value| {
            let api = one["apiVersion"].as_str().unwrap_or_default();
            one["kind"] == kind.as_str() && api.starts_with(&format!("{group}/"))
        };
        let schema = &spec["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"];
        let mut specs: Vec<Value> =
            good.iter().filter(is_one).map(|one| one["spec"].clone()).collect();
        specs.retain(Value::is_object);
        ensure!(!specs.is_empty(), "there is no good {kind} of {group} to begin with");
        found.push(Definition {
            path: format!(
                "/apis/{group}/{version}/{namespace}{plural}?dryRun=All&fieldValidation=Ignore"
            ),
            api: format!("{group}/{version}"),
            schema: schema.clone(),
            good: specs,
            kind,
        });
    }
    found.sort_by(|one, other| (&one.api, &one.kind).cmp(&(&other.api, &other.kind)));
    Ok(found)
}

/// A field's path without the numbers of items.
fn shape(field: &str) -> String {
    let mut shape = String::new();
    let mut skip = false;
    for letter in field.chars() {
        if letter == ']' {
            skip = false;
        }
        if !skip {
            shape.push(letter);
        }
        if letter == '[' {
            skip = true;
        }
    }
    shape
}

/// What `analyze` refuses an object for: the code and the field of each error.
fn analysed(object: &Value) -> Vec<String> {
    let mut errors = Vec::new();
    for parsed in parse(object.clone()) {
        match parsed {
            Err(error) => errors.push(format!("unreadable {}", shape(error.field()))),
            Ok(parsed) => {
                let found = parsed.object.iter().flat_map(validate);
                let found = found.filter(|finding| finding.severity == Severity::Error);
                errors.extend(found.map(|one| format!("{} {}", one.code, shape(&one.field))));
            }
        }
    }
    errors.sort();
    errors.dedup();
    errors
}

/// A server that is asked by one connection.
struct Server {
    stream: UnixStream,
    read: Vec<u8>,
}

impl Server {
    /// What the server refuses an object for: the field and the words of each cause.
    fn refuses(&mut self, path: &str, object: &Value) -> Result<Vec<String>> {
        let body = object.to_string();
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n",
            body.len()
        );
        self.stream.write_all((head + &body).as_bytes())?;
        let (code, answer) = self.answer()?;
        if code == 201 {
            return Ok(Vec::new());
        }
        ensure!([400, 422].contains(&code), "{code}: {answer}");
        let causes = answer["details"]["causes"].as_array().into_iter().flatten();
        let mut told: Vec<String> = causes.map(cause).collect();
        if told.is_empty() {
            told.push(answer["message"].as_str().unwrap_or("refused").to_owned());
        }
        told.sort();
        told.dedup();
        Ok(told)
    }

    fn answer(&mut self) -> Result<(u16, Value)> {
        let end = loop {
            if let Some(end) = self.read.windows(4).position(|four| four == b"\r\n\r\n") {
                break end + 4;
            }
            self.more()?;
        };
        let head = String::from_utf8_lossy(&self.read[..end]).to_ascii_lowercase();
        let code = head.split(' ').nth(1).context("no status")?.parse()?;
        self.read.drain(..end);
        let length = head.lines().find_map(|line| line.strip_prefix("content-length:"));
        let body = match length {
            Some(length) => self.take(length.trim().parse()?)?,
            None => self.chunks()?,
        };
        Ok((code, serde_json::from_slice(&body)?))
    }

    fn chunks(&mut self) -> Result<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let end = loop {
                if let Some(end) = self.read.windows(2).position(|two| two == b"\r\n") {
                    break end;
                }
                self.more()?;
            };
            let line = self.take(end + 2)?;
            let size = usize::from_str_radix(String::from_utf8_lossy(&line).trim(), 16)?;
            let chunk = self.take(size + 2)?;
            if size == 0 {
                return Ok(body);
            }
            body.extend_from_slice(&chunk[..size]);
        }
    }

    fn take(&mut self, count: usize) -> Result<Vec<u8>> {
        while self.read.len() < count {
            self.more()?;
        }
        Ok(self.read.drain(..count).collect())
    }

    fn more(&mut self) -> Result<()> {
        let mut buffer = [0; 16_384];
        let count = self.stream.read(&mut buffer)?;
        ensure!(count > 0, "the server has closed the connection");
        self.read.extend_from_slice(&buffer[..count]);
        Ok(())
    }
}

/// A cause without what is there.
fn cause(cause: &Value) -> String {
    let text = |name: &str| cause[name].as_str().unwrap_or_default().to_owned();
    let message = text("message");
    // `Invalid value: "…": what is wrong`; values may be of any length.
    let message = match message.rsplit_once("\": ") {
        Some((_, wrong)) => wrong.to_owned(),
        None => message,
    };
    format!("{}: {message}", shape(&text("field")))
}

/// Disagreements of one kind: what one of the two alone refuses, how often, and an example.
type Disagreements = BTreeMap<(String, &'static str, String), (usize, String)>;

/// How many objects of each kind.
fn count() -> Result<usize> {
    match std::env::var("SEKISHO_MUTANTS") {
        Ok(text) => text.parse().with_context(|| format!("SEKISHO_MUTANTS={text}: give a number")),
        Err(_) => Ok(USUAL),
    }
}

/// Where the numbers begin that look like chance.
fn seeds() -> Result<Vec<u64>> {
    let text = std::env::var("SEKISHO_MUTANTS_SEED").unwrap_or_else(|_| "1".to_owned());
    let seeds = text.split(',').map(|seed| seed.trim().parse());
    let seeds: Result<_, _> = seeds.collect();
    seeds.with_context(|| format!("SEKISHO_MUTANTS_SEED={text}: give numbers with commas between"))
}

/// A kind's good values, and mutants of them for each seed.
fn tried(definition: &Definition, count: usize, seeds: &[u64]) -> Vec<Value> {
    let good = &definition.good;
    let mut specs = good.clone();
    for seed in seeds {
        let mut random = fastrand::Rng::with_seed(*seed);
        for _ in 0..count {
            let from = &good[random.usize(..good.len())];
            specs.push(mutant(from, &definition.schema, &mut random));
        }
    }
    specs
}

#[test]
fn what_is_applied_and_what_is_analysed_is_refused_alike() -> Result<()> {
    if is_left_out() {
        return Ok(());
    }
    let world = World::new(Wiring::Routed)?;
    let plane = ControlPlane::start(&world)?;
    let folder = tree("deploy/crds").display().to_string();
    plane.kubectl(&world, &["create", "-f", &folder], "")?;
    let wait = ["wait", "--for=condition=Established", "--timeout=60s", "crd", "--all"];
    plane.kubectl(&world, &wait, "")?;
    let socket = std::env::temp_dir().join(format!("{}.sock", sekisho_tests::name::unique()));
    let _proxy = plane.proxy(&world, &socket)?;
    let mut server = Server { stream: UnixStream::connect(&socket)?, read: Vec::new() };
    fs::remove_file(&socket)?;

    let (count, seeds) = (count()?, seeds()?);
    println!("{count} mutants of each kind for each of the seeds {seeds:?}");
    let mut differ = Disagreements::new();
    let mut judged = [0_usize; 2];
    for definition in kinds()? {
        for spec in tried(&definition, count, &seeds) {
            let object = json!({
                "apiVersion": definition.api,
                "kind": definition.kind,
                "metadata": {"name": "default"},
                "spec": spec,
            });
            let (here, there) = (analysed(&object), server.refuses(&definition.path, &object)?);
            judged[usize::from(!here.is_empty())] += 1;
            let kind = || format!("{} of {}", definition.kind, definition.api);
            let (side, told) = match (here.is_empty(), there.is_empty()) {
                (true, false) => ("server", there),
                (false, true) => ("analyze", here),
                _ => continue,
            };
            for what in told {
                let one = differ.entry((kind(), side, what)).or_default();
                one.0 += 1;
                if one.1.is_empty() || object.to_string().len() < one.1.len() {
                    one.1 = object["spec"].to_string();
                }
            }
        }
    }
    println!("{} objects that analyze takes, {} that it refuses", judged[0], judged[1]);
    ensure!(judged.iter().all(|count| *count > 500), "too few of either: {judged:?}");
    let unknown = told(&differ);
    ensure!(unknown == 0, "{unknown} disagreements that are not listed");
    Ok(())
}

/// Prints all disagreements; how many of them are not known.
fn told(differ: &Disagreements) -> usize {
    let mut unknown = 0;
    for ((kind, side, what), (count, example)) in differ {
        let known = KNOWN.iter().find(|known| *side == "analyze" && known.is(kind, what));
        if let Some(known) = known {
            println!("known: {kind}: {side} alone, {count} times: {what} ({})", known.reason);
        } else {
            unknown += 1;
            println!("{kind}: {side} alone, {count} times: {what}\n    {example}");
        }
    }
    unknown
}
