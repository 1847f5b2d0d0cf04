//! Every map, and the judgement's view of them. Sizes and their arithmetic are in `agent_abi`.

use core::{ffi::c_void, ptr};

use agent_abi::{
    Addr, FlowKey, FlowState, FragmentKey, InboundKey, InboundPort, MAX_ADDRESSES, MAX_FLOWS,
    MAX_FRAGMENTS, MAX_INBOUND, MAX_ORIGINS, MAX_PODS, MAX_PREFIXES, MAX_PROOFS, MAX_RULES,
    MAX_VETHS, NodeState, Origin, OriginKey, PodKey, PodPolicy, PrefixKey, PrefixValue, Proof,
    ProofKey, RING_BYTES, RuleKey, RuleValue, SocketState, Tables, counter,
};
use aya_ebpf::{
    bindings::{BPF_F_MMAPABLE, BPF_F_NO_PREALLOC, BPF_SK_STORAGE_GET_F_CREATE, bpf_sock},
    btf_maps::{
        Array, HashMap, LpmTrie, LruHashMap, PerCpuArray, RingBuf, SkStorage, lpm_trie::Key,
    },
    helpers::generated::{bpf_sk_storage_delete, bpf_sk_storage_get},
    macros::btf_map,
};

const ON_DEMAND: usize = BPF_F_NO_PREALLOC as usize;

/// One entry, mapped into the agent's memory: publishing a generation is one atomic store.
#[btf_map]
static NODE: Array<NodeState, 1, { BPF_F_MMAPABLE as usize }> = Array::new();

#[btf_map]
pub(crate) static PODS: HashMap<PodKey, PodPolicy, { MAX_PODS as usize }, ON_DEMAND> =
    HashMap::new();

/// The words after the length of a [`PrefixKey`], as the trie's data.
type PrefixData = [u32; 6];

#[btf_map]
static PREFIXES: LpmTrie<PrefixData, PrefixValue, { MAX_PREFIXES as usize }> = LpmTrie::new();

#[btf_map]
static RULES: HashMap<RuleKey, RuleValue, { MAX_RULES as usize }, ON_DEMAND> = HashMap::new();

#[btf_map]
static SOCKETS: SkStorage<SocketState> = SkStorage::new();

#[btf_map]
pub(crate) static ORIGINS: HashMap<OriginKey, Origin, { MAX_ORIGINS as usize }, ON_DEMAND> =
    HashMap::new();

#[btf_map]
pub(crate) static FLOWS: LruHashMap<FlowKey, FlowState, { MAX_FLOWS as usize }> = LruHashMap::new();

/// The generation under which a datagram's first fragment was let out.
#[btf_map]
pub(crate) static FRAGMENTS: LruHashMap<FragmentKey, u64, { MAX_FRAGMENTS as usize }> =
    LruHashMap::new();

/// The interface index of a link's host end, to the cookie of the pod's namespace.
#[btf_map]
pub(crate) static VETHS: HashMap<u32, u64, { MAX_VETHS as usize }, ON_DEMAND> = HashMap::new();

/// What ports of pods take, where that is not everything.
#[btf_map]
pub(crate) static INBOUND: HashMap<InboundKey, InboundPort, { MAX_INBOUND as usize }, ON_DEMAND> =
    HashMap::new();

/// The address of an enrolled pod of this node, to the cookie of its namespace.
#[btf_map]
pub(crate) static ADDRESSES: HashMap<Addr, u64, { MAX_ADDRESSES as usize }, ON_DEMAND> =
    HashMap::new();

/// Which hooks have refused a canary, and under which generation.
#[btf_map]
pub(crate) static PROOFS: HashMap<ProofKey, Proof, { MAX_PROOFS as usize }, ON_DEMAND> =
    HashMap::new();

#[btf_map]
pub(crate) static EVENTS: RingBuf<agent_abi::Event, { RING_BYTES as usize }> = RingBuf::new();

#[btf_map]
pub(crate) static COUNTERS: PerCpuArray<u64, { counter::COUNT as usize }> = PerCpuArray::new();

/// The live maps, for [`agent_abi::decide`].
pub(crate) struct Live {
    node: *const NodeState,
}

impl Live {
    /// The view of this moment; `None` cannot happen with a map of one entry, but the verifier
    /// wants it asked.
    #[inline(always)]
    pub(crate) fn new() -> Option<Self> {
        NODE.get_ptr(0).map(|node| Self { node })
    }
}

impl Tables for Live {
    #[inline(always)]
    fn generation(&self) -> u64 {
        // SAFETY: the pointer is a live map value; user space stores this word atomically.
        unsafe { ptr::read_volatile(&raw const (*self.node).generation) }
    }

    #[inline(always)]
    fn host_netns(&self) -> u64 {
        // SAFETY: as above; written once, before the first program is attached.
        unsafe { (*self.node).host_netns }
    }

    #[inline(always)]
    fn flags(&self) -> u32 {
        // SAFETY: as above.
        unsafe { (*self.node).flags }
    }

    #[inline(always)]
    fn pod(&self, key: &PodKey) -> Option<PodPolicy> {
        // SAFETY: user space writes only to the slot that is not in force, so the value is not
        // changed while it is read.
        unsafe { PODS.get(key) }.copied()
    }

    #[inline(always)]
    fn prefix(&self, key: &PrefixKey) -> Option<PrefixValue> {
        // SAFETY: both are a length word followed by six words of data.
        let key = unsafe { &*ptr::from_ref(key).cast::<Key<PrefixData>>() };
        PREFIXES.get(key).copied()
    }

    #[inline(always)]
    fn rule(&self, key: &RuleKey) -> Option<RuleValue> {
        // SAFETY: sets are never changed, and freed only a grace period after their last use.
        unsafe { RULES.get(key) }.copied()
    }
}

#[inline(always)]
fn sockets() -> *mut c_void {
    ptr::addr_of!(SOCKETS).cast_mut().cast()
}

/// What is remembered of a socket.
///
/// # Safety
/// `sk` must be a full socket that the verifier knows to be non-null.
#[inline(always)]
pub(crate) unsafe fn socket<'a>(sk: *mut bpf_sock) -> Option<&'a mut SocketState> {
    // SAFETY: by this function's contract; the kernel returns null or a value that lives as long
    // as the socket, which the context holds.
    unsafe {
        bpf_sk_storage_get(sockets(), sk.cast(), ptr::null_mut(), 0).cast::<SocketState>().as_mut()
    }
}

/// Remembers something of a socket; false when the kernel has no memory for it.
///
/// # Safety
/// As for [`socket`].
#[inline(always)]
pub(crate) unsafe fn remember(sk: *mut bpf_sock, state: &mut SocketState) -> bool {
    let flags = u64::from(BPF_SK_STORAGE_GET_F_CREATE);
    // SAFETY: by this function's contract.
    let found = unsafe {
        bpf_sk_storage_get(sockets(), sk.cast(), ptr::from_mut(state).cast(), flags)
            .cast::<SocketState>()
            .as_mut()
    };
    let Some(found) = found else {
        return false;
    };
    *found = *state;
    true
}

/// Forgets a socket.
///
/// # Safety
/// As for [`socket`].
#[inline(always)]
pub(crate) unsafe fn forget(sk: *mut bpf_sock) {
    // SAFETY: by this function's contract. The result only says whether there was anything.
    let _ = unsafe { bpf_sk_storage_delete(sockets(), sk.cast()) };
}
