//! What this machine lacks, found before anything is touched, each with its remedy.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use thiserror::Error;

use super::hooks::AttachMode;

/// What is missing.
#[derive(Debug, Error)]
pub enum PreflightError {
    /// Capabilities are missing.
    #[error(
        "the agent lacks {missing}: run it as root, or give its container these capabilities \
         (BPF and PERFMON load programs, NET_ADMIN attaches them, SYS_ADMIN enters pods' namespaces, \
         NET_RAW sends the canaries that prove layers 2 and 3)"
    )]
    Capabilities {
        /// Their names.
        missing: String,
    },
    /// The pin directory is not in a BPF file system.
    #[error(
        "{} is not in a BPF file system, where maps and links outlive the agent: \
         `mount -t bpf bpf /sys/fs/bpf`, or name a directory in one with --pin-dir",
        path.display()
    )]
    NoBpfFs {
        /// The directory.
        path: PathBuf,
    },
    /// There is no cgroup v2 hierarchy.
    #[error(
        "no cgroup v2 hierarchy is mounted, and the hooks of sockets are attached there: \
         `mount -t cgroup2 cgroup2 /sys/fs/cgroup/unified` beside cgroup v1, \
         or boot with systemd.unified_cgroup_hierarchy=1"
    )]
    NoCgroup2,
    /// The directory named for the hooks is not a cgroup v2 one.
    #[error("--cgroup {} is not a directory of a cgroup v2 hierarchy", path.display())]
    NotCgroup2 {
        /// The directory.
        path: PathBuf,
    },
    /// `--layer3 tcx` on a kernel without it.
    #[error(
        "this kernel has no tcx, which came with Linux 6.6: use --layer3 auto or --layer3 clsact"
    )]
    NoTcx,
    /// The kernel does not say what we ask.
    #[error("cannot read {path}")]
    Proc {
        /// The file.
        path: &'static str,
        /// Why.
        source: io::Error,
    },
}

/// How layer 3 is to be attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layer3 {
    /// By tcx where the kernel has it (Linux 6.6), else by clsact.
    Auto,
    /// By tcx; the agent does not start without it.
    Tcx,
    /// By filters of a clsact queueing discipline.
    Clsact,
}

const STATUS: &str = "/proc/self/status";
const MOUNTS: &str = "/proc/self/mountinfo";
/// linux/magic.h
const BPF_FS_MAGIC: u64 = 0xcafe_4a11;
const CGROUP2_MAGIC: u64 = 0x6367_7270;

/// Bits of a capability set (linux/capability.h).
const NEEDED: [(&str, u32); 4] =
    [("CAP_NET_ADMIN", 12), ("CAP_SYS_ADMIN", 21), ("CAP_PERFMON", 38), ("CAP_BPF", 39)];
/// What only a running agent needs.
const NEEDED_TO_PROVE: (&str, u32) = ("CAP_NET_RAW", 13);

/// Checks privileges and the pin directory, and finds the cgroup for the hooks.
pub fn check(pin_dir: &Path, cgroup: Option<&Path>) -> Result<PathBuf, PreflightError> {
    let proving: Vec<_> = NEEDED.into_iter().chain([NEEDED_TO_PROVE]).collect();
    check_capabilities(&proving)?;
    if magic(pin_dir) != Some(BPF_FS_MAGIC) {
        return Err(PreflightError::NoBpfFs { path: pin_dir.to_owned() });
    }
    let Some(cgroup) = cgroup else {
        let mounts = fs::read_to_string(MOUNTS)
            .map_err(|source| PreflightError::Proc { path: MOUNTS, source })?;
        return cgroup2_root(&mounts).ok_or(PreflightError::NoCgroup2);
    };
    if !cgroup.is_dir() || magic(cgroup) != Some(CGROUP2_MAGIC) {
        return Err(PreflightError::NotCgroup2 { path: cgroup.to_owned() });
    }
    Ok(cgroup.to_owned())
}

/// Chooses how layer 3 is attached to a pod's link; `has_tcx` is what the kernel says.
pub fn attach_mode(wanted: Layer3, has_tcx: bool) -> Result<AttachMode, PreflightError> {
    match (wanted, has_tcx) {
        (Layer3::Clsact, _) | (Layer3::Auto, false) => Ok(AttachMode::Clsact),
        (Layer3::Auto | Layer3::Tcx, true) => Ok(AttachMode::Tcx),
        (Layer3::Tcx, false) => Err(PreflightError::NoTcx),
    }
}

/// Checks the capabilities that everything here needs.
pub fn check_privileges() -> Result<(), PreflightError> {
    check_capabilities(&NEEDED)
}

