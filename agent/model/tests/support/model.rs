//! A model as text that can be reviewed: YAML without what is not said, and without what is usual.

use agent_model::{requests::Requests as _, translate::requests::RequestModel};
use serde_json::{Map, Value, json};

use super::cluster::Cluster;

/// The models of the pods that a cluster shows.
pub(crate) fn shown(cluster: &Cluster) -> String {
    assert!(cluster.refused.is_empty(), "{:?}", cluster.refused);
    let model = RequestModel::new(&cluster.objects, "cluster.local");
    let mut text = String::new();
    for pod in &cluster.show {
        let (outbound, gateway) = (model.outbound(pod), model.gateway(pod));
        let parts = json!({
            "outbound": outbound,
            "server": model.server(pod),
            "gateway": gateway,
        });
        let mut parts = reduced(parts).unwrap_or(Value::Null);
        let mut backends = Map::new();
        by_name(&mut parts, &mut backends);
        let dialled = outbound.iter().flat_map(|one| one.clusters().into_values());
        let served = gateway.iter().flat_map(|one| one.clusters().into_values());
        for backend in dialled.chain(served) {
            let assigned = json!(model.load_assignment(backend));
            let assigned = reduced(assigned).unwrap_or(Value::Null);
            backends[&name(&json!(backend))]["served by"] = assigned;
        }
        parts["backends"] = Value::Object(backends);
        let whole = Value::Object(Map::from_iter([(pod.to_string(), parts)]));
        text += &serde_saphyr::to_string(&whole).expect("YAML");
    }
    text
}

/// Tells of each destination once, and calls it by its name elsewhere.
fn by_name(value: &mut Value, backends: &mut Map<String, Value>) {
    if let Some(mut backend) = value.get_mut("Backend").map(Value::take) {
        let name = name(&backend);
        if let Value::Object(backend) = &mut backend {
            backend.retain(|key, _| !["service", "port", "subset"].contains(&key.as_str()));
        }
        backends.insert(name.clone(), backend);
        *value = Value::String(name);
        return;
    }
    match value {
        Value::Array(items) => items.iter_mut().for_each(|item| by_name(item, backends)),
        Value::Object(map) => map.values_mut().for_each(|item| by_name(item, backends)),
        _ => {}
    }
}

fn name(backend: &Value) -> String {
    let word = |name: &str| backend[name].as_str().unwrap_or_default().to_owned();
    let (service, subset) = (word("service"), word("subset"));
    let slash = if subset.is_empty() { "" } else { "/" };
    format!("{service}:{}{slash}{subset}", backend["port"])
}

/// The defaults of retries and of limits.
fn usual() -> [(&'static str, Value); 2] {
    let on = ["ConnectFailure", "RefusedStream", "GrpcCancelled", "GrpcUnavailable"];
    let retries = json!({"attempts": 2, "on": on, "backoff": "25ms", "elsewhere": true});
    [("retries", retries), ("limits", json!({"connect_timeout": "10s", "upgrade": "AsDeclared"}))]
}

fn reduced(value: Value) -> Option<Value> {
    match value {
        Value::Null | Value::Bool(false) => None,
        Value::String(text) if text.is_empty() => None,
        Value::Array(items) => {
            let items: Vec<Value> = items.into_iter().filter_map(reduced).collect();
            (!items.is_empty()).then_some(Value::Array(items))
        }
        Value::Object(map) => {
            if let Some(time) = time(&map) {
                return Some(Value::String(time));
            }
            let mut kept = Map::new();
            for (key, value) in map {
                let empty_endpoints = key == "Listed" && value == json!([]);
                let value = if empty_endpoints { Some(json!("none")) } else { reduced(value) };
                let Some(value) = value else { continue };
                if !usual().iter().any(|(name, usual)| *name == key && *usual == value) {
                    kept.insert(key, value);
                }
            }
            (!kept.is_empty()).then_some(Value::Object(kept))
        }
        other => Some(other),
    }
}

fn time(map: &Map<String, Value>) -> Option<String> {
    let (secs, nanos) = (map.get("secs")?.as_u64()?, map.get("nanos")?.as_u64()?);
    Some(match (secs, nanos / 1_000_000) {
        (0, millis) if millis > 0 => format!("{millis}ms"),
        (secs, 0) => format!("{secs}s"),
        (secs, millis) => format!("{secs}s{millis}ms"),
    })
}
