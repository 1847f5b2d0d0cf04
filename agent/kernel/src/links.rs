//! Links: made once, adopted by the next agent, never doubled and never gone in between.
//!
//! A link is pinned under `links/<name>`. The next agent puts its own program in its place, which
//! the kernel does between two runs of the hook. A link that hangs elsewhere than it should (the
//! cgroup or the interface has gone, or the agent is told another cgroup) is replaced: the new one
//! is attached before the old one goes.
//!
//! On a kernel without tcx the wire layer hangs by filters, which are no links: see [`filters`].

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

use agent_base::lock::lock;
use thiserror::Error;

mod filters;

use super::{
    clsact::ClsactError,
    hooks::{CGROUP, Hook, TCX, Wire},
    load::Programs,
    sys::{self, Place, SysError, Target},
};
use filters::Filters;

/// Why a program does not hang where it should.
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
    /// Layer 3 cannot be hung on an interface, or taken from it.
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

/// `TC_ACT_SHOT` of `linux/pkt_cls.h`, which is `TCX_DROP`.
const TC_ACT_SHOT: i32 = 2;

/// The links of one pin directory.
#[derive(Debug)]
pub struct Links {
    directory: PathBuf,
    cgroup: File,
    cgroup_path: PathBuf,
    wire: Wire,
    filters: Filters,
    /// The interfaces on which frames are judged already and not yet learnt from.
    due: Mutex<BTreeSet<u32>>,
}

impl Links {
    /// Opens the place of the links; nothing is attached yet.
    pub fn new(pin_dir: &Path, cgroup: &Path, wire: Wire) -> Result<Self, LinkError> {
        let directory = pin_dir.join("links");
        fs::create_dir_all(&directory)
            .map_err(|source| LinkError::Pin { path: directory.clone(), source })?;
        let opened = File::open(cgroup)
            .map_err(|source| LinkError::Cgroup { path: cgroup.to_owned(), source })?;
        let filters = Filters::new(pin_dir)?;
        let (cgroup_path, due) = (cgroup.to_owned(), Mutex::default());
        Ok(Self { directory, cgroup: opened, cgroup_path, wire, filters, due })
    }

    /// How layer 3 hangs.
    pub fn wire(&self) -> Wire {
        self.wire
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
        let wanted = Place::Cgroup(metadata.ino());
        for hook in &CGROUP {
            let path = self.directory.join(hook.name);
            match programs.get(hook) {
                Some(program) => {
                    let target = Target::Cgroup(self.cgroup.as_fd());
                    self.ensure(hook, &path, (program, target, wanted))?;
                }
                // A predecessor's, of a kernel that had it, cannot be: the kernel is the same.
                None => remove(&path)?,
            }
        }
        Ok(())
    }

    /// Attaches both programs to the host's end of a pod's link, and then takes away what an agent
    /// before has attached in the other manner: a frame is judged by one of the two at least.
    ///
    /// True when somebody else's program had come before ours, which is first from here on.
    pub fn attach_wire(&self, programs: &Programs, interface: u32) -> Result<bool, LinkError> {
        let mut moved = false;
        match self.wire {
            Wire::Tcx => {
                for hook in &TCX {
                    moved |= step_aside(hook, &self.wire_path(hook.name, interface), interface)?;
                    self.ensure_tcx(hook, programs, interface)?;
                }
                self.filters.detach(interface)?;
                lock(&self.due).remove(&interface);
            }
            Wire::Clsact => {
                self.filters.attach(programs, interface)?;
                self.detach_tcx(interface)?;
            }
        }
        Ok(moved)
    }

    /// Attaches what judges frames to an end that has neither program yet, and leaves for
    /// [`Links::attach_wire`] what learns from those that arrive: the kernel makes whoever attaches
    /// by tcx wait, each time.
    pub fn attach_judge(&self, programs: &Programs, interface: u32) -> Result<(), LinkError> {
        match self.wire {
            Wire::Tcx => {
                self.ensure_tcx(&TCX[1], programs, interface)?;
                lock(&self.due).insert(interface);
                Ok(())
            }
            Wire::Clsact => self.attach_wire(programs, interface).map(drop),
        }
    }

    /// The interfaces that [`Links::attach_judge`] has left something for later on.
    pub fn due(&self) -> BTreeSet<u32> {
        lock(&self.due).clone()
    }

    fn ensure_tcx(
        &self,
        hook: &Hook,
        programs: &Programs,
        interface: u32,
    ) -> Result<(), LinkError> {
        let (target, place) = (Target::Interface(interface), Place::Interface(interface));
        let path = self.wire_path(hook.name, interface);
        self.ensure(hook, &path, (wire_program(programs, hook), target, place))
    }

