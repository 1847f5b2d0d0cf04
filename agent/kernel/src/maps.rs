//! The maps, opened by their pins. The shared word of NODE is written here and nowhere else.

use std::{
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd},
    path::{Path, PathBuf},
    ptr::NonNull,
    sync::atomic::{AtomicU32, AtomicU64, Ordering},
};

use agent_abi::{
    Addr, FlowKey, FlowState, InboundKey, InboundPort, InboundTables, NodeState, OpenedBy, Origin,
    OriginKey, PodKey, PodPolicy, PrefixKey, PrefixValue, Proof, ProofKey, RuleKey, RuleValue,
    SocketKind, SocketState, Tables, counter,
};
use aya::maps::{Map, MapData, MapError, PerCpuArray, RingBuf};
use thiserror::Error;

use super::sys::{self, RawMap, SysError};

/// Makes a socket known to the hooks as the agent's own. A pod cannot do this.
pub trait Mark: Send + Sync {
    /// Marks one socket.
    fn mark(&self, socket: BorrowedFd<'_>) -> io::Result<()>;
}

/// What is asked about the open sockets of a pod: both judgements, and who sent a flow's first packet.
pub trait Knowledge: Tables + InboundTables + Send + Sync + 'static {
    /// True for a flow whose first packet came from the peer.
    fn is_peers(&self, key: &FlowKey) -> bool;
}

/// Why a map cannot be used.
#[derive(Debug, Error)]
pub enum MapsError {
    /// There is no such pin.
    #[error("there is no map at {}", path.display())]
    Missing {
        /// The pin.
        path: PathBuf,
    },
    /// The pin cannot be opened, or is of another shape.
    #[error("cannot open the map at {}", path.display())]
    Open {
        /// The pin.
        path: PathBuf,
        /// Why.
        source: SysError,
    },
    /// aya cannot open it.
    #[error("cannot open the map at {}", path.display())]
    Aya {
        /// The pin.
        path: PathBuf,
        /// Why.
        source: Box<MapError>,
    },
    /// NODE cannot be mapped into memory.
    #[error("cannot map NODE into memory")]
    Shared(#[source] io::Error),
}

/// NODE in our own memory.
#[derive(Debug)]
pub struct Node {
    state: NonNull<NodeState>,
}

// SAFETY: the memory is shared with the kernel anyway; every access below is atomic.
unsafe impl Send for Node {}
// SAFETY: as above.
unsafe impl Sync for Node {}

/// A page is the least that the kernel maps.
const PAGE: usize = 4_096;

impl Node {
    fn new(map: BorrowedFd<'_>) -> io::Result<Self> {
        // SAFETY: a fresh shared mapping of a map that is one page, kept until this is dropped.
        let address = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                PAGE,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                map.as_raw_fd(),
                0,
            )
        };
        if address == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        NonNull::new(address.cast())
            .map(|state| Self { state })
            .ok_or_else(|| io::Error::other("the kernel mapped nothing"))
    }

    fn generation_word(&self) -> &AtomicU64 {
        // SAFETY: an aligned word of the mapping, written atomically by this process and read by
        // the kernel alone.
        unsafe { AtomicU64::from_ptr(&raw mut (*self.state.as_ptr()).generation) }
    }

    fn host_word(&self) -> &AtomicU64 {
        // SAFETY: as above.
        unsafe { AtomicU64::from_ptr(&raw mut (*self.state.as_ptr()).host_netns) }
    }

    fn flags_word(&self) -> &AtomicU32 {
        // SAFETY: as above.
        unsafe { AtomicU32::from_ptr(&raw mut (*self.state.as_ptr()).flags) }
    }

    /// The generation in force.
    pub fn generation(&self) -> u64 {
        self.generation_word().load(Ordering::Acquire)
    }

    /// Publishes a generation: every verdict from here on is its.
    pub fn publish(&self, generation: u64) {
        self.generation_word().store(generation, Ordering::Release);
    }

    /// Says which namespace is the host's, and how strangers are treated.
    pub fn configure(&self, host_netns: u64, flags: u32) {
        self.host_word().store(host_netns, Ordering::Release);
        self.flags_word().store(flags, Ordering::Release);
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // SAFETY: the mapping that `new` made; nothing refers to it any more.
        unsafe { libc::munmap(self.state.as_ptr().cast(), PAGE) };
    }
}

