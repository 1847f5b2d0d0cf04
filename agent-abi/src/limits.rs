//! How large each map may grow, with the arithmetic. Every map that holds rules or flows is
//! allocated on demand, so a limit costs nothing until it is reached. Past one, a generation is
//! refused by name and the one before it stays.

/// Pods on one node: 250 is the most that a managed service lets a node run; the rest is for pods
/// that end while others start. Two slots each (see [`crate::PodKey`]).
pub const MAX_PODS: u32 = 2 * 2_048;

/// Ports of pods that take other things than the rest, in both slots: 16 of each pod that
/// [`MAX_PODS`] counts.
pub const MAX_INBOUND: u32 = MAX_PODS * 16;

/// Addresses of this node's pods: both families, and as many again for pods that end while others
/// start.
pub const MAX_ADDRESSES: u32 = MAX_PODS;

/// Prefixes over all tables of a node: 100,000 for one table of the size we promise, twice over
/// while a table is replaced by one that shares nothing with it, and as much again for the other
/// tables. About 100 bytes each.
pub const MAX_PREFIXES: u32 = 524_288;

/// Port rules over all sets of a node: as many as prefixes when each prefix has a rule of its own.
/// About 80 bytes each.
pub const MAX_RULES: u32 = 524_288;

/// Flows that layer 3 remembers, least recently used first out: 250 pods with 1,000
/// concurrent flows each. About 150 bytes each; the only map allocated whole.
pub const MAX_FLOWS: u32 = 262_144;

/// Datagrams in fragments at once, least recently used first out: the kernel's own reassembly
/// keeps about 4 MB of them a namespace, which is some 60 whole ones.
pub const MAX_FRAGMENTS: u32 = 8_192;

/// Connections on their way from a pod's `connect()` to the proxy's `accept()`: a full backlog of
/// 4,096 for each of 16 pods.
pub const MAX_ORIGINS: u32 = 65_536;

/// Host ends of pods' links: several networks a pod.
pub const MAX_VETHS: u32 = 8_192;

/// Proofs of the hooks' life: for half of [`MAX_PODS`] (a proof has no slots) six hooks at the
/// cgroup and two on each of three links. About 80 bytes each.
pub const MAX_PROOFS: u32 = MAX_PODS / 2 * 12;

/// The event ring: 8,000 events of 128 bytes, a tenth of a second of a connect storm.
pub const RING_BYTES: u32 = 1 << 20;
