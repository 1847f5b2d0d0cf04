//! What the runtime asks: its environment and its standard input, checked and taken apart.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    path::PathBuf,
    time::Duration,
};

use serde::Deserialize;
use serde_json::Value;

use super::answer::{Code, Failure, VERSIONS};

#[cfg(test)]
mod tests;

/// How long the agent may take when the configuration does not say.
const DEADLINE_SECONDS: u64 = 5;
/// The longest that it may take: a runtime gives up after minutes.
const MOST_SECONDS: u64 = 3_600;

/// The environment, by name.
pub(super) type Environment = BTreeMap<String, String>;

/// A call.
#[derive(Clone, Debug)]
pub(super) struct Call {
    /// The version to answer in.
    pub(super) version: String,
    pub(super) verb: Verb,
    pub(super) config: Config,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verb {
    /// A sandbox was made; the answer is `before`.
    Add { sandbox: Option<Asked>, before: Value },
    /// Is it still as it was answered?
    Check { sandbox: Option<Asked> },
    /// These are all that are left.
    Gc { ids: BTreeSet<String> },
    /// Could a sandbox be added?
    Status,
}

/// A pod's sandbox as far as the runtime tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Asked {
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) uid: String,
    pub(super) id: String,
    pub(super) netns: PathBuf,
    pub(super) addresses: Vec<IpAddr>,
}

/// What our entry of the list says, and what libcni puts beside it.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Config {
    #[serde(default)]
    cni_version: Option<String>,
    /// The agent's socket.
    pub(super) socket: Option<PathBuf>,
    #[serde(default)]
    deadline_seconds: Option<u64>,
    /// Pods of these are passed without a question, so that they start while the agent is away.
    #[serde(default)]
    pub(super) exclude_namespaces: BTreeSet<String>,
    #[serde(default)]
    prev_result: Option<Value>,
    #[serde(default, rename = "cni.dev/valid-attachments")]
    valid_attachments: Option<Vec<Attachment>>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Attachment {
    #[serde(rename = "containerID")]
    container_id: String,
}

impl Config {
    /// How long the agent may take.
    pub(super) fn deadline(&self) -> Duration {
        let seconds = self.deadline_seconds.unwrap_or(DEADLINE_SECONDS);
        Duration::from_secs(seconds.min(MOST_SECONDS))
    }
}

/// A sandbox goes.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Del {
    pub(super) id: String,
    pub(super) socket: PathBuf,
    pub(super) deadline: Duration,
}

/// Whether a sandbox goes.
pub(super) fn is_del(environment: &Environment) -> bool {
    environment.get("CNI_COMMAND").is_some_and(|command| command == "DEL")
}

/// As much of the end of a sandbox as can be read: nothing else of the configuration matters to it.
pub(super) fn del(environment: &Environment, input: &[u8]) -> Option<Del> {
    let config: Value = serde_json::from_slice(input).ok()?;
    let seconds = config.get("deadlineSeconds").and_then(Value::as_u64);
    // An agent that hangs does not keep a pod from going.
    let seconds = seconds.unwrap_or(DEADLINE_SECONDS).min(DEADLINE_SECONDS);
    Some(Del {
        id: container(environment).ok()?.to_owned(),
        socket: config.get("socket")?.as_str()?.into(),
        deadline: Duration::from_secs(seconds),
    })
}

/// The version that the configuration names, where it can be read that far.
pub(super) fn version_of(input: &[u8]) -> Option<String> {
    let value: Value = serde_json::from_slice(input).ok()?;
    Some(value.get("cniVersion")?.as_str()?.to_owned())
}

/// Takes a call other than VERSION apart.
pub(super) fn read(environment: &Environment, input: &[u8]) -> Result<Call, Failure> {
    let config: Config = serde_json::from_slice(input).map_err(|error| {
        let details = "the entry of type sekisho-cni in the node's CNI configuration";
        Failure::new(Code::Decode, format!("cannot read the configuration: {error}"), details)
    })?;
    // A configuration without a version is of the oldest (specification, section 1).
    let version = config.cni_version.clone().unwrap_or_else(|| "0.1.0".into());
    if !VERSIONS.contains(&version.as_str()) {
        let message = format!("cniVersion {version} is not spoken");
        return Err(Failure::new(Code::Version, message, format!("spoken are {VERSIONS:?}")));
    }
    let verb = verb(environment, &config, &version)?;
    Ok(Call { version, verb, config })
}

