//! Layer 3 on the links of enrolled pods: attached, kept, and taken away.

use std::collections::BTreeSet;

use agent_base::error::chain;
use agent_kernel::lifecycle::Kernel;
use agent_model::snapshot::PodId;

use super::{Pods, problem::EnrolError};
use crate::veth::{self, HostEnd};

/// The links to which layer 3 is to be attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkScope {
    /// Those that have never had it. To find out whether another still has it costs six calls.
    New,
    /// And those from which somebody else has taken it.
    Lost,
    /// And those that have it.
    All,
}

impl Pods {
    /// Attaches layer 3 to the links of enrolled pods. Before their policies are published it lets
    /// their frames pass, or holds them, as it would those of any pod that is not known: no frame
    /// slips out between the two.
    ///
    /// In a pod that the runtime waits for nobody answers yet: what learns from arriving frames
    /// is left to [`Pods::finish_links`].
    pub fn attach_links(&mut self, kernel: &Kernel, which: LinkScope) {
        let mut failures = Vec::new();
        for (id, pod) in self.known.iter_mut().filter(|(_, pod)| pod.is_enrolled()) {
            for end in &pod.ends.ends {
                let was_attached = pod.attached.contains(&end.ifindex);
                if was_attached && which == LinkScope::New {
                    continue;
                }
                let is_lost = was_attached && !is_attached(kernel, end);
                if was_attached && !is_lost && which != LinkScope::All {
                    continue;
                }
                let is_young = !was_attached && pod.is_awaited;
                let attach = if is_young { attach_first } else { attach };
                match attach(kernel, pod.netns.cookie(), end) {
                    Ok(moved) if is_lost || (was_attached && moved) => {
                        kernel.mending.note("layer 3", &end.name);
                    }
                    Ok(_) if was_attached => {}
                    Ok(_) => pod.attached.push(end.ifindex),
                    Err(error) => failures.push((id.clone(), error)),
                }
            }
            if !pod.ends.unseen.is_empty() {
                let unseen: Vec<String> = pod.ends.unseen.iter().map(ToString::to_string).collect();
                failures.push((id.clone(), EnrolError::Unseen(unseen.join("; "))));
            }
        }
        for (id, error) in failures {
            self.report(&id, &error);
        }
    }

    /// Attaches what [`Pods::attach_links`] has left for later.
    pub fn finish_links(&mut self, kernel: &Kernel) {
        let due = kernel.links.due();
        let mut failures = Vec::new();
        for (id, pod) in &mut self.known {
            for end in pod.ends.ends.iter().filter(|end| due.contains(&end.ifindex)) {
                if let Err(error) = attach(kernel, pod.netns.cookie(), end) {
                    pod.attached.retain(|one| *one != end.ifindex);
                    failures.push((id.clone(), error));
                }
            }
        }
        for (id, error) in failures {
            self.report(&id, &error);
        }
    }

    /// Looks at the links of a pod that is enrolled already, which may have others by now.
    pub async fn look_at_links(&mut self, id: &PodId) {
        let Some(pod) = self.known.get_mut(id).filter(|pod| pod.is_enrolled()) else { return };
        match veth::host_ends(&self.worker, &pod.netns).await {
            Ok(ends) => pod.ends = ends,
            Err(error) => self.report(id, &EnrolError::from(error)),
        }
    }

    /// Takes layer 3 from the links that no enrolled pod has (any more).
    pub fn detach_links(&self, kernel: &Kernel) {
        let enrolled = self.known.values().filter(|pod| pod.is_enrolled());
        let wanted: BTreeSet<u32> =
            enrolled.flat_map(|pod| &pod.ends.ends).map(|end| end.ifindex).collect();
        let stale = kernel.links.interfaces().into_iter().filter(|one| !wanted.contains(one));
        for interface in stale {
            let detached = kernel.links.detach_interface(interface).map_err(EnrolError::from);
            let forgotten = kernel.maps.veths.remove(&interface).map_err(EnrolError::map("VETHS"));
            if let Err(error) = detached.and(forgotten) {
                tracing::warn!(interface, error = %chain(&error), "cannot let go of a link");
            }
        }
    }

    /// True when somebody has taken layer 3 off a link, or put theirs before it.
    pub fn has_lost_a_link(&self, kernel: &Kernel) -> bool {
        let enrolled = self.known.values().filter(|pod| pod.is_enrolled());
        let mut attached = enrolled
            .flat_map(|pod| pod.ends().iter().filter(|end| pod.attached.contains(&end.ifindex)));
        attached.any(|end| !is_attached(kernel, end))
    }
}

fn is_attached(kernel: &Kernel, end: &HostEnd) -> bool {
    kernel
        .links
        .mode()
        .hooks()
        .iter()
        .all(|hook| kernel.links.is_held(&kernel.programs, hook, end.ifindex))
}

/// True when somebody else's program had come before ours.
fn attach(kernel: &Kernel, cookie: u64, end: &HostEnd) -> Result<bool, EnrolError> {
    kernel.maps.veths.set(&end.ifindex, &cookie).map_err(EnrolError::map("VETHS"))?;
    Ok(kernel.links.attach_interface(&kernel.programs, end.ifindex)?)
}

/// The same for an end that nobody has attached anything to, as far as frames are judged.
fn attach_first(kernel: &Kernel, cookie: u64, end: &HostEnd) -> Result<bool, EnrolError> {
    kernel.maps.veths.set(&end.ifindex, &cookie).map_err(EnrolError::map("VETHS"))?;
    kernel.links.attach_judge(&kernel.programs, end.ifindex)?;
    Ok(false)
}
