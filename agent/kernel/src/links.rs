//! Links: made once, adopted by the next agent, never doubled and never gone in between.
//!
//! A link is pinned under `links/<name>`. The next agent puts its own program in its place, which the
//! kernel does between two runs of the hook. A link that is attached elsewhere than it should be is
//! replaced, and the new one is attached before the old one goes. That happens when the cgroup or the
//! interface has gone, or the agent is given another cgroup.
//!
//! Of the programs on a link ours run first. One that comes before ours and lets a frame pass
//! (`TCX_PASS`) ends the chain, while ours hand frames on (`TCX_NEXT`). Who goes before ours later is
//! found by a canary that is not refused. Ours is then attached before it, once for each such find, so
//! that two programs that both want to be first do not fight faster than canaries fail.
//!
//! Each attachment by tcx waits for a grace period of the kernel's (9 to 15 ms) under its lock of all
//! links. A pod that is being made waits for one of the two: what judges its frames. What learns from
//! arriving frames follows after the answer. In a pod that runs already they are attached the other way
//! round, and its open connections are learnt once both are.
//!
//! On a kernel without tcx layer 3 is attached by filters, which are no links: see [`filters`]. A restart
//! may change the mode: the new one is attached before the old one goes, and for that moment both judge.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::fs::MetadataExt,
    },
    path::{Path, PathBuf},
    sync::Mutex,
};

use thiserror::Error;

mod filters;
mod inbound;
mod interfaces;
mod pins;
mod uninstall;

use super::{
    clsact::ClsactError,
    hooks::{AttachMode, CGROUP, Hook},
    load::{LoadError, Programs},
    sys::{self, AttachPoint, SysError, Target},
};
use filters::Filters;

pub(crate) use uninstall::{has_filters, remove_all, remove_other_layouts};

/// Why a program is not attached where it should be.
#[derive(Debug, Error)]
pub enum LinkError {
    /// The cgroup directory cannot be opened.
    #[error("cannot open the cgroup {}", path.display())]
    Cgroup {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The program for a pod cannot be loaded.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The kernel does not attach the program.
    #[error("cannot attach {hook} to {place}")]
    Attach {
        /// The hook.
        hook: &'static str,
        /// The cgroup or interface.
        place: String,
        /// Why.
        source: SysError,
    },
    /// Layer 3 cannot be attached to an interface, or taken from it.
    #[error("clsact on interface {interface}")]
    Clsact {
        /// The interface.
        interface: u32,
        /// Why.
        source: ClsactError,
    },
    /// The link's pin cannot be made, read or removed.
    #[error("cannot keep the link at {}", path.display())]
    Pin {
        /// The pin.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// What a link is to run, and where.
struct Attachment<'a> {
    program: BorrowedFd<'a>,
    target: Target<'a>,
    /// What the kernel says of a link that is attached there.
    wanted: AttachPoint,
}

/// The links of one pin directory.
#[derive(Debug)]
pub struct Links {
    directory: PathBuf,
    cgroup: File,
    cgroup_path: PathBuf,
    mode: AttachMode,
    filters: Filters,
    /// The interfaces on which frames are judged already and not yet learnt from.
    due: Mutex<BTreeSet<u32>>,
}

impl Links {
    /// Opens the place of the links; nothing is attached yet.
    pub fn new(pin_dir: &Path, cgroup: &Path, mode: AttachMode) -> Result<Self, LinkError> {
        let directory = pin_dir.join("links");
        fs::create_dir_all(&directory)
            .map_err(|source| LinkError::Pin { path: directory.clone(), source })?;
        let opened = File::open(cgroup)
            .map_err(|source| LinkError::Cgroup { path: cgroup.to_owned(), source })?;
        let filters = Filters::new(pin_dir)?;
        let (cgroup_path, due) = (cgroup.to_owned(), Mutex::default());
        Ok(Self { directory, cgroup: opened, cgroup_path, mode, filters, due })
    }

    /// How layer 3 is attached.
    pub fn mode(&self) -> AttachMode {
        self.mode
    }

    /// Whether an agent before has left links here.
    pub fn any(&self) -> bool {
        CGROUP.iter().any(|hook| self.directory.join(hook.name).exists())
    }

    /// Attaches every program of the cgroup, or puts it in the place of its predecessor.
    pub(crate) fn attach_cgroup(&self, programs: &Programs) -> Result<(), LinkError> {
        let metadata = self
            .cgroup
            .metadata()
            .map_err(|source| LinkError::Cgroup { path: self.cgroup_path.clone(), source })?;
        // The id of a cgroup is the inode of its directory.
        let wanted = AttachPoint::Cgroup(metadata.ino());
        for hook in &CGROUP {
            let path = self.directory.join(hook.name);
            match programs.get(hook) {
                Some(program) => {
                    let target = Target::Cgroup(self.cgroup.as_fd());
                    self.ensure(hook, &path, &Attachment { program, target, wanted })?;
                }
                // A predecessor's, of a kernel that had it, cannot be: the kernel is the same.
                None => pins::remove(&path)?,
            }
        }
        Ok(())
    }

    /// Whether a hook of the cgroup is attached where it should be, as the kernel says.
    pub fn is_attached(&self, hook: &Hook) -> bool {
        let wanted = self.cgroup.metadata().map(|metadata| AttachPoint::Cgroup(metadata.ino()));
        matches!((pins::point_of(&self.directory.join(hook.name)), wanted), (Some(is), Ok(want)) if is == want)
    }

    /// The hooks of the cgroup that are not attached where they should be, or hold another program than
    /// ours: any privileged process may detach a link or replace what it runs.
    pub fn lost(&self, programs: &Programs) -> Vec<&'static Hook> {
        let Ok(metadata) = self.cgroup.metadata() else { return Vec::new() };
        let wanted = AttachPoint::Cgroup(metadata.ino());
        let has_lost = |hook: &&Hook| {
            programs.get(hook).is_some_and(|program| {
                !pins::holds(&self.directory.join(hook.name), wanted, program)
            })
        };
        CGROUP.iter().filter(has_lost).collect()
    }

    fn ensure(
        &self,
        hook: &Hook,
        path: &Path,
        &Attachment { program, target, wanted }: &Attachment<'_>,
    ) -> Result<(), LinkError> {
        let failed = |source| LinkError::Attach {
            hook: hook.name,
            place: match target {
                Target::Cgroup(_) => self.cgroup_path.display().to_string(),
                Target::Interface(index) => format!("interface {index}"),
                Target::Netns(_) => "the pod's network namespace".to_owned(),
            },
            source,
        };
        if let Some(link) = sys::open(path).map_err(failed)?
            && sys::link_point(link.as_fd()).map_err(failed)? == wanted
            && is_first(link.as_fd(), target, hook).map_err(failed)?
        {
            return sys::link_update(link.as_fd(), program).map_err(failed);
        }
        let link: OwnedFd = sys::link_create(program, target, hook.number).map_err(failed)?;
        pins::pin_at(link.as_fd(), path)
    }
}

/// Whether no other program on the interface runs before the link's.
fn is_first(link: BorrowedFd<'_>, target: Target<'_>, hook: &Hook) -> Result<bool, SysError> {
    let Target::Interface(interface) = target else { return Ok(true) };
    let first = sys::first_program(interface, hook.number)?;
    Ok(first == Some(sys::link_program(link)?))
}

/// A program of layer 3.
fn layer3_program<'a>(programs: &'a Programs, hook: &Hook) -> BorrowedFd<'a> {
    programs.get(hook).expect("layer 3's programs are not optional")
}
