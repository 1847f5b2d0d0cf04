//! The certificates of this node's pods, as people and other programs read them: no key, and nothing
//! that one could be made from.

use std::collections::BTreeMap;

use agent_model::{finding::Severity, finding::code, resource::Short};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::{Note, Text};

/// From which share of its life on a certificate that could not be renewed is a warning, and an error.
const OLD: f64 = 0.75;
const VERY_OLD: f64 = 0.9;
/// From which skew of clocks on no certificate is taken.
const MOST_SKEW: i64 = 300;

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Identity {
    /// Who signs.
    pub(crate) ca: String,
    /// What tells the roots that are trusted from others; none before they are known.
    pub(crate) roots: Option<String>,
    /// When the last of them ends.
    pub(crate) roots_end: Option<Timestamp>,
    /// Whether a restart of the agent finds the certificates again: on a tmpfs only.
    pub(crate) kept: bool,
    /// Why one could not be kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) not_kept: Option<String>,
    /// How many seconds this node's clock is ahead of the CA's, where that is more than 30.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) clock_ahead: Option<i64>,
    /// How often certificates were asked for, by what became of it.
    pub(crate) fetches: BTreeMap<Text, u64>,
    /// A line an identity.
    pub(crate) certificates: Vec<Certificate>,
    /// Identities that none can be made for, and why.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) unusable: BTreeMap<String, String>,
    /// When this was said.
    pub(crate) now: Timestamp,
}

/// An identity of this node's pods.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Certificate {
    /// `spiffe://…`.
    pub(crate) identity: String,
    /// `valid`, `pending` or `expired`.
    pub(crate) state: Text,
    /// In hexadecimal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) serial: Option<String>,
    /// The distinguished name of the CA's certificate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) issuer: Option<String>,
    /// When this node got it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) issued: Option<Timestamp>,
    /// When it ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) expires: Option<Timestamp>,
    /// When the next one is asked for; none while it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) next: Option<Timestamp>,
    /// How often in a row there was no new one.
    pub(crate) failures: u64,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) last_error: Option<String>,
}

impl Certificate {
    /// Which share of its life has gone.
    fn age(&self, now: Timestamp) -> Option<f64> {
        let (issued, expires) = (self.issued?, self.expires?);
        let life = expires.duration_since(issued).as_secs_f64();
        Some(if life > 0.0 { now.duration_since(issued).as_secs_f64() / life } else { 1.0 })
    }

    fn finding(&self, now: Timestamp) -> Option<(Severity, String)> {
        let why = self.last_error.as_deref().unwrap_or("the CA has not answered yet");
        let identity = &self.identity;
        match self.age(now) {
            None => {
                let why = self.last_error.as_deref()?;
                Some((Severity::Error, format!("{identity} has no certificate: {why}")))
            }
            Some(age) if age >= 1.0 => {
                let message = format!("the certificate of {identity} has ended: {why}");
                Some((Severity::Error, message))
            }
            Some(age) if age >= OLD => {
                let severity = if age >= VERY_OLD { Severity::Error } else { Severity::Warning };
                let left = self.expires.map_or(0, |end| end.duration_since(now).as_secs());
                let message = format!(
                    "the certificate of {identity} ends in {left} s and is not renewed: {why}"
                );
                Some((severity, message))
            }
            Some(_) => None,
        }
    }
}

