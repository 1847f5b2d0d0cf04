//! Every message is in the words of the manifest's author: none has those of the library that reads
//! them, such as the names of its types and options.

#[path = "support/bad_values.rs"]
mod bad_values;

use agent_model::resource::{documents, parse, validate};
use bad_values::{places, replaced, spoilt};
use fastrand::Rng;
use serde_json::Value;

/// Words of Rust's, of serde's and of the parsers'.
const WORDS: [&str; 41] = [
    "u8",
    "u16",
    "u32",
    "u64",
    "u128",
    "i8",
    "i16",
    "i32",
    "i64",
    "i128",
    "f32",
    "f64",
    "usize",
    "isize",
    "str",
    "struct",
    "enum",
    "variant",
    "newtype",
    "tuple",
    "serde",
    "Option",
    "Options",
    "Vec",
    "HashMap",
    "BTreeMap",
    "Value",
    "map",
    "seq",
    "sequence",
    "bool",
    "scalar",
    "budget",
    "replay",
    "EOF",
    "eof",
    "parser",
    "codepoint",
    "deserialize",
    "ShapeError",
    "ByteString",
];

const PHRASES: [&str; 9] = [
    "floating point",
    "invalid type",
    "invalid value",
    "invalid length",
    "KeyPolicy",
    "internal error",
    "<document start>",
    "missing field",
    "unknown variant",
];

const TAGS: [&str; 5] = ["!!int", "!!binary", "!!map", "!!float", "!!bool"];

/// What is a word of the program's in a message.
fn strange(message: &str) -> Option<String> {
    // This begins with the name of a field, whatever that is.
    if message.ends_with("is not a field that is read here: it has no effect") {
        return None;
    }
    // What the manifest itself says is in quotes.
    let said: String = message.split('"').step_by(2).collect::<Vec<_>>().join("\"\"");
    // So are tags, where a slip has put one into a name.
    let said = TAGS.iter().fold(said, |said, tag| said.replace(tag, ""));
    let mut words = said.split(|letter: char| !letter.is_alphanumeric());
    let word = words.find(|word| WORDS.contains(word)).map(str::to_owned);
    word.or_else(|| PHRASES.iter().find(|one| said.contains(**one)).map(|one| (*one).to_owned()))
        .or_else(|| type_name(&said))
}

/// The name of a type where something is expected: `expected PodSpec`.
fn type_name(said: &str) -> Option<String> {
    let (_, expected) = said.rsplit_once("expected ")?;
    let has_both = |word: &str| {
        word.starts_with(|one: char| one.is_ascii_uppercase())
            && word.chars().all(|one| one.is_ascii_alphanumeric())
            && word.contains(|one: char| one.is_ascii_lowercase())
    };
    has_both(expected).then(|| expected.to_owned())
}

/// All that is said of a text.
fn messages(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for document in documents(text) {
        match document.value {
            Ok(value) => found.extend(said(value)),
            Err(error) => found.push(error.to_string()),
        }
    }
    found
}

fn said(value: Value) -> Vec<String> {
    let mut found = Vec::new();
    for parsed in parse(value) {
        match parsed {
            Err(error) => found.extend([error.to_string(), error.reason()]),
            Ok(parsed) => {
                let judged = parsed.object.iter().flat_map(validate).collect::<Vec<_>>();
                let all = parsed.findings.into_iter().chain(judged);
                found.extend(all.map(|finding| finding.message));
            }
        }
    }
    found
}

fn check(message: &str, of: &dyn std::fmt::Display) {
    if let Some(word) = strange(message) {
        panic!("{word:?} is no word of a manifest's: {message}\nof {of}");
    }
}

/// Good manifests of all kinds.
fn good() -> Vec<String> {
    let crds = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/tests/crds_agree/good.yaml");
    let texts = [std::fs::read_to_string(crds).expect("good objects"), KUBERNETES.to_owned()];
    let parts = texts.iter().flat_map(|text| text.split("\n---\n"));
    parts
        .map(|text| format!("{text}\nmetadata: {{name: istio, namespace: istio-system}}\n"))
        .collect()
}

