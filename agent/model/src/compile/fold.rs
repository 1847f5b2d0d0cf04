//! One prefix's own rules folded into what its parent says.

use super::{PortRule, rank::Priority};

/// What a prefix says that has rules of its own: at each port the winner of its own rules and its
/// parent's, for that port and for any.
///
/// A parent's prefix is always the shorter one, so against a rule of the parent only class,
/// nearness and port decide and never age or source. An exact port that says what any port says is
/// left out.
pub(super) fn fold(parent: &[PortRule], own: &[PortRule], folded: &mut Vec<PortRule>) {
    let place = |rule: &PortRule| (rule.protocol, rule.port);
    folded.clear();
    let (mut parent, mut own) = (parent.iter().peekable(), own.iter().peekable());
    // The entries for any port come first in each protocol.
    let mut any: Option<PortRule> = None;
    let (mut parent_any, mut own_any) = (None, None);
    loop {
        let next = match (parent.peek(), own.peek()) {
            (None, None) => return,
            (Some(rule), None) | (None, Some(rule)) => place(rule),
            (Some(one), Some(other)) => place(one).min(place(other)),
        };
        let inherited = parent.next_if(|rule| place(rule) == next);
        let added = own.next_if(|rule| place(rule) == next);
        if any.is_none_or(|rule| rule.protocol != next.0) {
            (any, parent_any, own_any) = (None, None, None);
        }
        let winner = [(inherited, 0), (added, 1), (parent_any, 0), (own_any, 1)]
            .into_iter()
            .filter_map(|(rule, nearness): (Option<&PortRule>, u8)| {
                rule.map(|rule| (priority(*rule, nearness), rule))
            })
            .max_by_key(|(priority, _)| *priority)
            .map(|(_, rule)| PortRule { protocol: next.0, port: next.1, ..*rule })
            .expect("the place comes from one of the two");
        if next.1 == 0 {
            (any, parent_any, own_any) = (Some(winner), inherited, added);
        } else if any.is_some_and(|rule| says_the_same(rule, winner)) {
            continue;
        }
        folded.push(winner);
    }
}

/// How an entry ranks in a fold, where the nearer prefix is the longer one.
fn priority(rule: PortRule, nearness: u8) -> Priority {
    Priority { class: rule.class, prefix_len: nearness, exact_port: rule.port != 0 }
}

fn says_the_same(one: PortRule, other: PortRule) -> bool {
    one.class == other.class && one.decision == other.decision
}
