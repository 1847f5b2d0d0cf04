//! The pins of the maps, which another process may remove while the agent runs: the next agent would find
//! nothing, and the kernel would forget what it judges by.

use std::{
    fs, io,
    os::fd::{AsFd as _, OwnedFd},
    path::{Path, PathBuf},
};

use super::sys::{self, SysError};

/// Maps by their names in the object, which are those of their pins.
pub(crate) const MAPS: [&str; 14] = [
    "NODE",
    "PODS",
    "PREFIXES",
    "RULES",
    "SOCKETS",
    "ORIGINS",
    "FLOWS",
    "FRAGMENTS",
    "VETHS",
    "INBOUND",
    "ADDRESSES",
    "PROOFS",
    "EVENTS",
    "COUNTERS",
];

/// Every map, held open.
#[derive(Debug)]
pub(super) struct Pins {
    directory: PathBuf,
    maps: Vec<(&'static str, OwnedFd)>,
}

impl Pins {
    /// Holds on to what is pinned in a directory.
    pub(super) fn hold(directory: &Path) -> Result<Self, SysError> {
        let mut maps = Vec::new();
        for name in MAPS {
            if let Some(map) = sys::open(&directory.join(name))? {
                maps.push((name, map));
            }
        }
        Ok(Self { directory: directory.to_owned(), maps })
    }

    /// False when a pin has gone.
    pub(super) fn are_there(&self) -> bool {
        self.maps.iter().all(|(name, _)| self.directory.join(name).exists())
    }

    /// Pins again what has lost its pin.
    pub(super) fn restore(&self) -> io::Result<()> {
        fs::create_dir_all(&self.directory)?;
        for (name, map) in &self.maps {
            let path = self.directory.join(name);
            if !path.exists() {
                sys::pin(map.as_fd(), &path).map_err(|error| error.source)?;
            }
        }
        Ok(())
    }
}
