//! Layer 3 by filters of a clsact queueing discipline, for kernels without tcx (before 6.6).
//!
//! - A filter holds its program and outlives the agent, without a pin. It belongs to no process: it is
//!   ours by its name, `sekisho <pin-dir>`. What is pinned for it (`links/clsact_*-<interface>`) says
//!   where to look.
//! - Filters run by priority and then from the newest to the oldest, and the first that decides ends it.
//!   So ours are kept in front, at priority 1, and let pass by deciding nothing (`TC_ACT_UNSPEC`).
//! - They are put in front again where another program's came to stand before them.
//! - A filter of another kind or protocol at priority 1, or an `ingress` discipline in the place of
//!   clsact, leaves ours no first place. That is an error, and the pod is reported as failing.

use std::{
    io,
    os::fd::BorrowedFd,
    path::{Path, PathBuf},
};

use thiserror::Error;

mod messages;
#[cfg(test)]
mod tests;

use super::{hooks::CLSACT, netlink::NetlinkError};
use messages::{EVERY_PROTOCOL, Filter, FilterPoint, Put, Tc};

/// No filter can come before those of this priority.
const PRIORITY: u16 = 1;
/// Handles are counted from here, away from the small numbers that other programs take.
const FIRST_HANDLE: u32 = 0x5e15;
/// What every agent's filters are called, with the pin directory after it.
const PREFIX: &str = "sekisho ";
/// The kind of discipline that has an egress side too.
const CLSACT_KIND: &str = "clsact";
/// `CLS_BPF_NAME_LEN`.
const NAME_LENGTH: usize = 256;

/// Why a filter is not where it should be.
#[derive(Debug, Error)]
pub enum ClsactError {
    /// The kernel does not do it.
    #[error("the kernel's filters cannot be asked or changed")]
    Netlink(#[from] NetlinkError),
    /// The kernel has no such discipline or filter.
    #[error("the kernel has no clsact: load its modules sch_ingress and cls_bpf")]
    Unknown(#[source] NetlinkError),
    /// Another discipline holds the place.
    #[error(
        "it has another program's queueing discipline \"{kind}\" where clsact would be; remove \
         that (tc qdisc del dev LINK ingress), or use a kernel with tcx (Linux 6.6)"
    )]
    OtherQdisc {
        /// What it is.
        kind: String,
    },
    /// Another filter holds the first place for good.
    #[error(
        "another program's \"{kind}\" filter of priority 1 comes before ours and may let frames \
         out unjudged; give it another priority, or use a kernel with tcx (Linux 6.6)"
    )]
    Occupied {
        /// What it is.
        kind: String,
    },
}

/// Our filters in the namespace of the calling thread.
#[derive(Debug)]
pub(crate) struct Clsact {
    name: String,
}

impl Clsact {
    /// Those of the agent with this pin directory.
    pub(crate) fn new(pin_dir: &Path) -> io::Result<Self> {
        // Without dots and a slash at the end: what is named twice is one directory.
        let path: PathBuf = std::path::absolute(pin_dir)?.components().collect();
        Ok(Self { name: name_of(&path) })
    }

    /// Attaches a program in front of every other filter, in the place of its predecessor where there
    /// is one.
    pub(crate) fn attach(
        &self,
        interface: u32,
        parent: u32,
        program: BorrowedFd<'_>,
    ) -> Result<(), ClsactError> {
        let mut tc = Tc::open()?;
        let point = FilterPoint { interface, parent };
        let plan = plan(&tc.filters(point)?, &self.name)?;
        let put = |handle| Put { priority: PRIORITY, handle, program, name: self.name.as_str() };
        match plan.step {
            Step::Replace(handle) => tc.replace(point, put(handle))?,
            Step::Add(handle) => tc.add(point, put(handle)).map_err(|error| {
                // The discipline is there, so it is the kind of filter that is unknown.
                if error.is(libc::ENOENT) { ClsactError::Unknown(error) } else { error.into() }
            })?,
        }
        for filter in &plan.stale {
            tc.remove(point, filter)?;
        }
        Ok(())
    }

    /// Whether a filter of ours is there and none that may decide comes before it.
    pub(crate) fn is_attached(&self, interface: u32, parent: u32) -> Result<bool, ClsactError> {
        let filters = Tc::open()?.filters(FilterPoint { interface, parent })?;
        Ok(matches!(plan(&filters, &self.name), Ok(Plan { step: Step::Replace(_), .. })))
    }

