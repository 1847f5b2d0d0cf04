//! What comes to pods: `sk_lookup` in those that have a strict port, and the addresses by which the
//! kernel tells the pods of this node.
//!
//! Both are there before a generation needs them, and go after it does not. Neither refuses anything by
//! itself: that is the map INBOUND, which is a part of the generation.

use std::collections::{BTreeMap, BTreeSet};

use agent_abi::Addr;
use agent_base::error::chain;
use agent_kernel::{lifecycle::Kernel, sys::SysError};
use agent_model::{compile::addr_of, pod::PodId};

use super::{Pod, Pods, problem::EnrolError};

/// What is attached and written.
#[derive(Debug, Default)]
pub(super) struct Guarded {
    /// The cookies of the namespaces to which this process has attached its program.
    attached: BTreeSet<u64>,
    /// What ADDRESSES holds; `None` before it was read.
    addresses: Option<BTreeMap<Addr, u64>>,
}

impl Pods {
    /// Has the kernel ready to judge what comes to pods, by the generation that is about to be in force.
    pub fn guard_inbound(&mut self, kernel: &Kernel) {
        if let Err(error) = self.introduce(kernel) {
            let error = EnrolError::map("ADDRESSES")(error);
            let strict: Vec<_> = self.strict().map(|(id, _)| id.clone()).collect();
            for id in &strict {
                self.report(id, &error);
            }
        }
        let mut failures = Vec::new();
        let mut attached = BTreeSet::new();
        for (id, pod) in self.strict() {
            let was_attached = self.guarded.attached.contains(&pod.netns.cookie());
            let is_there = was_attached && kernel.links.has_inbound(&pod.netns);
            match if is_there { Ok(()) } else { kernel.links.attach_inbound(&pod.netns) } {
                Ok(()) => _ = attached.insert(pod.netns.cookie()),
                Err(error) => failures.push((id.clone(), EnrolError::from(error))),
            }
            if was_attached && !is_there {
                kernel.mending.note("sk_lookup", &id.to_string());
            }
        }
        self.guarded.attached.extend(attached);
        for (id, error) in failures {
            self.report(&id, &error);
        }
    }

    /// Tells the kernel who has which address.
    fn introduce(&mut self, kernel: &Kernel) -> Result<(), SysError> {
        let map = &kernel.maps.addresses;
        let mut held = match self.guarded.addresses.take() {
            Some(held) => held,
            None => map.keys()?.into_iter().map(|address| (address, 0)).collect(),
        };
        let told = self.addresses().into_iter().try_for_each(|(address, netns)| {
            if held.get(&address) != Some(&netns) {
                map.set(&address, &netns)?;
                held.insert(address, netns);
            }
            Ok(())
        });
        self.guarded.addresses = Some(held);
        told
    }

    /// Lets go of what the generation in force does not need.
    pub fn release_inbound(&mut self, kernel: &Kernel) {
        let wanted: BTreeSet<u64> = self.strict().map(|(_, pod)| pod.netns.cookie()).collect();
        for netns in kernel.links.inbound().into_iter().filter(|netns| !wanted.contains(netns)) {
            if let Err(error) = kernel.links.detach_inbound(netns) {
                tracing::warn!(netns, error = %chain(&error), "cannot let go of a namespace");
            }
        }
        self.guarded.attached.retain(|netns| wanted.contains(netns));
        let wanted = self.addresses();
        let Some(held) = &mut self.guarded.addresses else { return };
        held.retain(|address, _| {
            wanted.contains_key(address) || kernel.maps.addresses.remove(address).is_err()
        });
    }

    /// True when another program has taken `sk_lookup` from a pod.
    pub(super) fn has_lost_inbound(&self, kernel: &Kernel) -> bool {
        let attached = |pod: &&Pod| self.guarded.attached.contains(&pod.netns.cookie());
        self.known.values().filter(attached).any(|pod| !kernel.links.has_inbound(&pod.netns))
    }

    /// The addresses of enrolled pods, with the cookies of their namespaces.
    fn addresses(&self) -> BTreeMap<Addr, u64> {
        let enrolled = self.known.values().filter(|pod| pod.is_enrolled());
        let of = |pod: &Pod| {
            let netns = pod.netns.cookie();
            let addresses = pod.addresses.iter().map(|address| (addr_of(*address), netns));
            addresses.collect::<Vec<_>>()
        };
        enrolled.flat_map(of).collect()
    }

    /// The enrolled pods that have a strict port.
    fn strict(&self) -> impl Iterator<Item = (&PodId, &Pod)> {
        self.known.iter().filter(|(_, pod)| pod.is_enrolled() && pod.inbound.is_strict())
    }
}
