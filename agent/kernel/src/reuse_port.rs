//! Which of two listeners on one port gets new connections.
//!
//! The kernel spreads the connections of a port over all listeners that share it (`SO_REUSEPORT`), and
//! resets what waits at one that closes. So an agent that takes over from another has all new ones come
//! to itself first. The other one then accepts what waits, and closes without a loss.

use std::{
    io,
    mem::size_of,
    os::fd::{AsRawFd, BorrowedFd},
};

/// Has new connections go to the second of two listeners on a port. While there is one alone, it gets
/// them: the kernel falls back to its own choice where the program names no listener.
#[expect(unsafe_code, reason = "no safe wrapper knows SO_ATTACH_REUSEPORT_CBPF")]
pub fn prefer_second(listener: BorrowedFd<'_>) -> io::Result<()> {
    let code = u16::try_from(libc::BPF_RET | libc::BPF_K).unwrap_or_default();
    // It answers with a listener's place in the order in which they came, counted from zero.
    let mut filter = [libc::sock_filter { code, jt: 0, jf: 0, k: 1 }];
    let program = libc::sock_fprog { len: 1, filter: filter.as_mut_ptr() };
    let length = libc::socklen_t::try_from(size_of::<libc::sock_fprog>()).unwrap_or_default();
    // SAFETY: the program and its one instruction are locals that outlive the call, which copies them,
    // and `length` is the size of the program.
    let result = unsafe {
        libc::setsockopt(
            listener.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ATTACH_REUSEPORT_CBPF,
            (&raw const program).cast(),
            length,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
