//! What the map of pods' strict ports holds, in both slots.

use agent_abi::{InboundKey, InboundPort};

use super::{MapWriter, slots::Entry};

/// An entry of INBOUND.
#[derive(Debug)]
pub(super) struct InboundEntry;

impl Entry for InboundEntry {
    type Id = (u64, u16);
    type Key = InboundKey;
    type Value = InboundPort;

    fn key((netns, port): (u64, u16), slot: usize) -> InboundKey {
        InboundKey { netns, slot: u32::from(slot == 1), port, pad: 0 }
    }

    fn id(key: &InboundKey) -> ((u64, u16), usize) {
        ((key.netns, key.port), usize::from(key.slot == 1))
    }

    fn put<M: MapWriter>(
        maps: &mut M,
        key: &InboundKey,
        value: &InboundPort,
    ) -> Result<(), M::Error> {
        maps.put_inbound(key, value)
    }

    fn remove<M: MapWriter>(maps: &mut M, key: &InboundKey) -> Result<(), M::Error> {
        maps.remove_inbound(key)
    }
}