    /// Whether any filter of ours is on an interface.
    pub(crate) fn any(&self, interface: u32) -> Result<bool, ClsactError> {
        let mut tc = Tc::open()?;
        for hook in &CLSACT {
            let filters = tc.filters(FilterPoint { interface, parent: hook.number })?;
            if filters.iter().any(|filter| is_ours(filter, &self.name)) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The interfaces with filters of ours.
    pub(crate) fn interfaces(&self) -> Result<Vec<u32>, ClsactError> {
        let mut found = Vec::new();
        for (interface, kind) in Tc::open()?.qdiscs()? {
            if kind == CLSACT_KIND && self.any(interface)? {
                found.push(interface);
            }
        }
        Ok(found)
    }

    /// Removes our filters, and the discipline when it is ours too and nothing else is in it.
    pub(crate) fn remove(&self, interface: u32, made_qdisc: bool) -> Result<(), ClsactError> {
        let mut tc = Tc::open()?;
        let mut others = false;
        // What judges goes first, so that what was learnt outlives it.
        for hook in CLSACT.iter().rev() {
            let point = FilterPoint { interface, parent: hook.number };
            for filter in tc.filters(point)? {
                if is_ours(&filter, &self.name) {
                    tc.remove(point, &filter)?;
                } else {
                    others |= filter.handle != 0;
                }
            }
        }
        // Another program's filter of the next microsecond would go too: the kernel has no word for
        // "if it is empty".
        let ours = (interface, CLSACT_KIND.to_owned());
        if made_qdisc && !others && tc.qdiscs()?.contains(&ours) {
            tc.remove_qdisc(interface)?;
        }
        Ok(())
    }
}

/// Makes the discipline, if there is none; true when it was made.
pub(crate) fn make_qdisc(interface: u32) -> Result<bool, ClsactError> {
    let mut tc = Tc::open()?;
    match tc.add_qdisc(interface) {
        Ok(()) => return Ok(true),
        Err(error) if error.is(libc::ENOENT) => return Err(ClsactError::Unknown(error)),
        Err(error) if !error.is(libc::EEXIST) => return Err(error.into()),
        Err(_) => {}
    }
    match tc.qdiscs()?.into_iter().find(|(found, _)| *found == interface) {
        Some((_, kind)) if kind != CLSACT_KIND => Err(ClsactError::OtherQdisc { kind }),
        _ => Ok(false),
    }
}

/// The end of a directory's path tells more than its start.
fn name_of(pin_dir: &Path) -> String {
    let path = pin_dir.to_string_lossy();
    let room = NAME_LENGTH - PREFIX.len() - 1;
    let cut = path.ceil_char_boundary(path.len().saturating_sub(room));
    format!("{PREFIX}{}", &path[cut..])
}

fn is_ours(filter: &Filter, name: &str) -> bool {
    filter.handle != 0 && filter.name.as_deref() == Some(name)
}

#[derive(Debug, PartialEq, Eq)]
enum Step {
    /// Ours is in front: its program is exchanged.
    Replace(u32),
    /// A new one takes the front, under a handle that is free.
    Add(u32),
}

#[derive(Debug, PartialEq, Eq)]
struct Plan {
    step: Step,
    /// Ours that are not in front.
    stale: Vec<Filter>,
}

/// What makes ours the first of the filters of one side, listed in the order in which they run.
fn plan(listed: &[Filter], name: &str) -> Result<Plan, ClsactError> {
    // Filters of another chain run only when one of this chain sends a frame there.
    let listed = || listed.iter().filter(|filter| filter.chain == 0);
    let filters = || listed().filter(|filter| filter.handle != 0);
    // Another agent's lets pass as ours does, and the frame comes to ours.
    let harmless = |filter: &&Filter| {
        let of_an_agent = |name: &String| name.starts_with(PREFIX);
        !is_ours(filter, name) && filter.name.as_ref().is_some_and(of_an_agent)
    };
    let mut stale: Vec<Filter> =
        filters().filter(|filter| is_ours(filter, name)).cloned().collect();
    if let Some(first) = filters().find(|filter| !harmless(filter))
        && is_ours(first, name)
        && first.priority == PRIORITY
    {
        let first = stale.remove(0);
        return Ok(Plan { step: Step::Replace(first.handle), stale });
    }
    let in_our_place = |filter: &&Filter| filter.priority == PRIORITY;
    let mixes = |filter: &&Filter| filter.kind == "bpf" && filter.protocol == EVERY_PROTOCOL;
    if let Some(other) = listed().filter(in_our_place).find(|filter| !mixes(filter)) {
        return Err(ClsactError::Occupied { kind: other.kind.clone() });
    }
    let is_taken = |handle: &u32| filters().filter(in_our_place).any(|f| f.handle == *handle);
    let handle = (FIRST_HANDLE..=u32::MAX).find(|handle| !is_taken(handle));
    let handle = handle.expect("there are more handles than filters");
    Ok(Plan { step: Step::Add(handle), stale })
}
