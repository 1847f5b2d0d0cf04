//! Where objects and addresses come from: the API server and the name servers.

use agent_source::cluster::FollowState;
use jiff::Timestamp;

use crate::{
    cli::output::{Paint, Table, Tone},
    observe::status::{Resolved, Source},
};

/// The server, and a line for each kind.
pub(super) fn followed(source: &Source, paint: Paint) -> String {
    let now = Timestamp::now();
    let age = |then: Timestamp| format!("{} s ago", now.duration_since(then).as_secs().max(0));
    let mut text = paint.beside("  ", &source.server);
    if let Some(saved) = source.saved {
        let line = format!("not there; what was saved {} is in force", age(saved));
        text += &paint.beside("  ", &paint.word(Tone::Doubtful, &line));
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
pub(super) fn names(names: &[Resolved], paint: Paint) -> String {
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
