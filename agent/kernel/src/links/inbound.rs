//! `sk_lookup` in the network namespaces of pods: one link and one instance of the program each.
//!
//! The kernel detaches a link whose namespace has gone; its pin is left to [`Links::detach_inbound`].

use std::{
    fs,
    os::fd::AsFd as _,
    path::{Path, PathBuf},
};

use super::{
    Attachment, LinkError, Links,
    pins::{point_of, remove},
};
use crate::{
    hooks::SK_LOOKUP,
    load,
    netns::NetNs,
    sys::{AttachPoint, Target},
};

impl Links {
    /// Attaches the program to a pod's namespace, or puts it in the place of an earlier agent's. It
    /// refuses nothing before the map INBOUND says so.
    pub fn attach_inbound(&self, netns: &NetNs) -> Result<(), LinkError> {
        let program = load::load_inbound(self.pin_dir(), netns.cookie())?;
        let target = Target::Netns(netns.as_fd());
        let wanted = point(netns);
        let attachment = Attachment { program: program.as_fd(), target, wanted };
        self.ensure(&SK_LOOKUP, &self.inbound_path(netns.cookie()), &attachment)
    }

    /// Whether the program is attached to a pod's namespace, as the kernel says.
    pub fn has_inbound(&self, netns: &NetNs) -> bool {
        point_of(&self.inbound_path(netns.cookie())) == Some(point(netns))
    }

    /// The cookies of the namespaces whose links are pinned here, whether they still exist or not.
    pub fn inbound(&self) -> Vec<u64> {
        let Ok(entries) = fs::read_dir(&self.directory) else { return Vec::new() };
        let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        let cookie =
            |name: String| name.strip_prefix(SK_LOOKUP.name)?.strip_prefix('-')?.parse().ok();
        names.filter_map(cookie).collect()
    }

    /// Detaches the program from the namespace of a cookie.
    pub fn detach_inbound(&self, netns: u64) -> Result<(), LinkError> {
        remove(&self.inbound_path(netns))
    }

    fn inbound_path(&self, netns: u64) -> PathBuf {
        self.directory.join(format!("{}-{netns}", SK_LOOKUP.name))
    }

    fn pin_dir(&self) -> &Path {
        self.directory.parent().unwrap_or(&self.directory)
    }
}

fn point(netns: &NetNs) -> AttachPoint {
    let (_, inode) = netns.identity();
    // The inodes of namespaces are numbers of 32 bits.
    AttachPoint::Netns(u32::try_from(inode).unwrap_or_default())
}
