//! Which endpoint is next. Pure but for chance: what is known of each endpoint is passed in.

use std::net::{IpAddr, SocketAddr};

use agent_model::{
    endpoints::{Endpoints, NamedEndpoint},
    requests::policy::Warmup,
};
use tokio::time::Instant;

use crate::{Origin, share::by_share};

/// Shares are counted in so many parts, so that a slow start may have less than one.
const PARTS: u64 = 1_000;
const MILLION: f64 = 1_000_000.0;

/// The golden section of 2⁶⁴: its multiples are spread evenly, however many there are of them.
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// An endpoint that may be chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Candidate {
    pub(super) at: SocketAddr,
    /// Its share of the load.
    pub(super) share: u64,
    /// Requests under way there.
    pub(super) active: u32,
}

/// The endpoints of a destination. Those of the family that was dialled, where there are any: a pod
/// that dials one family may well lack the other.
pub(super) fn candidates(endpoints: &Endpoints, origin: &Origin) -> Vec<Candidate> {
    of_family(all(endpoints, origin), origin.dst.0.ip())
}

/// The endpoints of the family that was not dialled.
pub(super) fn of_other_family(endpoints: &Endpoints, origin: &Origin) -> Vec<Candidate> {
    let mut all = all(endpoints, origin);
    all.retain(|one| one.at.is_ipv4() != origin.dst.0.is_ipv4());
    all
}

fn all(endpoints: &Endpoints, origin: &Origin) -> Vec<Candidate> {
    let dialled = origin.dst.0;
    let of = |ip: IpAddr, port: u16, share: u32| {
        let share = u64::from(share) * PARTS;
        Candidate { at: SocketAddr::new(ip, port), share, active: 0 }
    };
    match endpoints {
        Endpoints::Listed(listed) => {
            listed.iter().map(|one| of(one.address, one.port.get(), one.weight)).collect()
        }
        Endpoints::Dialled { port, .. } => vec![of(dialled.ip(), port.get(), 1)],
        // The name in the request is not resolved yet.
        Endpoints::AsRequested { .. } => vec![of(dialled.ip(), dialled.port(), 1)],
        Endpoints::Named { names, first_only, .. } => {
            let all = of_names(names, of);
            if *first_only {
                of_family(all, dialled.ip()).into_iter().take(1).collect()
            } else {
                all
            }
        }
    }
}

fn of_names(names: &[NamedEndpoint], of: impl Fn(IpAddr, u16, u32) -> Candidate) -> Vec<Candidate> {
    let all = names.iter().flat_map(|name| name.current.iter().map(move |ip| (name, ip)));
    all.map(|(name, ip)| of(*ip, name.port.get(), name.weight)).collect()
}

fn of_family(all: Vec<Candidate>, dialled: IpAddr) -> Vec<Candidate> {
    let is_same = |one: &Candidate| one.at.is_ipv4() == dialled.is_ipv4();
    if all.iter().any(is_same) { all.into_iter().filter(is_same).collect() } else { all }
}

/// The less busy one of two drawn by share.
pub(super) fn least_request(among: &[Candidate]) -> Option<SocketAddr> {
    let one = draw(among, fastrand::u64(..))?;
    let other = draw(among, fastrand::u64(..))?;
    Some(if other.active < one.active { other.at } else { one.at })
}

/// One by its share.
pub(super) fn draw(among: &[Candidate], draw: u64) -> Option<&Candidate> {
    by_share(among, |one| one.share, draw)
}

/// The one whose turn it is: turns go round all of them, each as often as its share says.
pub(super) fn in_turn(among: &[Candidate], turn: u64) -> Option<SocketAddr> {
    let all_alike = among.windows(2).all(|pair| pair[0].share == pair[1].share);
    if all_alike {
        let at = turn.checked_rem(among.len() as u64)?;
        return among.get(usize::try_from(at).ok()?).map(|one| one.at);
    }
    // Turns a golden section apart meet each share evenly, not one after the other.
    let total: u64 = among.iter().map(|one| one.share).sum();
    let spread = (u128::from(turn.wrapping_mul(GOLDEN)) * u128::from(total)) >> 64;
    draw(among, u64::try_from(spread).unwrap_or(0)).map(|one| one.at)
}

