//! All of a cluster's objects at one moment, for a command that only looks.
//!
//! Every kind is listed with the credentials at hand, and nothing is written. A kind that may not
//! be listed is left out and named; the rest goes on.

use std::{fmt, sync::Arc};

use agent_base::error::chain;
use kube::{
    Api, Client,
    api::{DynamicObject, ListParams},
    core::ApiResource,
};
use tokio::time::timeout;

use super::{
    connect::{self, ConnectError, Credentials},
    discovery::Discovery,
    follow::{ANSWER, PAGE},
    kinds::{self, Reach, Watched},
    object::{Item, item},
    trouble::Trouble,
};
use crate::{statement::Statement, store::Place};

/// What a cluster has.
pub struct Listing {
    /// The server's address.
    pub server: String,
    /// What each object says, and its place.
    pub objects: Vec<(Place, Statement)>,
    /// The kinds that could not be listed, and why.
    pub left_out: Vec<LeftOut>,
}

/// A kind that is not in a [`Listing`].
#[derive(Debug)]
pub struct LeftOut {
    /// As `kubectl` names it.
    pub resource: String,
    /// What to tell a person.
    pub why: String,
    /// Whether the server said that it is not for this user.
    pub forbidden: bool,
}

impl fmt::Debug for Listing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listing").field("server", &self.server).finish_non_exhaustive()
    }
}

/// Lists every kind that the program reads.
pub async fn list(credentials: &Credentials) -> Result<Listing, ConnectError> {
    let (client, server) = connect::connect(credentials).await?;
    let discovery = Discovery::new(client.clone());
    let lists = kinds::ALL.iter().map(|watched| {
        let (client, discovery) = (&client, &discovery);
        async move { (watched, of_kind(client, discovery, watched).await) }
    });
    let mut listing = Listing { server, objects: Vec::new(), left_out: Vec::new() };
    for (watched, listed) in futures_util::future::join_all(lists).await {
        match listed {
            Ok(items) => {
                listing.objects.extend(items.into_iter().map(|one| (one.place, one.statement)));
            }
            Err(trouble) => listing.left_out.push(left_out(watched, &trouble)),
        }
    }
    Ok(listing)
}

/// All objects of a kind; none where it is not installed.
async fn of_kind(
    client: &Client,
    discovery: &Discovery,
    watched: &Watched,
) -> Result<Vec<Item>, Arc<Trouble>> {
    let resource = if watched.is_custom() {
        discovery.served(watched, None).await.1?.find(watched)
    } else {
        watched.kind.versions().first().map(|version| watched.resource(version))
    };
    let Some(resource) = resource else { return Ok(Vec::new()) };
    Ok(pages(client, watched, &resource).await?)
}

async fn pages(
    client: &Client,
    watched: &Watched,
    resource: &ApiResource,
) -> Result<Vec<Item>, Trouble> {
    let api: Api<DynamicObject> = watched.api(client, resource);
    let mut params = ListParams::default().limit(PAGE);
    // The pods of every node: whose address an entry names matters wherever the pod runs.
    if !matches!(watched.reach, Reach::Node) {
        params.field_selector = watched.fields("");
    }
    params.label_selector = watched.labels();
    let mut items = Vec::new();
    loop {
        let page = timeout(ANSWER, api.list(&params)).await;
        let page = page.map_err(|_| Trouble::Silent(ANSWER))?;
        let page = page.map_err(|error| Trouble::of("list", error))?;
        for object in page.items {
            items.push(item(watched, resource, object).map_err(Trouble::Object)?);
        }
        params.continue_token = page.metadata.continue_.filter(|token| !token.is_empty());
        if params.continue_token.is_none() {
            return Ok(items);
        }
    }
}

fn left_out(watched: &Watched, trouble: &Trouble) -> LeftOut {
    let (why, forbidden) = match trouble {
        Trouble::Refused { status, .. } if status.code == 403 => {
            let why = format!(
                "these credentials may not list {watched} ({}): its objects are left out, and what \
                 is said of others may lack them",
                status.message
            );
            (why, true)
        }
        other => (format!("{}: its objects are left out", chain(other)), false),
    };
    LeftOut { resource: watched.to_string(), why, forbidden }
}
