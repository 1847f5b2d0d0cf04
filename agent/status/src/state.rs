//! What the status writer says of itself, for `sekisho status`: who is elected, and what cannot be written.

use std::{
    collections::BTreeMap,
    future::Future,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use agent_base::{error::chain, lock::lock};
use agent_model::finding::Severity;
use agent_source::{cluster::Presence, code, note::Note};

use tokio::sync::watch;

use super::answer::{Failure, answer};

/// As many Leases of nodes are written in a second, at most, when all nodes have news at once.
const REPORTS_A_SECOND: u64 = 50;
/// And as many only to say that a node is there.
const BEATS_A_SECOND: u64 = 20;
/// The least time between two reports of one node.
const REPORT: Duration = Duration::from_secs(2);
/// The time between two beats in a cluster that is not large.
const BEAT: Duration = Duration::from_secs(15);

/// See the module.
#[derive(Debug)]
pub struct State {
    namespace: String,
    presence: Arc<Presence>,
    inner: Mutex<Inner>,
}

/// The agent of the cluster that writes Events and conditions.
#[derive(Clone, Debug, Default)]
pub struct View {
    /// Whether it is this one.
    pub leader: bool,
    /// The node of the one that it is, where that is known.
    pub holder: Option<String>,
    /// Where the agents' Leases are.
    pub namespace: String,
    /// How many nodes it counts.
    pub nodes: u64,
    /// How many statuses this agent has written since it started.
    pub conditions: u64,
    /// How many Events.
    pub events: u64,
    /// What this agent cannot write, and what to do.
    pub problems: Vec<String>,
}

#[derive(Debug, Default)]
struct Inner {
    said: View,
    /// By what was tried.
    problems: BTreeMap<String, String>,
}

/// How often a node may and must speak: the more there are, the less.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct WriteRates {
    /// Between two reports with news.
    pub(super) report: Duration,
    /// Between two reports at all.
    pub(super) beat: Duration,
}

impl WriteRates {
    /// In a cluster of so many nodes.
    pub(super) fn among(nodes: u64) -> Self {
        Self {
            report: REPORT.max(Duration::from_secs(nodes / REPORTS_A_SECOND)),
            beat: BEAT.max(Duration::from_secs(nodes / BEATS_A_SECOND)),
        }
    }

    /// How long a node may be silent before it does not count: three beats.
    pub(super) fn patience(self) -> Duration {
        self.beat * 3
    }
}

/// Something that was tried: a verb, the resource, and where it is not everywhere, the namespace.
#[derive(Clone, Copy, Debug)]
pub(super) struct Attempt<'a> {
    pub(super) verb: &'static str,
    pub(super) resource: &'a str,
    pub(super) namespace: Option<&'a str>,
}

impl State {
    /// Of an agent that keeps its Leases in this namespace.
    pub(super) fn new(namespace: &str, presence: Arc<Presence>) -> Self {
        Self { namespace: namespace.to_owned(), presence, inner: Mutex::default() }
    }

    /// A request's answer; it is sent when the server may be asked.
    pub(super) async fn answer<T>(
        &self,
        request: impl Future<Output = Result<T, kube::Error>>,
    ) -> Result<T, Failure> {
        answer(&self.presence, request).await
    }

    /// See [`Presence::replaced`].
    pub(super) fn replaced(&self) {
        self.presence.replaced();
    }

    /// See [`Presence::replacements`].
    pub(super) fn replacements(&self) -> watch::Receiver<()> {
        self.presence.replacements()
    }

    /// A copy.
    pub fn view(&self) -> View {
        let inner = self.lock();
        View {
            problems: inner.problems.values().cloned().collect(),
            namespace: self.namespace.clone(),
            ..inner.said.clone()
        }
    }

    /// The same problems as findings.
    pub fn findings(&self) -> Vec<Note> {
        let note =
            |message: &String| Note::loose(Severity::Warning, code::UNWRITTEN, message.clone());
        self.lock().problems.values().map(note).collect()
    }

