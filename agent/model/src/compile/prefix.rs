//! Prefixes: their order, what they cover, and a longest match over a sorted list of them.

use std::{cmp::Ordering, net::IpAddr};

use agent_abi::{Addr, FAMILY_V6, PrefixKey};
use ipnet::IpNet;

use super::Prefix;

impl Prefix {
    /// Whether an address lies in this prefix. Families never mix: `::/0` covers no IPv4 address.
    pub fn covers(&self, addr: Addr) -> bool {
        self.addr.family == addr.family && common_len(self.addr, addr) >= self.len
    }

    /// Whether another prefix lies wholly in this one.
    pub fn encloses(&self, other: &Self) -> bool {
        self.len <= other.len && self.covers(other.addr)
    }

    /// The key of the kernel's trie.
    pub fn key(&self, table: u32) -> PrefixKey {
        PrefixKey { bits: PrefixKey::HEAD_BITS + u32::from(self.len), table, addr: self.addr }
    }

    fn sort_key(&self) -> (u32, u128, u8) {
        (self.addr.family, bits(self.addr), self.len)
    }
}

impl Ord for Prefix {
    fn cmp(&self, other: &Self) -> Ordering {
        self.sort_key().cmp(&other.sort_key())
    }
}

impl PartialOrd for Prefix {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl From<IpNet> for Prefix {
    /// Masks. An IPv6 prefix stays IPv6 here: [`crate::egress::RuleSet`] has folded mapped ones.
    fn from(cidr: IpNet) -> Self {
        let addr = match cidr.network() {
            IpAddr::V4(v4) => Addr::v4(u32::from_ne_bytes(v4.octets())),
            IpAddr::V6(v6) => Addr { family: FAMILY_V6, words_be: words_be(v6.octets()) },
        };
        Self { addr, len: cidr.prefix_len() }
    }
}

/// An address as the kernel programs know it; an IPv4-mapped one is IPv4.
pub fn addr_of(ip: IpAddr) -> Addr {
    match ip {
        IpAddr::V4(v4) => Addr::v4(u32::from_ne_bytes(v4.octets())),
        IpAddr::V6(v6) => Addr::v6(words_be(v6.octets())),
    }
}

fn words_be(octets: [u8; 16]) -> [u32; 4] {
    let (words, _) = octets.as_chunks::<4>();
    std::array::from_fn(|at| u32::from_ne_bytes(words[at]))
}

/// The address's bits, the first one highest. The words are in network order, so comparing them as
/// numbers of the host would not sort a prefix next to what it covers.
fn bits(addr: Addr) -> u128 {
    addr.words_be.iter().fold(0, |bits, word| bits << 32 | u128::from(u32::from_be(*word)))
}

/// How many leading bits two addresses of one family share.
fn common_len(one: Addr, other: Addr) -> u8 {
    let shared = (bits(one) ^ bits(other)).leading_zeros().min(one.bits());
    u8::try_from(shared).expect("an address has at most 128 bits")
}

/// The value of the longest prefix in a sorted list that covers an address.
///
/// The last prefix at or before the address either covers it, or lies together with the address in
/// whichever does; that one is no longer than what the two have in common, so the search goes on
/// from there. Each step shortens the prefix looked for.
pub(super) fn longest_match<V: Copy>(sorted: &[(Prefix, V)], addr: Addr) -> Option<V> {
    let mut wanted = Prefix { addr, len: u8::try_from(addr.bits()).ok()? };
    let mut rest = sorted;
    loop {
        rest = &rest[..rest.partition_point(|(prefix, _)| *prefix <= wanted)];
        let (last, value) = rest.last()?;
        if last.covers(addr) {
            return Some(*value);
        }
        if last.addr.family != addr.family {
            return None;
        }
        wanted = truncate(addr, common_len(last.addr, addr));
    }
}

/// The longest prefix in a sorted list that lies around another one and is not the same.
pub(super) fn around<V: Copy>(sorted: &[(Prefix, V)], prefix: &Prefix) -> Option<(Prefix, V)> {
    (0..prefix.len).rev().find_map(|len| {
        let wider = truncate(prefix.addr, len);
        let at = sorted.binary_search_by(|(other, _)| other.cmp(&wider)).ok()?;
        Some(sorted[at])
    })
}

/// The prefix of a given length that an address lies in.
fn truncate(addr: Addr, len: u8) -> Prefix {
    let words_be = std::array::from_fn(|at| {
        let kept = u32::from(len).saturating_sub(32 * u32::try_from(at).unwrap_or(4)).min(32);
        let mask = u32::MAX.checked_shl(32 - kept).unwrap_or(0);
        addr.words_be[at] & mask.to_be()
    });
    Prefix { addr: Addr { family: addr.family, words_be }, len }
}
