//! Random rules and addresses for property tests, from a universe small enough for most to overlap.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    num::NonZeroU16,
    sync::Arc,
};

use fastrand::Rng;
use ipnet::IpNet;

use crate::egress::{Action, Class, Protocol, ProxyDuty, Rule, RuleSource};

pub(crate) fn source(name: &str) -> Arc<RuleSource> {
    Arc::new(RuleSource {
        kind: "ServiceEntry",
        namespace: "shop".into(),
        name: name.into(),
        field: "spec.ports[0]".into(),
        host: None,
    })
}

pub(crate) fn pick<'a, T>(random: &mut Rng, of: &'a [T]) -> &'a T {
    &of[random.usize(..of.len())]
}

pub(crate) fn random_rule(random: &mut Rng, sources: &[Arc<RuleSource>]) -> Rule {
    Rule {
        class: if random.u8(..6) == 0 { Class::Exempt } else { Class::Registered },
        protocol: if random.u8(..4) == 0 { Protocol::Udp } else { Protocol::Tcp },
        cidr: random_cidr(random),
        port: NonZeroU16::new(random.u16(..4)),
        action: *pick(
            random,
            &[
                Action::Direct,
                Action::Proxy(ProxyDuty::AddressAllowed),
                Action::Proxy(ProxyDuty::NameRequired),
            ],
        ),
        age: random.u32(..3),
        source: pick(random, sources).clone(),
    }
}

fn random_cidr(random: &mut Rng) -> IpNet {
    let addr = random_ip(random);
    let lengths: &[u8] = match addr {
        IpAddr::V4(_) => &[0, 1, 7, 8, 24, 29, 30, 31, 32],
        IpAddr::V6(_) => &[0, 1, 80, 95, 96, 97, 120, 126, 127, 128],
    };
    IpNet::new(addr, *pick(random, lengths)).unwrap()
}

/// Eight neighbours in each of a few networks, near both ends of the first byte, and the same
/// ones in IPv6, mapped and not.
pub(crate) fn random_ip(random: &mut Rng) -> IpAddr {
    let v4 = Ipv4Addr::new(*pick(random, &[203, 202, 10]), 0, 113, random.u8(..8));
    match random.u8(..4) {
        0 => v4.to_ipv6_mapped().into(),
        1 => {
            Ipv6Addr::new(*pick(random, &[0x2001, 0]), 0xdb8, 0, 0, 0, 0, 0, random.u16(..8)).into()
        }
        _ => v4.into(),
    }
}
