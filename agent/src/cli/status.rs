//! `sekisho status`.

use std::fmt::Write as _;

use agent_model::snapshot::Severity;
use agent_source::cluster::FollowState;
use jiff::Timestamp;

use super::{
    Answer,
    output::{Paint, Table, Tone, encode},
};
use crate::{
    admin::client::Client,
    args::{StatusArgs, exit},
    observe::status::{
        Canary, Cni, Enrolment, Hook, Note, OnRevoke, Pod, Resolved, Source, State, Status,
        StatusWriter, UnknownPods,
    },
};

/// What the layers are called.
const LAYERS: [(u8, &str); 3] =
    [(1, "socket calls"), (2, "packets leaving a socket"), (3, "frames on a pod's link")];

pub(super) async fn run(args: &StatusArgs, paint: Paint) -> anyhow::Result<Answer> {
    let status: Status = Client::new(&args.ask.run_dir).ask("/status").await?;
    let code = if status.state == State::Ready { exit::OK } else { exit::FAILURE };
    let text = match encode(args.ask.output.format, &status)? {
        Some(text) => text,
        None => table(&status, paint),
    };
    Ok(Answer { text, code })
}

fn table(status: &Status, paint: Paint) -> String {
    let mut text = head(status, paint);
    section(&mut text, "PODS", &pods(status, paint), paint);
    section(&mut text, "LAYERS", &layers(status, paint), paint);
    if let Some(source) = &status.source {
        section(&mut text, "API SERVER", &followed(source, paint), paint);
    }
    if !status.names.is_empty() {
        section(&mut text, "NAMES", &names(&status.names, paint), paint);
    }
    section(&mut text, "COUNTERS", &counters(status), paint);
    section(&mut text, "FINDINGS", &findings(&status.findings, paint), paint);
    text
}

fn section(text: &mut String, title: &str, body: &str, paint: Paint) {
    let body = if body.is_empty() { "  none\n" } else { body };
    let _ = write!(text, "\n{}\n{body}", paint.word(Tone::Strong, title));
}

fn head(status: &Status, paint: Paint) -> String {
    let time = "%Y-%m-%d %H:%M:%S UTC";
    let mut text = String::new();
    let mut line = |name: &str, value: &str| {
        let _ = writeln!(text, "{name:11} {value}");
    };
    line("node", &status.node);
    let state = match &status.state {
        State::Ready => paint.word(Tone::Good, "ready"),
        State::Starting => paint.word(Tone::Doubtful, "starting"),
        State::Degraded { why } => format!("{}: {why}", paint.word(Tone::Bad, "degraded")),
    };
    line("state", &state);
    let started = status.started.strftime(time);
    line("agent", &format!("sekisho {}, started {started}", status.version));
    let since = match status.generation_since {
        Some(since) => format!(" since {}", since.strftime(time)),
        None => String::new(),
    };
    line("generation", &format!("{}{since}", status.generation));
    let objects: u64 = status.objects.values().sum();
    line("rules", &format!("{} from {objects} objects", status.rules));
    let unknown = if status.unknown_pods == UnknownPods::Hold { "held" } else { "allowed" };
    let revoked = if status.on_revoke == OnRevoke::Keep { "stay open" } else { "are reset" };
    if let Some(cni) = &status.cni {
        line("cni", &installed(cni, paint));
    }
    line("unknown", &format!("pods are {unknown}; connections whose rule goes {revoked}"));
    if let Some(writer) = &status.status_writer {
        line("writer", &elected(writer, paint));
    }
    if let Some(last) = &status.mended.last {
        let (count, at) = (status.mended.count, last.at.strftime(time));
        let times = if count == 1 { "once".to_owned() } else { format!("{count} times") };
        let what =
            format!("a hook was put back {times}, last {} at {}, {at}", last.hook, last.place);
        line("mended", &paint.word(Tone::Doubtful, &what));
    }
    text
}

/// Who writes Events and conditions, and whether anything is in the way.
fn elected(writer: &StatusWriter, paint: Paint) -> String {
    let StatusWriter { leader, holder, namespace, nodes, conditions, events, problems } = writer;
    let who = match holder {
        _ if *leader => format!(
            "this agent is elected, of {nodes} nodes: {conditions} statuses and {events} events \
             written"
        ),
        Some(holder) => format!("the agent of {holder} is elected, of {nodes} nodes"),
        None => format!("no agent is elected (namespace {namespace})"),
    };
    match problems.len() {
        0 => who,
        count => paint.word(Tone::Doubtful, &format!("{who}; {count} problems, see FINDINGS")),
    }
}