    /// Detaches both programs from an interface, however they were attached.
    pub fn detach_wire(&self, interface: u32) -> Result<(), LinkError> {
        lock(&self.due).remove(&interface);
        self.detach_tcx(interface)?;
        self.filters.detach(interface)
    }

    fn detach_tcx(&self, interface: u32) -> Result<(), LinkError> {
        TCX.iter().try_for_each(|hook| remove(&self.wire_path(hook.name, interface)))
    }

    /// Takes notice of filters of an agent before that it has left no pins for.
    pub(crate) fn adopt_strays(&self, programs: &Programs) {
        self.filters.adopt_strays(programs);
    }

    /// The interfaces whose links are pinned here, whether they still exist or not.
    pub fn wires(&self) -> Vec<u32> {
        let tcx = TCX.map(|hook| hook.name);
        pinned_interfaces(&self.directory, &[&tcx[..], &filters::PINS].concat())
    }

    /// Whether a hook of the cgroup hangs where it should, as the kernel says.
    pub fn is_attached(&self, hook: &Hook) -> bool {
        let wanted = self.cgroup.metadata().map(|metadata| Place::Cgroup(metadata.ino()));
        matches!((place_of(&self.directory.join(hook.name)), wanted), (Some(is), Ok(want)) if is == want)
    }

    /// The hooks of the cgroup that do not hang where they should, or hold another program than
    /// ours: anybody may detach a link or replace what it runs.
    pub fn lost(&self, programs: &Programs) -> Vec<&'static Hook> {
        let Ok(metadata) = self.cgroup.metadata() else { return Vec::new() };
        let wanted = Place::Cgroup(metadata.ino());
        let has_lost = |hook: &&Hook| {
            programs
                .get(hook)
                .is_some_and(|program| !holds(&self.directory.join(hook.name), wanted, program))
        };
        CGROUP.iter().filter(has_lost).collect()
    }

    /// Whether a hook of the wire hangs on an interface with our program, as the kernel says.
    pub fn is_held(&self, programs: &Programs, hook: &Hook, interface: u32) -> bool {
        match self.wire {
            Wire::Tcx => {
                let path = self.wire_path(hook.name, interface);
                holds(&path, Place::Interface(interface), wire_program(programs, hook))
            }
            Wire::Clsact => self.filters.hangs(hook, interface),
        }
    }

    /// Whether a hook of the wire hangs on an interface, as the kernel says.
    pub fn is_wired(&self, hook: &Hook, interface: u32) -> bool {
        match self.wire {
            Wire::Tcx => {
                let path = self.wire_path(hook.name, interface);
                place_of(&path) == Some(Place::Interface(interface))
            }
            Wire::Clsact => self.filters.hangs(hook, interface),
        }
    }

    fn wire_path(&self, name: &str, interface: u32) -> PathBuf {
        self.directory.join(format!("{name}-{interface}"))
    }

    fn ensure(
        &self,
        hook: &Hook,
        path: &Path,
        (program, target, wanted): (BorrowedFd<'_>, Target<'_>, Place),
    ) -> Result<(), LinkError> {
        let failed = |source| LinkError::Attach {
            hook: hook.name,
            place: match target {
                Target::Cgroup(_) => self.cgroup_path.display().to_string(),
                Target::Interface(index) => format!("interface {index}"),
            },
            source,
        };
        if let Some(link) = sys::open(path).map_err(failed)?
            && sys::link_place(link.as_fd()).map_err(failed)? == wanted
            && is_first(link.as_fd(), target, hook).map_err(failed)?
        {
            return sys::link_update(link.as_fd(), program).map_err(failed);
        }
        let link: OwnedFd = sys::link_create(program, target, hook.number).map_err(failed)?;
        pin_at(link.as_fd(), path)
    }
}

/// Whether nobody's program on the interface runs before the link's.
fn is_first(link: BorrowedFd<'_>, target: Target<'_>, hook: &Hook) -> Result<bool, SysError> {
    let Target::Interface(interface) = target else { return Ok(true) };
    let first = sys::first_program(interface, hook.number)?;
    Ok(first == Some(sys::link_program(link)?))
}

/// Makes way for a link of ours at the head of an interface's programs, if it is not there: the
/// kernel does not take one program twice, so the link that is behind others' refuses everything
/// until its successor is there, which lets nothing through. True when it was behind.
fn step_aside(hook: &Hook, path: &Path, interface: u32) -> Result<bool, LinkError> {
    let failed = |source| LinkError::Attach {
        hook: hook.name,
        place: format!("interface {interface}"),
        source,
    };
    let Some(link) = sys::open(path).map_err(failed)? else { return Ok(false) };
    if sys::link_place(link.as_fd()).map_err(failed)? != Place::Interface(interface)
        || is_first(link.as_fd(), Target::Interface(interface), hook).map_err(failed)?
    {
        return Ok(false);
    }
    let refusal = sys::classifier(TC_ACT_SHOT).map_err(failed)?;
    sys::link_update(link.as_fd(), refusal.as_fd()).map_err(failed)?;
    Ok(true)
}

