//! A pod's links as the status has them: what judges the frames that leave by each.

use agent_pods::{
    canary::{CanaryStatus, LinkProof},
    veth::{HostEnd, Inner, Unseen},
    view::OpenedPod,
};

use crate::observe::status::{Coverage, Link, Proof};

/// The links of a pod, with what its canary has shown of them.
pub(super) fn links_of(pod: &OpenedPod, shown: Option<&CanaryStatus>) -> Vec<Link> {
    let proof = |end: &HostEnd| {
        let shown = shown?.links.get(&end.ifindex)?;
        Some(match shown {
            LinkProof::Refused => Proof::Refused,
            LinkProof::Failing => Proof::Failing,
            LinkProof::Down => Proof::Down,
        })
    };
    let judged = pod.links.iter().map(|end| Link {
        name: end.link.clone(),
        ifindex: end.inside,
        coverage: Coverage::Layer3 { host_end: end.name.clone() },
        proof: proof(end),
    });
    let inner = pod.inner_links.iter().map(|link| Link {
        name: link.link.clone(),
        ifindex: link.inside,
        coverage: inner(link),
        proof: None,
    });
    let unseen = pod.unseen_links.iter().map(|link: &Unseen| Link {
        name: link.link.clone(),
        ifindex: link.inside,
        coverage: Coverage::Nothing { why: link.why.to_string() },
        proof: None,
    });
    let mut links: Vec<Link> = judged.chain(inner).chain(unseen).collect();
    links.sort_by_key(|link| link.ifindex);
    links
}

fn inner(link: &Inner) -> Coverage {
    match &link.below {
        Some(below) => Coverage::Below { below: below.clone() },
        None => Coverage::Inside,
    }
}
