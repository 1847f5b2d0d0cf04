//! Layer 3 by clsact filters, and what is pinned for them.
//!
//! A filter needs no pin to live. What is pinned are programs, under `clsact_<side>-<interface>`:
//! they say where to look for filters of ours, and `clsact_qdisc-<interface>` that the queueing
//! discipline is ours as well.

use std::{
    os::fd::BorrowedFd,
    path::{Path, PathBuf},
};

use super::{
    LinkError, layer3_program,
    pins::{pin_at, pinned_interfaces, remove},
};
use crate::{
    clsact::{self, Clsact, ClsactError},
    hooks::{CLSACT, Hook},
    load::Programs,
};

/// The pin that says that a discipline is ours.
const QDISC: &str = "clsact_qdisc";
/// What is pinned for an interface with filters of ours.
pub(super) const PINS: [&str; 3] = [CLSACT[0].name, CLSACT[1].name, QDISC];

/// The filters of one pin directory's agent, in the namespace of the calling thread.
#[derive(Debug)]
pub(super) struct Filters {
    links: PathBuf,
    clsact: Clsact,
}

impl Filters {
    pub(super) fn new(pin_dir: &Path) -> Result<Self, LinkError> {
        let clsact = Clsact::new(pin_dir)
            .map_err(|source| LinkError::Pin { path: pin_dir.to_owned(), source })?;
        Ok(Self { links: pin_dir.join("links"), clsact })
    }

    /// Attaches both programs to an interface, in the place of their predecessors where there are any.
    pub(super) fn attach(&self, programs: &Programs, interface: u32) -> Result<(), LinkError> {
        let failed = |source| LinkError::Clsact { interface, source };
        // Pins first: what is put there must be found again, also when we end half-way.
        self.pin(programs, interface)?;
        let made = self.path(QDISC, interface);
        if clsact::make_qdisc(interface).map_err(failed)? {
            pin_at(layer3_program(programs, &CLSACT[0]), &made)?;
        } else if !self.clsact.any(interface).map_err(failed)? {
            // The program that took ours away may have made the discipline again.
            remove(&made)?;
        }
        for hook in &CLSACT {
            let program: BorrowedFd<'_> = layer3_program(programs, hook);
            self.clsact.attach(interface, hook.number, program).map_err(failed)?;
        }
        Ok(())
    }

    /// Takes both off an interface, if any were put there.
    pub(super) fn detach(&self, interface: u32) -> Result<(), LinkError> {
        let pins = PINS.map(|name| self.path(name, interface));
        if !pins.iter().any(|pin| pin.exists()) {
            return Ok(());
        }
        self.remove(interface)?;
        pins.iter().try_for_each(|pin| remove(pin))
    }

    /// Whether a hook's filter is there, and nothing before it.
    pub(super) fn is_attached(&self, hook: &Hook, interface: u32) -> bool {
        self.clsact.is_attached(interface, hook.number).unwrap_or(false)
    }

    /// Pins programs for filters of ours for which none is pinned: an agent before us lost its pins
    /// and not its filters.
    pub(super) fn adopt_unpinned(&self, programs: &Programs) {
        let known = pinned_interfaces(&self.links, &PINS);
        for interface in self.found().into_iter().filter(|interface| !known.contains(interface)) {
            if let Err(error) = self.pin(programs, interface) {
                tracing::warn!(interface, %error, "a filter of an agent before stays");
            }
        }
    }

    /// Removes every filter of this pin directory's agent, and names those that no pin tells of.
    pub(super) fn remove_all(&self) -> Result<Vec<String>, LinkError> {
        for interface in pinned_interfaces(&self.links, &PINS) {
            self.remove(interface)?;
        }
        let unpinned = self.found();
        unpinned.iter().try_for_each(|interface| self.remove(*interface))?;
        Ok(unpinned.iter().map(|interface| format!("filters of interface {interface}")).collect())
    }

    fn found(&self) -> Vec<u32> {
        self.clsact.interfaces().unwrap_or_else(|error: ClsactError| {
            // A kernel without disciplines has no filters either.
            tracing::debug!(%error, "cannot look for filters");
            Vec::new()
        })
    }

    fn remove(&self, interface: u32) -> Result<(), LinkError> {
        let made_qdisc = self.path(QDISC, interface).exists();
        let removed = self.clsact.remove(interface, made_qdisc);
        removed.map_err(|source| LinkError::Clsact { interface, source })
    }

    fn pin(&self, programs: &Programs, interface: u32) -> Result<(), LinkError> {
        CLSACT.iter().try_for_each(|hook| {
            pin_at(layer3_program(programs, hook), &self.path(hook.name, interface))
        })
    }

    fn path(&self, name: &str, interface: u32) -> PathBuf {
        self.links.join(format!("{name}-{interface}"))
    }
}
