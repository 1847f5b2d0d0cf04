//! One watch, and where the next one goes on: for the kinds that are followed, for the Leases of
//! nodes and for the election.
//!
//! A watch begins after the last version that was seen, so that nothing between two watches is
//! missed and nothing is listed again. Bookmarks keep that version young; without one for longer
//! than [`SILENCE`] a watch is taken for dead. An event counts as seen when the next one is asked
//! for: a caller that stops before has it again.
//!
//! kube's own watcher does most of this, but says nothing when it resumes and keeps bookmarks to
//! itself: how old the newest news is could not be told, and a status that says "behind" would
//! stay until the next change of an object.

use std::{fmt, time::Duration};

use futures_util::{StreamExt as _, stream::BoxStream};
use kube::{
    Api, Resource,
    api::{WatchEvent, WatchParams},
    core::watch::Bookmark,
};
use serde::de::DeserializeOwned;
use tokio::time::{Instant, timeout};

use super::trouble::Trouble;

/// How long a watch may be silent. A bookmark comes every minute, and a few seconds later from a
/// server that has much to do.
pub const SILENCE: Duration = Duration::from_secs(100);
/// The annotation of the bookmark that ends a streamed list.
pub(super) const INITIAL_END: &str = "k8s.io/initial-events-end";

/// Where the next watch begins; without a version, with a list.
#[derive(Clone, Debug, Default)]
pub struct Cursor {
    version: Option<String>,
    /// Watches in a row that brought nothing but their end.
    barren: u32,
}

impl Cursor {
    /// After this version.
    pub fn at(version: impl Into<String>) -> Self {
        Self { version: Some(version.into()), barren: 0 }
    }

    /// The last version seen; `None` before a list.
    pub fn version(&self) -> Option<&str> {
        self.version.as_deref()
    }

    /// The same as a number, where it is one.
    pub fn number(&self) -> Option<u64> {
        self.version()?.parse().ok()
    }

    /// What was seen is of no use any more.
    pub fn forget(&mut self) {
        *self = Self::default();
    }

    /// Learns from what ended a watch: lists again when the version is of no use any more, or when
    /// a second watch in a row has brought nothing but its end.
    pub fn ended(&mut self, trouble: &Trouble) {
        self.barren += u32::from(trouble.is_of_a_watch());
        if trouble.wants_list() || self.barren > 1 {
            self.forget();
        }
    }
}

/// Which objects are watched, and for how long.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    /// Which labels they have.
    pub labels: Option<String>,
    /// Which fields.
    pub fields: Option<String>,
    /// After this time the server ends the watch.
    pub most: Duration,
}

/// What a watch tells.
#[derive(Clone, Debug, PartialEq)]
pub enum Event<K> {
    /// A new object, or a new form of one.
    Applied(K),
    /// An object is gone.
    Deleted(K),
    /// All that there is has come: the list is over.
    Listed,
    /// Nothing has changed.
    Bookmark,
}

/// See the module.
pub struct Watch<K> {
    events: BoxStream<'static, Result<WatchEvent<K>, kube::Error>>,
    /// The list has not ended yet.
    listing: bool,
    /// The version of the event that was handed out last.
    handed: Option<String>,
    opened: Instant,
    most: Duration,
}

impl<K> fmt::Debug for Watch<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch").field("listing", &self.listing).finish_non_exhaustive()
    }
}

impl<K> Watch<K>
where
    K: Clone + fmt::Debug + DeserializeOwned + Resource + Send + 'static,
{
    /// Opens a watch. Where the cursor has no version, the server streams a list first.
    pub async fn open(
        api: &Api<K>,
        cursor: &Cursor,
        selection: &Selection,
    ) -> Result<Self, kube::Error> {
        let Selection { labels, fields, most } = selection.clone();
        let listing = cursor.version.is_none();
        let mut params = WatchParams {
            label_selector: labels,
            field_selector: fields,
            timeout: u32::try_from(most.as_secs()).ok(),
            bookmarks: true,
            ..WatchParams::default()
        };
        if listing {
            params = params.initial_events();
        }
        let events = api.watch(&params, cursor.version().unwrap_or_default()).await?;
        let opened = Instant::now();
        Ok(Self { events: events.boxed(), listing, handed: None, opened, most })
    }

    /// Whether what comes is still the list.
    pub const fn is_listing(&self) -> bool {
        self.listing
    }

    /// Whether it has lasted as long as it should: one that ended sooner says that the server ends,
    /// and what comes after that server may be another one.
    pub fn is_over(&self) -> bool {
        self.opened.elapsed() >= self.most
    }

    /// The next event; `None` at its end.
    pub async fn next(
        &mut self,
        cursor: &mut Cursor,
        patience: Duration,
    ) -> Result<Option<Event<K>>, Trouble> {
        if let Some(version) = self.handed.take() {
            cursor.version = Some(version);
        }
        let event = timeout(patience, self.events.next()).await;
        let Some(event) = event.map_err(|_| Trouble::Silence(patience))? else { return Ok(None) };
        let event = match event.map_err(|error| Trouble::of("watch", error))? {
            WatchEvent::Added(object) | WatchEvent::Modified(object) => {
                self.hand(&object);
                Event::Applied(object)
            }
            WatchEvent::Deleted(object) => {
                self.hand(&object);
                Event::Deleted(object)
            }
            WatchEvent::Bookmark(bookmark) => self.bookmark(bookmark, cursor)?,
            WatchEvent::Error(status) => return Err(Trouble::Broken { status }),
        };
        cursor.barren = 0;
        Ok(Some(event))
    }

    fn hand(&mut self, object: &K) {
        if !self.listing {
            self.handed.clone_from(&object.meta().resource_version);
        }
    }

    fn bookmark(&mut self, bookmark: Bookmark, cursor: &mut Cursor) -> Result<Event<K>, Trouble> {
        let meta = bookmark.metadata;
        if self.listing {
            if !meta.annotations.contains_key(INITIAL_END) {
                return Ok(Event::Bookmark);
            }
            self.listing = false;
            self.handed = Some(meta.resource_version);
            return Ok(Event::Listed);
        }
        if let (Some(seen), Ok(now)) = (cursor.number(), meta.resource_version.parse())
            && now < seen
        {
            return Err(Trouble::Older { seen, now });
        }
        cursor.version = Some(meta.resource_version);
        Ok(Event::Bookmark)
    }
}
