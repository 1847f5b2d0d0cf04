//! The labels of Istio's standard metrics: who asked whom, in what, and what came of it.
//!
//! Values are names of objects and words of fixed lists, never text from traffic. What is not known
//! is `unknown`, as Istio has it.

use std::{net::IpAddr, sync::Arc};

use agent_abi::Verdict;
use agent_model::{egress::RuleSource, pod::WorkloadName};

use crate::observe::{flow_record::FlowRecord, flow_request::FlowRequest};

const UNKNOWN: &str = "unknown";
/// All labels of what finds no room.
const OVERFLOW: &str = "overflow";
/// Istio's names for what nothing declares: let through, and refused.
const PASSED: &str = "PassthroughCluster";
const BLOCKED: &str = "BlackHoleCluster";

/// A set of labels. `code` is of requests alone.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct LabelSet {
    pub(super) source: Option<Arc<WorkloadName>>,
    pub(super) to: Destination,
    pub(super) protocol: &'static str,
    pub(super) code: Option<String>,
    pub(super) flags: String,
}

/// Who is asked.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Destination {
    service: String,
    name: String,
    namespace: String,
    workload: Option<Arc<WorkloadName>>,
}

/// What is known of where something went.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Known<'a> {
    /// The rule that let it out.
    pub(super) rule: Option<&'a RuleSource>,
    /// The host that a request was for, where something declares it.
    pub(super) host: Option<&'a str>,
    /// Whether it was refused since nothing declares it.
    pub(super) is_denied: bool,
    /// Whether it was sent anywhere.
    pub(super) is_sent: bool,
}

impl<'a> Known<'a> {
    /// Of a flow.
    pub(super) fn of(record: &'a FlowRecord) -> Self {
        let cluster = record.request.as_ref().and_then(|request| request.cluster.as_deref());
        Self {
            rule: record.rule.as_deref(),
            host: cluster.and_then(|cluster| cluster.rsplit('|').next()),
            is_denied: record.verdict == Verdict::Deny,
            is_sent: match &record.request {
                Some(_) => record.upstream.is_some(),
                // Of a connection that an earlier agent saw opening nothing is known.
                None => record.generation != 0,
            },
        }
    }

    /// As a destination, with what is behind the address where it was sent.
    pub(super) fn destination(self, workload: Option<Arc<WorkloadName>>) -> Destination {
        let of_rule = self.rule.and_then(|rule| Some((rule.host.as_deref()?, rule)));
        let host = if self.is_denied { None } else { self.host.or(of_rule.map(|(host, _)| host)) };
        let Some(host) = host else {
            let name = match (self.is_denied, self.is_sent) {
                (true, _) => BLOCKED,
                (false, true) => PASSED,
                (false, false) => UNKNOWN,
            };
            let [service, namespace] = [UNKNOWN; 2].map(str::to_owned);
            return Destination { service, name: name.to_owned(), namespace, workload };
        };
        let declared = of_rule.filter(|(declared, _)| *declared == host);
        let (name, namespace) = of_cluster(host).unwrap_or_else(|| {
            (host, declared.map_or(UNKNOWN, |(_, rule)| rule.namespace.as_str()))
        });
        let [service, name, namespace] = [host, name, namespace].map(str::to_owned);
        Destination { service, name, namespace, workload }
    }
}

impl Destination {
    /// What people call it: its host, or else Istio's word for what has none.
    pub(super) fn shown(&self) -> &str {
        if self.service == UNKNOWN { &self.name } else { &self.service }
    }
}

/// Name and namespace of a Service: `NAME.NAMESPACE.svc.DOMAIN`.
fn of_cluster(host: &str) -> Option<(&str, &str)> {
    let mut parts = host.splitn(4, '.');
    let (name, namespace) = (parts.next()?, parts.next()?);
    (parts.next()? == "svc" && parts.next().is_some()).then_some((name, namespace))
}

/// The address that something was sent to, where its pod is to be found.
pub(super) fn sent_to(record: &FlowRecord) -> Option<IpAddr> {
    record.upstream.map(|upstream| upstream.ip())
}

/// What went wrong with a connection, in Envoy's words.
pub(super) fn flags_of(record: &FlowRecord) -> &'static str {
    match record.reason.name() {
        "upstream-refused" | "upstream-unreachable" | "upstream-timed-out" => "UF",
        "client-reset" => "DC",
        "upstream-reset" => "UC",
        _ => "-",
    }
}

impl LabelSet {
    /// The labels with their values.
    pub(super) fn pairs(&self) -> Vec<(&'static str, &str)> {
        let Self { source, to, protocol, code, flags } = self;
        let Destination { service, name, namespace, workload } = to;
        let mut pairs = vec![("reporter", "source")];
        pairs.extend(SOURCE.into_iter().zip(words(source.as_deref())));
        pairs.extend(DESTINATION.into_iter().zip(words(workload.as_deref())));
        pairs.extend([
            ("destination_service", service.as_str()),
            ("destination_service_name", name),
            ("destination_service_namespace", namespace),
            ("request_protocol", protocol),
        ]);
        pairs.extend(code.as_deref().map(|code| ("response_code", code)));
        // Istio leaves it to the server's side to say how a connection was secured.
        pairs.extend([("response_flags", flags.as_str()), ("connection_security_policy", UNKNOWN)]);
        pairs
    }

