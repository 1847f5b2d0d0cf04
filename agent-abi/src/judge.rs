//! The one judgement. The kernel programs call it on their maps, user space on compiled tables or
//! on the live maps; there is no second copy of these rules anywhere.

use crate::{
    Addr, PodKey, PodPolicy, PrefixKey, PrefixValue, Reason, RuleKey, RuleValue, Verdict, canary,
    node_flag, policy_default, policy_flag, rule_action,
};

/// Where the judgement reads. In the kernel these are map look-ups.
pub trait Tables {
    /// The generation in force ([`crate::NodeState::generation`]). Read once a judgement.
    fn generation(&self) -> u64;
    /// The cookie of the host's network namespace.
    fn host_netns(&self) -> u64;
    /// Bits of [`node_flag`].
    fn flags(&self) -> u32;
    /// The pod's policy in a slot.
    fn pod(&self, key: &PodKey) -> Option<PodPolicy>;
    /// The longest prefix that covers an address.
    fn prefix(&self, key: &PrefixKey) -> Option<PrefixValue>;
    /// A port of a rule set.
    fn rule(&self, key: &RuleKey) -> Option<RuleValue>;
}

/// What is judged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flow {
    /// The cookie of the network namespace that the socket belongs to.
    pub netns: u64,
    /// Where it goes.
    pub dst: Addr,
    /// See `dst`; zero where the protocol has no ports.
    pub dst_port: u16,
    /// The protocol number.
    pub protocol: u8,
}

/// The outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Judgement {
    /// What to do.
    pub verdict: Verdict,
    /// Why.
    pub reason: Reason,
    /// The rule that decided, or zero.
    pub rule: u32,
    /// The generation that judged.
    pub generation: u64,
    /// For an enrolled pod: [`PodPolicy::default_action`].
    pub default_action: u32,
    /// For an enrolled pod: [`PodPolicy::proxy_port`].
    pub proxy_port: u32,
}

/// Judges one flow.
///
/// The order: namespaces that are not ours, the canary's destination, the pod itself, the rule with
/// the longest prefix (for the exact port before any port; the compiler has folded wider prefixes
/// in), the policy's default. A namespace that is held talks to itself by loopback; its own
/// addresses are not known.
#[inline(always)]
pub fn decide<T: Tables>(tables: &T, flow: &Flow) -> Judgement {
    Standing::of(tables, flow.netns).decide(tables, flow)
}

/// How a namespace stands, whatever its destination: half of a judgement, for who needs it twice.
#[derive(Clone, Copy, Debug)]
pub struct Standing {
    /// Of an enrolled pod.
    policy: Option<PodPolicy>,
    judgement: Judgement,
}

impl Standing {
    /// Looks a namespace up.
    #[inline(always)]
    pub fn of<T: Tables>(tables: &T, netns: u64) -> Self {
        let generation = tables.generation();
        let slot = (generation & 1) as u32;
        let mut judgement = Judgement {
            verdict: Verdict::Direct,
            reason: Reason::Host,
            rule: 0,
            generation,
            default_action: 0,
            proxy_port: 0,
        };
        if netns == tables.host_netns() {
            return Self { policy: None, judgement };
        }
        let Some(policy) = tables.pod(&PodKey { netns, slot, pad: 0 }) else {
            let hold = tables.flags() & node_flag::HOLD_UNKNOWN != 0;
            judgement.verdict = if hold { Verdict::Hold } else { Verdict::Direct };
            judgement.reason = if hold { Reason::UnknownHeld } else { Reason::UnknownAllowed };
            return Self { policy: None, judgement };
        };
        if policy.flags & policy_flag::ENROLLED == 0 {
            judgement.reason = Reason::NotEnrolled;
            return Self { policy: None, judgement };
        }
        judgement.default_action = policy.default_action;
        judgement.proxy_port = policy.proxy_port;
        (judgement.verdict, judgement.reason) = match policy.default_action {
            policy_default::ALLOW_ANY => (Verdict::Direct, Reason::DefaultAllow),
            policy_default::AUDIT => (Verdict::Direct, Reason::WouldDeny),
            _ => (Verdict::Deny, Reason::NoRule),
        };
        Self { policy: Some(policy), judgement }
    }

    /// What the policy says of something that no rule can name, such as a frame that is not IP; of
    /// a namespace that is not judged by rules, what becomes of all of it.
    #[inline(always)]
    pub fn unnamed(&self) -> Judgement {
        self.judgement
    }

    /// See [`decide`]; `flow` is of the namespace that was looked up.
    #[inline(always)]
    pub fn decide<T: Tables>(&self, tables: &T, flow: &Flow) -> Judgement {
        let mut judgement = self.judgement;
        let Some(policy) = &self.policy else {
            if judgement.verdict == Verdict::Hold && flow.dst.is_local() {
                (judgement.verdict, judgement.reason) = (Verdict::Direct, Reason::Local);
            }
            return judgement;
        };
        if canary::is_its(&flow.dst) {
            (judgement.verdict, judgement.reason) = (Verdict::Deny, Reason::Canary);
            return judgement;
        }
        if flow.dst.is_local() || flow.dst == policy.addr4 || flow.dst == policy.addr6 {
            (judgement.verdict, judgement.reason) = (Verdict::Direct, Reason::Local);
            return judgement;
        }
        let slot = (judgement.generation & 1) as u32;
        if let Some(rule) = find(tables, policy.table, slot, flow) {
            let proxied = rule.action == rule_action::PROXY;
            judgement.verdict = if proxied { Verdict::Proxy } else { Verdict::Direct };
            judgement.reason = Reason::Rule;
            judgement.rule = rule.rule;
        }
        judgement
    }
}

#[inline(always)]
fn find<T: Tables>(tables: &T, table: u32, slot: u32, flow: &Flow) -> Option<RuleValue> {
    let prefix = tables.prefix(&PrefixKey::exact(table, flow.dst))?;
    let set = if slot == 0 { prefix.set[0] } else { prefix.set[1] };
    if set == 0 {
        return None;
    }
    let key = RuleKey { set, port: flow.dst_port, protocol: flow.protocol, pad: 0 };
    tables.rule(&key).or_else(|| tables.rule(&RuleKey { port: 0, ..key }))
}
