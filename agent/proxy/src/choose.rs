//! Which destination, and which of its endpoints.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{Mutex, MutexGuard, PoisonError},
};

use agent_model::{
    endpoints::{Endpoint, Endpoints},
    requests::{
        backend::{Backend, Weighted},
        policy::Balance,
    },
};

use crate::{Origin, UpstreamAddr, route};

/// What one workload has under way, by endpoint, and whose turn it is.
#[derive(Debug, Default)]
pub(crate) struct Load(Mutex<Books>);

#[derive(Debug, Default)]
struct Books {
    active: HashMap<SocketAddr, u32>,
    turns: HashMap<(String, u16, Option<String>), u64>,
}

/// One request under way; its end is counted when this goes.
#[derive(Debug)]
pub(crate) struct UnderWay<'a>(&'a Load, SocketAddr);

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        let mut books = self.0.lock();
        if let Some(active) = books.active.get_mut(&self.1) {
            *active -= 1;
            if *active == 0 {
                books.active.remove(&self.1);
            }
        }
    }
}

/// A destination by its share. None is there only of an empty list.
pub(crate) fn by_weight(all: &[Weighted], draw: u64) -> Option<&Weighted> {
    let total: u64 = all.iter().map(|one| u64::from(one.weight)).sum();
    let mut left = draw.checked_rem(total)?;
    all.iter().find(|one| {
        let weight = u64::from(one.weight);
        let is_it = left < weight;
        left = left.saturating_sub(weight);
        is_it
    })
}

impl Load {
    fn lock(&self) -> MutexGuard<'_, Books> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a request.
    pub(crate) fn begin(&self, to: UpstreamAddr) -> UnderWay<'_> {
        *self.lock().active.entry(to.0).or_default() += 1;
        UnderWay(self, to.0)
    }

    /// The next endpoint of a destination, another one than those `tried` where there is one.
    pub(crate) fn next(
        &self,
        (backend, endpoints): (&Backend, &Endpoints),
        origin: &Origin,
        tried: &[UpstreamAddr],
    ) -> Option<UpstreamAddr> {
        let Endpoints::Listed(listed) = endpoints else {
            return route::destination(origin, endpoints, fastrand::u64(..))
                .ok()
                .map(UpstreamAddr);
        };
        if backend.policy.balance == Balance::Dialled {
            return Some(UpstreamAddr(origin.dst.0));
        }
        // A pod that dials one family may well lack the other.
        let dialled = origin.dst.0.is_ipv4();
        let of_family = |one: &&Endpoint| one.address.is_ipv4() == dialled;
        let fresh = |one: &&Endpoint| !tried.contains(&UpstreamAddr(socket(one)));
        let same: Vec<&Endpoint> = listed.iter().filter(of_family).collect();
        let all = if same.is_empty() { listed.iter().collect() } else { same };
        let untried: Vec<&Endpoint> = all.iter().copied().filter(fresh).collect();
        let among = if untried.is_empty() { all } else { untried };
        self.pick(backend, &among).map(|one| UpstreamAddr(socket(one)))
    }

    fn pick<'e>(&self, backend: &Backend, among: &[&'e Endpoint]) -> Option<&'e Endpoint> {
        match &backend.policy.balance {
            Balance::RoundRobin => {
                let Backend { service, port, subset, .. } = backend;
                let mut books = self.lock();
                let turn =
                    books.turns.entry((service.clone(), *port, subset.clone())).or_insert_with(
                        // Proxies of many pods that begin with the same endpoint would overload it.
                        || fastrand::u64(..u64::from(u32::MAX)),
                    );
                *turn += 1;
                draw(among, *turn)
            }
            Balance::LeastRequest => {
                let one = draw(among, fastrand::u64(..))?;
                let other = draw(among, fastrand::u64(..))?;
                let books = self.lock();
                let active = |of: &Endpoint| books.active.get(&socket(of)).copied().unwrap_or(0);
                Some(if active(other) < active(one) { other } else { one })
            }
            Balance::Random | Balance::Dialled | Balance::Hash { .. } => {
                draw(among, fastrand::u64(..))
            }
        }
    }
}

fn socket(of: &Endpoint) -> SocketAddr {
    SocketAddr::new(of.address, of.port.get())
}

fn draw<'e>(among: &[&'e Endpoint], draw: u64) -> Option<&'e Endpoint> {
    let total: u64 = among.iter().map(|one| u64::from(one.weight)).sum();
    let mut left = draw.checked_rem(total)?;
    among.iter().copied().find(|one| {
        let weight = u64::from(one.weight);
        let is_it = left < weight;
        left = left.saturating_sub(weight);
        is_it
    })
}
