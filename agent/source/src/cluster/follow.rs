//! Follows one kind: lists it, watches it, and begins again where it left off. One task a kind.
//!
//! ```text
//! presence ──► discovery ──► listing ──► watching ──► its time is over: watch again
//!    ▲             ▲            ▲           ├───────► 404, 410
//!    │             └────────────┴───────────┘
//!    └──────────────────────────────────────┴───────► ended before its time, any other trouble
//! ```
//!
//! Wherever it begins again it goes on from the last version seen. It lists anew only when that is
//! of no use any more: forgotten (410), of a state that was replaced by an older one
//! ([`super::presence`]), or when a second watch in a row ends without having brought anything.
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
    presence::Presence,
    progress::Progress,
    trouble::Trouble,
};
use crate::store::Place;

/// How long an answer may take.
pub(super) const ANSWER: Duration = Duration::from_secs(30);
/// How long a watch may be silent. A bookmark comes every minute, and a few seconds later from a
/// server that has much to do.
const SILENCE: Duration = Duration::from_secs(100);
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
pub(super) type Told = (Arc<Watched>, News);

/// What the followers of all kinds share.
#[derive(Clone)]
pub(super) struct Common {
    pub(super) client: Client,
    pub(super) presence: Arc<Presence>,
    pub(super) discovery: Arc<Discovery>,
    pub(super) node: Arc<str>,
    pub(super) news: UnboundedSender<Told>,
    pub(super) progress: Arc<Progress>,
}

/// Follows one kind.
pub(super) struct Follower {
    watched: Arc<Watched>,
    common: Common,
    /// Whether objects of it are known, so that its absence must be certain.
    held: bool,
    /// Where the next watch begins; `None` before a list.
    version: Option<String>,
    /// Whether the server is thought to stream lists.
    streaming: bool,
    /// The waits between tries.
    pace: Pace,
    doubt: Doubt,
    /// Answers in a row that have no such kind.
    missed: u32,
    /// Watches in a row that brought nothing but their end.
    barren: u32,
    /// When it was last asked where the kind is.
    seen: Option<Instant>,
}

/// Whether the server is known to be there, with the state that was seen of it.
#[derive(Clone, Copy, Debug)]
enum Doubt {
    /// It is.
    None,
    /// It has to be asked, and later than then.
    Since(Option<Instant>),
}

/// Where a kind is.
enum Found {
    /// Here.
    At(ApiResource),
    /// Not in this answer.
    Missing(Arc<Served>),
}

impl Follower {
    /// Of a kind of which objects are known already, or not.
    pub(super) fn new(watched: Arc<Watched>, common: Common, held: bool) -> Self {
        Self {
            watched,
            common,
            held,
            version: None,
            streaming: true,
            pace: Pace::default(),
            doubt: Doubt::Since(None),
            missed: 0,
            barren: 0,
            seen: None,
        }
    }

    /// Follows until nobody reads the news.
    pub(super) async fn run(mut self) {
        let mut replacements = self.common.presence.replacements();
        while !self.common.news.is_closed() {
            if let Err(trouble) = self.look().await {
                self.report(&trouble);
                continue;
            }
            let followed = tokio::select! {
                followed = self.follow() => followed,
                // The sender lives as long as this does.
                _ = replacements.changed() => Err(Arc::new(Trouble::Replaced)),
            };
            if let Err(trouble) = followed {
                self.take(&trouble).await;
            }
        }
    }

    /// Makes sure that the server is there, and that its state is not older than what was seen.
    async fn look(&mut self) -> Result<(), Arc<Trouble>> {
        let trouble = self.common.presence.calm().await;
        let then = match self.doubt {
            Doubt::Since(then) => then.max(trouble),
            Doubt::None if trouble.is_none() => return Ok(()),
            Doubt::None => trouble,
        };
        let (asked, answer) = self.common.presence.after(then).await;
        self.doubt = Doubt::Since(Some(asked));
        let now = answer?;
        let seen = self.version.as_ref().and_then(|version| version.parse::<u64>().ok());
        if let (Some(seen), Some(now)) = (seen, now)
            && now < seen
        {
            let trouble = Trouble::Older { seen, now };
            tracing::warn!(target: "config", resource = %self.watched, why = %trouble, "listed anew");
            self.version = None;
        }
        self.doubt = Doubt::None;
        Ok(())
    }

    /// Looks for the kind, and watches it where it is.
    async fn follow(&mut self) -> Result<(), Arc<Trouble>> {
        let resource = match self.served().await? {
            Found::At(resource) => resource,
            Found::Missing(served) => {
                self.missed += 1;
                self.miss(&served).await;
                return Ok(());
            }
        };
        self.missed = 0;
        let (start, most) = (Instant::now(), jitter(LAST));
        self.watch(&resource, most).await?;
        if start.elapsed() < most {
            // As a server does that ends, and what comes after it may be another one.
            self.doubt = Doubt::Since(Some(Instant::now()));
        }
        if start.elapsed() >= SHORT {
            self.pace.reset();
        } else {
            sleep(self.pace.wait()).await;
        }
        Ok(())
    }