fn check_capabilities(needed: &[(&'static str, u32)]) -> Result<(), PreflightError> {
    let status = fs::read_to_string(STATUS)
        .map_err(|source| PreflightError::Proc { path: STATUS, source })?;
    let missing = missing_capabilities(&status, needed);
    if missing.is_empty() {
        return Ok(());
    }
    Err(PreflightError::Capabilities { missing: missing.join(", ") })
}

fn missing_capabilities(status: &str, needed: &[(&'static str, u32)]) -> Vec<&'static str> {
    let effective = status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))
        .and_then(|set| u64::from_str_radix(set.trim(), 16).ok())
        .unwrap_or(0);
    needed.iter().filter(|(_, bit)| effective >> bit & 1 == 0).map(|(name, _)| *name).collect()
}

/// The file system's magic number at the nearest directory that exists.
fn magic(path: &Path) -> Option<u64> {
    let existing = path.ancestors().find(|ancestor| ancestor.exists())?;
    let stat = rustix::fs::statfs(existing).ok()?;
    u64::try_from(stat.f_type).ok()
}

/// The mount point of the cgroup v2 hierarchy that shows the most of it (`proc_pid_mountinfo(5)`).
///
/// A container sees its own group at `/sys/fs/cgroup`, and hooks there would judge itself alone.
/// Where the node's hierarchy is mounted beside it, that mount's root lies above the container's
/// own, which the kernel spells `/../..` (`cgroup_namespaces(7)`).
fn cgroup2_root(mounts: &str) -> Option<PathBuf> {
    let mounts = mounts.lines().filter_map(|line| {
        let (fields, file_system) = line.split_once(" - ")?;
        let mut fields = fields.split(' ').skip(3);
        let (root, point) = (fields.next()?, fields.next()?);
        (file_system.split(' ').next()? == "cgroup2").then_some((root, point))
    });
    // The first of equals: min_by_key keeps it.
    let highest = mounts.min_by_key(|(root, _)| height(root))?;
    Some(PathBuf::from(highest.1))
}

/// Steps from the reader's root to a mount's: less is higher.
fn height(root: &str) -> i32 {
    root.split('/')
        .map(|step| match step {
            "" => 0,
            ".." => -1,
            _ => 1,
        })
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_v2_root_is_found_beside_v1_and_alone() {
        let hybrid = "30 25 0:26 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n\
                      31 25 0:27 / /sys/fs/cgroup/unified rw,relatime shared:3 - cgroup2 cgroup2 rw\n";
        assert_eq!(cgroup2_root(hybrid), Some("/sys/fs/cgroup/unified".into()));
        let unified = "31 25 0:27 /kubepods /sys/fs/cgroup rw - cgroup2 cgroup rw\n";
        assert_eq!(cgroup2_root(unified), Some("/sys/fs/cgroup".into()));
        assert_eq!(cgroup2_root("30 25 0:26 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw\n"), None);
    }

    #[test]
    fn tcx_is_taken_where_it_is_there_and_not_forbidden() {
        assert_eq!(attach_mode(Layer3::Auto, true).unwrap(), AttachMode::Tcx);
        assert_eq!(attach_mode(Layer3::Auto, false).unwrap(), AttachMode::Clsact);
        assert_eq!(attach_mode(Layer3::Clsact, true).unwrap(), AttachMode::Clsact);
        assert_eq!(attach_mode(Layer3::Tcx, true).unwrap(), AttachMode::Tcx);
        let refused = attach_mode(Layer3::Tcx, false).unwrap_err().to_string();
        assert!(refused.contains("--layer3 auto"), "{refused}");
    }

    #[test]
    fn the_nodes_hierarchy_goes_before_the_containers_own() {
        let own = "40 25 0:27 / /sys/fs/cgroup ro - cgroup2 cgroup rw\n";
        let nodes = "41 25 0:27 /../../.. /host/cgroup ro - cgroup2 cgroup2 rw\n";
        assert_eq!(cgroup2_root(&format!("{own}{nodes}")), Some("/host/cgroup".into()));
        assert_eq!(cgroup2_root(&format!("{nodes}{own}")), Some("/host/cgroup".into()));
        // Without a cgroup namespace of its own, a container's group is spelt out.
        let own = "40 25 0:27 /kubepods/pod1/c1 /sys/fs/cgroup ro - cgroup2 cgroup rw\n";
        let nodes = "41 25 0:27 / /host/cgroup/unified ro - cgroup2 cgroup2 rw\n";
        assert_eq!(cgroup2_root(&format!("{own}{nodes}")), Some("/host/cgroup/unified".into()));
    }

    #[test]
    fn each_missing_capability_is_named() {
        assert!(missing_capabilities("CapEff:\t000001ffffffffff\n", &NEEDED).is_empty());
        assert_eq!(
            missing_capabilities("CapEff:\t000001ff7fffffff\n", &NEEDED),
            Vec::<&str>::new()
        );
        assert_eq!(missing_capabilities("CapEff:\t0000017fffffffff\n", &NEEDED), ["CAP_BPF"]);
        assert_eq!(missing_capabilities("Name: x\n", &NEEDED).len(), NEEDED.len());
    }
}
