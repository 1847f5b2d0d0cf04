//! The planner's view of the live maps: what they hold at the start, and how entries are written.

use agent_abi::{
    InboundKey, InboundPort, PodKey, PodPolicy, PrefixKey, PrefixValue, RuleKey, RuleValue,
};

use super::plan::{Found, MapWriter};
use crate::{
    maps::Maps,
    sys::{RawMap, SysError},
};

/// Reads what an earlier process left.
pub fn found(maps: &Maps) -> Result<Found, SysError> {
    Ok(Found {
        generation: maps.node.generation(),
        prefixes: entries(&maps.prefixes)?,
        rules: entries(&maps.rules)?,
        pods: entries(&maps.pods)?,
        inbound: entries(&maps.inbound)?,
    })
}

fn entries<K: aya::Pod, V: aya::Pod>(map: &RawMap<K, V>) -> Result<Vec<(K, V)>, SysError> {
    let mut entries = Vec::new();
    for key in map.keys()? {
        if let Some(value) = map.get(&key)? {
            entries.push((key, value));
        }
    }
    Ok(entries)
}

/// Writes to the live maps, an entry a call.
#[derive(Debug)]
pub struct Writer<'a>(pub &'a Maps);

impl MapWriter for Writer<'_> {
    type Error = SysError;

    fn put_rule(&mut self, key: &RuleKey, value: &RuleValue) -> Result<(), SysError> {
        self.0.rules.set(key, value)
    }

    fn remove_rule(&mut self, key: &RuleKey) -> Result<(), SysError> {
        self.0.rules.remove(key)
    }

    fn put_prefix(&mut self, key: &PrefixKey, value: &PrefixValue) -> Result<(), SysError> {
        self.0.prefixes.set(key, value)
    }

    fn remove_prefix(&mut self, key: &PrefixKey) -> Result<(), SysError> {
        self.0.prefixes.remove(key)
    }

    fn put_pod(&mut self, key: &PodKey, value: &PodPolicy) -> Result<(), SysError> {
        self.0.pods.set(key, value)
    }

    fn remove_pod(&mut self, key: &PodKey) -> Result<(), SysError> {
        self.0.pods.remove(key)
    }

    fn put_inbound(&mut self, key: &InboundKey, value: &InboundPort) -> Result<(), SysError> {
        self.0.inbound.set(key, value)
    }

    fn remove_inbound(&mut self, key: &InboundKey) -> Result<(), SysError> {
        self.0.inbound.remove(key)
    }
}
