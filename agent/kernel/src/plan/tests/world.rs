//! Random pods and rules that change a little from one generation to the next, and what they mean.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    num::NonZeroU16,
    sync::Arc,
};

use agent_abi::{Flow, Reason, Verdict, protocol};
use agent_model::{
    compile::{Decision, addr_of, scan},
    egress::{
        Action, Class, DefaultAction, EgressPolicy, Protocol, ProxyDuty, Rule, RuleSet, RuleSource,
    },
    inbound::{Inbound, PortAccess},
    tables::Pod,
};
use fastrand::Rng;
use ipnet::IpNet;

use super::super::Desired;

pub(super) fn pick<'a, T>(random: &mut Rng, of: &'a [T]) -> &'a T {
    &of[random.usize(..of.len())]
}

pub(super) fn source(name: &str) -> Arc<RuleSource> {
    Arc::new(RuleSource {
        kind: "ServiceEntry",
        namespace: "shop".into(),
        name: name.into(),
        field: "spec.ports[0]".into(),
        host: None,
    })
}

pub(super) fn rule(cidr: IpNet, port: u16, source: &Arc<RuleSource>) -> Rule {
    Rule {
        class: Class::Registered,
        protocol: Protocol::Tcp,
        cidr,
        port: NonZeroU16::new(port),
        action: Action::Direct,
        age: 0,
        source: source.clone(),
    }
}

pub(super) fn pod(rules: &Arc<RuleSet>) -> Pod {
    let default_action = DefaultAction::RegistryOnly;
    let policy = EgressPolicy { default_action, reads_all: false, rules: rules.clone() };
    let policy = Some(Arc::new(policy));
    Pod { policy, addresses: Vec::new(), proxy_port: None, inbound: Inbound::default() }
}

fn random_ip(random: &mut Rng) -> IpAddr {
    let v4 = Ipv4Addr::new(*pick(random, &[203, 202, 10]), 0, 113, random.u8(..8));
    if random.u8(..4) == 0 {
        return Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, random.u16(..8)).into();
    }
    v4.into()
}

fn random_rule(random: &mut Rng) -> Rule {
    let addr = random_ip(random);
    let lengths: &[u8] = match addr {
        IpAddr::V4(_) => &[0, 7, 8, 24, 29, 30, 31, 32],
        IpAddr::V6(_) => &[0, 32, 64, 125, 126, 127, 128],
    };
    let cidr = IpNet::new(addr, *pick(random, lengths)).unwrap();
    let name = *pick(random, &["a", "b", "c", "d"]);
    let mut rule = rule(cidr, random.u16(..4), &source(name));
    rule.age = random.u32(..3);
    if random.u8(..8) == 0 {
        rule.class = Class::Exempt;
    }
    if random.u8(..4) == 0 {
        rule.protocol = Protocol::Udp;
    }
    if random.u8(..3) == 0 {
        rule.action = Action::Proxy(ProxyDuty::NameRequired);
    }
    rule
}

fn random_inbound(random: &mut Rng) -> Inbound {
    let mut access =
        || PortAccess { is_strict: random.u8(..3) == 0, is_probed: random.u8(..3) == 0 };
    let other = access();
    Inbound::new(other, [(1, access()), (3, access())])
}

/// The rules of a few roles, and the pods that have them.
pub(super) struct World {
    roles: Vec<Arc<RuleSet>>,
    pods: BTreeMap<u64, Pod>,
    next_netns: u64,
}

impl World {
    pub(super) fn new(random: &mut Rng) -> Self {
        let mut role = || Arc::new(RuleSet::new((0..10).map(|_| random_rule(random))));
        Self { roles: vec![role(), role(), Arc::default()], pods: BTreeMap::new(), next_netns: 2 }
    }

    /// A change: of a role's rules for all who have it or for one pod, of the pods, of a default.
    pub(super) fn change(&mut self, random: &mut Rng) {
        match random.u8(..7) {
            0 | 1 => self.change_role(random),
            2 | 3 => {
                let pod = self.random_pod(random);
                self.pods.insert(self.next_netns, pod);
                self.next_netns += 1;
            }
            4 => drop(self.pick_pod(random).and_then(|netns| self.pods.remove(&netns))),
            5 => {
                let pod = self.random_pod(random);
                if let Some(netns) = self.pick_pod(random) {
                    self.pods.insert(netns, pod);
                }
            }
            _ => self.copy_rules(),
        }
    }

