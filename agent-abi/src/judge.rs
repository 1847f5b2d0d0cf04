//! The one judgement. The kernel programs call it on their maps, user space on compiled tables or
//! on the live maps; there is no second copy of these rules anywhere.

use crate::{
    Addr, PodKey, PodPolicy, PrefixKey, PrefixValue, Reason, RuleKey, RuleValue, Verdict,
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
    /// The pod's policy; all zero for a namespace that is not judged.
    pub policy: PodPolicy,
}

/// Judges one flow.
///
/// The order: namespaces that are not ours, the pod itself, the rule with the longest prefix (for
/// the exact port before any port; the compiler has folded wider prefixes in), the policy's
/// default.
#[inline(always)]
pub fn decide<T: Tables>(tables: &T, flow: &Flow) -> Judgement {
    let generation = tables.generation();
    let slot = (generation & 1) as u32;
    let mut judgement = Judgement {
        verdict: Verdict::Direct,
        reason: Reason::Host,
        rule: 0,
        generation,
        policy: PodPolicy::default(),
    };
    if flow.netns == tables.host_netns() {
        return judgement;
    }
    let Some(policy) = tables.pod(&PodKey { netns: flow.netns, slot, pad: 0 }) else {
        let hold = tables.flags() & node_flag::HOLD_UNKNOWN != 0;
        (judgement.verdict, judgement.reason) = if hold {
            (Verdict::Hold, Reason::UnknownHeld)
        } else {
            (Verdict::Direct, Reason::UnknownAllowed)
        };
        return judgement;
    };
    judgement.policy = policy;
    if policy.flags & policy_flag::ENROLLED == 0 {
        judgement.reason = Reason::NotEnrolled;
        return judgement;
    }
    if flow.dst.is_local() || flow.dst == policy.addr4 || flow.dst == policy.addr6 {
        judgement.reason = Reason::Local;
        return judgement;
    }
    if let Some(rule) = find(tables, &policy, slot, flow) {
        let proxied = rule.action == rule_action::PROXY;
        judgement.verdict = if proxied { Verdict::Proxy } else { Verdict::Direct };
        judgement.reason = Reason::Rule;
        judgement.rule = rule.rule;
        return judgement;
    }
    (judgement.verdict, judgement.reason) = match policy.default_action {
        policy_default::ALLOW_ANY => (Verdict::Direct, Reason::DefaultAllow),
        policy_default::AUDIT => (Verdict::Direct, Reason::WouldDeny),
        _ => (Verdict::Deny, Reason::NoRule),
    };
    judgement
}

#[inline(always)]
fn find<T: Tables>(
    tables: &T,
    policy: &PodPolicy,
    slot: u32,
    flow: &Flow,
) -> Option<RuleValue> {
    let prefix = tables.prefix(&PrefixKey::exact(policy.table, flow.dst))?;
    let set = if slot == 0 { prefix.set[0] } else { prefix.set[1] };
    if set == 0 {
        return None;
    }
    let key = RuleKey { set, port: flow.dst_port, protocol: flow.protocol, pad: 0 };
    tables.rule(&key).or_else(|| tables.rule(&RuleKey { port: 0, ..key }))
}
