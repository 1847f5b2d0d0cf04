//! A map of socket storage without the programs that it comes with.
#![expect(clippy::unwrap_used, reason = "what cannot be made ends the test")]

use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use agent_abi::SocketState;

// `include/uapi/linux/bpf.h`.
const BPF_MAP_CREATE: i64 = 0;
const BPF_MAP_UPDATE_ELEM: i64 = 2;
const BPF_BTF_LOAD: i64 = 18;
const BPF_MAP_TYPE_SK_STORAGE: u32 = 24;
const BPF_F_NO_PREALLOC: u32 = 1;

/// `bpf(2)` with an attribute of 64-bit words.
fn bpf(command: i64, attribute: &mut [u64; 10]) -> i64 {
    // SAFETY: the attribute is 80 bytes long, and what it points to outlives the call.
    let answer = unsafe {
        libc::syscall(libc::SYS_bpf, command, attribute.as_mut_ptr(), size_of_val(attribute))
    };
    assert!(answer >= 0, "bpf({command}): {}", std::io::Error::last_os_error());
    answer
}

fn owned(answer: i64) -> OwnedFd {
    // SAFETY: the call made this descriptor for us.
    unsafe { OwnedFd::from_raw_fd(i32::try_from(answer).unwrap()) }
}

const fn pair(low: u32, high: u32) -> u64 {
    (low as u64) | (high as u64) << 32
}

/// A map of socket storage like SOCKETS. The kernel wants type information for one: a 32-bit
/// integer as the key and a structure of the value's size.
pub fn storage_map() -> OwnedFd {
    /// The size of [`SocketState`], as its crate asserts.
    const VALUE: u32 = 48;
    // Words of `struct btf_type`: name, kind and flags, size; then what an integer adds.
    let integer = [0, 1 << 24, 4, 1 << 24 | 32];
    let structure = [0, 4 << 24, VALUE];
    let types: Vec<u32> = integer.into_iter().chain(structure).collect();
    let length = u32::try_from(types.len() * 4).unwrap();
    let mut btf = vec![0x9f, 0xeb, 1, 0];
    for word in [24, 0, length, length, 1].into_iter().chain(types) {
        btf.extend(u32::to_ne_bytes(word));
    }
    btf.push(0);
    let mut attribute = [0; 10];
    attribute[0] = btf.as_ptr() as u64;
    attribute[2] = pair(u32::try_from(btf.len()).unwrap(), 0);
    let btf = owned(bpf(BPF_BTF_LOAD, &mut attribute));
    let mut attribute = [0; 10];
    attribute[0] = pair(BPF_MAP_TYPE_SK_STORAGE, 4);
    attribute[1] = pair(VALUE, 0);
    attribute[2] = pair(BPF_F_NO_PREALLOC, 0);
    attribute[6] = pair(u32::try_from(btf.as_raw_fd()).unwrap(), 1);
    attribute[7] = pair(2, 0);
    owned(bpf(BPF_MAP_CREATE, &mut attribute))
}

/// Puts a state into the storage of a socket.
pub fn store(map: &OwnedFd, socket: &impl AsRawFd, state: &SocketState) {
    let key = socket.as_raw_fd();
    let mut attribute = [0; 10];
    attribute[0] = pair(u32::try_from(map.as_raw_fd()).unwrap(), 0);
    attribute[1] = &raw const key as u64;
    attribute[2] = &raw const *state as u64;
    bpf(BPF_MAP_UPDATE_ELEM, &mut attribute);
}