    fn change_role(&mut self, random: &mut Rng) {
        let at = random.usize(..self.roles.len());
        let before = self.roles[at].clone();
        let mut rules = before.rules().to_vec();
        for _ in 0..=random.usize(..2) {
            if random.bool() || rules.is_empty() {
                rules.push(random_rule(random));
            } else {
                rules.swap_remove(random.usize(..rules.len()));
            }
        }
        let changed = Arc::new(RuleSet::new(rules));
        self.follow(|rules| (*rules == before).then(|| changed.clone()));
        self.roles[at] = changed;
    }

    /// The same rules in a new place in memory, as a translator may hand them over.
    fn copy_rules(&mut self) {
        let copy = |rules: &Arc<RuleSet>| Arc::new(RuleSet::clone(rules));
        self.roles = self.roles.iter().map(copy).collect();
        self.follow(|rules| Some(copy(rules)));
    }

    fn follow(&mut self, to: impl Fn(&Arc<RuleSet>) -> Option<Arc<RuleSet>>) {
        let mut pods = std::mem::take(&mut self.pods);
        for policy in pods.values_mut().filter_map(|pod| pod.policy.as_mut()) {
            if let Some(rules) = to(&policy.rules) {
                *policy = Arc::new(EgressPolicy { rules, ..EgressPolicy::clone(policy) });
            }
        }
        self.pods = pods;
    }

    fn random_pod(&self, random: &mut Rng) -> Pod {
        let defaults = [DefaultAction::AllowAny, DefaultAction::RegistryOnly, DefaultAction::Audit];
        let rules = pick(random, &self.roles).clone();
        let policy =
            EgressPolicy { default_action: *pick(random, &defaults), reads_all: false, rules };
        Pod {
            policy: (random.u8(..6) > 0).then(|| Arc::new(policy)),
            addresses: (0..random.u8(..3)).map(|_| random_ip(random)).collect(),
            proxy_port: NonZeroU16::new(random.u16(..2)),
            inbound: random_inbound(random),
        }
    }

    fn pick_pod(&self, random: &mut Rng) -> Option<u64> {
        let netns: Vec<u64> = self.pods.keys().copied().collect();
        (!netns.is_empty()).then(|| *pick(random, &netns))
    }

    pub(super) fn desired(&self) -> Desired {
        self.pods.clone()
    }

    pub(super) fn random_flow(&self, random: &mut Rng) -> Flow {
        Flow {
            netns: random.u64(2..self.next_netns + 2),
            dst: addr_of(random_ip(random)),
            dst_port: random.u16(..5),
            protocol: *pick(random, &[protocol::TCP, protocol::TCP, protocol::UDP]),
        }
    }
}

/// What the pods' rules, read one by one, say about a flow.
pub(super) fn expected(pods: &Desired, flow: &Flow) -> (Verdict, Reason, Option<Decision>) {
    let Some(pod) = pods.get(&flow.netns) else {
        return (Verdict::Hold, Reason::UnknownHeld, None);
    };
    let Some(policy) = &pod.policy else {
        return (Verdict::Direct, Reason::NotEnrolled, None);
    };
    let mut own: Vec<&IpAddr> = Vec::new();
    own.extend(pod.addresses.iter().find(|ip| ip.is_ipv4()));
    own.extend(pod.addresses.iter().find(|ip| ip.is_ipv6()));
    if own.into_iter().any(|ip| addr_of(*ip) == flow.dst) {
        return (Verdict::Direct, Reason::Local, None);
    }
    if let Some(rule) = scan(policy.rules.rules(), flow.dst, flow.protocol, flow.dst_port) {
        let proxied = matches!(rule.action, Action::Proxy(_));
        let verdict = if proxied { Verdict::Proxy } else { Verdict::Direct };
        let decision = Decision { source: rule.source.clone(), action: rule.action };
        return (verdict, Reason::Rule, Some(decision));
    }
    match policy.default_action {
        DefaultAction::AllowAny => (Verdict::Direct, Reason::DefaultAllow, None),
        DefaultAction::RegistryOnly => (Verdict::Deny, Reason::NoRule, None),
        DefaultAction::Audit => (Verdict::Direct, Reason::WouldDeny, None),
    }
}
