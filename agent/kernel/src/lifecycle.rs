//! One agent's time in the kernel: programs loaded and attached, what others took away put back, and
//! everything removed when the agent is uninstalled.

use std::{
    fs::{self, File, TryLockError},
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use agent_abi::{Tables as _, node_flag};
use thiserror::Error;

use crate::{
    canary,
    links::{self, LinkError, Links},
    load::{self, KernelLog, LoadError, Programs},
    maps::{Maps, MapsError},
    mending::Mending,
    netns,
    pins::Pins,
    preflight::{self, Layer3, PreflightError},
    sys::{self, SysError},
};

/// Why the kernel's side cannot be set up.
#[derive(Debug, Error)]
pub enum KernelError {
    /// The machine lacks something.
    #[error(transparent)]
    Preflight(#[from] PreflightError),
    /// The programs cannot be loaded.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The maps cannot be opened.
    #[error(transparent)]
    Maps(#[from] MapsError),
    /// The programs cannot be attached.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// A map that was just pinned cannot be opened.
    #[error("cannot hold on to the maps")]
    Held(#[source] SysError),
    /// The hooks do not see what the agent itself does.
    #[error(
        "the hooks at {} do not see the agent's own connections, since it runs in another cgroup: \
         start it in that one or below it (write its process number to cgroup.procs there), or \
         name one with --cgroup that both the agent and the pods are below",
        cgroup.display()
    )]
    Unseen {
        /// The cgroup.
        cgroup: PathBuf,
    },
    /// It cannot be tried whether they do.
    #[error("cannot try whether the hooks see the agent's own connections")]
    Canary(#[source] io::Error),
    /// The agent's filters are in another network namespace.
    #[error(
        "the agent of {} has attached filters in another network namespace than this one: run this \
         where the agent ran (nsenter --net=..); if that namespace has gone, so have they, and the \
         directory may be removed by hand",
        path.display()
    )]
    Elsewhere {
        /// The pin directory.
        path: PathBuf,
    },
    /// Two agents would write the same maps.
    #[error(
        "another agent runs on the pins in {}: stop it first, or name another --pin-dir",
        path.display()
    )]
    InUse {
        /// The pin directory.
        path: PathBuf,
    },
    /// The pin directory cannot be made or locked.
    #[error("cannot use the pin directory {}", path.display())]
    PinDir {
        /// The pin directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// Takes a pin directory for this process, until the answer is dropped.
fn claim(path: &Path) -> Result<File, KernelError> {
    let failed = |source| KernelError::PinDir { path: path.to_owned(), source };
    let directory = File::open(path).map_err(failed)?;
    match directory.try_lock() {
        Ok(()) => Ok(directory),
        Err(TryLockError::WouldBlock) => Err(KernelError::InUse { path: path.to_owned() }),
        Err(TryLockError::Error(source)) => Err(failed(source)),
    }
}

/// What an agent asks of the kernel.
#[derive(Clone, Debug)]
pub struct Setup {
    /// Where maps and links are pinned.
    pub pin_dir: PathBuf,
    /// The cgroup whose sockets are judged; the v2 root when not given.
    pub cgroup: Option<PathBuf>,
    /// The cookie of the namespace that the agent runs in.
    pub host_netns: u64,
    /// Unknown pods are held.
    pub hold_unknown: bool,
    /// Open flows outlive their rule.
    pub keep_revoked: bool,
    /// How layer 3 is to be attached.
    pub layer3: Layer3,
    /// How much the programs say.
    pub log: KernelLog,
}

/// The loaded programs, their maps and links.
#[derive(Debug)]
pub struct Kernel {
    pub maps: Arc<Maps>,
    pub links: Links,
    pub programs: Programs,
    pub mending: Mending,
    pub cgroup: PathBuf,
    pins: Pins,
    pin_dir: PathBuf,
    lock: File,
}

impl Kernel {
    /// Loads the programs and opens the maps. Nothing judges by them until [`Kernel::attach`],
    /// unless an agent of the same layout has attached its own.
    pub fn open(setup: &Setup) -> Result<Self, KernelError> {
        let cgroup = preflight::check(&setup.pin_dir, setup.cgroup.as_deref())?;
        let mode = preflight::attach_mode(setup.layer3, sys::has_tcx())?;
        fs::create_dir_all(&setup.pin_dir).map_err(|source| {
            let path = setup.pin_dir.clone();
            KernelError::PinDir { path, source }
        })?;
        let lock = claim(&setup.pin_dir)?;
        let programs = load::load(&setup.pin_dir, setup.log)?;
        let maps = Maps::open(&load::maps_directory(&setup.pin_dir))?;
        let mut flags = 0;
        if setup.hold_unknown {
            flags |= node_flag::HOLD_UNKNOWN;
        }
        if setup.keep_revoked {
            flags |= node_flag::KEEP_REVOKED;
        }
        maps.node.configure(setup.host_netns, flags);
        Ok(Self {
            maps: Arc::new(maps),
            links: Links::new(&setup.pin_dir, &cgroup, mode)?,
            programs,
            mending: Mending::default(),
            pins: Pins::hold(&load::maps_directory(&setup.pin_dir)).map_err(KernelError::Held)?,
            cgroup,
            pin_dir: setup.pin_dir.clone(),
            lock,
        })
    }

    /// True when the programs in force read the maps of another layout: they must judge until
    /// ours are filled.
    pub fn replaces_another_layout(&self) -> bool {
        self.links.any() && self.maps.node.generation() == 0
    }

    /// Attaches every program of the cgroup, in the place of an earlier agent's where there is
    /// one, and lets go of what only that one needed.
    pub fn attach(&self) -> Result<(), KernelError> {
        self.links.attach_cgroup(&self.programs)?;
        self.links.adopt_unpinned(&self.programs);
        Ok(links::remove_other_layouts(&self.pin_dir, &load::maps_directory(&self.pin_dir))?)
    }

    /// True when a hook of the cgroup is not where it should be, or a caller wants all of them
    /// looked at.
    pub fn is_amiss(&self) -> bool {
        self.mending.is_asked()
            || !self.pins.are_there()
            || !self.links.lost(&self.programs).is_empty()
    }

    /// Puts back what another program took from the cgroup. Says whether everything is to be
    /// attached again, as a canary asks for.
    pub fn mend(&self) -> Result<bool, KernelError> {
        let asked = self.mending.take();
        if !self.pins.are_there() {
            let path = self.maps_directory();
            self.pins.restore().map_err(|source| {
                let path = path.clone();
                KernelError::PinDir { path, source }
            })?;
            self.mending.note("the maps' pins", &path.display().to_string());
        }
        let lost = self.links.lost(&self.programs);
        if asked || !lost.is_empty() {
            self.links.attach_cgroup(&self.programs)?;
        }
        for hook in lost {
            self.mending.note(hook.name, &self.cgroup.display().to_string());
        }
        Ok(asked)
    }

    /// Refuses to go on when the attached hooks do not see the agent's own connections.
    pub fn check_visibility(&self, host_netns: u64) -> Result<(), KernelError> {
        match canary::hooks_see_us(&self.maps, host_netns) {
            Ok(true) => Ok(()),
            Ok(false) => Err(KernelError::Unseen { cgroup: self.cgroup.clone() }),
            Err(error) => Err(KernelError::Canary(error)),
        }
    }

    /// Lets another agent have the pin directory: this one writes nothing any more.
    pub fn release(&self) {
        if let Err(error) = self.lock.unlock() {
            tracing::warn!(%error, "the pin directory stays locked");
        }
    }

    /// Where the ring of events is.
    pub fn maps_directory(&self) -> PathBuf {
        load::maps_directory(&self.pin_dir)
    }
}

/// Detaches and forgets everything below a pin directory; the names of what was removed.
pub fn uninstall(pin_dir: &Path) -> Result<Vec<String>, KernelError> {
    preflight::check_privileges()?;
    if !pin_dir.exists() {
        return Ok(links::remove_all(pin_dir)?);
    }
    let _lock = claim(pin_dir)?;
    if links::has_filters(pin_dir) {
        check_namespace(pin_dir)?;
    }
    Ok(links::remove_all(pin_dir)?)
}

/// Filters can be removed in their own namespace alone; a link's pin can be anywhere.
fn check_namespace(pin_dir: &Path) -> Result<(), KernelError> {
    // Maps of another layout do not tell; then it is for the caller to know.
    let Ok(maps) = Maps::open(&load::maps_directory(pin_dir)) else { return Ok(()) };
    let here = netns::current_cookie().map_err(KernelError::Canary)?;
    if [0, here].contains(&maps.host_netns()) {
        return Ok(());
    }
    Err(KernelError::Elsewhere { path: pin_dir.to_owned() })
}