/// Every map that user space reads or writes.
pub struct Maps {
    pub node: Node,
    pub pods: RawMap<PodKey, PodPolicy>,
    pub prefixes: RawMap<PrefixKey, PrefixValue>,
    pub rules: RawMap<RuleKey, RuleValue>,
    pub sockets: RawMap<i32, SocketState>,
    pub origins: RawMap<OriginKey, Origin>,
    pub flows: RawMap<FlowKey, FlowState>,
    pub veths: RawMap<u32, u64>,
    pub inbound: RawMap<InboundKey, InboundPort>,
    pub addresses: RawMap<Addr, u64>,
    pub proofs: RawMap<ProofKey, Proof>,
    counters: PerCpuArray<MapData, u64>,
}

impl std::fmt::Debug for Maps {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Maps").field("node", &self.node).finish_non_exhaustive()
    }
}

fn raw<K: aya::Pod, V: aya::Pod>(directory: &Path, name: &str) -> Result<RawMap<K, V>, MapsError> {
    let path = directory.join(name);
    let open = |source| MapsError::Open { path: path.clone(), source };
    let Some(fd) = sys::open(&path).map_err(open)? else {
        return Err(MapsError::Missing { path });
    };
    RawMap::new(fd).map_err(open)
}

fn by_aya<T: TryFrom<Map, Error = MapError>>(
    directory: &Path,
    name: &str,
    wrap: fn(MapData) -> Map,
) -> Result<T, MapsError> {
    let path = directory.join(name);
    MapData::from_pin(&path)
        .and_then(|data| T::try_from(wrap(data)))
        .map_err(|source| MapsError::Aya { path, source: Box::new(source) })
}

impl Maps {
    /// Opens the maps that are pinned in a directory.
    pub fn open(directory: &Path) -> Result<Self, MapsError> {
        let node: RawMap<u32, NodeState> = raw(directory, "NODE")?;
        Ok(Self {
            node: Node::new(node.as_fd()).map_err(MapsError::Shared)?,
            pods: raw(directory, "PODS")?,
            prefixes: raw(directory, "PREFIXES")?,
            rules: raw(directory, "RULES")?,
            sockets: raw(directory, "SOCKETS")?,
            origins: raw(directory, "ORIGINS")?,
            flows: raw(directory, "FLOWS")?,
            veths: raw(directory, "VETHS")?,
            inbound: raw(directory, "INBOUND")?,
            addresses: raw(directory, "ADDRESSES")?,
            proofs: raw(directory, "PROOFS")?,
            counters: by_aya(directory, "COUNTERS", Map::PerCpuArray)?,
        })
    }

    /// The ring of events.
    pub fn events(directory: &Path) -> Result<RingBuf<MapData>, MapsError> {
        by_aya(directory, "EVENTS", Map::RingBuf)
    }

    /// A counter's sum over all processors.
    pub fn counter(&self, index: u32) -> u64 {
        debug_assert!(index < counter::COUNT);
        self.counters.get(&index, 0).map_or(0, |values| values.iter().sum())
    }
}

impl Mark for Maps {
    fn mark(&self, socket: BorrowedFd<'_>) -> io::Result<()> {
        let state = SocketState { kind: SocketKind::AGENT, ..SocketState::default() };
        self.sockets.set(&socket.as_raw_fd(), &state).map_err(|error| error.source)
    }
}

impl Knowledge for Maps {
    fn is_peers(&self, key: &FlowKey) -> bool {
        let state = self.flows.get(key).ok().flatten();
        state.is_some_and(|state| OpenedBy::is_far_end(state.opened_by))
    }
}

impl InboundTables for Maps {
    fn port(&self, key: &InboundKey) -> Option<InboundPort> {
        self.inbound.get(key).ok().flatten()
    }

    fn opened_by(&self, key: &FlowKey) -> Option<u32> {
        let state = self.flows.get(key).ok().flatten()?;
        (state.closing == 0).then_some(state.opened_by)
    }
}

/// The judgement on the live maps, for `sekisho why`: what the kernel itself would say now. A map
/// that cannot be read has nothing under any key.
impl Tables for Maps {
    fn generation(&self) -> u64 {
        self.node.generation()
    }

    fn host_netns(&self) -> u64 {
        self.node.host_word().load(Ordering::Acquire)
    }

    fn flags(&self) -> u32 {
        self.node.flags_word().load(Ordering::Acquire)
    }

    fn pod(&self, key: &PodKey) -> Option<PodPolicy> {
        self.pods.get(key).ok().flatten()
    }

    fn prefix(&self, key: &PrefixKey) -> Option<PrefixValue> {
        self.prefixes.get(key).ok().flatten()
    }

    fn rule(&self, key: &RuleKey) -> Option<RuleValue> {
        self.rules.get(key).ok().flatten()
    }
}