    /// Those of a request, without its ends.
    pub(super) fn request(request: &FlowRequest) -> Self {
        let protocol = if request.protocol == "grpc" { "grpc" } else { "http" };
        let code = Some(request.status.to_string());
        Self {
            source: None,
            to: Destination::default(),
            protocol,
            code,
            flags: request.flags.to_string(),
        }
    }

    /// Those of a connection, without its ends.
    pub(super) fn stream(flags: &str) -> Self {
        let to = Destination::default();
        Self { source: None, to, protocol: "tcp", code: None, flags: flags.to_owned() }
    }

    /// The labels of what finds no room among others like this one.
    pub(super) fn overflow(protocol: &'static str, has_code: bool) -> Self {
        let text = || OVERFLOW.to_owned();
        let workload = Arc::new(WorkloadName {
            namespace: text(),
            name: text(),
            app: Some(text()),
            version: Some(text()),
            canonical_service: text(),
            canonical_revision: text(),
        });
        let to = Destination {
            service: text(),
            name: text(),
            namespace: text(),
            workload: Some(Arc::clone(&workload)),
        };
        let code = has_code.then(text);
        Self { source: Some(workload), to, protocol, code, flags: text() }
    }
}

/// In the order of [`words`].
const SOURCE: [&str; 7] = [
    "source_workload",
    "source_workload_namespace",
    "source_principal",
    "source_app",
    "source_version",
    "source_canonical_service",
    "source_canonical_revision",
];
const DESTINATION: [&str; 7] = [
    "destination_workload",
    "destination_workload_namespace",
    "destination_principal",
    "destination_app",
    "destination_version",
    "destination_canonical_service",
    "destination_canonical_revision",
];

fn words(workload: Option<&WorkloadName>) -> [&str; 7] {
    let Some(workload) = workload else {
        return [UNKNOWN, UNKNOWN, UNKNOWN, UNKNOWN, UNKNOWN, UNKNOWN, "latest"];
    };
    let WorkloadName { namespace, name, app, version, canonical_service, canonical_revision } =
        workload;
    [
        name,
        namespace,
        // Known once the mesh's TLS is spoken.
        UNKNOWN,
        app.as_deref().unwrap_or(UNKNOWN),
        version.as_deref().unwrap_or(UNKNOWN),
        canonical_service,
        canonical_revision,
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(host: Option<&str>) -> RuleSource {
        RuleSource {
            kind: "ServiceEntry",
            namespace: "shop".into(),
            name: "db".into(),
            field: "spec".into(),
            host: host.map(str::to_owned),
        }
    }

    fn named(known: Known<'_>) -> [String; 3] {
        let Destination { service, name, namespace, .. } = known.destination(None);
        [service, name, namespace]
    }

    #[test]
    fn a_service_is_named_by_its_host_whoever_declares_it() {
        let rule = entry(Some("db.example"));
        let sent = Known { rule: Some(&rule), is_sent: true, ..Known::default() };
        assert_eq!(named(sent), ["db.example", "db.example", "shop"]);
        let other = Known { host: Some("other.example"), ..sent };
        assert_eq!(named(other), ["other.example", "other.example", "unknown"]);
        let service = Known { host: Some("reviews.a.svc.cluster.local"), ..sent };
        assert_eq!(named(service), ["reviews.a.svc.cluster.local", "reviews", "a"]);
        let odd = Known { host: Some("a.b.svc"), ..sent };
        assert_eq!(named(odd), ["a.b.svc", "a.b.svc", "unknown"]);
    }

    #[test]
    fn what_nothing_declares_has_the_names_that_dashboards_know() {
        let rule = entry(None);
        let sent = Known { rule: Some(&rule), is_sent: true, ..Known::default() };
        assert_eq!(named(sent), ["unknown", "PassthroughCluster", "unknown"]);
        let refused = Known { is_denied: true, host: Some("a"), ..sent };
        assert_eq!(named(refused), ["unknown", "BlackHoleCluster", "unknown"]);
        assert_eq!(named(Known::default()), ["unknown"; 3]);
    }

    #[test]
    fn every_label_is_there_once_whatever_is_known() {
        let names = |set: &LabelSet| -> Vec<_> { set.pairs().iter().map(|pair| pair.0).collect() };
        let overflow = LabelSet::overflow("http", true);
        let to = Known::default().destination(None);
        let bare = LabelSet { source: None, to, code: Some("200".into()), ..overflow.clone() };
        assert_eq!(names(&bare), names(&overflow));
        let mut sorted = names(&bare);
        sorted.sort_unstable();
        sorted.dedup();
        assert_eq!(sorted.len(), names(&bare).len());
        let streams = names(&LabelSet::overflow("tcp", false));
        assert!(!streams.contains(&"response_code") && streams.len() == sorted.len() - 1);
    }
}
