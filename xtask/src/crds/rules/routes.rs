//! What the routes of a `VirtualService` have in common: where they lead, and their shares.

use serde_json::json;

use super::{Rule, conditions::of};

/// A service's host, by the rules that name one.
macro_rules! destination {
    ($place:literal) => {
        vec![
            ($place, Required(&["host"])),
            (concat!($place, ".host"), HOST),
            (concat!($place, ".subset"), LABEL_OR_NONE),
            (concat!($place, ".port"), Required(&["number"])),
            (concat!($place, ".port.number"), PORT),
        ]
    };
}

pub(super) use destination;

/// Shares of which not all are none.
pub(super) fn shares() -> Rule {
    let nothing = json!({"items": of("weight", &json!({"maximum": 0}))});
    Rule::Also(json!({"anyOf": [{"maxItems": 1}, {"not": nothing}]}))
}
