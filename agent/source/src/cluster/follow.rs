//! Follows one kind: lists it, watches it, and begins again where it left off. One task a kind.
//!
//! ```text
//! presence ──► discovery ──► listing ──► watching ──► its time is over: watch again
//!    ▲             ▲            ▲           ├───────► 404, 410
//!    │             └────────────┴───────────┘
//!    └──────────────────────────────────────┴───────► ended before its time, any other trouble
//! ```
//!
//! Wherever it begins again it goes on from the last version seen. It lists again only when that is
//! of no use any more: forgotten (410), of a state that was replaced by an older one
//! ([`super::presence`]), or when a second watch in a row ends without having brought anything.

use std::{sync::Arc, time::Duration};

use kube::{
    Api, Client,
    api::{DynamicObject, ListParams},
    core::ApiResource,
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
    resuming_watch::{Cursor, Event, SILENCE, Selection, Watch},
    trouble::Trouble,
};
use crate::store::Place;

/// How long an answer may take.
pub(super) const ANSWER: Duration = Duration::from_secs(30);
/// How long the initial objects of a streamed list may pause.
const INITIAL: Duration = Duration::from_secs(20);
/// How long the server lets one watch last: between half of it and all of it.
const LAST: Duration = Duration::from_mins(8);
/// A watch that ended sooner is not worth starting again at once.
const SHORT: Duration = Duration::from_secs(5);
/// Objects in a page of a list.
pub(super) const PAGE: u32 = 500;

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
    /// Where the next watch begins.
    cursor: Cursor,
    /// Whether the server is thought to stream lists.
    streaming: bool,
    /// The waits between tries.
    pace: Pace,
    doubt: Doubt,
    /// Answers in a row that have no such kind.
    missed: u32,
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
            cursor: Cursor::default(),
            streaming: true,
            pace: Pace::default(),
            doubt: Doubt::Since(None),
            missed: 0,
            seen: None,
        }
    }

    /// Follows until the receiver of the news is dropped.
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
        if let (Some(seen), Some(now)) = (self.cursor.number(), now)
            && now < seen
        {
            let trouble = Trouble::Older { seen, now };
            tracing::warn!(target: "config", resource = %self.watched, why = %trouble, "listed again");
            self.cursor.forget();
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
        self.cursor.ended(trouble);
        if self.watched.is_optional() && trouble.is_forbidden() {
            self.go_without(trouble);
        } else {
            self.report(trouble);
        }
        if let Some(status) = trouble.status() {
            self.common.presence.heed(status);
        }
        if !trouble.is_expected() {
            self.doubt = Doubt::Since(Some(Instant::now()));
        }
        sleep(self.pace.wait()).await;
    }

    /// What may not be read counts as listed. What was read of it before stays.
    fn go_without(&mut self, trouble: &Trouble) {
        self.common.progress.left_out(&self.watched, &trouble.text(&self.watched));
        if !self.held {
            self.held = true;
            self.tell(News::Listed(Vec::new()));
        }
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
        self.cursor.forget();
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
        if self.cursor.version().is_none() && !self.streaming {
            self.list(&api, resource).await?;
        }
        let fields = self.watched.fields(&self.common.node);
        let selection = Selection { labels: self.watched.labels(), fields, most };
        let watch = timeout(ANSWER, Watch::open(&api, &self.cursor, &selection)).await;
        let watch = watch.map_err(|_| Trouble::Silent(ANSWER))?;
        let mut watch = watch.map_err(|error| Trouble::of("watch", error))?;
        let mut listing = watch.is_listing().then(Vec::new);
        if listing.is_none() {
            self.common.progress.current(&self.watched);
        }
        loop {
            let patience = if listing.is_some() { INITIAL } else { SILENCE };
            let event = match watch.next(&mut self.cursor, patience).await {
                Err(Trouble::Silence(_)) if listing.is_some() => return Err(Trouble::NoStreaming),
                event => event?,
            };
            let Some(event) = event else { return Ok(()) };
            self.event(event, resource, &mut listing)?;
        }
    }

    /// All pages of a list, from a server that does not stream it.
    async fn list(
        &mut self,
        api: &Api<DynamicObject>,
        resource: &ApiResource,
    ) -> Result<(), Trouble> {
        let mut params = ListParams::default().limit(PAGE);
        params.field_selector = self.watched.fields(&self.common.node);
        params.label_selector = self.watched.labels();
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
                self.cursor = Cursor::at(page.metadata.resource_version.unwrap_or_default());
                self.listed(items);
                return Ok(());
            }
        }
    }

    fn listed(&mut self, items: Vec<Item>) {
        self.held = true;
        self.tell(News::Listed(items));
        self.current();
    }

    fn current(&mut self) {
        self.pace.reset();
        self.common.progress.current(&self.watched);
    }

    fn event(
        &mut self,
        event: Event<DynamicObject>,
        resource: &ApiResource,
        listing: &mut Option<Vec<Item>>,
    ) -> Result<(), Trouble> {
        match (event, listing.as_mut()) {
            (Event::Applied(object), items) => {
                let item = item(&self.watched, resource, object).map_err(Trouble::Object)?;
                match items {
                    Some(items) => items.push(item),
                    None => self.changed(News::Applied(item)),
                }
            }
            (Event::Deleted(object), items) => {
                let place = place(&self.watched, &object);
                match items {
                    Some(items) => items.retain(|item| item.place != place),
                    None => self.changed(News::Deleted(place)),
                }
            }
            (Event::Listed, _) => self.listed(listing.take().unwrap_or_default()),
            (Event::Bookmark, Some(_)) => {}
            (Event::Bookmark, None) => self.current(),
        }
        Ok(())
    }

    fn changed(&mut self, news: News) {
        self.tell(news);
        self.current();
    }

    fn tell(&self, news: News) {
        // The receiver is gone when the agent ends; `run` sees it.
        let _ = self.common.news.send((Arc::clone(&self.watched), news));
    }
}

#[cfg(test)]
mod tests;