    /// An attempt on the agents' Leases.
    pub(super) fn leases(&self, verb: &'static str) -> Attempt<'_> {
        let namespace = Some(self.namespace.as_str());
        Attempt { verb, resource: "leases.coordination.k8s.io", namespace }
    }

    /// It did not work. Said once in the log, for as long as it stays the same.
    pub(super) fn failed(&self, attempt: Attempt<'_>, failure: &Failure) {
        let text = text(attempt, failure);
        let mut inner = self.lock();
        let known = inner.problems.get(&key(attempt));
        if known != Some(&text) {
            tracing::warn!(target: "config", why = text, "what becomes of objects is not told");
            inner.problems.insert(key(attempt), text);
        }
    }

    /// It did.
    pub(super) fn worked(&self, attempt: Attempt<'_>) {
        let mut inner = self.lock();
        if !inner.problems.is_empty() && inner.problems.remove(&key(attempt)).is_some() {
            let (verb, resource) = (attempt.verb, attempt.resource);
            tracing::info!(target: "config", verb, resource, "can be written again");
        }
    }

    /// A write that an author sees.
    pub(super) fn wrote(&self, count: impl FnOnce(&mut View) -> &mut u64) {
        *count(&mut self.lock().said) += 1;
    }

    /// Who is elected, and how many nodes that one counts.
    pub(super) fn elected(&self, holder: Option<&str>, is_ours: bool, nodes: Option<u64>) {
        let mut inner = self.lock();
        if inner.said.leader != is_ours {
            let now = if is_ours {
                "this agent is elected"
            } else {
                "this agent is not elected any more"
            };
            tracing::info!(target: "config", holder, "{now}");
        }
        inner.said.leader = is_ours;
        inner.said.holder = holder.map(str::to_owned);
        inner.said.nodes = nodes.unwrap_or(inner.said.nodes);
    }

    /// The elected one counts.
    pub(super) fn counted(&self, nodes: u64) {
        self.lock().said.nodes = nodes;
    }

    /// How many nodes there are, as the elected one has it.
    pub(super) fn nodes(&self) -> u64 {
        self.lock().said.nodes
    }

    /// How often nodes speak.
    pub(super) fn write_rates(&self) -> WriteRates {
        WriteRates::among(self.nodes())
    }

    /// What only the elected one tries does not fail any more.
    pub(super) fn stepped_down(&self) {
        self.lock().problems.retain(|tried, _| tried.contains("leases"));
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        lock(&self.inner)
    }
}

fn key(attempt: Attempt<'_>) -> String {
    format!("{} {}", attempt.verb, attempt.resource)
}

fn text(attempt: Attempt<'_>, failure: &Failure) -> String {
    let Attempt { verb, resource, namespace } = attempt;
    let place = namespace.map_or_else(String::new, |name| format!(" in the namespace {name}"));
    match failure {
        Failure::Refused(status) if status.code == 403 => {
            let (kind, of) = match namespace {
                Some(_) => ("Role", "sekisho-agent"),
                None => ("ClusterRole", "sekisho-agent"),
            };
            format!(
                "the API server does not let this agent {verb} {resource}{place} (403: {}); give \
                 its ServiceAccount the verb {verb} on {resource} in the {kind} {of} \
                 (deploy/base/rbac.yaml), or start it with --write-status false; what is enforced \
                 does not depend on it",
                status.message
            )
        }
        _ => format!("this agent cannot {verb} {resource}{place}: {}", chain(failure)),
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    #[test]
    fn the_more_nodes_there_are_the_less_each_one_says() {
        assert_eq!(WriteRates::among(0), WriteRates { report: REPORT, beat: BEAT });
        assert_eq!(WriteRates::among(14), WriteRates { report: REPORT, beat: BEAT });
        for nodes in [300_u64, 1_000, 5_000] {
            let WriteRates { report, beat } = WriteRates::among(nodes);
            assert!(nodes / report.as_secs() <= REPORTS_A_SECOND, "{nodes}: {report:?}");
            assert!(nodes / beat.as_secs() <= BEATS_A_SECOND, "{nodes}: {beat:?}");
        }
    }

    #[tokio::test]
    async fn a_missing_verb_is_named_until_it_is_there() {
        let silent = tower::service_fn(|_: http::Request<kube::client::Body>| {
            std::future::pending::<Result<http::Response<kube::client::Body>, Infallible>>()
        });
        let presence = Presence::new(kube::Client::new(silent, "mesh"));
        let state = State::new("mesh", Arc::new(presence));
        let status = r#"{"status":"Failure","message":"no","reason":"Forbidden","code":403}"#;
        let failure = Failure::Refused(Box::new(serde_json::from_str(status).unwrap()));
        state.failed(state.leases("patch"), &failure);
        let [found] = &state.findings()[..] else { panic!("{:?}", state.findings()) };
        for word in ["patch leases.coordination.k8s.io", "namespace mesh", "Role sekisho-agent"] {
            assert!(found.finding.message.contains(word), "{}", found.finding.message);
        }
        assert_eq!(state.view().problems.len(), 1);
        state.worked(state.leases("create"));
        assert_eq!(state.view().problems.len(), 1);
        state.worked(state.leases("patch"));
        assert!(state.findings().is_empty());
    }
}
