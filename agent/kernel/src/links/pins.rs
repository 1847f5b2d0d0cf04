//! What is pinned in a pin directory, and what the kernel says of it.

use std::{
    fs, io,
    os::fd::{AsFd, BorrowedFd},
    path::Path,
};

use super::LinkError;
use crate::sys::{self, AttachPoint};

pub(super) fn pin_at(object: BorrowedFd<'_>, path: &Path) -> Result<(), LinkError> {
    replace_pin(object, path).map_err(|source| LinkError::Pin { path: path.to_owned(), source })
}

/// The interfaces that pins of some names speak of.
pub(super) fn pinned_interfaces(directory: &Path, names: &[&str]) -> Vec<u32> {
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

/// Whether the link pinned somewhere is attached to a point and runs a program.
pub(super) fn holds(path: &Path, wanted: AttachPoint, program: BorrowedFd<'_>) -> bool {
    let Ok(Some(link)) = sys::open(path) else { return false };
    let point = sys::link_point(link.as_fd());
    let runs = sys::link_program(link.as_fd());
    let ours = sys::program_id(program);
    matches!((point, runs, ours), (Ok(point), Ok(runs), Ok(ours)) if point == wanted && runs == ours)
}

pub(super) fn point_of(path: &Path) -> Option<AttachPoint> {
    let link = sys::open(path).ok()??;
    sys::link_point(link.as_fd()).ok()
}

/// Pins an object where another may be pinned: the name is never without one.
fn replace_pin(object: BorrowedFd<'_>, path: &Path) -> io::Result<()> {
    // Another process may have removed the directory too.
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

pub(super) fn remove(path: &Path) -> Result<(), LinkError> {
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