const KUBERNETES: &str = "
apiVersion: v1
kind: Pod
spec: {nodeName: n, hostNetwork: false, serviceAccountName: s, containers: [{name: c, image: i, ports: [{containerPort: 80, name: http, protocol: TCP}], resources: {limits: {cpu: 100m}}, livenessProbe: {httpGet: {port: http}}}], dnsConfig: {nameservers: [10.0.0.1]}}
status: {phase: Running, podIPs: [{ip: 10.0.0.1}], podIP: 10.0.0.1, startTime: '2024-01-01T00:00:00Z'}
---
apiVersion: v1
kind: Service
spec: {type: ClusterIP, clusterIP: 10.0.0.1, clusterIPs: [10.0.0.1], selector: {a: b}, ports: [{port: 80, targetPort: http, name: http, protocol: TCP, appProtocol: http}]}
---
apiVersion: v1
kind: Namespace
spec: {finalizers: [kubernetes]}
---
apiVersion: v1
kind: Endpoints
subsets: [{addresses: [{ip: 10.0.0.1, targetRef: {kind: Pod, name: a}}], ports: [{port: 80, name: http}]}]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
addressType: IPv4
endpoints: [{addresses: [10.0.0.1], conditions: {ready: true}, zone: z}]
ports: [{name: http, port: 80}]
---
apiVersion: v1
kind: ConfigMap
data: {mesh: '{outboundTrafficPolicy: {mode: REGISTRY_ONLY}, rootNamespace: a, enableAutoMtls: true, defaultServiceExportTo: [a], connectTimeout: 1s}'}
binaryData: {a: YQ==}";

#[test]
fn a_value_of_any_shape_anywhere_is_told_in_plain_words() {
    let mut told = 0;
    for text in good() {
        let value = documents(&text).remove(0).value.expect(&text);
        for message in said(value.clone()) {
            check(&message, &value);
        }
        for place in places(&value) {
            for bad in replaced(&value, &place) {
                for message in said(bad.clone()) {
                    check(&message, &bad);
                    told += 1;
                }
            }
        }
    }
    assert!(told > 5_000, "{told}");
}

#[test]
fn settings_of_a_mesh_are_told_in_plain_words() {
    let mesh = "outboundTrafficPolicy: {mode: REGISTRY_ONLY}\nrootNamespace: a\nenableAutoMtls: true\n\
                defaultServiceExportTo: [a]\nconnectTimeout: 1s\n\
                defaultHttpRetryPolicy: {attempts: 2, perTryTimeout: 1s, retryOn: a}\n";
    let config = |mesh: &str| {
        serde_json::json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": "istio", "namespace": "istio-system"}, "data": {"mesh": mesh},
        })
    };
    let value = documents(mesh).remove(0).value.expect(mesh);
    for place in places(&value) {
        for bad in replaced(&value, &place) {
            let config = config(&bad.to_string());
            for message in said(config.clone()) {
                check(&message, &config);
            }
        }
    }
    let mut random = Rng::with_seed(7);
    for _ in 0..2_000 {
        let text = spoilt(mesh, &mut random);
        for message in said(config(&text)) {
            check(&message, &text);
        }
    }
}

#[test]
fn what_is_no_yaml_is_told_in_plain_words() {
    let mut random = Rng::with_seed(1);
    let (mut told, good) = (std::collections::BTreeSet::new(), good());
    for round in 0..20_000 {
        let text = spoilt(&good[round % good.len()], &mut random);
        for message in messages(&text) {
            check(&message, &text);
            if message.starts_with("not YAML") {
                told.insert(message.split_once(": ").map(|(_, why)| why.to_owned()));
            }
        }
    }
    for text in bad_values::NO_YAML {
        for message in messages(text) {
            check(&message, &text);
            assert!(!message.contains(", column"), "{message}");
        }
    }
    assert!(told.len() > 15, "{told:#?}");
    println!("{told:#?}");
}
