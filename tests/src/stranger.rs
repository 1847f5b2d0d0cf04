//! Another owner's programs on the same hooks: they must be left alone, and keep running.

use std::{
    fs::File,
    os::fd::{AsFd as _, AsRawFd as _, OwnedFd},
    path::Path,
};

use anyhow::{Context as _, Result};
use nix::net::if_::if_nametoindex;

use crate::{
    links::Attributes,
    sys,
    world::{Host, World},
};

/// Commands of `linux/bpf.h`.
const PROG_LOAD: u32 = 5;
const OBJ_GET_INFO_BY_FD: u32 = 15;
const LINK_CREATE: u32 = 28;
const ENABLE_STATS: u32 = 32;

/// A licence, ended by a zero.
const LICENCE: [u8; 4] = *b"GPL\0";
/// Bytes of `struct bpf_prog_info` as far as the time and the count of runs, which end it.
const INFO: usize = 208;
const RUN_TIME: usize = 192;
const RUN_COUNT: usize = 200;

/// A hook of another owner: a program's type, where it is attached, and the answer that lets
/// everything pass (`linux/bpf.h`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hook {
    /// The name in messages.
    pub name: &'static str,
    program_type: u32,
    attach_type: u32,
    pass: i32,
}

const fn hook(name: &'static str, program_type: u32, attach_type: u32, pass: i32) -> Hook {
    Hook { name, program_type, attach_type, pass }
}

const EGRESS: Hook = hook("skb_egress", 8, 1, 1);
const CGROUP: [Hook; 4] =
    [EGRESS, hook("sock_ops", 13, 3, 1), hook("connect4", 18, 10, 1), hook("connect6", 18, 11, 1)];
/// It goes on to the next program.
const TCX: Hook = hook("tcx_ingress", 3, 46, -1);
/// These let the frame pass, and no program after them sees it (`TCX_PASS`).
const PASSING: [Hook; 2] = [hook("tcx_ingress", 3, 46, 0), hook("tcx_egress", 3, 47, 0)];
/// Before everybody who is there.
const BPF_F_BEFORE: u32 = 8;
const SK_LOOKUP: Hook = hook("sk_lookup", 30, 36, 1);

/// A program that lets everything pass; it goes when this is dropped.
#[derive(Debug)]
pub struct Stranger {
    /// Where it is attached.
    pub hook: Hook,
    program: OwnedFd,
    _link: OwnedFd,
}

impl Stranger {
    fn new(hook: Hook, target: u32) -> Result<Self> {
        Self::at(hook, target, 0)
    }

    fn at(hook: Hook, target: u32, flags: u32) -> Result<Self> {
        let program = load(hook)?;
        let mut link = Attributes::default();
        link.push_descriptor(program.as_raw_fd());
        link.push(target);
        link.push(hook.attach_type);
        link.push(flags);
        let link = link.call(LINK_CREATE);
        let link = link.with_context(|| format!("attaching a stranger to {}", hook.name))?;
        Ok(Self { hook, program, _link: sys::own(link)? })
    }

    /// How often it has run while [`Counting`] was there.
    pub fn runs(&self) -> Result<u64> {
        Ok(self.cost()?.0)
    }

    /// The same, and how many nanoseconds all of that took, counting included.
    pub fn cost(&self) -> Result<(u64, u64)> {
        let mut info = vec![0_u8; INFO];
        let mut attributes = Attributes::default();
        attributes.push_descriptor(self.program.as_fd().as_raw_fd());
        attributes.push(u32::try_from(INFO)?);
        attributes.push_pointer(info.as_mut_ptr().expose_provenance());
        attributes.call(OBJ_GET_INFO_BY_FD).context("asking about a program")?;
        let word = |at: usize| info[at..].first_chunk().copied().map(u64::from_ne_bytes);
        word(RUN_COUNT).zip(word(RUN_TIME)).context("a short answer")
    }
}

/// As long as it lives the kernel counts how often programs run.
#[derive(Debug)]
pub struct Counting(#[expect(dead_code, reason = "held for what its end does")] OwnedFd);

impl Counting {
    /// Begins to count.
    pub fn start() -> Result<Self> {
        let mut attributes = Attributes::default();
        // BPF_STATS_RUN_TIME.
        attributes.push(0);
        Ok(Self(sys::own(attributes.call(ENABLE_STATS).context("counting runs of programs")?)?))
    }
}

fn load(hook: Hook) -> Result<OwnedFd> {
    // `r0 = pass; exit`.
    let [a, b, c, d] = hook.pass.to_ne_bytes();
    let program = [[0xb7, 0, 0, 0, a, b, c, d], [0x95, 0, 0, 0, 0, 0, 0, 0]];
    let mut load = Attributes::default();
    load.push(hook.program_type);
    load.push(2);
    load.push_pointer(program.as_ptr().expose_provenance());
    load.push_pointer(LICENCE.as_ptr().expose_provenance());
    // Log level and size, log buffer, kernel version, flags, name, interface.
    for _ in 0..11 {
        load.push(0);
    }
    load.push(hook.attach_type);
    let loaded = load.call(PROG_LOAD);
    Ok(sys::own(loaded.with_context(|| format!("loading a stranger for {}", hook.name))?)?)
}

/// Attaches a program that lets every packet pass; it goes when this is dropped.
pub fn attach(cgroup: &Path) -> Result<Stranger> {
    on_cgroup(cgroup, EGRESS)
}

fn on_cgroup(cgroup: &Path, hook: Hook) -> Result<Stranger> {
    let group = File::open(cgroup).with_context(|| format!("opening {}", cgroup.display()))?;
    Stranger::new(hook, u32::try_from(group.as_raw_fd())?)
}

/// One on every hook of a cgroup and of links of the caller's network namespace.
pub fn on_node(cgroup: &Path, links: &[&str]) -> Result<Vec<Stranger>> {
    let mut all: Vec<Stranger> =
        CGROUP.iter().map(|hook| on_cgroup(cgroup, *hook)).collect::<Result<_>>()?;
    for link in links {
        let interface = if_nametoindex(*link).with_context(|| format!("no link {link}"))?;
        all.push(Stranger::new(TCX, interface)?);
    }
    Ok(all)
}

/// One on each side of the host's end of a pod's link that ends the chain there: behind all that is
/// attached, or before.
pub fn passing(world: &World, pod: &Host, before: bool) -> Result<Vec<Stranger>> {
    world.node().enter(|| {
        let interface = if_nametoindex(pod.port()).context("no link of the pod's")?;
        let flags = if before { BPF_F_BEFORE } else { 0 };
        PASSING.iter().map(|hook| Stranger::at(*hook, interface, flags)).collect()
    })
}

/// One on every hook that others like as well: of the cgroup, of the host's end of a pod's link, and
/// of the pod's look-up of sockets.
pub fn everywhere(world: &World, pod: &Host) -> Result<Vec<Stranger>> {
    let mut all = world.node().enter(|| on_node(world.cgroup().path(), &[pod.port()]))?;
    let path = pod.netns().path();
    let netns = File::open(&path).with_context(|| format!("opening {}", path.display()))?;
    all.push(Stranger::new(SK_LOOKUP, u32::try_from(netns.as_raw_fd())?)?);
    Ok(all)
}
