//! Which endpoint a key leads to: a ring of points, or Maglev's table. Both are Envoy's, so that a key
//! keeps most of its endpoints when some come or go. Pure.

use std::net::SocketAddr;

use agent_model::requests::policy::HashTable;
use twox_hash::XxHash64;

/// The most points of a ring, 4 MiB of them. Envoy allows 32 times as many; but here every pod has a
/// ring of its own, in one process.
const MOST_POINTS: u64 = 256 * 1024;

/// The number of a key, the same in every agent.
pub(crate) fn hash(key: &[u8]) -> u64 {
    XxHash64::oneshot(0, key)
}

/// An endpoint and its share.
pub(super) type Share = (SocketAddr, u64);

/// See the module.
#[derive(Debug)]
pub(super) struct Table {
    /// What it was made of.
    of: Vec<Share>,
    kind: HashTable,
    spread: Spread,
}

#[derive(Debug)]
enum Spread {
    /// Points and the place of the endpoint of each, in order.
    Ring(Vec<(u64, u32)>),
    /// The place of an endpoint at each place of the table.
    Maglev(Vec<u32>),
}

impl Table {
    /// A table of some endpoints, in an order that does not depend on theirs.
    pub(super) fn new(kind: HashTable, mut of: Vec<Share>) -> Self {
        of.sort_unstable();
        let spread = match kind {
            HashTable::Ring(least) => Spread::Ring(ring(&of, least)),
            HashTable::Maglev(size) => Spread::Maglev(maglev(&of, size)),
        };
        Self { of, kind, spread }
    }

    /// Whether it is the one of these endpoints.
    pub(super) fn is_of(&self, kind: HashTable, of: &[Share]) -> bool {
        let mut sorted;
        let of = if of.is_sorted() {
            of
        } else {
            sorted = of.to_vec();
            sorted.sort_unstable();
            &sorted
        };
        self.kind == kind && self.of == of
    }

    /// Where a key leads; nowhere only without endpoints.
    pub(super) fn lead(&self, key: u64) -> Option<SocketAddr> {
        let place = match &self.spread {
            Spread::Ring(points) => {
                let at = points.partition_point(|(point, _)| *point < key);
                points.get(at).or_else(|| points.first())?.1
            }
            Spread::Maglev(places) => {
                let at = key.checked_rem(places.len() as u64)?;
                *places.get(usize::try_from(at).ok()?)?
            }
        };
        self.of.get(place as usize).map(|(at, _)| *at)
    }
}

/// Points in proportion to the shares, at least `least` of them and at least one an endpoint. Their number
/// grows by doubling, so that an endpoint mostly keeps its points, and its keys, when others come or go.
fn ring(of: &[Share], least: u64) -> Vec<(u64, u32)> {
    let total: u64 = of.iter().map(|(_, share)| share).sum();
    let Some(smallest) = of.iter().map(|(_, share)| *share).min().filter(|one| *one > 0) else {
        return Vec::new();
    };
    // So that the smallest share has a whole number of points.
    let points_of_smallest = least.saturating_mul(smallest).div_ceil(total).next_power_of_two();
    let mut points = Vec::new();
    for (place, (at, share)) in (0..).zip(of) {
        let own = points_of_smallest.saturating_mul(*share) / smallest;
        let most = MOST_POINTS.saturating_mul(*share) / total;
        for number in 0..own.min(most).max(1) {
            points.push((hash(format!("{at}_{number}").as_bytes()), place));
        }
    }
    points.sort_unstable();
    points
}

