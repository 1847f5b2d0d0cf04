//! From what is known of an object to the two conditions that its author reads. Pure; nothing in a
//! message changes by itself, or it would be written again and again.

use std::fmt::Write as _;

use agent_source::inventory::Condition;

use super::findings::Told;

/// Whether the object is valid, and has an effect.
pub(super) const ACCEPTED: &str = "sekisho.dev/Accepted";
/// Whether all nodes enforce it as it is.
pub(super) const ENFORCED: &str = "sekisho.dev/Enforced";
/// So many nodes are named.
const NAMED: usize = 3;
/// What Kubernetes' own conditions may have; longer words are cut.
const LONGEST: usize = 4_000;

/// How many nodes enforce an object as it is now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    /// How many nodes there are.
    pub(super) all: usize,
    /// How many enforce it.
    pub(super) enforcing: usize,
    /// The others, and why not.
    pub(super) lacking: Vec<(String, Lack)>,
}

/// Why a node is not known to enforce an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Lack {
    /// It has another generation in force, or none: this one is invalid.
    Stale(Option<i64>),
    /// It has not said so yet.
    Late,
    /// It could not bring anything new into force.
    Refused(String),
    /// It says nothing at all.
    Silent,
}

/// Whether it is accepted.
pub(super) fn accepted(generation: i64, told: &[Told]) -> Condition {
    let refused = told.iter().any(|one| one.refuses);
    let (reason, message) = match told.first() {
        None => ("Accepted".to_owned(), "Nothing is wrong with it".to_owned()),
        Some(first) => {
            let mut message = first.text();
            if told.len() > 1 {
                let _ = write!(message, "; and {} more, see `sekisho analyze`", told.len() - 1);
            }
            (first.note.finding.code.to_owned(), message)
        }
    };
    condition(ACCEPTED, if refused { "False" } else { "True" }, &reason, &message, generation)
}

/// Whether all nodes enforce it.
pub(super) fn enforced(generation: i64, tally: &Tally) -> Condition {
    let Tally { all, enforcing, lacking } = tally;
    let nodes = if *all == 1 { "node enforces" } else { "nodes enforce" };
    let mut message = format!("{enforcing} of {all} {nodes} generation {generation}");
    for (name, lack) in lacking.iter().take(NAMED) {
        let _ = write!(message, "; {name}: {}", lack.text());
    }
    if lacking.len() > NAMED {
        let _ = write!(message, "; and {} more nodes", lacking.len() - NAMED);
    }
    let (status, reason) = if *all == 0 {
        ("Unknown", "NoNodes")
    } else if enforcing == all {
        ("True", "AllNodes")
    } else if lacking.iter().all(|(_, lack)| *lack == Lack::Silent) {
        ("Unknown", "SilentNodes")
    } else {
        ("False", "NotAllNodes")
    };
    condition(ENFORCED, status, reason, &message, generation)
}

impl Lack {
    fn text(&self) -> String {
        match self {
            Self::Stale(Some(generation)) => format!("generation {generation} is in force"),
            Self::Stale(None) => "no generation is in force".to_owned(),
            Self::Late => "not yet".to_owned(),
            Self::Refused(why) => why.clone(),
            Self::Silent => "its agent is not heard of".to_owned(),
        }
    }
}

fn condition(
    name: &str,
    status: &str,
    reason: &str,
    message: &str,
    observed_generation: i64,
) -> Condition {
    let (reason, message) = (reason.to_owned(), message.chars().take(LONGEST).collect());
    Condition { name: name.into(), status: status.into(), reason, message, observed_generation }
}

#[cfg(test)]
mod tests {
    use agent_model::finding::Severity;
    use agent_source::note::Note;

    use super::*;

    fn told(refuses: bool) -> Told {
        let message = "70000 is no port; give one of 1 to 65535".to_owned();
        let note = Note::loose(Severity::Error, "SK0206", message).about("spec.ports[0].number");
        Told { note: note.into(), refuses }
    }

    fn tally(enforcing: usize, lacking: &[(&str, Lack)]) -> Tally {
        let lacking: Vec<_> =
            lacking.iter().map(|(name, lack)| ((*name).to_owned(), lack.clone())).collect();
        Tally { all: enforcing + lacking.len(), enforcing, lacking }
    }

    #[test]
    fn a_refusal_says_code_field_and_remedy() {
        let refused = accepted(4, &[told(true), told(false)]);
        assert_eq!((refused.status.as_str(), refused.reason.as_str()), ("False", "SK0206"));
        assert_eq!(
            refused.message,
            "spec.ports[0].number: 70000 is no port; give one of 1 to 65535; and 1 more, see \
             `sekisho analyze`"
        );
        assert_eq!(refused.observed_generation, 4);
        assert_eq!(accepted(4, &[told(false)]).status, "True");
        let good = accepted(5, &[]);
        assert_eq!((good.status.as_str(), good.reason.as_str()), ("True", "Accepted"));
    }

    #[test]
    fn nodes_are_counted_and_those_that_lack_something_named() {
        let said = |tally: &Tally| {
            let Condition { status, reason, message, .. } = enforced(3, tally);
            (status, reason, message)
        };
        let row = |status: &str, reason: &str, message: &str| {
            (status.to_owned(), reason.to_owned(), message.to_owned())
        };
        assert_eq!(
            said(&tally(2, &[])),
            row("True", "AllNodes", "2 of 2 nodes enforce generation 3")
        );
        assert_eq!(
            said(&tally(0, &[("n-1", Lack::Stale(Some(2)))])),
            row(
                "False",
                "NotAllNodes",
                "0 of 1 node enforces generation 3; n-1: generation 2 is in force"
            )
        );
        assert_eq!(
            said(&tally(12, &[("n-7", Lack::Silent)])),
            row(
                "Unknown",
                "SilentNodes",
                "12 of 13 nodes enforce generation 3; n-7: its agent is not heard of"
            )
        );
        let many: Vec<_> = ["a", "b", "c", "d", "e"].map(|name| (name, Lack::Late)).into();
        assert_eq!(
            said(&tally(1, &many)).2,
            "1 of 6 nodes enforce generation 3; a: not yet; b: not yet; c: not yet; and 2 more nodes"
        );
        assert_eq!(said(&Tally::default()).1, "NoNodes");
    }
}