impl Identity {
    /// What a person should know of them.
    pub(crate) fn findings(&self) -> Vec<Note> {
        let mut notes = Vec::new();
        let mut tell = |severity, code: &'static str, message: String| {
            let none = Short::default;
            let (kind, namespace, name, field) = (none(), none(), none(), none());
            let code = code.into();
            let place = None;
            notes.push(Note { severity, code, kind, namespace, name, field, message, place });
        };
        for certificate in &self.certificates {
            if let Some((severity, message)) = certificate.finding(self.now) {
                tell(severity, code::CERTIFICATE, message);
            }
        }
        for (identity, why) in &self.unusable {
            let message = format!("no certificate can be made for {identity}: {why}");
            tell(Severity::Error, code::CERTIFICATE, message);
        }
        if let Some(ahead) = self.clock_ahead {
            let severity =
                if ahead.abs() > MOST_SKEW { Severity::Error } else { Severity::Warning };
            let side = if ahead < 0 { "behind" } else { "ahead of" };
            let seconds = ahead.unsigned_abs();
            let message = format!(
                "this node's clock is {seconds} s {side} the CA's: set both by the same time servers"
            );
            tell(severity, code::CLOCK, message);
        }
        if let Some(why) = &self.not_kept {
            let message = format!("a certificate could not be kept for the next agent: {why}");
            tell(Severity::Warning, code::NOT_KEPT, message);
        } else if !self.kept {
            let message = "--run-dir is on no tmpfs, so certificates are in memory only: an agent that \
                           restarts needs the CA";
            tell(Severity::Info, code::NOT_KEPT, message.to_owned());
        }
        notes
    }

    /// Whether each of them has a certificate that is valid.
    pub(crate) fn is_whole(&self) -> bool {
        self.unusable.is_empty() && self.certificates.iter().all(|one| one.state == "valid")
    }
}

/// A time for people, in at most two units.
pub(crate) fn spoken(time: SignedDuration) -> String {
    let seconds = time.as_secs().max(0);
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3_600 => format!("{} min {} s", seconds / 60, seconds % 60),
        3_600..86_400 => format!("{} h {} min", seconds / 3_600, seconds % 3_600 / 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds % 86_400 / 3_600),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(share: Option<i64>, last_error: Option<&str>) -> Identity {
        let now: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let issued = share.map(|share| now - SignedDuration::from_secs(share));
        let certificate = Certificate {
            identity: "spiffe://cluster.local/ns/shop/sa/web".to_owned(),
            issued,
            expires: issued.map(|at| at + SignedDuration::from_secs(100)),
            last_error: last_error.map(str::to_owned),
            ..Certificate::default()
        };
        Identity { certificates: vec![certificate], kept: true, now, ..Identity::default() }
    }

    #[test]
    fn an_old_certificate_is_worse_the_older_it_is() {
        let found = |share, error| {
            let notes = identity(share, error).findings();
            notes.first().map(|note| (note.severity, note.message.clone()))
        };
        assert_eq!(found(Some(74), Some("away")), None);
        assert_eq!(found(None, None), None, "it has only just been asked for");
        for (share, severity, words) in [
            (Some(75), Severity::Warning, "ends in 25 s and is not renewed: away"),
            (Some(90), Severity::Error, "ends in 10 s"),
            (Some(100), Severity::Error, "has ended: away"),
            (None, Severity::Error, "has no certificate: away"),
        ] {
            let (found, message) = found(share, Some("away")).unwrap();
            assert_eq!(found, severity, "{message}");
            assert!(message.contains(words), "{message}");
        }
    }

    #[test]
    fn a_clock_and_a_disk_are_told_of() {
        let mut odd = identity(Some(10), None);
        odd.clock_ahead = Some(-31);
        let severities = |odd: &Identity| {
            odd.findings()
                .iter()
                .map(|note| (note.code.to_string(), note.severity))
                .collect::<Vec<_>>()
        };
        assert_eq!(severities(&odd), [(code::CLOCK.to_owned(), Severity::Warning)]);
        odd.clock_ahead = Some(301);
        odd.kept = false;
        let wanted = [(code::CLOCK, Severity::Error), (code::NOT_KEPT, Severity::Info)];
        assert_eq!(severities(&odd), wanted.map(|(code, severity)| (code.to_owned(), severity)));
    }

    #[test]
    fn times_are_for_people() {
        for (seconds, wanted) in [
            (-5, "0 s"),
            (59, "59 s"),
            (61, "1 min 1 s"),
            (86_399, "23 h 59 min"),
            (90_000, "1 d 1 h"),
        ] {
            assert_eq!(spoken(SignedDuration::from_secs(seconds)), wanted);
        }
    }
}
