//! Layer 3 on the host's ends of pods' links: both programs on each, in the mode of this kernel.

use std::{
    collections::BTreeSet,
    os::fd::AsFd,
    path::{Path, PathBuf},
};

use agent_base::lock::lock;

use super::{
    Attachment, LinkError, Links, filters, is_first, layer3_program,
    pins::{holds, pinned_interfaces, point_of, remove},
};
use crate::{
    hooks::{AttachMode, Hook, TCX},
    load::Programs,
    sys::{self, AttachPoint, Target},
};

/// `TC_ACT_SHOT` of `linux/pkt_cls.h`, which is `TCX_DROP`.
const TC_ACT_SHOT: i32 = 2;

impl Links {
    /// Attaches both programs to the host's end of a pod's link, and then takes away what an agent
    /// before has attached in the other manner: a frame is judged by one of the two at least.
    ///
    /// True when another owner's program had come before ours, which is first from here on.
    pub fn attach_interface(&self, programs: &Programs, interface: u32) -> Result<bool, LinkError> {
        let mut moved = false;
        match self.mode {
            AttachMode::Tcx => {
                for hook in &TCX {
                    moved |=
                        step_aside(hook, &self.interface_path(hook.name, interface), interface)?;
                    self.ensure_tcx(hook, programs, interface)?;
                }
                self.filters.detach(interface)?;
                lock(&self.due).remove(&interface);
            }
            AttachMode::Clsact => {
                self.filters.attach(programs, interface)?;
                self.detach_tcx(interface)?;
            }
        }
        Ok(moved)
    }

    /// Attaches what judges frames to an end that has neither program yet, and leaves for
    /// [`Links::attach_interface`] what learns from those that arrive: the kernel makes the caller that attaches
    /// by tcx wait, each time.
    pub fn attach_judge(&self, programs: &Programs, interface: u32) -> Result<(), LinkError> {
        match self.mode {
            AttachMode::Tcx => {
                self.ensure_tcx(&TCX[1], programs, interface)?;
                lock(&self.due).insert(interface);
                Ok(())
            }
            AttachMode::Clsact => self.attach_interface(programs, interface).map(drop),
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
        let program = layer3_program(programs, hook);
        let (target, wanted) = (Target::Interface(interface), AttachPoint::Interface(interface));
        let path = self.interface_path(hook.name, interface);
        self.ensure(hook, &path, &Attachment { program, target, wanted })
    }

    /// Detaches both programs from an interface, however they were attached.
    pub fn detach_interface(&self, interface: u32) -> Result<(), LinkError> {
        lock(&self.due).remove(&interface);
        self.detach_tcx(interface)?;
        self.filters.detach(interface)
    }

    fn detach_tcx(&self, interface: u32) -> Result<(), LinkError> {
        TCX.iter().try_for_each(|hook| remove(&self.interface_path(hook.name, interface)))
    }

    /// Takes notice of filters of an agent before that it has left no pins for.
    pub(crate) fn adopt_unpinned(&self, programs: &Programs) {
        self.filters.adopt_unpinned(programs);
    }

    /// The interfaces whose links are pinned here, whether they still exist or not.
    pub fn interfaces(&self) -> Vec<u32> {
        let tcx = TCX.map(|hook| hook.name);
        pinned_interfaces(&self.directory, &[&tcx[..], &filters::PINS].concat())
    }

    /// Whether a hook of layer 3 is attached to an interface with our program, as the kernel says.
    pub fn is_held(&self, programs: &Programs, hook: &Hook, interface: u32) -> bool {
        match self.mode {
            AttachMode::Tcx => {
                let path = self.interface_path(hook.name, interface);
                holds(&path, AttachPoint::Interface(interface), layer3_program(programs, hook))
            }
            AttachMode::Clsact => self.filters.is_attached(hook, interface),
        }
    }

    /// Whether a hook of layer 3 is attached to an interface, as the kernel says.
    pub fn is_on_interface(&self, hook: &Hook, interface: u32) -> bool {
        match self.mode {
            AttachMode::Tcx => {
                let path = self.interface_path(hook.name, interface);
                point_of(&path) == Some(AttachPoint::Interface(interface))
            }
            AttachMode::Clsact => self.filters.is_attached(hook, interface),
        }
    }

    fn interface_path(&self, name: &str, interface: u32) -> PathBuf {
        self.directory.join(format!("{name}-{interface}"))
    }
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
    if sys::link_point(link.as_fd()).map_err(failed)? != AttachPoint::Interface(interface)
        || is_first(link.as_fd(), Target::Interface(interface), hook).map_err(failed)?
    {
        return Ok(false);
    }
    let refusal = sys::classifier(TC_ACT_SHOT).map_err(failed)?;
    sys::link_update(link.as_fd(), refusal.as_fd()).map_err(failed)?;
    Ok(true)
}
