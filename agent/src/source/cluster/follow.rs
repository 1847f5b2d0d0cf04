//! Follows one kind: lists it, watches it, and begins again where it left off. One task a kind.
//!
//! ```text
//! discovery ──► listing ──► watching ──► ended: watch again from the last version seen
//!     ▲            ▲           │   └───► 410, silence, an older server: list again
//!     └─ 404 ──────┴───────────┘
//! ```
//!
//! kube's own watcher does most of this, but says nothing when it resumes and keeps bookmarks to
//! itself: how old the newest news is could not be told, and a status that says "behind" would
//! stay until the next change of an object.

use std::{sync::Arc, time::Duration};

use futures_util::{StreamExt as _, pin_mut};
use kube::{
    Api, Client,
    api::{DynamicObject, ListParams, WatchEvent, WatchParams},
    core::{ApiResource, watch::Bookmark},
};
use tokio::{
    sync::mpsc::UnboundedSender,
    time::{Instant, sleep, timeout},
};

use super::{
    discovery::{ASK_AGAIN, Discovery, Served},
    kinds::Watched,
    object::{Item, item, place},
    pace::{Pace, jitter},
    progress::Progress,
    trouble::Trouble,
};
use crate::source::store::Place;

/// How long an answer may take.
pub(super) const ANSWER: Duration = Duration::from_secs(30);
/// How long a watch may be silent. A bookmark comes every minute.
const SILENCE: Duration = Duration::from_secs(150);
/// How long the initial objects of a streamed list may pause.
const INITIAL: Duration = Duration::from_secs(20);
/// How long the server lets one watch last: between half of it and all of it.
const LAST: Duration = Duration::from_mins(8);
/// A watch that ended sooner is not worth starting again at once.
const SHORT: Duration = Duration::from_secs(5);
/// Objects in a page of a list.
pub(super) const PAGE: u32 = 500;
/// The annotation of the bookmark that ends a streamed list.
const INITIAL_END: &str = "k8s.io/initial-events-end";

/// What has come.
#[derive(Debug)]
pub(super) enum News {
    /// All there is of a kind.
    Listed(Vec<Item>),
    /// A new object, or a new form of one.
    Applied(Item),
    /// An object is gone.
    Deleted(Place),
}

