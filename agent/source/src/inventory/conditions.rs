//! The conditions in an object's status: ours, which one agent writes, and everybody else's, which
//! must stay as they are.

use std::hash::{DefaultHasher, Hash, Hasher};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What the types of our conditions begin with.
const OURS: &str = "sekisho.dev/";

/// A condition of ours, but for its time.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Condition {
    /// `sekisho.dev/…`.
    #[serde(rename = "type")]
    pub name: String,
    /// `True`, `False` or `Unknown`.
    pub status: String,
    /// One word for programs.
    pub reason: String,
    /// For people.
    pub message: String,
    /// The generation that it is about.
    pub observed_generation: i64,
}

/// The type of a condition, its status, and since when it has been that.
type Since = (Box<str>, Box<str>, Timestamp);

/// The conditions of an object, as far as the writer of ours needs them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Conditions {
    /// What ours say ([`said`]); none where there are none.
    pub said: Option<u64>,
    /// The times of ours.
    since: Box<[Since]>,
    /// Everybody else's, as a JSON list; none where there are none.
    pub others: Option<Box<str>>,
}

/// What some conditions of ours say, in any order, for comparison within this process.
pub fn said<'a>(conditions: impl IntoIterator<Item = &'a Condition>) -> u64 {
    let one = |condition: &Condition| {
        let mut hasher = DefaultHasher::new();
        condition.hash(&mut hasher);
        hasher.finish()
    };
    conditions.into_iter().map(one).fold(0, u64::wrapping_add)
}

impl Conditions {
    /// Those of a `status`.
    pub fn read(status: Option<&Value>) -> Self {
        let all = status.and_then(|status| status["conditions"].as_array());
        let Some(all) = all.filter(|all| !all.is_empty()) else { return Self::default() };
        let is_ours = |one: &&Value| one["type"].as_str().unwrap_or_default().starts_with(OURS);
        let (ours, others): (Vec<&Value>, Vec<&Value>) = all.iter().partition(is_ours);
        let read: Vec<Condition> =
            ours.iter().filter_map(|one| Condition::deserialize(*one).ok()).collect();
        let since = ours.iter().zip(&read).filter_map(|(value, one)| {
            let time = value["lastTransitionTime"].as_str()?.parse().ok()?;
            Some((one.name.as_str().into(), one.status.as_str().into(), time))
        });
        let text = || serde_json::to_string(&others).ok().map(Into::into);
        Self {
            said: (!read.is_empty()).then(|| said(&read)),
            since: since.collect(),
            others: (!others.is_empty()).then(text).flatten(),
        }
    }

    /// The whole list that is to be written: everybody else's as they are, and these of ours.
    pub fn with(&self, ours: &[Condition], now: Timestamp) -> Value {
        let others = self.others.as_deref().and_then(|text| serde_json::from_str(text).ok());
        let mut all: Vec<Value> = others.unwrap_or_default();
        all.extend(ours.iter().map(|one| {
            let since = self.since(&one.name, &one.status).unwrap_or(now);
            let mut value = serde_json::json!(one);
            // Kubernetes' own times have whole seconds.
            value["lastTransitionTime"] = since.strftime("%Y-%m-%dT%H:%M:%SZ").to_string().into();
            value
        }));
        Value::Array(all)
    }

    /// Whether one of ours is there with this status.
    pub fn has(&self, name: &str, status: &str) -> bool {
        self.since(name, status).is_some()
    }

    fn since(&self, name: &str, status: &str) -> Option<Timestamp> {
        let is_it = |(one, said, _): &&Since| &**one == name && &**said == status;
        self.since.iter().find(is_it).map(|(_, _, since)| *since)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn ours(status: &str, message: &str) -> Condition {
        Condition {
            name: "sekisho.dev/Accepted".into(),
            status: status.into(),
            reason: "Accepted".into(),
            message: message.into(),
            observed_generation: 3,
        }
    }

    #[test]
    fn others_conditions_stay_and_a_time_changes_with_the_status_alone() {
        let theirs = json!({"type": "Reconciled", "status": "True", "extra": [1]});
        let before = Conditions::read(Some(&json!({"conditions": [
            theirs,
            {"type": "sekisho.dev/Accepted", "status": "True",
             "lastTransitionTime": "2026-01-02T03:04:05Z"},
        ]})));
        let now: Timestamp = "2026-02-02T02:02:02.25Z".parse().unwrap();
        let same = before.with(&[ours("True", "another word")], now);
        assert_eq!(same[0], theirs);
        assert_eq!(same[1]["lastTransitionTime"], "2026-01-02T03:04:05Z");
        assert_eq!(same[1]["observedGeneration"], 3);
        let other = before.with(&[ours("False", "")], now);
        assert_eq!(other[0], theirs);
        assert_eq!(other[1]["lastTransitionTime"], "2026-02-02T02:02:02Z");
    }

    #[test]
    fn what_was_written_reads_as_said() {
        let written = [
            ours("True", "a"),
            Condition { name: "sekisho.dev/Enforced".into(), ..ours("False", "b") },
        ];
        let list = Conditions::default().with(&written, Timestamp::UNIX_EPOCH);
        let read = Conditions::read(Some(&json!({"conditions": list})));
        assert_eq!(read.said, Some(said(&written)));
        assert_ne!(read.said, Some(said(&[ours("True", "c"), written[1].clone()])));
        assert!(read.has("sekisho.dev/Enforced", "False") && read.others.is_none());
        assert_eq!(Conditions::read(Some(&json!({"addresses": []}))), Conditions::default());
    }
}
