//! The links of pods that have more of them than one which is judged and proved.

use crate::{
    cli::output::{Paint, Table, Tone},
    observe::status::{Coverage, Enrolment, Link, Pod, Proof, Status},
};

pub(super) fn links(status: &Status, paint: Paint) -> String {
    let mut table = Table::new(&["POD", "LINK", "JUDGED", "CANARY"]);
    let told: Vec<&Pod> = status.pods.iter().filter(|pod| is_told(pod)).collect();
    if told.is_empty() {
        return String::new();
    }
    for pod in told {
        let name = format!("{}/{}", pod.namespace, pod.name);
        for link in &pod.links {
            let (judged, canary, tone) = words(link);
            table.row(&[&name, &link.name, &judged, canary], Some((2, tone)));
        }
    }
    table.text("  ", paint)
}

/// A line for each pod would say the same again and again.
fn is_told(pod: &Pod) -> bool {
    let is_plain = |link: &Link| link.proof == Some(Proof::Refused);
    let is_judged = !matches!(pod.enrolment, Enrolment::NotEnrolled { .. });
    is_judged && !pod.links.is_empty() && !(pod.links.len() == 1 && pod.links.iter().all(is_plain))
}

fn words(link: &Link) -> (String, &'static str, Tone) {
    match &link.coverage {
        Coverage::Layer3 { host_end } => {
            let (canary, tone) = match link.proof {
                Some(Proof::Refused) => ("refused", Tone::Good),
                Some(Proof::Failing) => ("not refused", Tone::Bad),
                Some(Proof::Down) => ("the link is down", Tone::Good),
                None => ("not sent yet", Tone::Doubtful),
            };
            (format!("on the node, at {host_end}"), canary, tone)
        }
        Coverage::Below { below } => (format!("as frames of {below}"), "not sent", Tone::Good),
        Coverage::Inside => ("by the links of its routes".to_owned(), "not sent", Tone::Good),
        Coverage::Nothing { why } => (format!("no: {why}"), "not sent", Tone::Bad),
    }
}