/// Maglev's table (Eisenbud and others, 2016, section 3.4), filled in turns by share.
fn maglev(of: &[Share], size: u64) -> Vec<u32> {
    let Some(most) = of.iter().map(|(_, share)| *share).max().filter(|one| *one > 0) else {
        return Vec::new();
    };
    let size = size.max(2);
    let Ok(length) = usize::try_from(size) else { return Vec::new() };
    let walk = |(at, share): &Share| {
        let name = at.to_string();
        let offset = XxHash64::oneshot(0, name.as_bytes()) % size;
        let skip = XxHash64::oneshot(1, name.as_bytes()) % (size - 1) + 1;
        Walk { next: offset, skip, share: *share, due: 0 }
    };
    let mut walks: Vec<Walk> = of.iter().map(walk).collect();
    let mut places = vec![u32::MAX; length];
    let mut left = length;
    while left > 0 {
        for (place, walk) in (0..).zip(&mut walks) {
            // The greatest share has a turn each round, the others as often as theirs allows.
            walk.due += walk.share;
            if walk.due < most || left == 0 {
                continue;
            }
            walk.due -= most;
            let at = walk.free(&places, size);
            places[at] = place;
            left -= 1;
        }
    }
    places
}

/// The order in which an endpoint asks for places.
struct Walk {
    next: u64,
    skip: u64,
    share: u64,
    due: u64,
}

impl Walk {
    fn free(&mut self, places: &[u32], size: u64) -> usize {
        loop {
            // Below the table's length, which is a `usize`.
            #[expect(clippy::cast_possible_truncation, reason = "it is below a `usize`")]
            let at = self.next as usize;
            self.next = (self.next + self.skip) % size;
            if places[at] == u32::MAX {
                return at;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shares(shares: &[u64]) -> Vec<Share> {
        (1..).zip(shares).map(|(last, share)| (([203, 0, 113, last], 80).into(), *share)).collect()
    }

    fn kinds() -> [HashTable; 2] {
        [HashTable::Ring(1024), HashTable::Maglev(65_537)]
    }

    /// How many of 10,000 keys each endpoint gets.
    fn counts(kind: HashTable, of: &[Share]) -> Vec<usize> {
        let table = Table::new(kind, of.to_vec());
        let led: Vec<_> = (0..10_000_u32).map(|key| table.lead(hash(&key.to_be_bytes()))).collect();
        of.iter().map(|(at, _)| led.iter().filter(|one| **one == Some(*at)).count()).collect()
    }

    #[test]
    fn keys_are_spread_by_share() {
        for kind in kinds() {
            let counts = counts(kind, &shares(&[1, 1, 2]));
            for (count, wanted) in counts.iter().zip([2_500, 2_500, 5_000]) {
                assert!(count.abs_diff(wanted) < wanted / 5, "{kind:?}: {counts:?}");
            }
        }
    }

    #[test]
    fn a_key_keeps_its_endpoint_when_another_goes() {
        for kind in kinds() {
            let (all, fewer) = (shares(&[1; 5]), shares(&[1; 4]));
            let (before, after) = (Table::new(kind, all), Table::new(kind, fewer.clone()));
            let keys = 0..10_000_u32;
            let moved = keys.filter(|key| {
                let key = hash(&key.to_be_bytes());
                let led = before.lead(key).unwrap();
                fewer.iter().any(|(at, _)| *at == led) && after.lead(key) != Some(led)
            });
            let moved = moved.count();
            assert!(moved < 300, "{kind:?}: {moved} of 8000 moved without need");
        }
    }

    #[test]
    fn the_order_of_endpoints_does_not_matter_and_none_leads_nowhere() {
        for kind in kinds() {
            let (one, mut other) = (shares(&[1, 2, 3]), shares(&[1, 2, 3]));
            other.reverse();
            let table = Table::new(kind, one);
            assert!(table.is_of(kind, &other));
            assert!(!table.is_of(kind, &shares(&[1, 2])));
            let turned = Table::new(kind, other);
            let key = |one: u8| hash(&[1, one]);
            assert!((0..=u8::MAX).all(|one| table.lead(key(one)) == turned.lead(key(one))));
            assert_eq!(Table::new(kind, Vec::new()).lead(7), None);
        }
    }
}
