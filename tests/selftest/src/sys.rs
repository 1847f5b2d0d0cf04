//! The calls that no safe wrapper has: packet-socket addresses, `sendmmsg`, integer socket options,
//! `bpf()`, `unshare`. Everything else goes through `socket2` and `rustix`.
#![expect(unsafe_code, reason = "raw system calls and C structures have no safe form")]

use std::{
    io,
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
    process::Command,
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

/// Puts this thread into a new network namespace.
pub fn leave_network() -> io::Result<()> {
    // SAFETY: a call that takes a number, and that changes nothing which threads share: what they have
    // open stays open.
    check(unsafe { libc::unshare(libc::CLONE_NEWNET) }).map(drop)
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

/// Takes a descriptor that a system call has just returned.
pub fn own(descriptor: i64) -> io::Result<OwnedFd> {
    let descriptor = i32::try_from(descriptor).map_err(io::Error::other)?;
    // SAFETY: the callers pass what a call has just made, so it has no other owner.
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
