//! What is true of the agent as a whole.

use crate::{
    cli::output::{Paint, Tone},
    observe::status::{Cni, OnRevoke, State, Status, StatusWriter, UnknownPods},
};

pub(super) fn head(status: &Status, paint: Paint) -> String {
    let time = "%Y-%m-%d %H:%M:%S UTC";
    let mut text = String::new();
    let mut line = |name: &str, value: &str| {
        text += &paint.beside(&format!("{name:11} "), value);
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
