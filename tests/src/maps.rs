//! The agent's maps, written behind its back: what no configuration can bring about fast enough is
//! brought about here.

use std::{
    collections::BTreeMap,
    mem::offset_of,
    os::fd::{AsFd as _, AsRawFd as _, OwnedFd},
    path::Path,
};

use agent_abi::{OriginKey, PodKey, PodPolicy, PrefixKey, ProofKey, RuleKey};
use anyhow::{Context as _, Result};

use crate::{
    links::{self, Attributes},
    raw::SharedWord,
};

/// Commands of `bpf()` (`linux/bpf.h`).
const LOOKUP: u32 = 1;
const UPDATE: u32 = 2;
const DELETE: u32 = 3;
const NEXT_KEY: u32 = 4;

/// How each pod is judged, in both slots.
#[derive(Debug)]
pub struct Policies(OwnedFd);

/// The generation in force. Its lowest bit is the slot.
pub fn generation(pins: &Path) -> Result<SharedWord> {
    let node = pin(pins, "NODE")?;
    SharedWord::of(node.as_fd()).context("mapping NODE")
}

/// How many prefixes and rules an agent's maps hold.
pub fn counts(pins: &Path) -> Result<(usize, usize)> {
    let prefixes = count(&pin(pins, "PREFIXES")?, size_of::<PrefixKey>())?;
    Ok((prefixes, count(&pin(pins, "RULES")?, size_of::<RuleKey>())?))
}

/// How many entries each map holds that grows with pods and rules. FLOWS and FRAGMENTS are not
/// among them: they are allocated whole, and what is least used makes room.
pub fn entries(pins: &Path) -> Result<BTreeMap<&'static str, usize>> {
    let maps = [
        ("PODS", size_of::<PodKey>()),
        ("PREFIXES", size_of::<PrefixKey>()),
        ("RULES", size_of::<RuleKey>()),
        ("ORIGINS", size_of::<OriginKey>()),
        ("VETHS", size_of::<u32>()),
        ("PROOFS", size_of::<ProofKey>()),
    ];
    maps.into_iter().map(|(name, key)| Ok((name, count(&pin(pins, name)?, key)?))).collect()
}

/// How many proofs of its hooks' life an agent's map holds.
pub fn proofs(pins: &Path) -> Result<usize> {
    count(&pin(pins, "PROOFS")?, size_of::<ProofKey>())
}

/// Forgets which pod is behind a link's host end.
pub fn forget_link(pins: &Path, interface: u32) -> Result<()> {
    delete(&pin(pins, "VETHS")?, &interface.to_ne_bytes())
}

fn delete(map: &OwnedFd, key: &[u8]) -> Result<()> {
    let mut attributes = Attributes::default();
    attributes.push_descriptor(map.as_raw_fd());
    attributes.push(0);
    attributes.push_pointer(key.as_ptr().expose_provenance());
    attributes.push_pointer(0);
    attributes.push_pointer(0);
    attributes.call(DELETE)?;
    Ok(())
}

fn count(map: &OwnedFd, key_size: usize) -> Result<usize> {
    let (mut key, mut next) = (vec![0_u8; key_size], vec![0_u8; key_size]);
    for count in 0.. {
        let mut attributes = Attributes::default();
        attributes.push_descriptor(map.as_raw_fd());
        attributes.push(0);
        let from = if count == 0 { 0 } else { key.as_ptr().expose_provenance() };
        attributes.push_pointer(from);
        attributes.push_pointer(next.as_mut_ptr().expose_provenance());
        match attributes.call(NEXT_KEY) {
            Ok(_) => key.clone_from(&next),
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => return Ok(count),
            Err(error) => return Err(error).context("listing a map"),
        }
    }
    unreachable!("the range has no end")
}

impl Policies {
    /// The pinned map of an agent.
    pub fn of(pins: &Path) -> Result<Self> {
        pin(pins, "PODS").map(Self)
    }

    /// Makes every hook forget a pod: its namespace is unknown from here on.
    pub fn forget(&self, netns: u64) -> Result<()> {
        for slot in [0, 1] {
            match delete(&self.0, &key(netns, slot)) {
                Err(error) if !is_absent(&error) => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }

    /// Whether both slots say the same of a pod: the generation in force has been narrowed, and the
    /// agent writes no more until the next one.
    pub fn agree(&self, netns: u64) -> Result<bool> {
        Ok(self.policy(netns, 0)? == self.policy(netns, 1)?)
    }

    /// Copies a pod's policy from one slot to the other, with another answer where no rule
    /// matches: the two slots contradict each other from here on.
    pub fn contradict(&self, netns: u64, from: u32, default_action: u32) -> Result<()> {
        let mut value = self.policy(netns, from)?.context("no policy of the pod")?;
        let at = offset_of!(PodPolicy, default_action);
        value[at..at + 4].copy_from_slice(&default_action.to_ne_bytes());
        self.call(UPDATE, &key(netns, 1 - from), &mut value).context("writing the pod's policy")
    }

    /// A pod's policy in one slot, as the map holds it.
    fn policy(&self, netns: u64, slot: u32) -> Result<Option<Vec<u8>>> {
        let mut value = vec![0; size_of::<PodPolicy>()];
        match self.call(LOOKUP, &key(netns, slot), &mut value) {
            Ok(()) => Ok(Some(value)),
            Err(error) if is_absent(&error) => Ok(None),
            Err(error) => Err(error).context("reading the pod's policy"),
        }
    }

    fn call(&self, command: u32, key: &[u8], value: &mut [u8]) -> Result<()> {
        let mut attributes = Attributes::default();
        attributes.push_descriptor(self.0.as_raw_fd());
        attributes.push(0);
        attributes.push_pointer(key.as_ptr().expose_provenance());
        attributes.push_pointer(value.as_mut_ptr().expose_provenance());
        attributes.push_pointer(0);
        attributes.call(command)?;
        Ok(())
    }
}

fn is_absent(error: &anyhow::Error) -> bool {
    let errno = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::raw_os_error);
    errno == Some(libc::ENOENT)
}

/// A [`PodKey`] as the kernel reads it.
fn key(netns: u64, slot: u32) -> Vec<u8> {
    let key = PodKey { netns, slot, pad: 0 };
    let [slot, pad] = [key.slot, key.pad].map(u32::to_ne_bytes);
    [&key.netns.to_ne_bytes()[..], &slot, &pad].concat()
}

fn pin(pins: &Path, name: &str) -> Result<OwnedFd> {
    let path = pins.join(format!("maps-v{}", agent_abi::ABI_VERSION)).join(name);
    links::open(&path).with_context(|| format!("opening {}", path.display()))
}