fn verb(environment: &Environment, config: &Config, version: &str) -> Result<Verb, Failure> {
    let command = required(environment, "CNI_COMMAND")?;
    let since = match command {
        "GC" | "STATUS" => "1.1.0",
        "CHECK" => "0.4.0",
        _ => "0.3.0",
    };
    // Versions of one digit each compare as words.
    if version < since {
        let message = format!("{command} came with cniVersion {since}");
        return Err(Failure::new(Code::Version, message, format!("this list is of {version}")));
    }
    match command {
        "ADD" => {
            let before = before(config)?;
            Ok(Verb::Add { sandbox: asked(environment, &before)?, before })
        }
        "CHECK" => Ok(Verb::Check { sandbox: asked(environment, &before(config)?)? }),
        "GC" => {
            let valid = config.valid_attachments.as_ref().ok_or_else(|| {
                let message = "cni.dev/valid-attachments is missing";
                Failure::new(Code::Config, message, "GC needs the list of what is still there")
            })?;
            Ok(Verb::Gc { ids: valid.iter().map(|one| one.container_id.clone()).collect() })
        }
        "STATUS" => Ok(Verb::Status),
        other => {
            let message = format!("CNI_COMMAND {other} is unknown");
            Err(Failure::new(Code::Environment, message, "ADD, CHECK, DEL, GC, STATUS, VERSION"))
        }
    }
}

/// What the plugin before us has answered.
fn before(config: &Config) -> Result<Value, Failure> {
    config.prev_result.clone().filter(Value::is_object).ok_or_else(|| {
        let message = "prevResult is missing: sekisho-cni makes no network of its own";
        Failure::new(Code::Config, message, "put it after the plugin that does, in a list")
    })
}

/// The pod's sandbox; `None` for a container that is no pod.
fn asked(environment: &Environment, before: &Value) -> Result<Option<Asked>, Failure> {
    let id = container(environment)?.to_owned();
    required(environment, "CNI_IFNAME")?;
    let netns = PathBuf::from(required(environment, "CNI_NETNS")?);
    let arguments = arguments(environment)?;
    let argument = |name: &str| arguments.get(name).map(|value| (*value).to_owned());
    let pod = (argument("K8S_POD_NAMESPACE"), argument("K8S_POD_NAME"));
    let (Some(namespace), Some(name)) = pod else { return Ok(None) };
    let uid = argument("K8S_POD_UID").unwrap_or_default();
    Ok(Some(Asked { namespace, name, uid, id, netns, addresses: addresses(before) }))
}

fn required<'a>(environment: &'a Environment, name: &str) -> Result<&'a str, Failure> {
    let found = environment.get(name).filter(|value| !value.is_empty());
    found.map(String::as_str).ok_or_else(|| {
        let details = "a container runtime starts this program, by the CNI specification";
        Failure::new(Code::Environment, format!("{name} is not set"), details)
    })
}

fn container(environment: &Environment) -> Result<&str, Failure> {
    let id = required(environment, "CNI_CONTAINERID")?;
    let mut letters = id.chars();
    let starts = letters.next().is_some_and(|first| first.is_ascii_alphanumeric());
    let goes_on = letters.all(|rest| rest.is_ascii_alphanumeric() || "_.-".contains(rest));
    if starts && goes_on {
        return Ok(id);
    }
    let message = format!("CNI_CONTAINERID {id:?} is no container's");
    Err(Failure::new(Code::Environment, message, "a letter or digit, then those and _ . -"))
}

/// `CNI_ARGS`: `KEY=VALUE;…`.
fn arguments(environment: &Environment) -> Result<BTreeMap<&str, &str>, Failure> {
    let text = environment.get("CNI_ARGS").map_or("", String::as_str);
    let pairs = text.split(';').filter(|pair| !pair.is_empty());
    let pairs = pairs.map(|pair| {
        pair.split_once('=').ok_or_else(|| {
            let message = format!("CNI_ARGS holds {pair:?}, which is no KEY=VALUE");
            Failure::new(Code::Environment, message, "pairs are separated by semicolons")
        })
    });
    pairs.collect()
}

/// The addresses of a result, whose prefix lengths are not needed here.
fn addresses(result: &Value) -> Vec<IpAddr> {
    let entries = result["ips"].as_array().map(Vec::as_slice).unwrap_or_default();
    let address = |entry: &Value| {
        entry["address"].as_str()?.split('/').next().and_then(|address| address.parse().ok())
    };
    entries.iter().filter_map(address).collect()
}
