//! The calls that no safe wrapper has: packet-socket addresses, `sendmmsg`, integer socket options,
//! `bpf()`. Everything else goes through `socket2` and `nix`.
#![expect(unsafe_code, reason = "raw system calls and C structures have no safe form")]

use std::{
    io,
    os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
    process::Command,
    ptr::NonNull,
    sync::atomic::AtomicU64,
};

use socket2::{SockAddr, Socket};

/// Runs `prepare` in the child of `command`, between fork and exec.
///
/// `prepare` may only do what is safe after a fork in a process of several threads: system calls
/// on what was opened before, and no allocation.
pub fn before_exec(
    command: &mut Command,
    prepare: impl FnMut() -> io::Result<()> + Send + Sync + 'static,
) {
    use std::os::unix::process::CommandExt as _;
    // SAFETY: the callers in this crate only make system calls on open descriptors.
    unsafe { command.pre_exec(prepare) };
}

/// Calls a function when the process ends by itself: what a static holds is not dropped.
pub fn at_exit(work: extern "C" fn()) -> io::Result<()> {
    // SAFETY: a function of this program, which is there to the end.
    check(unsafe { libc::atexit(work) }).map(drop)
}

/// The address of a packet socket: an interface, a protocol, and a station for cooked frames.
pub fn link_address(interface: u32, ethertype: u16, station: [u8; 6]) -> io::Result<SockAddr> {
    let mut address = [0_u8; 8];
    address[..6].copy_from_slice(&station);
    let link = libc::sockaddr_ll {
        sll_family: u16::try_from(libc::AF_PACKET).map_err(io::Error::other)?,
        sll_protocol: ethertype.to_be(),
        sll_ifindex: i32::try_from(interface).map_err(io::Error::other)?,
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 6,
        sll_addr: address,
    };
    let fill = |storage: *mut socket2::SockAddrStorage, length: *mut libc::socklen_t| {
        // SAFETY: the storage is large enough for every address family and aligned for it.
        unsafe { storage.cast::<libc::sockaddr_ll>().write(link) };
        // SAFETY: `length` points to a live value for the length of this call.
        unsafe { length.write(length_of::<libc::sockaddr_ll>()) };
        Ok(())
    };
    // SAFETY: `fill` writes a whole address and its length.
    let ((), address) = unsafe { SockAddr::try_init(fill) }?;
    Ok(address)
}

/// Takes a capability away from what this process will execute.
pub fn drop_capability(number: u32) -> io::Result<()> {
    // SAFETY: a call that takes numbers.
    check(unsafe { libc::prctl(libc::PR_CAPBSET_DROP, libc::c_ulong::from(number), 0, 0, 0) })
        .map(drop)
}

/// Sets a socket option that is an `int`.
pub fn set_option(socket: &Socket, level: i32, name: i32, value: i32) -> io::Result<()> {
    // SAFETY: the pointer and the length describe `value`, which outlives the call.
    let outcome = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            name,
            (&raw const value).cast(),
            length_of::<i32>(),
        )
    };
    check(outcome).map(drop)
}

/// Sets a socket option that is a run of bytes.
pub fn set_bytes(socket: &Socket, level: i32, name: i32, value: &[u8]) -> io::Result<()> {
    let length = libc::socklen_t::try_from(value.len()).map_err(io::Error::other)?;
    // SAFETY: the pointer and the length describe `value`, which outlives the call.
    let outcome =
        unsafe { libc::setsockopt(socket.as_raw_fd(), level, name, value.as_ptr().cast(), length) };
    check(outcome).map(drop)
}

/// The address of no family, to which `connect()` undoes a connection.
pub fn no_address() -> io::Result<SockAddr> {
    let fill = |_: *mut socket2::SockAddrStorage, length: *mut libc::socklen_t| {
        // The storage is zero, and the family of that number is AF_UNSPEC.
        // SAFETY: `length` points to a live value for the length of this call.
        unsafe { length.write(length_of::<libc::sockaddr>()) };
        Ok(())
    };
    // SAFETY: `fill` leaves a whole address, all zero, and writes its length.
    let ((), address) = unsafe { SockAddr::try_init(fill) }?;
    Ok(address)
}

