//! What came of a canary's probes: which layers judged it, by which generation, and what is wrong.

use std::collections::BTreeMap;

use agent_abi::Proof;

use super::{
    probes::{Probe, Reply},
    status::LinkProof,
};

/// What came of a canary's probes.
pub(super) struct ProbeResults {
    /// In force before it was sent.
    pub(super) generation: u64,
    /// Why it could not be sent.
    pub(super) error: Option<String>,
    /// Each with what its hook has written down of it, if it has.
    pub(super) answers: Vec<(Probe, Option<Proof>)>,
}

impl ProbeResults {
    /// The generation that every hook judged by, when every hook did.
    pub(super) fn generation(&self) -> Option<u64> {
        if self.complaint().is_some() {
            return None;
        }
        self.answers.iter().filter_map(|(_, proof)| Some(proof.as_ref()?.generation)).min()
    }

    /// The layers of which every hook answered.
    pub(super) fn layers(&self) -> Vec<u8> {
        let all = |layer: &u8| {
            let mut of_it = self.answers.iter().filter(|(probe, _)| probe.layer == *layer);
            let answers = |(probe, proof): &(Probe, Option<Proof>)| {
                let is_asked = !matches!(probe.reply, Reply::NoWay | Reply::Stuck);
                is_asked && self.wrong(probe, *proof).is_none()
            };
            of_it.clone().any(answers)
                && of_it.all(|(probe, proof)| self.wrong(probe, *proof).is_none())
        };
        [1, 2, 3].into_iter().filter(all).collect()
    }

    /// What came of the frames on each link, by the number of its host's end.
    pub(super) fn links(&self) -> BTreeMap<u32, LinkProof> {
        let mut links = BTreeMap::new();
        for (probe, proof) in self.answers.iter().filter(|(probe, _)| probe.layer == 3) {
            let shown = match (self.wrong(probe, *proof), proof) {
                (Some(_), _) => LinkProof::Failing,
                (None, Some(_)) => LinkProof::Refused,
                (None, None) => LinkProof::Down,
            };
            let so_far = links.entry(probe.interface).or_insert(shown);
            *so_far = shown.max(*so_far);
        }
        links
    }

    /// What is wrong, in one line.
    pub(super) fn complaint(&self) -> Option<String> {
        if let Some(error) = &self.error {
            return Some(format!("no canary can be sent: {error}"));
        }
        let wrong: Vec<String> =
            self.answers.iter().filter_map(|(probe, proof)| self.wrong(probe, *proof)).collect();
        (!wrong.is_empty()).then(|| format!("its canary shows: {}", wrong.join("; ")))
    }

    fn wrong(&self, probe: &Probe, proof: Option<Proof>) -> Option<String> {
        let name = &probe.name;
        let refused = matches!(probe.reply, Reply::Refused);
        match (&probe.reply, proof) {
            (Reply::NoWay, _) | (Reply::Stuck, None) => None,
            (Reply::Failed(error), None) => Some(format!("{name} did not judge it ({error})")),
            (_, None) if refused => Some(format!("{name}: another program refused it")),
            (_, None) => Some(format!("{name} did not judge it")),
            (_, Some(proof)) if proof.generation < self.generation => Some(format!(
                "{name} judges by generation {}, and {} is in force",
                proof.generation, self.generation
            )),
            (Reply::Sent | Reply::Failed(_), Some(_)) if probe.layer < 3 => {
                Some(format!("{name} refused it, and another program let it out"))
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests;
