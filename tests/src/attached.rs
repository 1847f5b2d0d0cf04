//! The kernel's own word on what is attached. Independent of the agent, so that it cannot share the
//! agent's mistakes.

use std::{fs::File, io, os::fd::AsRawFd as _, path::Path, process::Command};

use anyhow::{Context as _, Result, ensure};
use nix::net::if_::if_nametoindex;

use crate::{links::Attributes, netns::Netns};

/// A command of `bpf()` (`linux/bpf.h`).
const PROG_QUERY: u32 = 16;

/// Where programs are attached to a group, with the names of their hooks (`enum bpf_attach_type`).
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

/// Where programs are attached to a link.
const LINK_HOOKS: [(&str, u32); 2] = [("tcx_ingress", 46), ("tcx_egress", 47)];

/// How many programs are attached to a hook of a link in a namespace.
pub fn count_at_link(netns: &Netns, link: &str, hook: &str) -> Result<u32> {
    let kind = LINK_HOOKS.iter().find(|(name, _)| *name == hook).context("no such hook")?.1;
    netns.enter(|| {
        let interface = if_nametoindex(link).with_context(|| format!("no link {link}"))?;
        count(interface, kind)
            .with_context(|| format!("asking what is attached to {hook} of {link}"))
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

/// How many programs are attached to each hook of a group.
pub fn count_at(cgroup: &Path) -> Result<Vec<(&'static str, u32)>> {
    let group = File::open(cgroup).with_context(|| format!("opening {}", cgroup.display()))?;
    let target = u32::try_from(group.as_raw_fd())?;
    CGROUP_HOOKS
        .iter()
        .map(|(name, kind)| {
            let found = count(target, *kind);
            Ok((*name, found.with_context(|| format!("asking what is attached to {name}"))?))
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