/// Sends the same datagram twice in one `sendmmsg` call; returns how many left.
pub fn send_twice(socket: &Socket, payload: &[u8], to: &SockAddr) -> io::Result<usize> {
    let mut part =
        libc::iovec { iov_base: payload.as_ptr().cast_mut().cast(), iov_len: payload.len() };
    let header = libc::mmsghdr {
        msg_hdr: libc::msghdr {
            msg_name: to.as_ptr().cast_mut().cast(),
            msg_namelen: to.len(),
            msg_iov: &raw mut part,
            msg_iovlen: 1,
            msg_control: std::ptr::null_mut(),
            msg_controllen: 0,
            msg_flags: 0,
        },
        msg_len: 0,
    };
    let mut messages = [header, header];
    // SAFETY: both headers point at `part` and `to`, which outlive the call and are only read.
    let sent = unsafe { libc::sendmmsg(socket.as_raw_fd(), messages.as_mut_ptr(), 2, 0) };
    usize::try_from(check(sent)?).map_err(io::Error::other)
}

/// `bpf(command, attributes)`; returns what the call returns.
pub fn bpf(command: u32, attributes: &mut [u8]) -> io::Result<i64> {
    // SAFETY: the kernel reads and writes at most the length that it is given, and the pointers
    // inside the attributes belong to the callers in `links`, who keep what they point at alive.
    let outcome = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            libc::c_long::from(command),
            attributes.as_mut_ptr(),
            attributes.len(),
        )
    };
    if outcome < 0 { Err(io::Error::last_os_error()) } else { Ok(outcome) }
}

/// The first word of a map that is shared with its users, as `NODE` is.
#[derive(Debug)]
pub struct SharedWord {
    page: NonNull<u64>,
}

/// The least that the kernel maps.
const PAGE: usize = 4_096;

impl SharedWord {
    /// Maps the page of an open map.
    pub fn of(map: BorrowedFd<'_>) -> io::Result<Self> {
        let access = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: a fresh mapping at an address of the kernel's choice, kept until this is dropped.
        let page = unsafe {
            libc::mmap(std::ptr::null_mut(), PAGE, access, libc::MAP_SHARED, map.as_raw_fd(), 0)
        };
        if page == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let page = NonNull::new(page.cast()).ok_or_else(|| io::Error::other("mapped nothing"))?;
        Ok(Self { page })
    }

    /// The word.
    pub fn get(&self) -> &AtomicU64 {
        // SAFETY: aligned, mapped for as long as `self`, and only ever used as an atomic.
        unsafe { AtomicU64::from_ptr(self.page.as_ptr()) }
    }
}

impl Drop for SharedWord {
    fn drop(&mut self) {
        // SAFETY: the mapping of `of`; nothing refers to it any more.
        unsafe { libc::munmap(self.page.as_ptr().cast(), PAGE) };
    }
}

/// Takes a descriptor that a system call has just returned.
pub fn own(descriptor: i64) -> io::Result<OwnedFd> {
    let descriptor = i32::try_from(descriptor).map_err(io::Error::other)?;
    // SAFETY: the callers pass what a call has just made, so nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

/// The sizes of C's address structures and integers are a few bytes.
const fn length_of<T>() -> libc::socklen_t {
    assert!(size_of::<T>() <= 128);
    #[expect(clippy::cast_possible_truncation, reason = "the assertion above")]
    let length = size_of::<T>() as libc::socklen_t;
    length
}

fn check(outcome: i32) -> io::Result<i32> {
    if outcome < 0 { Err(io::Error::last_os_error()) } else { Ok(outcome) }
}
