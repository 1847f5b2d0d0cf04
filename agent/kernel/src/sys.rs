//! The one door to `bpf(2)` beside aya. aya 0.14 loads and verifies the programs; what it lacks is
//! here: replacing the program of a link, and one kind of pin for every kind of link. Maps are read
//! and written here as well, with the ABI's own types as keys. Each function is one call, and its
//! error names it.

use std::{
    ffi::CString,
    io,
    mem::{size_of, zeroed},
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd},
        unix::ffi::OsStrExt,
    },
    path::Path,
};

use aya::Pod;
use aya_obj::generated::{
    BPF_F_BEFORE, bpf_attach_type, bpf_attr, bpf_cmd, bpf_link_info, bpf_map_info, bpf_prog_info,
};
use thiserror::Error;

/// A call that the kernel refused.
#[derive(Debug, Error)]
#[error("{call} failed")]
pub struct SysError {
    /// The command of `bpf(2)`, in its usual short form.
    pub call: &'static str,
    /// Why.
    #[source]
    pub source: io::Error,
}

impl SysError {
    /// True when the kernel gave this errno.
    pub fn is(&self, errno: i32) -> bool {
        self.source.raw_os_error() == Some(errno)
    }
}

type Result<T> = std::result::Result<T, SysError>;

fn bpf(call: &'static str, command: bpf_cmd, attr: &mut bpf_attr) -> Result<i64> {
    // SAFETY: the attribute is as large as it says, and every pointer in it comes from a reference
    // that outlives the call.
    let answer = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command as i64,
            std::ptr::from_mut(attr),
            size_of::<bpf_attr>(),
        )
    };
    if answer < 0 {
        return Err(SysError { call, source: io::Error::last_os_error() });
    }
    Ok(answer)
}

fn empty() -> bpf_attr {
    // SAFETY: a union of integers, for which all zero is a value.
    unsafe { zeroed() }
}

fn word(fd: BorrowedFd<'_>) -> u32 {
    fd.as_raw_fd().cast_unsigned()
}

