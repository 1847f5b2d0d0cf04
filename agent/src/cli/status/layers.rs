//! The layers and their hooks.

use crate::{
    cli::output::{Paint, Table, Tone},
    observe::status::{Hook, Status},
};

/// What the layers are called.
const LAYERS: [(u8, &str); 3] =
    [(1, "socket calls"), (2, "packets leaving a socket"), (3, "frames on a pod's link")];

/// A line a layer, and one for each hook that is missing or says something.
pub(super) fn layers(status: &Status, paint: Paint) -> String {
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

/// How layer 3 is attached.
fn by(status: &Status) -> String {
    match &status.layer3_why {
        Some(why) => format!("by {}: {why}", status.layer3),
        None => format!("by {}", status.layer3),
    }
}
