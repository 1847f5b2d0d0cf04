//! Maps in memory that behave as the kernel's do: a trie that returns the longest key present
//! whatever it holds, two hashes, and room that can run out.

use std::collections::HashMap;

use agent_abi::{
    Addr, InboundKey, InboundPort, PodKey, PodPolicy, PrefixKey, PrefixValue, RuleKey, RuleValue,
    Tables, node_flag,
};

use super::super::{Found, MapWriter};

pub(super) const HOST: u64 = 1;

#[derive(Debug, Default)]
pub(super) struct Maps {
    pub(super) generation: u64,
    pub(super) prefixes: HashMap<PrefixKey, PrefixValue>,
    pub(super) rules: HashMap<RuleKey, RuleValue>,
    pub(super) pods: HashMap<PodKey, PodPolicy>,
    pub(super) inbound: HashMap<InboundKey, InboundPort>,
}

impl Maps {
    /// What a process finds that starts on these maps.
    pub(super) fn found(&self) -> Found {
        Found {
            generation: self.generation,
            prefixes: self.prefixes.iter().map(|(key, value)| (*key, *value)).collect(),
            rules: self.rules.iter().map(|(key, value)| (*key, *value)).collect(),
            pods: self.pods.iter().map(|(key, value)| (*key, *value)).collect(),
            inbound: self.inbound.iter().map(|(key, value)| (*key, *value)).collect(),
        }
    }

    pub(super) fn slot(&self) -> usize {
        usize::from(self.generation % 2 == 1)
    }
}

/// The address with all but its first bits cleared.
fn masked(addr: Addr, len: u32) -> Addr {
    let word = |at: usize| {
        let kept = len.saturating_sub(32 * u32::try_from(at).unwrap()).min(32);
        addr.words_be[at] & u32::MAX.checked_shl(32 - kept).unwrap_or(0).to_be()
    };
    Addr { family: addr.family, words_be: [word(0), word(1), word(2), word(3)] }
}

impl Tables for Maps {
    fn generation(&self) -> u64 {
        self.generation
    }
    fn host_netns(&self) -> u64 {
        HOST
    }
    fn flags(&self) -> u32 {
        node_flag::HOLD_UNKNOWN
    }
    fn pod(&self, key: &PodKey) -> Option<PodPolicy> {
        self.pods.get(key).copied()
    }
    fn prefix(&self, key: &PrefixKey) -> Option<PrefixValue> {
        (0..=key.addr.bits()).rev().find_map(|len| {
            let addr = masked(key.addr, len);
            let bits = PrefixKey::HEAD_BITS + len;
            self.prefixes.get(&PrefixKey { bits, table: key.table, addr }).copied()
        })
    }
    fn rule(&self, key: &RuleKey) -> Option<RuleValue> {
        self.rules.get(key).copied()
    }
}

/// A write that was refused.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Full;

/// Writes to the maps, calls `after` after each write, and refuses those that `refuses` says.
pub(super) struct Watched<'a> {
    pub(super) maps: &'a mut Maps,
    pub(super) refuses: &'a mut dyn FnMut() -> bool,
    pub(super) after: &'a mut dyn FnMut(&Maps),
}

impl Watched<'_> {
    fn write(&mut self, write: impl FnOnce(&mut Maps)) -> Result<(), Full> {
        if (self.refuses)() {
            return Err(Full);
        }
        write(self.maps);
        (self.after)(self.maps);
        Ok(())
    }
}

impl MapWriter for Watched<'_> {
    type Error = Full;

    fn put_rule(&mut self, key: &RuleKey, value: &RuleValue) -> Result<(), Full> {
        self.write(|maps| {
            let before = maps.rules.insert(*key, *value);
            assert_eq!(before, None, "sets are immutable and their numbers never come back");
        })
    }
    fn remove_rule(&mut self, key: &RuleKey) -> Result<(), Full> {
        self.write(|maps| assert!(maps.rules.remove(key).is_some(), "{key:?} is not there"))
    }
    fn put_prefix(&mut self, key: &PrefixKey, value: &PrefixValue) -> Result<(), Full> {
        let len = key.bits - PrefixKey::HEAD_BITS;
        assert_eq!(masked(key.addr, len), key.addr, "the kernel would keep the stray bits");
        self.write(|maps| *maps.prefixes.entry(*key).or_default() = *value)
    }
    fn remove_prefix(&mut self, key: &PrefixKey) -> Result<(), Full> {
        self.write(|maps| assert!(maps.prefixes.remove(key).is_some(), "{key:?} is not there"))
    }
    fn put_pod(&mut self, key: &PodKey, value: &PodPolicy) -> Result<(), Full> {
        assert_ne!(usize::try_from(key.slot).unwrap(), self.maps.slot(), "the slot in force");
        self.write(|maps| *maps.pods.entry(*key).or_default() = *value)
    }
    fn remove_pod(&mut self, key: &PodKey) -> Result<(), Full> {
        self.write(|maps| assert!(maps.pods.remove(key).is_some(), "{key:?} is not there"))
    }
    fn put_inbound(&mut self, key: &InboundKey, value: &InboundPort) -> Result<(), Full> {
        assert_ne!(usize::try_from(key.slot).unwrap(), self.maps.slot(), "the slot in force");
        self.write(|maps| *maps.inbound.entry(*key).or_default() = *value)
    }
    fn remove_inbound(&mut self, key: &InboundKey) -> Result<(), Full> {
        self.write(|maps| assert!(maps.inbound.remove(key).is_some(), "{key:?} is not there"))
    }
}
