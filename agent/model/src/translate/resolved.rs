//! What the names of one object resolve to, and how that becomes a place to carry bytes to.

use std::{net::IpAddr, num::NonZeroU16, sync::Arc};

use super::Notes;
use crate::{
    endpoints::NamedEndpoint,
    finding::code,
    names::{Answer, Answers, MAX_ADDRESSES, Trouble, canonical},
};

/// Looks names up, and remembers which: they are what the object wants resolved.
#[derive(Debug)]
pub(super) struct Resolved<'a> {
    answers: &'a Answers,
    pub(super) names: Vec<Arc<str>>,
}

impl<'a> Resolved<'a> {
    pub(super) fn new(answers: &'a Answers) -> Self {
        Self { answers, names: Vec::new() }
    }

    /// What a name, or an IP in place of one, leads to.
    pub(super) fn look_up(
        &mut self,
        host: &str,
        field: &str,
        notes: &mut Notes<'_>,
    ) -> Arc<Answer> {
        if let Ok(address) = host.parse::<IpAddr>() {
            let current = vec![address.to_canonical()];
            return Arc::new(Answer { current, ..Answer::default() });
        }
        let name = canonical(host);
        let answer = self.answers.get(&name).cloned().unwrap_or_default();
        match answer.trouble {
            Some(Trouble::Unresolved) => {
                let message = format!(
                    "{name} has no address, so nothing is allowed for it yet; `sekisho status` \
                     shows what the name server says"
                );
                notes.warn(code::UNRESOLVED, field, message);
            }
            Some(Trouble::TooMany { found }) => {
                let message = format!(
                    "{name} has {found} addresses, and up to {MAX_ADDRESSES} are taken: its answer \
                     from before stays; list a CIDR under spec.addresses with resolution NONE"
                );
                notes.warn(code::TOO_MANY_ADDRESSES, field, message);
            }
            None => {}
        }
        let name: Arc<str> = name.into();
        if !self.names.contains(&name) {
            self.names.push(name);
        }
        answer
    }
}

/// How many of a name's addresses new connections are spread over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Spread {
    /// Each.
    All,
    /// The first one of each family.
    First,
}

pub(super) fn named(
    host: &str,
    (port, weight): (NonZeroU16, u32),
    answer: &Answer,
    spread: Spread,
) -> NamedEndpoint {
    let (mut current, mut lingering) = (answer.current.clone(), answer.lingering.clone());
    if spread == Spread::First {
        let mut seen = [false; 2];
        let (first, others): (Vec<_>, Vec<_>) = current.into_iter().partition(|address| {
            !std::mem::replace(&mut seen[usize::from(address.is_ipv6())], true)
        });
        current = first;
        lingering.extend(others);
    }
    NamedEndpoint { host: canonical(host), port, weight: weight.max(1), current, lingering }
}
