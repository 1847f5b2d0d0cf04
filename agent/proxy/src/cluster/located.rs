//! Where the endpoints are. Each request asks, and the model looks all of them up; so its answer is kept
//! for as long as the configuration stays.

use std::sync::{Arc, PoisonError};

use agent_model::{endpoints::Endpoints, requests::backend::Backend};

use super::Cluster;
use crate::Judge;

/// An answer of the model's.
#[derive(Debug)]
pub(super) struct Located {
    version: u64,
    /// Two that are equal may have other endpoints.
    of: Arc<Backend>,
    endpoints: Endpoints,
}

impl Cluster {
    /// Where a backend is now, which is this cluster's or another one that is dialled alike.
    pub(crate) fn endpoints(&self, of: &Arc<Backend>, judge: &dyn Judge) -> Endpoints {
        // Asked first: what is looked up after a change is not taken for what was there before it.
        let version = judge.version();
        let lock = || self.located.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = &*lock()
            && known.version == version
            && Arc::ptr_eq(&known.of, of)
        {
            return known.endpoints.clone();
        }
        let endpoints = judge.endpoints(of);
        let located = Located { version, of: Arc::clone(of), endpoints: endpoints.clone() };
        let former = lock().replace(located);
        drop(former);
        endpoints
    }
}
