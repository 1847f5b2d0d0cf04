//! How the C library's allocator keeps what was freed.
//!
//! By itself it has eight arenas for each processor, keeps what each has ever had, and raises by
//! what it is asked for the size from which memory goes back to the kernel. In a large cluster that
//! was half of the agent's memory.

/// Makes it keep little. To be called before there are threads.
#[cfg(target_env = "gnu")]
#[expect(unsafe_code, reason = "mallopt has no safe form")]
pub(crate) fn keep_little() {
    const ARENAS: libc::c_int = 1;
    const TRIM_FROM: libc::c_int = 64 * 1_024;
    // SAFETY: two numbers, before any other thread. A refusal changes nothing.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, ARENAS);
        libc::mallopt(libc::M_TRIM_THRESHOLD, TRIM_FROM);
    }
}

/// Other libraries' allocators have no arenas.
#[cfg(not(target_env = "gnu"))]
pub(crate) fn keep_little() {}
