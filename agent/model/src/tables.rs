//! Compiled tables in the form that the kernel's judgement reads: [`HostTables`] lets user space
//! ask [`agent_abi::decide`] about pods without a kernel map. Also the one place that turns the
//! model's words into the kernel's.

use std::{collections::HashMap, net::IpAddr, num::NonZeroU16, sync::Arc};

use agent_abi::{
    Addr, PodKey, PodPolicy, PrefixKey, PrefixValue, RuleKey, RuleValue, Tables, policy_default,
    policy_flag, rule_action,
};

use crate::{
    compile::{Decision, Table, addr_of},
    egress::{Action, DefaultAction, EgressPolicy},
    inbound::Inbound,
};

/// A pod as the judgement knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pod {
    /// How it is judged; `None` for a pod that is known and not enrolled.
    pub policy: Option<Arc<EgressPolicy>>,
    /// Its own addresses: what goes there never leaves it. The first of each family counts.
    pub addresses: Vec<IpAddr>,
    /// The port of the proxy's listeners in its namespace, where there are any.
    pub proxy_port: Option<NonZeroU16>,
    /// What it lets in.
    pub inbound: Inbound,
}

impl Pod {
    /// The entry of the map of pods, with the number of the table that holds the policy's rules.
    pub fn word(&self, table: u32) -> PodPolicy {
        let addresses = || self.addresses.iter().map(|ip| addr_of(*ip));
        let family = |family| addresses().find(|addr| addr.family == family).unwrap_or(Addr::NONE);
        let addr4 = family(agent_abi::FAMILY_V4);
        let addr6 = family(agent_abi::FAMILY_V6);
        let outside = PodPolicy { addr4, addr6, ..PodPolicy::default() };
        let Some(policy) = &self.policy else {
            return outside;
        };
        PodPolicy {
            table,
            default_action: default_word(policy.default_action),
            flags: policy_flag::ENROLLED,
            proxy_port: self.proxy_port.map_or(0, |port| port.get().into()),
            ..outside
        }
    }
}

/// A default as the kernel's word.
pub const fn default_word(action: DefaultAction) -> u32 {
    match action {
        DefaultAction::AllowAny => policy_default::ALLOW_ANY,
        DefaultAction::RegistryOnly => policy_default::REGISTRY_ONLY,
        DefaultAction::Audit => policy_default::AUDIT,
    }
}

/// An action as the kernel's word. What the proxy has to decide is not the kernel's business.
pub const fn action_word(action: Action) -> u32 {
    match action {
        Action::Direct => rule_action::DIRECT,
        Action::Proxy(_) => rule_action::PROXY,
    }
}

/// One generation in memory. Its rule numbers are its own; [`HostTables::decision`] explains them.
#[derive(Clone, Debug)]
pub struct HostTables {
    generation: u64,
    host_netns: u64,
    flags: u32,
    pods: HashMap<u64, PodPolicy>,
    /// By table number, from 1.
    tables: Vec<Placed>,
}

/// A table and the numbers that its first set and its first decision have.
#[derive(Clone, Debug)]
struct Placed {
    table: Arc<Table>,
    first_set: u32,
    first_rule: u32,
}

impl HostTables {
    /// A generation without pods. `flags` are bits of [`agent_abi::node_flag`].
    pub fn new(generation: u64, host_netns: u64, flags: u32) -> Self {
        Self { generation, host_netns, flags, pods: HashMap::new(), tables: Vec::new() }
    }

    /// Adds a pod by the cookie of its namespace, with the compiled form of its policy's rules.
    pub fn insert(&mut self, netns: u64, pod: &Pod, rules: &Arc<Table>) {
        let number = if pod.policy.is_some() { self.place(rules) } else { 0 };
        self.pods.insert(netns, pod.word(number));
    }

    /// What a rule number of a judgement stands for.
    pub fn decision(&self, rule: u32) -> Option<&Decision> {
        let before = self.tables.partition_point(|placed| placed.first_rule <= rule);
        let placed = &self.tables[before.checked_sub(1)?];
        placed.table.decisions.get((rule - placed.first_rule) as usize)
    }

    /// The number of a table, a new one if it is not known. Pods with one table are looked for
    /// from the end: a caller adds pods that share rules one after the other, or has few tables.
    fn place(&mut self, table: &Arc<Table>) -> u32 {
        let known = self.tables.iter().rposition(|placed| Arc::ptr_eq(&placed.table, table));
        let at = known.unwrap_or_else(|| {
            let (first_set, first_rule) = self.tables.last().map_or((1, 1), Placed::after);
            self.tables.push(Placed { table: table.clone(), first_set, first_rule });
            self.tables.len() - 1
        });
        word(at + 1)
    }
}

impl Placed {
    fn after(&self) -> (u32, u32) {
        let sets = word(self.table.set_count());
        let rules = word(self.table.decisions.len());
        (self.first_set + sets, self.first_rule + rules)
    }
}

impl Tables for HostTables {
    fn generation(&self) -> u64 {
        self.generation
    }

    fn host_netns(&self) -> u64 {
        self.host_netns
    }

    fn flags(&self) -> u32 {
        self.flags
    }

    fn pod(&self, key: &PodKey) -> Option<PodPolicy> {
        self.pods.get(&key.netns).copied()
    }

    fn prefix(&self, key: &PrefixKey) -> Option<PrefixValue> {
        let placed = self.tables.get((key.table as usize).checked_sub(1)?)?;
        let set = placed.first_set + placed.table.longest_match(key.addr)?;
        Some(PrefixValue { set: [set; 2] })
    }

    fn rule(&self, key: &RuleKey) -> Option<RuleValue> {
        let before = self.tables.partition_point(|placed| placed.first_set <= key.set);
        let placed = &self.tables[before.checked_sub(1)?];
        let set = placed.table.set(key.set - placed.first_set);
        let at = set
            .binary_search_by_key(&(key.protocol, key.port), |rule| (rule.protocol, rule.port))
            .ok()?;
        let decision = set[at].decision;
        let action = placed.table.decisions[decision as usize].action;
        Some(RuleValue { action: action_word(action), rule: placed.first_rule + decision })
    }
}

/// Numbers of sets and rules stay below 2^32: the maps hold half a million of them.
fn word(count: usize) -> u32 {
    u32::try_from(count).expect("fewer than 2^32 sets and rules")
}

#[cfg(test)]
mod tests;