/// News with the kind that they are about.
pub(super) type Told = (&'static Watched, News);

/// Follows one kind.
pub(super) struct Follower {
    pub(super) watched: &'static Watched,
    pub(super) client: Client,
    pub(super) discovery: Arc<Discovery>,
    pub(super) node: Arc<str>,
    pub(super) news: UnboundedSender<Told>,
    pub(super) progress: Arc<Progress>,
    /// Whether objects of it are known, so that its absence must be certain.
    pub(super) held: bool,
    /// Where the next watch begins; `None` before a list.
    pub(super) version: Option<String>,
    /// Whether the server is thought to stream lists.
    pub(super) streaming: bool,
    /// The waits between tries.
    pub(super) pace: Pace,
    /// When it was last asked where the kind is.
    pub(super) seen: Option<Instant>,
}

/// Where a kind is.
enum Found {
    /// Here.
    At(ApiResource),
    /// Not in this answer.
    Missing(Arc<Served>),
}

impl Follower {
    /// Follows until nobody reads the news.
    pub(super) async fn run(mut self) {
        let mut missed = 0;
        while !self.news.is_closed() {
            let start = Instant::now();
            let trouble = match self.served().await {
                Ok(Found::At(resource)) => {
                    missed = 0;
                    let end = self.watch(&resource).await;
                    if end.is_ok() && start.elapsed() >= SHORT {
                        continue;
                    }
                    end.err().map(Arc::new)
                }
                Ok(Found::Missing(served)) => {
                    missed += 1;
                    self.miss(missed, &served).await;
                    continue;
                }
                Err(trouble) => Some(trouble),
            };
            self.take(trouble).await;
        }
    }

    /// Reports what went wrong and waits before the next try.
    async fn take(&mut self, trouble: Option<Arc<Trouble>>) {
        let Some(trouble) = trouble else { return sleep(self.pace.wait()).await };
        if self.streaming && trouble.is_about_streaming() {
            self.streaming = false;
            return;
        }
        if trouble.wants_list() {
            self.version = None;
        }
        let text = trouble.text(self.watched);
        if trouble.is_expected() {
            tracing::debug!(target: "config", resource = %self.watched, why = text, "begun again");
        } else {
            self.progress.behind(self.watched, text);
        }
        sleep(self.pace.wait().max(trouble.retry_after())).await;
    }

    /// A server that is just starting may deny what it serves: believed the second time only where
    /// something would be lost.
    async fn miss(&mut self, missed: u32, served: &Served) {
        self.version = None;
        if self.held && missed < 2 {
            sleep(jitter(ASK_AGAIN)).await;
            self.seen = Some(Instant::now());
            return;
        }
        self.held = false;
        self.progress.absent(self.watched);
        if missed <= 2 {
            self.tell(News::Listed(Vec::new()));
        }
        self.discovery.wait(self.watched, served).await;
    }

    /// Where the server has the kind.
    async fn served(&mut self) -> Result<Found, Arc<Trouble>> {
        if let [version, ..] = self.watched.kind.versions()
            && !self.watched.is_custom()
        {
            return Ok(Found::At(self.watched.resource(version)));
        }
        let seen = self.seen.replace(Instant::now());
        let served = self.discovery.served(self.watched, seen).await?;
        self.seen = Some(served.asked);
        Ok(served.find(self.watched).map_or(Found::Missing(served), Found::At))
    }

    /// One watch to its end, with a list before it where one is needed.
    async fn watch(&mut self, resource: &ApiResource) -> Result<(), Trouble> {
        let api = self.watched.api(&self.client, resource);
        if self.version.is_none() && !self.streaming {
            self.list(&api, resource).await?;
        }
        let mut listing = self.version.is_none().then(Vec::new);
        let version = self.version.clone().unwrap_or_default();
        let params = self.params(listing.is_some());
        let stream = timeout(ANSWER, api.watch(&params, &version)).await;
        let stream = stream.map_err(|_| Trouble::Silent(ANSWER))?;
        let stream = stream.map_err(|error| Trouble::of("watch", error))?;
        pin_mut!(stream);
        if listing.is_none() {
            self.current();
        }
        loop {
            let patience = if listing.is_some() { INITIAL } else { SILENCE };
            let event = match timeout(patience, stream.next()).await {
                Ok(None) => return Ok(()),
                Ok(Some(event)) => event.map_err(|error| Trouble::of("watch", error))?,
                Err(_) if listing.is_some() => return Err(Trouble::NoStreaming),
                Err(_) => return Err(Trouble::Silent(SILENCE)),
            };
            self.event(event, resource, &mut listing)?;
        }
    }

    fn params(&self, initial: bool) -> WatchParams {
        let mut params = WatchParams {
            field_selector: self.watched.fields(&self.node),
            timeout: u32::try_from(jitter(LAST).as_secs()).ok(),
            bookmarks: true,
            ..WatchParams::default()
        };
        if initial {
            params = params.initial_events();
        }
        params
    }

    /// All pages of a list, from a server that does not stream it.
    async fn list(
        &mut self,
        api: &Api<DynamicObject>,
        resource: &ApiResource,
    ) -> Result<(), Trouble> {
        let mut params = ListParams::default().limit(PAGE);
        params.field_selector = self.watched.fields(&self.node);
        let mut items = Vec::new();
        loop {
            let page = timeout(ANSWER, api.list(&params)).await;
            let page = page.map_err(|_| Trouble::Silent(ANSWER))?;
            let page = page.map_err(|error| Trouble::of("list", error))?;
            for object in page.items {
                items.push(item(self.watched, resource, object).map_err(Trouble::Object)?);
            }
            params.continue_token = page.metadata.continue_.filter(|token| !token.is_empty());
            if params.continue_token.is_none() {
                self.listed(items, page.metadata.resource_version.unwrap_or_default());
                return Ok(());
            }
        }
    }

    fn listed(&mut self, items: Vec<Item>, version: String) {
        self.held = true;
        self.version = Some(version);
        self.tell(News::Listed(items));
        self.current();
    }

    fn current(&mut self) {
        self.pace.reset();
        self.progress.current(self.watched);
    }

    fn event(
        &mut self,
        event: WatchEvent<DynamicObject>,
        resource: &ApiResource,
        listing: &mut Option<Vec<Item>>,
    ) -> Result<(), Trouble> {
        match event {
            WatchEvent::Added(object) | WatchEvent::Modified(object) => {
                let version = object.metadata.resource_version.clone();
                let item = item(self.watched, resource, object).map_err(Trouble::Object)?;
                match listing {
                    Some(items) => items.push(item),
                    None => self.changed(version, News::Applied(item)),
                }
            }
            WatchEvent::Deleted(object) => {
                let place = place(self.watched, &object);
                match listing {
                    Some(items) => items.retain(|item| item.place != place),
                    None => {
                        self.changed(object.metadata.resource_version, News::Deleted(place));
                    }
                }
            }
            WatchEvent::Bookmark(bookmark) => self.bookmark(bookmark, listing)?,
            WatchEvent::Error(status) => return Err(Trouble::Refused { verb: "watch", status }),
        }
        Ok(())
    }

    fn changed(&mut self, version: Option<String>, news: News) {
        self.version = version.or_else(|| self.version.take());
        self.tell(news);
        self.current();
    }

    fn bookmark(
        &mut self,
        bookmark: Bookmark,
        listing: &mut Option<Vec<Item>>,
    ) -> Result<(), Trouble> {
        let meta = bookmark.metadata;
        if listing.is_some() {
            if meta.annotations.contains_key(INITIAL_END) {
                self.listed(listing.take().unwrap_or_default(), meta.resource_version);
            }
            return Ok(());
        }
        let number = |version: &str| version.parse::<u64>().ok();
        if let (Some(seen), Some(now)) =
            (self.version.as_deref().and_then(number), number(&meta.resource_version))
            && now < seen
        {
            return Err(Trouble::Older { seen, now });
        }
        self.version = Some(meta.resource_version);
        self.current();
        Ok(())
    }

    fn tell(&self, news: News) {
        // Nobody reads any more when the agent ends; `run` sees it.
        let _ = self.news.send((self.watched, news));
    }
}

#[cfg(test)]
mod tests;