fn installed(cni: &Cni, paint: Paint) -> String {
    match (&cni.file, &cni.problem) {
        (Some(file), None) => format!("plugin in {file}"),
        (_, problem) => {
            let why = problem.as_deref().unwrap_or("the agent has just started");
            paint.word(Tone::Bad, &format!("plugin not in place: {why}"))
        }
    }
}

fn pods(status: &Status, paint: Paint) -> String {
    if status.pods.is_empty() {
        return String::new();
    }
    let mut table = Table::new(&[
        "POD", "STATE", "DEFAULT", "RULES", "LINKS", "PROXY", "NETNS", "PROVED", "WHY",
    ]);
    for pod in &status.pods {
        let Pod { namespace, name, enrolment, addresses: _, netns, default_action, .. } = pod;
        let tone = match enrolment {
            Enrolment::Enrolled => Some(Tone::Good),
            Enrolment::NotEnrolled { .. } | Enrolment::Pending { .. } => None,
            Enrolment::Unenrollable { .. } | Enrolment::Failing { .. } => Some(Tone::Bad),
        };
        let attached = pod.hooks.iter().filter(|hook| hook.attached).count();
        let links = match pod.hooks.len() {
            0 => "-".to_owned(),
            all => format!("{attached}/{all}"),
        };
        let cells = [
            &format!("{namespace}/{name}"),
            enrolment.name(),
            default_action.as_deref().unwrap_or("-"),
            &pod.rules.to_string(),
            &links,
            &pod.proxy_port.map_or("-".to_owned(), |port| port.to_string()),
            &netns.map_or("-".to_owned(), |netns| netns.to_string()),
            &proof(pod.canary.as_ref()),
            enrolment.why().unwrap_or_default(),
        ];
        table.row(&cells, tone.map(|tone| (1, tone)));
    }
    table.text("  ", paint)
}

/// By which generation, how long ago, and which layers answered last.
fn proof(canary: Option<&Canary>) -> String {
    let Some(canary) = canary else { return "-".to_owned() };
    let layers: Vec<String> = canary.layers.iter().map(ToString::to_string).collect();
    let layers = if layers.is_empty() { "none".to_owned() } else { layers.join(",") };
    let proved = match (canary.generation, canary.proved) {
        (Some(generation), Some(at)) => {
            let age = Timestamp::now().duration_since(at).as_secs().max(0);
            format!("generation {generation}, {age} s ago")
        }
        _ => "never".to_owned(),
    };
    format!("{proved}, layers {layers}")
}

/// A line a layer, and one for each hook that is missing or says something.
fn layers(status: &Status, paint: Paint) -> String {
    let all = || status.hooks.iter().chain(status.pods.iter().flat_map(|pod| &pod.hooks));
    let mut table = Table::default();
    for (layer, name) in LAYERS {
        let hooks: Vec<&Hook> = all().filter(|hook| hook.layer == layer).collect();
        let attached = hooks.iter().filter(|hook| hook.attached).count();
        let count = format!("{attached} of {} hooks attached", hooks.len());
        let tone = if attached == hooks.len() { Tone::Good } else { Tone::Bad };
        let place = match hooks.first() {
            Some(hook) if layer < 3 => format!("at {}", hook.place),
            _ if layer == 3 => by(status),
            _ => String::new(),
        };
        table.row(&[&layer.to_string(), name, &count, &place], Some((2, tone)));
        for hook in hooks.iter().filter(|hook| !hook.attached || hook.note.is_some()) {
            let state = if hook.attached { "attached" } else { "missing" };
            let why = hook.note.as_deref().unwrap_or_default();
            let tone = if hook.attached { Tone::Good } else { Tone::Bad };
            let place = format!("at {} {why}", hook.place);
            table.row(&["", &hook.hook, state, place.trim_end()], Some((2, tone)));
        }
    }
    table.text("  ", paint)
}

/// How layer 3 hangs.
fn by(status: &Status) -> String {
    match &status.layer3_why {
        Some(why) => format!("by {}: {why}", status.layer3),
        None => format!("by {}", status.layer3),
    }
}

/// The server, and a line for each kind.
fn followed(source: &Source, paint: Paint) -> String {
    let now = Timestamp::now();
    let age = |then: Timestamp| format!("{} s ago", now.duration_since(then).as_secs().max(0));
    let mut text = format!("  {}\n", source.server);
    if let Some(saved) = source.saved {
        let line = format!("not there; what was saved {} is in force", age(saved));
        let _ = writeln!(text, "  {}", paint.word(Tone::Doubtful, &line));
    }
    let mut table = Table::default();
    for kind in &source.kinds {
        let tone = match kind.state {
            FollowState::Current => Some(Tone::Good),
            FollowState::NotInstalled => None,
            FollowState::Listing | FollowState::Behind => Some(Tone::Bad),
        };
        let synced = kind.synced.map_or("never".to_owned(), age);
        let cells = [&kind.resource, kind.state.name(), &synced, kind.why.as_deref().unwrap_or("")];
        table.row(&cells, tone.map(|tone| (1, tone)));
    }
    text + &table.text("  ", paint)
}