    /// Learns from what went wrong, and waits before the next try.
    async fn take(&mut self, trouble: &Trouble) {
        if self.streaming && trouble.is_about_streaming() {
            self.streaming = false;
            return;
        }
        self.barren += u32::from(trouble.is_of_a_watch());
        if trouble.wants_list() || self.barren > 1 {
            self.version = None;
            self.barren = 0;
        }
        self.report(trouble);
        if let Some(status) = trouble.status() {
            self.common.presence.heed(status);
        }
        if !trouble.is_expected() {
            self.doubt = Doubt::Since(Some(Instant::now()));
        }
        sleep(self.pace.wait()).await;
    }

    fn report(&self, trouble: &Trouble) {
        let text = trouble.text(&self.watched);
        if trouble.is_expected() {
            tracing::debug!(target: "config", resource = %self.watched, why = text, "begun again");
        } else {
            self.common.progress.behind(&self.watched, text);
        }
    }

    /// A server that is just starting may deny what it serves: believed the second time only where
    /// something would be lost.
    async fn miss(&mut self, served: &Served) {
        self.version = None;
        if self.held && self.missed < 2 {
            sleep(jitter(ASK_AGAIN)).await;
            self.seen = Some(Instant::now());
            return;
        }
        self.held = false;
        self.common.progress.absent(&self.watched);
        if self.missed <= 2 {
            self.tell(News::Listed(Vec::new()));
        }
        self.common.discovery.wait(&self.watched, served).await;
    }

    /// Where the server has the kind.
    async fn served(&mut self) -> Result<Found, Arc<Trouble>> {
        if let [version, ..] = self.watched.kind.versions()
            && !self.watched.is_custom()
        {
            return Ok(Found::At(self.watched.resource(version)));
        }
        let (asked, served) = self.common.discovery.served(&self.watched, self.seen).await;
        self.seen = Some(asked);
        let served = served?;
        Ok(served.find(&self.watched).map_or(Found::Missing(served), Found::At))
    }

    /// One watch to its end, with a list before it where one is needed.
    async fn watch(&mut self, resource: &ApiResource, most: Duration) -> Result<(), Trouble> {
        let api = self.watched.api(&self.common.client, resource);
        if self.version.is_none() && !self.streaming {
            self.list(&api, resource).await?;
        }
        let mut listing = self.version.is_none().then(Vec::new);
        let version = self.version.clone().unwrap_or_default();
        let params = self.params(listing.is_some(), most);
        let stream = timeout(ANSWER, api.watch(&params, &version)).await;
        let stream = stream.map_err(|_| Trouble::Silent(ANSWER))?;
        let stream = stream.map_err(|error| Trouble::of("watch", error))?;
        pin_mut!(stream);
        if listing.is_none() {
            self.common.progress.current(&self.watched);
        }
        loop {
            let patience = if listing.is_some() { INITIAL } else { SILENCE };
            let event = match timeout(patience, stream.next()).await {
                Ok(None) => return Ok(()),
                Ok(Some(event)) => event.map_err(|error| Trouble::of("watch", error))?,
                Err(_) if listing.is_some() => return Err(Trouble::NoStreaming),
                Err(_) => return Err(Trouble::Silence(SILENCE)),
            };
            self.event(event, resource, &mut listing)?;
            self.barren = 0;
        }
    }

    fn params(&self, initial: bool, most: Duration) -> WatchParams {
        let mut params = WatchParams {
            field_selector: self.watched.fields(&self.common.node),
            timeout: u32::try_from(most.as_secs()).ok(),
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
        params.field_selector = self.watched.fields(&self.common.node);
        let mut items = Vec::new();
        loop {
            let page = timeout(ANSWER, api.list(&params)).await;
            let page = page.map_err(|_| Trouble::Silent(ANSWER))?;
            let page = page.map_err(|error| Trouble::of("list", error))?;
            for object in page.items {
                items.push(item(&self.watched, resource, object).map_err(Trouble::Object)?);
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
        self.common.progress.current(&self.watched);
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
                let item = item(&self.watched, resource, object).map_err(Trouble::Object)?;
                match listing {
                    Some(items) => items.push(item),
                    None => self.changed(version, News::Applied(item)),
                }
            }
            WatchEvent::Deleted(object) => {
                let place = place(&self.watched, &object);
                match listing {
                    Some(items) => items.retain(|item| item.place != place),
                    None => {
                        self.changed(object.metadata.resource_version, News::Deleted(place));
                    }
                }
            }
            WatchEvent::Bookmark(bookmark) => self.bookmark(bookmark, listing)?,
            WatchEvent::Error(status) => return Err(Trouble::Broken { status }),
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
        let _ = self.common.news.send((Arc::clone(&self.watched), news));
    }
}

#[cfg(test)]
mod tests;
