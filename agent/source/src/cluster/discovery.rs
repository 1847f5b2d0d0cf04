//! Which custom resources a server has: asked once for all kinds of a group, however many followers
//! want to know.
//!
//! While kinds are missing, the follower that waits longest asks for all, and the waits grow for as long as
//! nothing changes.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use futures_util::FutureExt as _;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{APIGroup, APIResourceList};
use kube::{Client, core::ApiResource};
use serde::de::DeserializeOwned;
use tokio::{
    sync::Notify,
    time::{Instant, sleep, timeout},
};

use super::{
    kinds::{self, Watched},
    pace::jitter,
    question::{Answer, Question},
    trouble::Trouble,
};

/// How long an answer may take.
const ANSWER: Duration = Duration::from_secs(30);
/// How often it is asked at first (between half of it and all of it) whether a missing kind is there now.
pub(super) const ASK_AGAIN: Duration = Duration::from_secs(4);
/// How often after a long time: 500 nodes and four groups are 90 requests a second then.
const ASK_SELDOM: Duration = Duration::from_secs(30);

/// What is asked of one server.
pub(super) struct Discovery {
    client: Client,
    groups: BTreeMap<&'static str, Group>,
}

#[derive(Debug, Default)]
struct Group {
    question: Question<Arc<Served>>,
    answered: Arc<Notify>,
}

/// What a group had at one moment.
#[derive(Debug)]
pub(super) struct Served {
    /// Versions and plurals.
    resources: BTreeSet<(String, String)>,
    /// How many answers before were the same.
    same: u32,
}

impl Served {
    /// Where a kind is; the newest version that can be read.
    pub(super) fn find(&self, watched: &Watched) -> Option<ApiResource> {
        let has = |version: &&&str| {
            self.resources.contains(&((**version).to_owned(), watched.kind.plural().to_owned()))
        };
        watched.kind.versions().iter().find(has).map(|version| watched.resource(version))
    }
}

impl Discovery {
    pub(super) fn new(client: Client) -> Self {
        let custom = kinds::ALL.iter().filter(|watched| watched.is_custom());
        Self { client, groups: custom.map(|one| (one.group(), Group::default())).collect() }
    }

    /// What the group of a custom resource has: an answer to a question asked after `seen`, any at
    /// all without it; and when it was asked.
    pub(super) async fn served(
        &self,
        watched: &Watched,
        seen: Option<Instant>,
    ) -> (Instant, Answer<Arc<Served>>) {
        let group = &self.groups[watched.group()];
        let (client, answered) = (self.client.clone(), Arc::clone(&group.answered));
        let name = watched.group();
        let ask = |_, before: Option<Arc<Served>>| {
            async move {
                let resources = resources(&client, name).await.map_err(Arc::new)?;
                let before = before.filter(|before| before.resources == resources);
                let same = before.map_or(0, |before| before.same.saturating_add(1));
                answered.notify_waiters();
                Ok(Arc::new(Served { resources, same }))
            }
            .boxed()
        };
        group.question.after(seen, ask).await
    }

    /// Waits until it is worth asking again, or until another follower has asked.
    pub(super) async fn wait(&self, watched: &Watched, served: &Served) {
        let wait = ASK_AGAIN.saturating_mul(2_u32.saturating_pow(served.same)).min(ASK_SELDOM);
        tokio::select! {
            () = sleep(jitter(wait)) => {}
            () = self.groups[watched.group()].answered.notified() => {}
        }
    }
}

/// What a group has, in the versions that can be read.
async fn resources(client: &Client, group: &str) -> Result<BTreeSet<(String, String)>, Trouble> {
    let mut resources = BTreeSet::new();
    let Some(found) = get::<APIGroup>(client, &format!("/apis/{group}")).await? else {
        return Ok(resources);
    };
    let of_group = kinds::ALL.iter().filter(|watched| watched.group() == group);
    let known: BTreeSet<&str> =
        of_group.flat_map(|watched| watched.kind.versions()).copied().collect();
    for version in found.versions.into_iter().map(|one| one.version) {
        if known.contains(version.as_str()) {
            let path = format!("/apis/{group}/{version}");
            let list = get::<APIResourceList>(client, &path).await?.unwrap_or_default();
            resources.extend(list.resources.into_iter().map(|one| (version.clone(), one.name)));
        }
    }
    Ok(resources)
}

async fn get<T: DeserializeOwned>(client: &Client, path: &str) -> Result<Option<T>, Trouble> {
    let request = http::Request::get(path).body(Vec::new());
    let request = request.map_err(|error| Trouble::of("get", kube::Error::HttpError(error)))?;
    let answer = timeout(ANSWER, client.request::<T>(request));
    match answer.await.map_err(|_| Trouble::Silent(ANSWER))? {
        Ok(found) => Ok(Some(found)),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(None),
        Err(error) => Err(Trouble::of("get", error)),
    }
}

#[cfg(test)]
mod tests;
