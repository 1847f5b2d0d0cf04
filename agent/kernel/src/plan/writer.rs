//! The door to the maps.

use agent_abi::{
    InboundKey, InboundPort, PodKey, PodPolicy, PrefixKey, PrefixValue, RuleKey, RuleValue,
};

/// Writes single entries. A write replaces the entry under its key in one step, so a reader sees
/// the old value or the new one; removing a key that is not there succeeds.
pub trait MapWriter {
    type Error;

    fn put_rule(&mut self, key: &RuleKey, value: &RuleValue) -> Result<(), Self::Error>;
    fn remove_rule(&mut self, key: &RuleKey) -> Result<(), Self::Error>;
    fn put_prefix(&mut self, key: &PrefixKey, value: &PrefixValue) -> Result<(), Self::Error>;
    fn remove_prefix(&mut self, key: &PrefixKey) -> Result<(), Self::Error>;
    fn put_pod(&mut self, key: &PodKey, value: &PodPolicy) -> Result<(), Self::Error>;
    fn remove_pod(&mut self, key: &PodKey) -> Result<(), Self::Error>;
    fn put_inbound(&mut self, key: &InboundKey, value: &InboundPort) -> Result<(), Self::Error>;
    fn remove_inbound(&mut self, key: &InboundKey) -> Result<(), Self::Error>;
}
