//! Follows the runtime by asking it for its list: often while something happens, seldom else. Its
//! stream of events is no help, since it tells of containers and is off in most runtimes.

use std::{collections::BTreeMap, path::Path, sync::Arc, time::Duration};

use agent_base::error::chain;
use notify::{RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::{
    sync::{Notify, watch},
    time::{Instant, sleep, timeout},
};

use super::{
    Heard,
    cri::{Client, CriError},
    sandbox::Sandbox,
};

/// Between two looks while pods are being made. A list costs about a millisecond.
const OFTEN: Duration = Duration::from_millis(50);
/// How long that goes on after something happened.
const SPELL: Duration = Duration::from_secs(10);
/// Between two looks else. What happens unseen is found by these.
const SELDOM: Duration = Duration::from_secs(2);
/// Where network plugins put the namespaces that they make: before they give them links.
const NAMESPACES: &str = "/run/netns";

/// What is heard, and the way to ask for a look.
#[derive(Clone, Debug)]
pub struct Reader {
    heard: watch::Receiver<Heard>,
    wake: Arc<Notify>,
}

impl Reader {
    /// What is known now.
    pub fn heard(&self) -> Heard {
        self.heard.borrow().clone()
    }

    /// Waits for something else to be known.
    pub async fn changed(&mut self) -> Result<(), watch::error::RecvError> {
        self.heard.changed().await
    }

    /// A pod is expected: look often for a while.
    pub fn expect_pods(&self) {
        self.wake.notify_one();
    }
}

/// The task that asks.
#[derive(Debug)]
pub struct Follower {
    client: Client,
    socket: String,
    heard: watch::Sender<Heard>,
    wake: Arc<Notify>,
    /// By the runtime's name; what is no pod's is known as nothing.
    known: BTreeMap<String, Option<Sandbox>>,
    watcher: Option<RecommendedWatcher>,
}

impl Follower {
    /// A follower that has not asked yet, and its reader.
    pub fn new(socket: &Path) -> Result<(Self, Reader), CriError> {
        let (heard, receiver) = watch::channel(Heard::default());
        let wake = Arc::new(Notify::new());
        let follower = Self {
            client: Client::new(socket)?,
            socket: socket.display().to_string(),
            heard,
            wake: Arc::clone(&wake),
            known: BTreeMap::new(),
            watcher: None,
        };
        Ok((follower, Reader { heard: receiver, wake }))
    }

    /// Asks until the process ends.
    pub async fn run(mut self) {
        let mut often_until = Instant::now();
        loop {
            self.watch();
            self.look().await;
            let often = Instant::now() < often_until;
            let pause = if often { OFTEN } else { SELDOM };
            // A burst of events asks for one look each OFTEN, not for one each event.
            let woken = if often {
                sleep(pause).await;
                timeout(Duration::ZERO, self.wake.notified()).await
            } else {
                timeout(pause, self.wake.notified()).await
            };
            if woken.is_ok() {
                often_until = Instant::now() + SPELL;
            }
        }
    }

    /// Watches the directory of namespaces as soon as there is one.
    fn watch(&mut self) {
        if self.watcher.is_some() || !Path::new(NAMESPACES).exists() {
            return;
        }
        let wake = Arc::clone(&self.wake);
        let started = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            if event.is_ok_and(|event| event.kind.is_create() || event.kind.is_remove()) {
                wake.notify_one();
            }
        });
        let watching = started.and_then(|mut watcher| {
            watcher.watch(Path::new(NAMESPACES), RecursiveMode::NonRecursive)?;
            Ok(watcher)
        });
        match watching {
            Ok(watcher) => self.watcher = Some(watcher),
            Err(error) => tracing::debug!(%error, "{NAMESPACES} cannot be watched"),
        }
    }

    async fn look(&mut self) {
        let asked = self.ask().await;
        let away = asked.err().map(|error| {
            let why = chain(&error);
            format!("the container runtime does not answer at {}: {why}", self.socket)
        });
        let was_away = self.heard.borrow().away.is_some();
        match &away {
            Some(why) if !was_away => tracing::warn!(why, "the container runtime is away"),
            None if was_away => {
                tracing::info!(socket = self.socket, "the container runtime is back");
            }
            _ => {}
        }
        let now: Option<Vec<Sandbox>> =
            away.is_none().then(|| self.known.values().flatten().cloned().collect());
        self.heard.send_if_modified(|heard| heard.take_in(now, away.map(Into::into)));
    }

    /// Asks for the list, and for more of those that are new in it.
    async fn ask(&mut self) -> Result<(), CriError> {
        let listed = self.client.running().await?;
        let mut known = BTreeMap::new();
        for one in listed {
            let id = one.id.clone();
            if let Some(before) = self.known.get(&id) {
                known.insert(id, before.clone());
                continue;
            }
            match self.client.status(&id).await {
                Ok(status) => known.insert(id, Sandbox::new(one, &status)),
                // It has ended since it was listed.
                Err(error) if error.is_not_found() => continue,
                Err(error) => return Err(error),
            };
        }
        self.known = known;
        Ok(())
    }
}
