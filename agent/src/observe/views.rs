//! From the rooms' own views to the words of the status.

use agent_kernel::mending;
use agent_source::{cluster, note, resolve};
use agent_status::state;

use super::status::{
    Followed, Mend, Mended, Note, Resolved, ResolvedAddress, Source, StatusWriter,
};

impl From<&note::Note> for Note {
    fn from(note: &note::Note) -> Self {
        Self::of(&note.finding, note.place.clone())
    }
}

impl From<mending::Mended> for Mended {
    fn from(mended: mending::Mended) -> Self {
        let mending::Mended { count, last } = mended;
        let mend = |mending::Mend { hook, place, at }| Mend { hook, place, at };
        Self { count, last: last.map(mend) }
    }
}

impl From<cluster::Source> for Source {
    fn from(source: cluster::Source) -> Self {
        let cluster::Source { server, saved, kinds } = source;
        Self { server, saved, kinds: kinds.into_iter().map(Into::into).collect() }
    }
}

impl From<cluster::Followed> for Followed {
    fn from(followed: cluster::Followed) -> Self {
        let cluster::Followed { resource, state, synced, why } = followed;
        Self { resource, state, synced, why }
    }
}

impl From<resolve::Resolved> for Resolved {
    fn from(resolved: resolve::Resolved) -> Self {
        let resolve::Resolved { name, addresses, answered, next, error } = resolved;
        let address =
            |resolve::ResolvedAddress { address, until }| ResolvedAddress { address, until };
        let addresses = addresses.into_iter().map(address).collect();
        Self { name, addresses, answered, next, error, wanted_by: Vec::new() }
    }
}

impl From<state::View> for StatusWriter {
    fn from(view: state::View) -> Self {
        let state::View { leader, holder, namespace, nodes, conditions, events, problems } = view;
        Self { leader, holder, namespace, nodes, conditions, events, problems }
    }
}
