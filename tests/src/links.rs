//! The kernel's own word on what is attached, and holes made on purpose. Independent of the agent,
//! so that it cannot share the agent's mistakes.

use std::{
    ffi::CString,
    fs::File,
    io,
    os::{
        fd::{AsRawFd as _, OwnedFd},
        unix::ffi::OsStrExt as _,
    },
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, ensure};
use nix::net::if_::if_nametoindex;

use crate::{netns::Netns, sys};

/// Commands of `bpf()` (`linux/bpf.h`).
const OBJ_GET: u32 = 7;
const PROG_QUERY: u32 = 16;
const LINK_DETACH: u32 = 34;

/// Where programs hang at a group, with the names of their hooks (`enum bpf_attach_type`).
pub const CGROUP_HOOKS: [(&str, u32); 12] = [
    ("skb_egress", 1),
    ("sock_ops", 3),
    ("bind4", 8),
    ("bind6", 9),
    ("connect4", 10),
    ("connect6", 11),
    ("sendmsg4", 14),
    ("sendmsg6", 15),
    ("getpeername4", 29),
    ("getpeername6", 30),
    ("getsockname4", 31),
    ("getsockname6", 32),
];

/// Where programs hang at a link.
const LINK_HOOKS: [(&str, u32); 2] = [("tcx_ingress", 46), ("tcx_egress", 47)];

/// How many programs hang at a hook of a link in a namespace.
pub fn count_at_link(netns: &Netns, link: &str, hook: &str) -> Result<u32> {
    let kind = LINK_HOOKS.iter().find(|(name, _)| *name == hook).context("no such hook")?.1;
    netns.enter(|| {
        let interface = if_nametoindex(link).with_context(|| format!("no link {link}"))?;
        count(interface, kind).with_context(|| format!("asking what hangs at {hook} of {link}"))
    })
}

/// The names of the filters on one side (`ingress`, `egress`) of a link in a namespace, in the order
/// in which they run, as `tc` has it. Those without a name are called by their kind.
pub fn filters_at(netns: &Netns, link: &str, side: &str) -> Result<Vec<String>> {
    let listed = tc(netns, &["-j", "filter", "show", "dev", link, side])?;
    let listed: Vec<serde_json::Value> = serde_json::from_str(&listed)?;
    let name = |filter: &serde_json::Value| {
        // The place of a priority is listed too, and is no filter: those have a handle or, of the
        // kind u32, an order.
        let options = filter["options"].as_object()?;
        if !["handle", "order"].iter().any(|key| options.contains_key(*key)) {
            return None;
        }
        let name = filter["options"]["bpf_name"].as_str().or(filter["kind"].as_str());
        name.map(str::to_owned)
    };
    Ok(listed.iter().filter_map(name).collect())
}

/// Whether a link has a clsact queueing discipline.
pub fn has_clsact(netns: &Netns, link: &str) -> Result<bool> {
    Ok(tc(netns, &["qdisc", "show", "dev", link])?.contains("clsact"))
}

/// Runs `tc` in a namespace.
pub fn tc(netns: &Netns, arguments: &[&str]) -> Result<String> {
    let output = netns.enter(|| {
        Command::new("tc").args(arguments).output().context("running `tc` (Debian: iproute2)")
    })?;
    let complaint = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "tc {}: {complaint}", arguments.join(" "));
    Ok(String::from_utf8(output.stdout)?)
}

/// How many programs hang at each hook of a group.
pub fn count_at(cgroup: &Path) -> Result<Vec<(&'static str, u32)>> {
    let group = File::open(cgroup).with_context(|| format!("opening {}", cgroup.display()))?;
    let target = u32::try_from(group.as_raw_fd())?;
    CGROUP_HOOKS
        .iter()
        .map(|(name, kind)| {
            let found = count(target, *kind);
            Ok((*name, found.with_context(|| format!("asking what hangs at {name}"))?))
        })
        .collect()
}

fn count(target: u32, kind: u32) -> io::Result<u32> {
    let mut ids = [0_u32; 64];
    let mut attributes = Attributes::default();
    attributes.push(target);
    attributes.push(kind);
    attributes.push(0);
    attributes.push(0);
    attributes.push_pointer(ids.as_mut_ptr().expose_provenance());
    attributes.push(64);
    // Padding, then what tcx alone returns: flags of programs and links, and a revision.
    for _ in 0..9 {
        attributes.push(0);
    }
    attributes.call(PROG_QUERY)?;
    Ok(attributes.word_at(24))
}

/// Detaches a pinned link, and leaves its pin where it is.
pub fn detach(pin: &Path) -> Result<()> {
    let link = open(pin).with_context(|| format!("opening {}", pin.display()))?;
    let mut attributes = Attributes::default();
    attributes.push_descriptor(link.as_raw_fd());
    attributes.call(LINK_DETACH).with_context(|| format!("detaching {}", pin.display()))?;
    Ok(())
}

/// The pins of links below an agent's pin directory whose names start with `hook`.
pub fn pins_of(pin_dir: &Path, hook: &str) -> Result<Vec<PathBuf>> {
    let directory = pin_dir.join("links");
    let entries = std::fs::read_dir(&directory)
        .with_context(|| format!("reading {}", directory.display()))?;
    let mut found: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| {
            path.file_name()
                .and_then(|name| name.to_str())
                .is_some_and(|name| name == hook || name.starts_with(&format!("{hook}-")))
        })
        .collect();
    found.sort();
    Ok(found)
}

pub(crate) fn open(pin: &Path) -> io::Result<OwnedFd> {
    let path = CString::new(pin.as_os_str().as_bytes())?;
    let mut attributes = Attributes::default();
    attributes.push_pointer(path.as_ptr().expose_provenance());
    attributes.push(0);
    attributes.push(0);
    sys::own(attributes.call(OBJ_GET)?)
}

/// The union that `bpf()` reads, field by field.
#[derive(Debug, Default)]
pub(crate) struct Attributes(Vec<u8>);

impl Attributes {
    pub(crate) fn push(&mut self, word: u32) {
        self.0.extend(word.to_ne_bytes());
    }

    pub(crate) fn push_pointer(&mut self, address: usize) {
        self.0.extend((address as u64).to_ne_bytes());
    }

    /// Descriptors are never negative.
    pub(crate) fn push_descriptor(&mut self, descriptor: i32) {
        self.push(u32::try_from(descriptor).unwrap_or(u32::MAX));
    }

    /// Makes the call; what comes back lies in the same words.
    pub(crate) fn call(&mut self, command: u32) -> io::Result<i64> {
        sys::bpf(command, &mut self.0)
    }

    fn word_at(&self, offset: usize) -> u32 {
        self.0[offset..].first_chunk().map_or(0, |bytes| u32::from_ne_bytes(*bytes))
    }
}
