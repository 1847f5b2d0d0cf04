//! The calls without a safe wrapper that the suites alone make; those of the world and the probe are in
//! [`crate::sys`].
#![expect(unsafe_code, reason = "raw system calls have no safe form")]

use std::{
    io,
    os::fd::{AsRawFd as _, BorrowedFd},
    ptr::NonNull,
    sync::atomic::AtomicU64,
};

/// Calls a function when the process ends by itself: what a static holds is not dropped.
pub fn at_exit(work: extern "C" fn()) -> io::Result<()> {
    // SAFETY: a function of this program, which is there to the end.
    check(unsafe { libc::atexit(work) }).map(drop)
}

/// Takes a capability away from what this process will execute.
pub fn drop_capability(number: u32) -> io::Result<()> {
    // SAFETY: a call that takes numbers.
    check(unsafe { libc::prctl(libc::PR_CAPBSET_DROP, libc::c_ulong::from(number), 0, 0, 0) })
        .map(drop)
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

fn check(outcome: i32) -> io::Result<i32> {
    if outcome < 0 { Err(io::Error::last_os_error()) } else { Ok(outcome) }
}
