//! The pods, a line each.

use jiff::Timestamp;

use crate::{
    cli::output::{Paint, Table, Tone},
    observe::status::{Canary, Enrolment, Pod, Status},
};

pub(super) fn pods(status: &Status, paint: Paint) -> String {
    if status.pods.is_empty() {
        return String::new();
    }
    let mut table = Table::new(&[
        "POD",
        "STATE",
        "DEFAULT",
        "RULES",
        "PROXIED",
        "HOOKS",
        "PROXY PORT",
        "NETNS",
        "PROVED",
        "WHY",
    ]);
    for pod in &status.pods {
        let Pod { namespace, name, enrolment, addresses: _, netns, default_action, .. } = pod;
        let tone = match enrolment {
            Enrolment::Enrolled => Some(Tone::Good),
            Enrolment::NotEnrolled { .. } | Enrolment::Pending { .. } => None,
            Enrolment::Unenrollable { .. } | Enrolment::Failing { .. } => Some(Tone::Bad),
        };
        let attached = pod.hooks.iter().filter(|hook| hook.attached).count();
        let hooks = match pod.hooks.len() {
            0 => "-".to_owned(),
            all => format!("{attached}/{all}"),
        };
        let cells = [
            &format!("{namespace}/{name}"),
            enrolment.name(),
            default_action.as_deref().unwrap_or("-"),
            &pod.rules.to_string(),
            &pod.proxied.to_string(),
            &hooks,
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
