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

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU16, Ordering};

    use agent_model::{endpoints::Endpoint, requests::outbound::Outbound};

    use super::*;
    use crate::{Origin, Ruling, WorkloadId, tests::way::backend};

    /// A configuration that changes. All endpoints have its version and the count of questions as
    /// their port and weight.
    #[derive(Default)]
    struct Changing {
        version: AtomicU16,
        asked: AtomicU16,
    }

    impl Judge for Changing {
        fn version(&self) -> u64 {
            self.version.load(Ordering::Relaxed).into()
        }

        fn judge(&self, _: WorkloadId, _: &Origin) -> Option<Ruling> {
            None
        }

        fn outbound(&self, _: WorkloadId) -> Option<Arc<Outbound>> {
            None
        }

        fn endpoints(&self, _: &Backend) -> Endpoints {
            let port = (self.version.load(Ordering::Relaxed) + 1).try_into().unwrap();
            let asked = self.asked.fetch_add(1, Ordering::Relaxed);
            Endpoints::Listed([Endpoint::new([203, 0, 113, 1].into(), port, asked.into())].into())
        }
    }

    #[test]
    fn an_answer_holds_for_one_version_and_one_backend() {
        let backend = || backend(&[([203, 0, 113, 1], 80).into()], |_| {});
        let (judge, one, other) = (Changing::default(), backend(), backend());
        let cluster = Cluster::new(Some(Arc::clone(&one)));
        let found = |of| match cluster.endpoints(of, &judge) {
            Endpoints::Listed(listed) => (listed[0].port.get(), listed[0].weight),
            other => panic!("{other:?}"),
        };
        assert_eq!([found(&one), found(&one)], [(1, 0); 2]);
        judge.version.store(1, Ordering::Relaxed);
        assert_eq!([found(&one), found(&one)], [(2, 1); 2]);
        // It is equal, and its endpoints may be others all the same.
        assert_eq!([found(&other), found(&other)], [(2, 2); 2]);
    }
}