fn owned(answer: i64) -> OwnedFd {
    let fd = RawFd::try_from(answer).expect("a descriptor is a small number");
    // SAFETY: the call made this descriptor for us.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

fn address<T: ?Sized>(value: &T) -> u64 {
    std::ptr::from_ref(value).cast::<u8>() as u64
}

fn element(map: BorrowedFd<'_>, key: u64, value: u64) -> bpf_attr {
    let mut attr = empty();
    // SAFETY: the whole union is zero; these are its fields for element commands.
    let fields = unsafe { &mut attr.__bindgen_anon_2 };
    fields.map_fd = word(map);
    fields.key = key;
    fields.__bindgen_anon_1.value = value;
    attr
}

/// A map by its descriptor, with the types that its keys and values have.
#[derive(Debug)]
pub struct RawMap<K, V> {
    fd: OwnedFd,
    types: std::marker::PhantomData<fn(K) -> V>,
}

impl<K: Pod, V: Pod> RawMap<K, V> {
    /// Takes a descriptor; refuses one of a map whose sizes are others.
    pub fn new(fd: OwnedFd) -> Result<Self> {
        let info: bpf_map_info = object_info(fd.as_fd())?;
        let (key, value) = (info.key_size as usize, info.value_size as usize);
        if (key, value) != (size_of::<K>(), size_of::<V>()) {
            let source = io::Error::other(format!(
                "the map holds {key} and {value} bytes where {} and {} are wanted",
                size_of::<K>(),
                size_of::<V>()
            ));
            return Err(SysError { call: "BPF_OBJ_GET_INFO_BY_FD", source });
        }
        Ok(Self { fd, types: std::marker::PhantomData })
    }

    /// Another descriptor of the same map.
    pub fn share(&self) -> io::Result<OwnedFd> {
        self.fd.try_clone()
    }

    /// What is under a key; in a trie, under the longest prefix of it.
    pub fn get(&self, key: &K) -> Result<Option<V>> {
        // SAFETY: `V` is plain data, for which all zero is a value.
        let mut value: V = unsafe { zeroed() };
        let out = std::ptr::from_mut(&mut value) as u64;
        let mut attr = element(self.fd.as_fd(), address(key), out);
        match bpf("BPF_MAP_LOOKUP_ELEM", bpf_cmd::BPF_MAP_LOOKUP_ELEM, &mut attr) {
            Ok(_) => Ok(Some(value)),
            Err(error) if error.is(libc::ENOENT) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Inserts or replaces.
    pub fn set(&self, key: &K, value: &V) -> Result<()> {
        let mut attr = element(self.fd.as_fd(), address(key), address(value));
        bpf("BPF_MAP_UPDATE_ELEM", bpf_cmd::BPF_MAP_UPDATE_ELEM, &mut attr).map(drop)
    }

    /// Removes; fine when there is nothing.
    pub fn remove(&self, key: &K) -> Result<()> {
        let mut attr = element(self.fd.as_fd(), address(key), 0);
        match bpf("BPF_MAP_DELETE_ELEM", bpf_cmd::BPF_MAP_DELETE_ELEM, &mut attr) {
            Err(error) if !error.is(libc::ENOENT) => Err(error),
            _ => Ok(()),
        }
    }

    /// The first key, or the one after another; `None` at the end.
    pub(crate) fn next_key(&self, after: Option<&K>) -> Result<Option<K>> {
        // SAFETY: `K` is plain data, for which all zero is a value.
        let mut next: K = unsafe { zeroed() };
        let out = std::ptr::from_mut(&mut next) as u64;
        let mut attr = element(self.fd.as_fd(), after.map_or(0, address), out);
        match bpf("BPF_MAP_GET_NEXT_KEY", bpf_cmd::BPF_MAP_GET_NEXT_KEY, &mut attr) {
            Ok(_) => Ok(Some(next)),
            Err(error) if error.is(libc::ENOENT) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Every key at one moment, as far as nothing is written meanwhile.
    pub fn keys(&self) -> Result<Vec<K>> {
        let mut keys = Vec::new();
        let mut last = None;
        while let Some(key) = self.next_key(last.as_ref())? {
            keys.push(key);
            last = Some(key);
        }
        Ok(keys)
    }
}

impl<K, V> AsFd for RawMap<K, V> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

fn object_info<T>(fd: BorrowedFd<'_>) -> Result<T> {
    // SAFETY: only used with the kernel's info structures, integers all.
    let mut info: T = unsafe { zeroed() };
    let mut attr = empty();
    // SAFETY: the whole union is zero; these are its fields for this command.
    let fields = unsafe { &mut attr.info };
    fields.bpf_fd = word(fd);
    fields.info_len = u32::try_from(size_of::<T>()).expect("an info structure is small");
    fields.info = std::ptr::from_mut(&mut info) as u64;
    bpf("BPF_OBJ_GET_INFO_BY_FD", bpf_cmd::BPF_OBJ_GET_INFO_BY_FD, &mut attr)?;
    Ok(info)
}

fn c_path(path: &Path) -> CString {
    CString::new(path.as_os_str().as_bytes()).expect("our own paths have no zero byte")
}

/// Gives an object a name in a BPF file system.
pub fn pin(fd: BorrowedFd<'_>, path: &Path) -> Result<()> {
    let path = c_path(path);
    let mut attr = empty();
    // SAFETY: the whole union is zero; these are its fields for this command.
    let fields = unsafe { &mut attr.__bindgen_anon_4 };
    fields.pathname = address(path.as_bytes_with_nul());
    fields.bpf_fd = word(fd);
    bpf("BPF_OBJ_PIN", bpf_cmd::BPF_OBJ_PIN, &mut attr).map(drop)
}

/// Opens an object by its name; `None` when there is none.
pub fn open(path: &Path) -> Result<Option<OwnedFd>> {
    let path = c_path(path);
    let mut attr = empty();
    // SAFETY: the whole union is zero; these are its fields for this command.
    let fields = unsafe { &mut attr.__bindgen_anon_4 };
    fields.pathname = address(path.as_bytes_with_nul());
    match bpf("BPF_OBJ_GET", bpf_cmd::BPF_OBJ_GET, &mut attr) {
        Ok(fd) => Ok(Some(owned(fd))),
        Err(error) if error.is(libc::ENOENT) => Ok(None),
        Err(error) => Err(error),
    }
}

/// What a program is attached to.
#[derive(Clone, Copy, Debug)]
pub enum Target<'a> {
    /// A cgroup directory.
    Cgroup(BorrowedFd<'a>),
    /// A network interface of this namespace.
    Interface(u32),
    /// A network namespace.
    Netns(BorrowedFd<'a>),
}

/// Attaches a program; `attach_type` is a `bpf_attach_type`. On an interface it goes before every
/// other: one that comes first there and passes a frame ends the chain.
pub(crate) fn link_create(
    program: BorrowedFd<'_>,
    target: Target<'_>,
    attach_type: u32,
) -> Result<OwnedFd> {
    let mut attr = empty();
    // SAFETY: the whole union is zero; these are its fields for this command.
    let fields = unsafe { &mut attr.link_create };
    fields.__bindgen_anon_1.prog_fd = word(program);
    match target {
        Target::Cgroup(place) | Target::Netns(place) => {
            fields.__bindgen_anon_2.target_fd = word(place);
        }
        Target::Interface(index) => {
            fields.__bindgen_anon_2.target_ifindex = index;
            fields.flags = BPF_F_BEFORE;
        }
    }
    fields.attach_type = attach_type;
    bpf("BPF_LINK_CREATE", bpf_cmd::BPF_LINK_CREATE, &mut attr).map(owned)
}

/// Puts another program in a link's place, without a moment in which neither runs.
pub(crate) fn link_update(link: BorrowedFd<'_>, program: BorrowedFd<'_>) -> Result<()> {
    let mut attr = empty();
    // SAFETY: the whole union is zero; these are its fields for this command.
    let fields = unsafe { &mut attr.link_update };
    fields.link_fd = word(link);
    fields.__bindgen_anon_1.new_prog_fd = word(program);
    bpf("BPF_LINK_UPDATE", bpf_cmd::BPF_LINK_UPDATE, &mut attr).map(drop)
}

/// Detaches a link's program, also while others hold the link.
pub(crate) fn link_detach(link: BorrowedFd<'_>) -> Result<()> {
    let mut attr = empty();
    attr.link_detach.link_fd = word(link);
    bpf("BPF_LINK_DETACH", bpf_cmd::BPF_LINK_DETACH, &mut attr).map(drop)
}

/// The number of the program that runs first on an interface, if any does.
pub(crate) fn first_program(interface: u32, attach_type: u32) -> Result<Option<u32>> {
    let mut first = 0_u32;
    let mut attr = empty();
    // SAFETY: the whole union is zero; these are its fields for this command.
    let fields = unsafe { &mut attr.query };
    fields.__bindgen_anon_1.target_ifindex = interface;
    fields.attach_type = attach_type;
    fields.__bindgen_anon_2.count = 1;
    fields.prog_ids = std::ptr::from_mut(&mut first).expose_provenance() as u64;
    match bpf("BPF_PROG_QUERY", bpf_cmd::BPF_PROG_QUERY, &mut attr) {
        // There are more than were asked for.
        Err(error) if !error.is(libc::ENOSPC) => Err(error),
        _ => Ok((first != 0).then_some(first)),
    }
}

/// Whether the kernel knows tcx (6.6): an older one has no such hook to be asked about.
pub(crate) fn has_tcx() -> bool {
    let mut attr = empty();
    // SAFETY: the whole union is zero; these are its fields for this command.
    let fields = unsafe { &mut attr.query };
    fields.__bindgen_anon_1.target_ifindex = LOOPBACK;
    fields.attach_type = bpf_attach_type::BPF_TCX_INGRESS as u32;
    let answer = bpf("BPF_PROG_QUERY", bpf_cmd::BPF_PROG_QUERY, &mut attr);
    !answer.is_err_and(|error| error.is(libc::EINVAL))
}

/// The first interface of every namespace.
const LOOPBACK: u32 = 1;

/// Where a link is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttachPoint {
    /// The id of a cgroup; zero once that has gone or the link was detached.
    Cgroup(u64),
    /// The index of an interface; zero once that has gone or the link was detached.
    Interface(u32),
    /// The inode of a network namespace; zero once that has gone or the link was detached.
    Netns(u32),
}

/// Asks the kernel where a link of ours is attached.
pub(crate) fn link_point(link: BorrowedFd<'_>) -> Result<AttachPoint> {
    const BPF_LINK_TYPE_CGROUP: u32 = 3;
    const BPF_LINK_TYPE_NETNS: u32 = 5;
    let info: bpf_link_info = object_info(link)?;
    // SAFETY: the type says which field of the union the kernel filled.
    Ok(unsafe {
        match info.type_ {
            BPF_LINK_TYPE_CGROUP => AttachPoint::Cgroup(info.__bindgen_anon_1.cgroup.cgroup_id),
            BPF_LINK_TYPE_NETNS => AttachPoint::Netns(info.__bindgen_anon_1.netns.netns_ino),
            _ => AttachPoint::Interface(info.__bindgen_anon_1.tcx.ifindex),
        }
    })
}

/// The number of the program that a link runs.
pub(crate) fn link_program(link: BorrowedFd<'_>) -> Result<u32> {
    object_info::<bpf_link_info>(link).map(|info| info.prog_id)
}

/// The kernel's number for a program.
pub(crate) fn program_id(program: BorrowedFd<'_>) -> Result<u32> {
    object_info::<bpf_prog_info>(program).map(|info| info.id)
}

/// Returns once every program that was running has ended: what none of them can reach any more may
/// then be written again.
///
/// `membarrier(MEMBARRIER_CMD_GLOBAL)` is `synchronize_rcu()` by another name; where the kernel has
/// it switched off (`nohz_full`), two of the timer's turns on every processor stand in for it.
pub fn grace_period() {
    const MEMBARRIER_CMD_GLOBAL: i32 = 1;
    // SAFETY: a call without pointers.
    let answer = unsafe { libc::syscall(libc::SYS_membarrier, MEMBARRIER_CMD_GLOBAL, 0, 0) };
    if answer < 0 {
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}

/// A classifier that returns a number.
pub(crate) fn classifier(answer: i32) -> Result<OwnedFd> {
    const MOVE_IMMEDIATE: u64 = 0xb7;
    const EXIT: u64 = 0x95;
    let program = [u64::from(answer.cast_unsigned()) << 32 | MOVE_IMMEDIATE, EXIT];
    let mut attr = empty();
    // SAFETY: the whole union is zero; these are its fields for this command.
    let fields = unsafe { &mut attr.__bindgen_anon_3 };
    fields.prog_type = aya_obj::generated::bpf_prog_type::BPF_PROG_TYPE_SCHED_CLS as u32;
    fields.insns = address(&program);
    fields.insn_cnt = 2;
    fields.license = address(c"GPL".to_bytes_with_nul());
    bpf("BPF_PROG_LOAD", bpf_cmd::BPF_PROG_LOAD, &mut attr).map(owned)
}