/// A line a name: what it resolves to, how old that is, when it is asked for again.
fn names(names: &[Resolved], paint: Paint) -> String {
    let now = Timestamp::now();
    let seconds = |then: Timestamp| then.duration_since(now).as_secs();
    let mut table = Table::new(&["NAME", "ADDRESSES", "ANSWERED", "NEXT", "LAST ERROR"]);
    for name in names {
        let addresses = name.addresses.iter().map(|one| match one.until {
            Some(until) => format!("{} ({} s more)", one.address, seconds(until).max(0)),
            None => one.address.to_string(),
        });
        let addresses = addresses.collect::<Vec<_>>().join(", ");
        let age = |then: Timestamp| format!("{} s ago", -seconds(then).min(0));
        let next = |then: Timestamp| format!("in {} s", seconds(then).max(0));
        let error = name.error.as_deref().unwrap_or_default();
        let (shown, tone) = match (addresses.as_str(), error) {
            ("", _) => ("none", Some((1, Tone::Bad))),
            (all, "") => (all, None),
            (all, _) => (all, Some((4, Tone::Doubtful))),
        };
        let cells = [
            &name.name,
            shown,
            &name.answered.map_or("never".to_owned(), age),
            &name.next.map_or("now".to_owned(), next),
            error,
        ];
        table.row(&cells, tone);
    }
    table.text("  ", paint)
}

fn counters(status: &Status) -> String {
    let mut table = Table::default();
    for (name, count) in &status.counters {
        table.row(&[&name.replace('_', " "), &count.to_string()], None);
    }
    table.text("  ", Paint::new(false))
}

/// Findings, a line each.
pub(super) fn findings(notes: &[Note], paint: Paint) -> String {
    let mut text = String::new();
    for note in notes {
        let tone = match note.severity {
            Severity::Error => Some(Tone::Bad),
            Severity::Warning => Some(Tone::Doubtful),
            Severity::Info => None,
        };
        let severity = format!("{:7}", note.severity.name());
        let severity = tone.map_or_else(|| severity.clone(), |tone| paint.word(tone, &severity));
        let _ = writeln!(text, "  {severity} {}", note_line(note));
    }
    text
}

