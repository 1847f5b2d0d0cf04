//! Where requests and connections end up.

use std::{sync::Arc, time::Duration};

use serde::Serialize;

use super::{change::HeaderChanges, policy::ClientPolicy};
use crate::{endpoints::Endpoints, resource::protocol::AppProtocol};

/// A destination and its share.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Weighted {
    /// The share, at least 1.
    pub weight: u32,
    /// The destination.
    pub target: Target,
    /// Changes of headers, after those of the route.
    pub headers: HeaderChanges,
    /// How long one try may take where the destination's own side gives up sooner than the route.
    pub answer_within: Option<Duration>,
}

/// A destination, or why there is none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum Target {
    /// It is there.
    Backend(Arc<Backend>),
    /// It is not: a request fails with 503, a connection is closed.
    Missing(Missing),
}

/// Why a destination is not there. It never means "any other instead".
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum Missing {
    /// Nothing that the client may see has this name.
    Service(String),
    /// The service does not have this port.
    Port(String, u16),
    /// The service has no subset of this name.
    Subset(String, String),
    /// Nothing answers for this name.
    Provider(String),
}

/// A part of a service on one port, and how it is dialled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Backend {
    /// The service's name.
    pub service: String,
    /// Its port.
    pub port: u16,
    /// The subset; none is all of it.
    pub subset: Option<String>,
    /// What is spoken there.
    pub protocol: AppProtocol,
    /// Where it is.
    pub endpoints: Endpoints,
    /// How it is dialled.
    pub policy: ClientPolicy,
}

/// Shares in lowest terms, those of nothing left out. One destination alone has all, whatever its
/// weight says.
pub(crate) fn share_out(mut all: Vec<Weighted>) -> Vec<Weighted> {
    if let [one] = &mut all[..] {
        one.weight = 1;
        return all;
    }
    all.retain(|one| one.weight > 0);
    let divisor = all.iter().map(|one| one.weight).fold(0, greatest_common_divisor).max(1);
    for one in &mut all {
        one.weight /= divisor;
    }
    all
}

fn greatest_common_divisor(one: u32, other: u32) -> u32 {
    if other == 0 { one } else { greatest_common_divisor(other, one % other) }
}
