//! Layer 3 on the links of enrolled pods: attached, kept, and taken away.

use std::collections::BTreeSet;

use agent_base::error::chain;
use agent_kernel::lifecycle::Kernel;
use agent_model::pod::PodId;

use super::{Pod, Pods, problem::EnrolError};
use crate::{
    link_watch::Pending,
    veth::{self, HostEnd, HostEnds, HostNews},
};

/// The links to which layer 3 is to be attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkScope {
    /// Those that have never had it, and of pods that have been looked at those that have lost it. To
    /// find that out costs seven calls a link.
    Changed,
    /// And those that have it.
    All,
}

impl Pods {
    /// Attaches layer 3 to the links of enrolled pods. Before their policies are published it lets
    /// their frames pass, or holds them, as it would those of any pod that is not known: no frame
    /// slips out between the two.
    ///
    /// In a pod that the runtime waits for, no process answers yet: what learns from arriving frames
    /// is left to [`Pods::finish_links`].
    pub fn attach_links(&mut self, kernel: &Kernel, which: LinkScope) {
        let mut failures = Vec::new();
        for (id, pod) in self.known.iter_mut().filter(|(_, pod)| pod.is_enrolled()) {
            let is_suspect = std::mem::take(&mut pod.is_suspect);
            for end in &pod.ends.ends {
                let was_attached = pod.attached.contains(&end.ifindex);
                if was_attached && which == LinkScope::Changed && !is_suspect {
                    continue;
                }
                let is_lost = was_attached && !is_attached(kernel, end);
                let is_anothers = is_suspect && !is_known(kernel, pod.netns.cookie(), end);
                if was_attached && !is_lost && !is_anothers && which != LinkScope::All {
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
        let Some(pod) = self.known.get(id).filter(|pod| pod.is_enrolled()) else { return };
        match veth::host_ends(&self.worker, &pod.netns).await {
            Ok(ends) => self.take_ends(id, ends),
            Err(error) => self.report(id, &EnrolError::from(error)),
        }
    }

    /// Takes in a pod's links as they are now.
    pub(super) fn take_ends(&mut self, id: &PodId, ends: HostEnds) {
        let lost = self.known.get_mut(id).map(|pod| pod.take_ends(ends)).unwrap_or_default();
        // Another pod has been given one, and was looked at first.
        for other in self.known.values_mut() {
            other.is_suspect |= other.ends().iter().any(|end| lost.contains(&end.ifindex));
        }
    }

    /// The enrolled pods of whose links something was said since the last time.
    pub fn with_changed_links(&self) -> Vec<PodId> {
        let Pending { pods, host, all } = self.watch.changes().take();
        let is_a_pods = |id: i32| self.known.values().any(|pod| pod.ends.pod_id == Some(id));
        let is_its = |pod: &Pod, news: &HostNews| match (news.other, pod.ends.pod_id) {
            _ if pod.ends().iter().any(|end| end.ifindex == news.ifindex) => true,
            (Some(other), Some(id)) => other == id,
            // It may have got its number by this very link.
            (Some(other), None) => !is_a_pods(other),
            (None, _) => false,
        };
        let is_concerned = |pod: &Pod| {
            all || pods.contains(&pod.netns.cookie()) || host.iter().any(|news| is_its(pod, news))
        };
        let enrolled = self.known.iter().filter(|(_, pod)| pod.is_enrolled());
        enrolled.filter(|(_, pod)| is_concerned(pod)).map(|(id, _)| id.clone()).collect()
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

    /// True when another program has taken layer 3 off a link, or put theirs before it, or has taken
    /// `sk_lookup` from a pod.
    pub fn has_lost_a_link(&self, kernel: &Kernel) -> bool {
        let enrolled = self.known.values().filter(|pod| pod.is_enrolled());
        let mut attached = enrolled
            .flat_map(|pod| pod.ends().iter().filter(|end| pod.attached.contains(&end.ifindex)));
        attached.any(|end| !is_attached(kernel, end)) || self.has_lost_inbound(kernel)
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

/// Whether the programs know whose link it is.
fn is_known(kernel: &Kernel, cookie: u64, end: &HostEnd) -> bool {
    kernel.maps.veths.get(&end.ifindex).is_ok_and(|known| known == Some(cookie))
}

/// True when another owner's program had come before ours.
fn attach(kernel: &Kernel, cookie: u64, end: &HostEnd) -> Result<bool, EnrolError> {
    kernel.maps.veths.set(&end.ifindex, &cookie).map_err(EnrolError::map("VETHS"))?;
    Ok(kernel.links.attach_interface(&kernel.programs, end.ifindex)?)
}

/// The same for an end that nothing is attached to, as far as frames are judged.
fn attach_first(kernel: &Kernel, cookie: u64, end: &HostEnd) -> Result<bool, EnrolError> {
    kernel.maps.veths.set(&end.ifindex, &cookie).map_err(EnrolError::map("VETHS"))?;
    kernel.links.attach_judge(&kernel.programs, end.ifindex)?;
    Ok(false)
}