/// The share of an endpoint that has been there since then: it grows from the least to all of it.
pub(super) fn warmed(share: u64, since: Instant, now: Instant, warmup: &Warmup) -> u64 {
    let age = now.saturating_duration_since(since);
    if age >= warmup.time {
        return share;
    }
    let part = age.as_secs_f64().max(0.001) / warmup.time.as_secs_f64();
    let aggression = (f64::from(warmup.aggression) / MILLION).max(0.001);
    let factor = part.powf(1.0 / aggression).max(f64::from(warmup.minimum) / MILLION);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_precision_loss,
        clippy::cast_sign_loss,
        reason = "a share of a share"
    )]
    let warmed = (share as f64 * factor.min(1.0)) as u64;
    warmed.max(1)
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, time::Duration};

    use agent_model::endpoints::Endpoint;

    use super::*;
    use crate::OriginalDst;

    fn among(shares: &[u64]) -> Vec<Candidate> {
        let at = |last: u8| SocketAddr::from(([203, 0, 113, last], 80));
        let one = |(last, share): (u8, &u64)| Candidate { at: at(last), share: *share, active: 0 };
        (1..).zip(shares).map(one).collect()
    }

    fn origin(dialled: &str) -> Origin {
        let dst = OriginalDst(dialled.parse().unwrap());
        Origin { dst, rule: 1, generation: 1, connection: 1 }
    }

    fn shown(endpoints: &Endpoints, dialled: &str) -> Vec<String> {
        candidates(endpoints, &origin(dialled)).iter().map(|one| one.at.to_string()).collect()
    }

    #[test]
    fn the_family_dialled_comes_first_and_the_other_is_better_than_none() {
        let endpoint = |ip: &str| Endpoint::new(ip.parse().unwrap(), 80.try_into().unwrap(), 1);
        let both = Endpoints::Listed([endpoint("203.0.113.1"), endpoint("2001:db8::1")].into());
        assert_eq!(shown(&both, "203.0.113.9:80"), ["203.0.113.1:80"]);
        assert_eq!(shown(&both, "[2001:db8::9]:80"), ["[2001:db8::1]:80"]);
        let one = Endpoints::Listed([endpoint("2001:db8::1")].into());
        assert_eq!(shown(&one, "203.0.113.9:80"), ["[2001:db8::1]:80"]);
    }

    #[test]
    fn names_give_all_their_addresses_or_the_first() {
        let ips = |all: &[&str]| all.iter().map(|one| one.parse().unwrap()).collect();
        let name = NamedEndpoint {
            host: "db.example.com".into(),
            port: 8080.try_into().unwrap(),
            weight: 1,
            current: ips(&["2001:db8::1", "203.0.113.1", "203.0.113.2"]),
            lingering: ips(&["203.0.113.3"]),
        };
        let named = |first_only| Endpoints::Named {
            names: [name.clone()].into(),
            first_only,
            mutual: false,
        };
        assert_eq!(
            shown(&named(false), "203.0.113.9:80"),
            ["203.0.113.1:8080", "203.0.113.2:8080"]
        );
        assert_eq!(shown(&named(true), "203.0.113.9:80"), ["203.0.113.1:8080"]);
    }

    #[test]
    fn turns_go_round_and_meet_shares_evenly() {
        let counts = |shares: &[u64], turns: u64| {
            let mut counts: BTreeMap<SocketAddr, u64> = BTreeMap::new();
            for turn in 0..turns {
                *counts.entry(in_turn(&among(shares), turn).unwrap()).or_default() += 1;
            }
            counts.into_values().collect::<Vec<_>>()
        };
        assert_eq!(counts(&[1, 1, 1], 300), [100; 3]);
        let uneven = counts(&[1_000, 3_000], 400);
        assert!(uneven[0].abs_diff(100) < 5, "{uneven:?}");
        // Evenly: of any twelve turns in a row the smaller share has about three.
        for begin in 0..100 {
            let small = (begin..begin + 12)
                .filter(|turn| in_turn(&among(&[1_000, 3_000]), *turn) == Some(among(&[1])[0].at));
            assert!((2..=4).contains(&small.count()), "from {begin}");
        }
        assert_eq!(in_turn(&[], 3), None);
    }

    #[test]
    fn the_less_busy_one_of_two_is_chosen() {
        let mut among = among(&[1_000, 1_000]);
        among[0].active = 9;
        let busy = (0..1_000).filter(|_| least_request(&among) == Some(among[0].at)).count();
        // Only where both draws are the busy one.
        assert!((150..350).contains(&busy), "{busy} of 1000");
        assert_eq!(least_request(&[]), None);
    }

    #[test]
    fn a_slow_start_grows_to_the_whole_share() {
        let warmup =
            Warmup { time: Duration::from_secs(10), minimum: 100_000, aggression: 1_000_000 };
        let since = Instant::now();
        let after = |millis| warmed(1_000, since, since + Duration::from_millis(millis), &warmup);
        assert_eq!([after(0), after(500), after(5_000), after(10_000)], [100, 100, 500, 1_000]);
        let eager = Warmup { aggression: 2_000_000, ..warmup };
        let early = warmed(1_000, since, since + Duration::from_millis(2_500), &eager);
        assert_eq!(early, 500);
    }
}
