//! Holes made on purpose: an agent's pinned links, found and detached. Independent of the agent, so
//! that it cannot share the agent's mistakes.

use std::{
    ffi::CString,
    io,
    os::{
        fd::{AsRawFd as _, OwnedFd},
        unix::ffi::OsStrExt as _,
    },
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};

use crate::sys;

/// Commands of `bpf()` (`linux/bpf.h`).
const OBJ_GET: u32 = 7;
const LINK_DETACH: u32 = 34;

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

/// The descriptor of what is pinned.
pub fn open(pin: &Path) -> io::Result<OwnedFd> {
    let path = CString::new(pin.as_os_str().as_bytes())?;
    let mut attributes = Attributes::default();
    attributes.push_pointer(path.as_ptr().expose_provenance());
    attributes.push(0);
    attributes.push(0);
    sys::own(attributes.call(OBJ_GET)?)
}

/// The union that `bpf()` reads, field by field.
#[derive(Debug, Default)]
pub struct Attributes(Vec<u8>);

impl Attributes {
    /// A word.
    pub fn push(&mut self, word: u32) {
        self.0.extend(word.to_ne_bytes());
    }

    /// An address.
    pub fn push_pointer(&mut self, address: usize) {
        self.0.extend((address as u64).to_ne_bytes());
    }

    /// Descriptors are never negative.
    pub fn push_descriptor(&mut self, descriptor: i32) {
        self.push(u32::try_from(descriptor).unwrap_or(u32::MAX));
    }

    /// Makes the call; what comes back lies in the same words.
    pub fn call(&mut self, command: u32) -> io::Result<i64> {
        sys::bpf(command, &mut self.0)
    }

    /// A word that came back.
    pub fn word_at(&self, offset: usize) -> u32 {
        self.0[offset..].first_chunk().map_or(0, |bytes| u32::from_ne_bytes(*bytes))
    }
}