fn wire_program<'a>(programs: &'a Programs, hook: &Hook) -> BorrowedFd<'a> {
    programs.get(hook).expect("the wire's programs are not optional")
}

fn pin_at(object: BorrowedFd<'_>, path: &Path) -> Result<(), LinkError> {
    replace_pin(object, path).map_err(|source| LinkError::Pin { path: path.to_owned(), source })
}

/// The interfaces that pins of some names speak of.
fn pinned_interfaces(directory: &Path, names: &[&str]) -> Vec<u32> {
    let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
    let mut found: Vec<u32> = entries
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter_map(|name| {
            let (hook, interface) = name.rsplit_once('-')?;
            names.contains(&hook).then(|| interface.parse().ok())?
        })
        .collect();
    found.sort_unstable();
    found.dedup();
    found
}

/// Whether the link pinned somewhere hangs in a place and runs a program.
fn holds(path: &Path, wanted: Place, program: BorrowedFd<'_>) -> bool {
    let Ok(Some(link)) = sys::open(path) else { return false };
    let place = sys::link_place(link.as_fd());
    let runs = sys::link_program(link.as_fd());
    let ours = sys::program_id(program);
    matches!((place, runs, ours), (Ok(place), Ok(runs), Ok(ours)) if place == wanted && runs == ours)
}

fn place_of(path: &Path) -> Option<Place> {
    let link = sys::open(path).ok()??;
    sys::link_place(link.as_fd()).ok()
}

/// Pins an object where another may be pinned: the name is never without one.
fn replace_pin(object: BorrowedFd<'_>, path: &Path) -> io::Result<()> {
    // Somebody may have removed the directory too.
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory)?;
    }
    // A name with a dot is refused in a BPF file system.
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push("~");
    let fresh = path.with_file_name(name);
    match fs::remove_file(&fresh) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    sys::pin(object, &fresh).map_err(|error| error.source)?;
    fs::rename(&fresh, path)
}

fn remove(path: &Path) -> Result<(), LinkError> {
    if let Ok(Some(link)) = sys::open(path) {
        // The kernel refuses it for a program, which is unpinned and nothing else.
        // The pin may not be the last holder: an agent that still runs has the link open too.
        // A link whose cgroup or interface has gone has nothing left to detach.
        let _ = sys::link_detach(link.as_fd());
    }
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(LinkError::Pin { path: path.to_owned(), source: error })
        }
        _ => Ok(()),
    }
}

/// Whether filters of ours may hang somewhere, as far as pins tell.
pub(crate) fn has_filters(pin_dir: &Path) -> bool {
    !pinned_interfaces(&pin_dir.join("links"), &filters::PINS).is_empty()
}

/// Detaches and unpins everything below a pin directory; the names of what was removed.
pub(crate) fn remove_all(pin_dir: &Path) -> Result<Vec<String>, LinkError> {
    let mut removed = Filters::new(pin_dir)?.remove_all()?;
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| LinkError::Pin { path, source }
    };
    let links = pin_dir.join("links");
    // What judges goes first, so that nothing is sent to a proxy that is about to lose its memory.
    for directory in std::iter::once(links).chain(layouts(pin_dir)) {
        let Ok(entries) = fs::read_dir(&directory) else { continue };
        for entry in entries {
            let path = entry.map_err(failed(&directory))?.path();
            let name = path.strip_prefix(pin_dir).unwrap_or(&path).display().to_string();
            remove(&path)?;
            removed.push(name);
        }
        fs::remove_dir(&directory).map_err(failed(&directory))?;
    }
    if pin_dir.exists() {
        fs::remove_dir(pin_dir).map_err(failed(pin_dir))?;
    }
    removed.sort();
    Ok(removed)
}

/// The directories of maps, of every layout.
fn layouts(pin_dir: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(pin_dir) else { return Vec::new() };
    entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| {
            path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("maps-v"))
        })
        .collect()
}

/// Removes the maps of every layout but one: nothing of ours reads them any more.
pub(crate) fn remove_other_layouts(pin_dir: &Path, keep: &Path) -> Result<(), LinkError> {
    for directory in layouts(pin_dir) {
        if directory == keep {
            continue;
        }
        fs::remove_dir_all(&directory)
            .map_err(|source| LinkError::Pin { path: directory.clone(), source })?;
    }
    Ok(())
}
