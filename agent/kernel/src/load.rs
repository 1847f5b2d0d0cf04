//! Loads the kernel programs on maps that outlive the agent.
//!
//! Maps are pinned in a directory named after [`ABI_VERSION`]: an agent of the same layout finds
//! and shares them, one of another layout makes its own beside them.

use std::{
    collections::BTreeMap,
    io,
    os::fd::{AsFd, BorrowedFd},
    path::{Path, PathBuf},
};

use agent_abi::ABI_VERSION;
use aya::{
    Ebpf, EbpfError, EbpfLoader,
    programs::{Program, ProgramError, ProgramFd},
    util::KernelVersion,
};
use aya_log::EbpfLogger;
use thiserror::Error;

use super::{
    hooks::{CGROUP, Hook, SK_LOOKUP, TCX},
    pins::MAPS,
};

static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/sekisho"));

/// How much the programs say about their own trouble.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KernelLog {
    /// Nothing; their counters tell of trouble all the same.
    Off,
    /// What cost a verdict or a memory.
    Warn,
    /// Everything.
    Debug,
}

/// Why the programs cannot run here.
#[derive(Debug, Error)]
pub enum LoadError {
    /// The directory for the maps cannot be made.
    #[error("cannot make {}", path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The object or its maps cannot be loaded.
    #[error("cannot load the kernel programs' maps")]
    Object(#[from] Box<EbpfError>),
    /// The programs' log cannot be read.
    #[error("cannot open the kernel programs' log")]
    Log(#[source] aya_log::Error),
    /// The kernel refuses a program.
    #[error(
        "the kernel refuses the program for {hook}; Sekisho needs Linux 5.15 or newer \
         with CONFIG_CGROUP_BPF and CONFIG_NET_CLS_BPF"
    )]
    Program {
        /// The hook.
        hook: &'static str,
        /// Why.
        source: Box<ProgramError>,
    },
}

/// The loaded programs. The kernel keeps those that are attached when this is dropped.
pub struct Programs {
    by_name: BTreeMap<&'static str, ProgramFd>,
    /// Optional ones that this kernel refuses.
    pub missing: Vec<Hook>,
    /// What they say about their own trouble.
    pub logger: Option<EbpfLogger<&'static dyn log::Log>>,
}

impl std::fmt::Debug for Programs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Programs").field("loaded", &self.by_name.len()).finish_non_exhaustive()
    }
}

impl Programs {
    /// The program of a hook, unless this kernel refused it.
    pub fn get(&self, hook: &Hook) -> Option<BorrowedFd<'_>> {
        self.by_name.get(hook.program).map(AsFd::as_fd)
    }
}

/// The directory of the maps of a layout.
pub fn maps_directory(pin_dir: &Path) -> PathBuf {
    pin_dir.join(format!("maps-v{ABI_VERSION}"))
}

/// Loads everything, on the pinned maps of this layout or on new ones.
pub fn load(pin_dir: &Path, log: KernelLog) -> Result<Programs, LoadError> {
    let maps = maps_directory(pin_dir);
    std::fs::create_dir_all(&maps)
        .map_err(|source| LoadError::Directory { path: maps.clone(), source })?;
    let mut object = load_object(&maps, log, 0)?;
    // The programs refer to the log's ring, so it is taken before they are loaded and kept.
    let logger = EbpfLogger::init(&mut object).map_err(LoadError::Log)?;
    let mut answer =
        Programs { by_name: BTreeMap::new(), missing: Vec::new(), logger: Some(logger) };
    for hook in CGROUP.iter().chain(&TCX) {
        match load_program(&mut object, hook.program) {
            Ok(program) => {
                answer.by_name.insert(hook.program, program);
            }
            Err(error) if hook.optional.is_some() => {
                tracing::warn!(hook = hook.name, %error, "the kernel refuses an optional program");
                answer.missing.push(*hook);
            }
            Err(source) => {
                return Err(LoadError::Program { hook: hook.name, source: Box::new(source) });
            }
        }
    }
    Ok(answer)
}

/// Loads the program that judges what comes to one pod, by the cookie of its network namespace.
pub(crate) fn load_inbound(pin_dir: &Path, netns: u64) -> Result<ProgramFd, LoadError> {
    let mut object = load_object(&maps_directory(pin_dir), KernelLog::Off, netns)?;
    load_program(&mut object, SK_LOOKUP.program)
        .map_err(|source| LoadError::Program { hook: SK_LOOKUP.name, source: Box::new(source) })
}

/// Reads the object, on the pinned maps of a directory. `netns` is for the one program that is one
/// pod's.
fn load_object(maps: &Path, log: KernelLog, netns: u64) -> Result<Ebpf, LoadError> {
    let (has_set_retval, level) = (u8::from(is_at_least(5, 18)), log_level(log));
    let mut loader = EbpfLoader::new();
    loader.override_global("HAS_SET_RETVAL", &has_set_retval, true);
    loader.override_global("NETNS", &netns, true);
    loader.override_global(aya_log::LEVEL, &level, true);
    for name in MAPS {
        loader.map_pin_path(name, maps.join(name));
    }
    Ok(loader.load(OBJECT).map_err(Box::new)?)
}

/// The programs' own scale: 0 is nothing, 5 everything (`aya_log::Level`).
const fn log_level(log: KernelLog) -> u8 {
    match log {
        KernelLog::Off => 0,
        KernelLog::Warn => aya_log::Level::Warn as u8,
        KernelLog::Debug => aya_log::Level::Debug as u8,
    }
}

/// Compared by release; a kernel whose release cannot be read is taken for an old one.
fn is_at_least(major: u8, minor: u8) -> bool {
    KernelVersion::current().is_ok_and(|version| version >= KernelVersion::new(major, minor, 0))
}

fn load_program(object: &mut Ebpf, name: &str) -> Result<ProgramFd, ProgramError> {
    let program = object.program_mut(name).expect("the object is built with this list of hooks");
    match program {
        Program::CgroupSockAddr(program) => program.load()?,
        Program::CgroupSkb(program) => program.load()?,
        Program::SockOps(program) => program.load()?,
        Program::SchedClassifier(program) => program.load()?,
        Program::SkLookup(program) => program.load()?,
        other => unreachable!("{name} is a program of another kind: {:?}", other.prog_type()),
    }
    program.fd()?.try_clone().map_err(|io_error| {
        ProgramError::SyscallError(aya::sys::SyscallError { call: "dup", io_error })
    })
}
