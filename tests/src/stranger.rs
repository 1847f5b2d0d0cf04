//! Somebody else's program on the same hook: it must be left alone.

use std::{
    fs::File,
    os::fd::{AsRawFd as _, OwnedFd},
    path::Path,
};

use anyhow::{Context as _, Result};

use crate::{links::Attributes, sys};

/// Commands, program type and attach type of `linux/bpf.h`.
const PROG_LOAD: u32 = 5;
const LINK_CREATE: u32 = 28;
const CGROUP_SKB: u32 = 8;
const CGROUP_EGRESS: u32 = 1;

/// `r0 = 1; exit`: lets everything pass.
const PASS: [[u8; 8]; 2] = [[0xb7, 0, 0, 0, 1, 0, 0, 0], [0x95, 0, 0, 0, 0, 0, 0, 0]];
/// A licence, ended by a zero.
const LICENCE: [u8; 4] = *b"GPL\0";

/// Attaches a program that lets every packet pass; it goes when this is dropped.
pub fn attach(cgroup: &Path) -> Result<OwnedFd> {
    let mut load = Attributes::default();
    load.push(CGROUP_SKB);
    load.push(2);
    load.push_pointer(PASS.as_ptr().expose_provenance());
    load.push_pointer(LICENCE.as_ptr().expose_provenance());
    // Log level and size, log buffer, kernel version, flags, name, interface.
    for _ in 0..11 {
        load.push(0);
    }
    load.push(CGROUP_EGRESS);
    let program = sys::own(load.call(PROG_LOAD).context("loading a stranger's program")?)?;
    let group = File::open(cgroup).with_context(|| format!("opening {}", cgroup.display()))?;
    let mut link = Attributes::default();
    link.push_descriptor(program.as_raw_fd());
    link.push_descriptor(group.as_raw_fd());
    link.push(CGROUP_EGRESS);
    link.push(0);
    Ok(sys::own(link.call(LINK_CREATE).context("attaching a stranger's program")?)?)
}
