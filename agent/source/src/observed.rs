//! What a source says.

use std::{collections::BTreeMap, sync::Arc};

use agent_base::laps::Laps;
use agent_model::resource::Objects;
use tokio::sync::watch;

use super::{inventory::Digests, note::Note, spots::Spots};

/// What a source says at one moment.
#[derive(Clone, Debug, Default)]
pub struct Observed {
    /// The objects in force: valid ones, each once.
    pub objects: Arc<Objects>,
    /// What is wrong with the others, and what is worth knowing, by place.
    pub notes: Arc<[Arc<Note>]>,
    /// Where objects are, where a source has more to say of it than the object's own name.
    pub spots: Arc<Spots>,
    /// The same for other nodes to read; only while an API server says it.
    pub digests: Option<Arc<Digests>>,
    /// Since what is new of it arrived; `None` once it was read.
    pub laps: Option<Laps>,
}

impl Observed {
    /// Objects in force by kind.
    pub fn by_kind(&self) -> BTreeMap<String, u64> {
        let counts = self.objects.counts();
        counts.map(|(kind, count)| (kind.shown().to_owned(), count as u64)).collect()
    }
}

/// The reader's end of a source: `None` until everything was read once.
pub type Reader = watch::Receiver<Option<Observed>>;