fn note_line(note: &Note) -> String {
    let mut line = String::new();
    if let Some(place) = &note.place {
        let _ = write!(line, "{place}: ");
    }
    let (object, field) = (note.object(), note.field.as_str());
    match (object.is_empty(), field.is_empty()) {
        (true, true) => {}
        (false, true) => line.extend([&object, ": "]),
        (true, false) => line.extend([field, ": "]),
        (false, false) => line.extend([&object, " ", field, ": "]),
    }
    format!("{line}{} [{}]", note.message, note.code)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::status::{Followed, Mend, Mended};

    fn hook(layer: u8, hook: &str, place: &str, attached: bool) -> Hook {
        Hook { layer, hook: hook.into(), place: place.into(), attached, note: None }
    }

    fn pod(name: &str, enrolment: Enrolment) -> Pod {
        Pod {
            namespace: "shop".into(),
            name: name.into(),
            enrolment,
            addresses: Vec::new(),
            netns: None,
            default_action: None,
            rules: 0,
            proxy_port: None,
            hooks: Vec::new(),
            canary: None,
        }
    }

    fn sample() -> Status {
        let mut web = pod("web-0", Enrolment::Enrolled);
        web.netns = Some(4_242);
        web.default_action = Some("registry-only".into());
        web.rules = 12;
        web.proxy_port = Some(15_001);
        web.hooks = vec![
            hook(3, "clsact_ingress", "veth1", true),
            hook(3, "clsact_egress", "veth1", false),
        ];
        web.canary = Some(Canary {
            proved: Some(Timestamp::now() - jiff::SignedDuration::from_secs(3)),
            generation: Some(7),
            layers: vec![1, 2, 3],
            failing: None,
        });
        let no_label = Enrolment::NotEnrolled { why: "its namespace has no label".into() };
        let no_netns = Enrolment::Failing { why: "no such namespace".into() };
        Status {
            node: "node-1".into(),
            version: "0.1.0".into(),
            state: State::Degraded { why: "clsact_egress at veth1 is not attached".into() },
            generation: 7,
            generation_since: Some("2026-11-21T03:12:01Z".parse().unwrap()),
            rules: 12,
            unknown_pods: UnknownPods::Allow,
            on_revoke: OnRevoke::Reset,
            cni: Some(Cni { file: Some("/etc/cni/net.d/10-a.conflist".into()), problem: None }),
            layer3: "clsact".into(),
            layer3_why: Some("this kernel has no tcx (Linux 6.6)".into()),
            hooks: vec![hook(1, "connect4", "/cg", true), hook(2, "egress", "/cg", true)],
            pods: vec![web, pod("job", no_label), pod("new", no_netns)],
            mended: Mended {
                count: 2,
                last: Some(Mend {
                    hook: "connect4".into(),
                    place: "/cg".into(),
                    at: "2026-11-21T03:13:00Z".parse().unwrap(),
                }),
            },
            counters: [("direct".to_owned(), 5), ("events_lost".to_owned(), 0)].into(),
            objects: [("Pod".to_owned(), 3), ("ServiceEntry".to_owned(), 1)].into(),
            findings: vec![Note {
                severity: Severity::Error,
                code: "SK0209".into(),
                kind: "ServiceEntry".into(),
                namespace: "shop".into(),
                name: "db".into(),
                field: "spec.ports[0].protocol".into(),
                message: "no such protocol".into(),
                place: Some("db.yaml, document 2 (line 5)".into()),
            }],
            ..Status::default()
        }
    }

    #[test]
    fn a_server_is_shown_with_the_age_of_its_news() {
        let kind = |resource: &str, state: FollowState, seconds: Option<i64>| Followed {
            resource: resource.into(),
            state,
            synced: seconds.map(|s| Timestamp::now() - jiff::SignedDuration::from_secs(s)),
            why: (state == FollowState::Behind).then(|| "the API server cannot be reached".into()),
        };
        let source = Source {
            server: "https://203.0.113.9:6443/".into(),
            saved: Some(Timestamp::now() - jiff::SignedDuration::from_mins(2)),
            kinds: vec![
                kind("pods", FollowState::Behind, Some(75)),
                kind("services", FollowState::Current, Some(3)),
                kind("sidecars.networking.istio.io", FollowState::Listing, None),
            ],
        };
        assert_eq!(
            followed(&source, Paint::new(false)),
            "  https://203.0.113.9:6443/
  not there; what was saved 120 s ago is in force
  pods                          behind   75 s ago  the API server cannot be reached
  services                      current  3 s ago
  sidecars.networking.istio.io  listing  never
"
        );
    }

    #[test]
    fn a_table_of_a_status() {
        assert_eq!(
            table(&sample(), Paint::new(false)),
            "\
node        node-1
state       degraded: clsact_egress at veth1 is not attached
agent       sekisho 0.1.0, started 1970-01-01 00:00:00 UTC
generation  7 since 2026-11-21 03:12:01 UTC
rules       12 from 4 objects
cni         plugin in /etc/cni/net.d/10-a.conflist
unknown     pods are allowed; connections whose rule goes are reset
mended      a hook was put back 2 times, last connect4 at /cg, 2026-11-21 03:13:00 UTC

PODS
  POD         STATE         DEFAULT        RULES  LINKS  PROXY  NETNS  PROVED                               WHY
  shop/web-0  enrolled      registry-only  12     1/2    15001  4242   generation 7, 3 s ago, layers 1,2,3
  shop/job    not enrolled  -              0      -      -      -      -                                    its namespace has no label
  shop/new    failing       -              0      -      -      -      -                                    no such namespace

LAYERS
  1  socket calls              1 of 1 hooks attached  at /cg
  2  packets leaving a socket  1 of 1 hooks attached  at /cg
  3  frames on a pod's link    1 of 2 hooks attached  by clsact: this kernel has no tcx (Linux 6.6)
     clsact_egress             missing                at veth1

COUNTERS
  direct       5
  events lost  0

FINDINGS
  error   db.yaml, document 2 (line 5): ServiceEntry shop/db spec.ports[0].protocol: \
no such protocol [SK0209]
"
        );
    }

    #[test]
    fn json_and_yaml_read_back_as_the_same_status() {
        let sample = sample();
        let json = encode(crate::args::Format::Json, &sample).unwrap().unwrap();
        assert_eq!(serde_json::from_str::<Status>(&json).unwrap(), sample);
        let yaml = encode(crate::args::Format::Yaml, &sample).unwrap().unwrap();
        assert_eq!(serde_saphyr::from_str::<Status>(&yaml).unwrap(), sample);
    }
}
