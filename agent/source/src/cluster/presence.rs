//! Whether the server is there, and how far its state is: asked once for all kinds.
//!
//! Every follower asks before it begins, and again when its watch ended before its time. So while the
//! server is away, one request at a time looks for it, after 0.25 to 10 s. When it is back, one
//! connection is made and not one for each kind. A server that asks to be left alone (`Retry-After`),
//! whatever the request was, is left alone by all, also by those that write statuses.
//!
//! The answer has the version of the server's state. A server that was restored from a backup counts on
//! from an older one. A watch that begins at a version which is not reached yet says nothing, and later
//! leaves out what lies between. So a lower version means that everything is to be listed again.
//! Versions of different kinds can be compared, since they are those of one etcd.
//!
//! A restored server may have counted on beyond what was seen of it before it is asked. Then a witness
//! tells: the node's own Lease ([`Presence::replaced`]). No one else writes that Lease, so an older one
//! than the agent left there, or none, shows that the state was replaced. It is looked at with each
//! write of it, and so within 15 s in most clusters. With `--write-status=false` there is no witness.

use std::{
    fmt,
    sync::{Arc, Mutex},
    time::Duration,
};

use agent_base::lock::lock;
use futures_util::FutureExt as _;
use k8s_openapi::api::core::v1::Namespace;
use kube::{Api, Client, api::ListParams, core::Status};
use tokio::{
    sync::watch,
    time::{Instant, sleep_until, timeout},
};

use super::{
    pace::{Pace, jitter},
    question::{Answer, Question},
    trouble::Trouble,
};

/// How long an answer may take.
const ANSWER: Duration = Duration::from_secs(10);

/// What is asked of one server.
pub struct Presence {
    client: Client,
    question: Question<Option<u64>>,
    quiet: Arc<Mutex<Quiet>>,
    /// Told each time when the server's state turns out to have been replaced.
    replacements: watch::Sender<()>,
}

/// Until when nothing is asked.
#[derive(Debug, Default)]
struct Quiet {
    until: Option<Instant>,
    /// The last trouble, while no later answer is without.
    trouble: Option<Instant>,
    pace: Pace,
}

impl Presence {
    pub fn new(client: Client) -> Self {
        let (replacements, _) = watch::channel(());
        Self { client, question: Question::default(), quiet: Arc::default(), replacements }
    }

    /// Waits until a request may be sent: by one that needs no more than that.
    pub async fn ready(&self) {
        while let Some(trouble) = self.calm().await {
            // Without a good answer there is more to wait for.
            let _ = self.after(Some(trouble)).await;
        }
    }

    /// The server lacks what it had: its state was replaced by an older one, whatever that has
    /// counted up to since.
    pub fn replaced(&self) {
        self.replacements.send_replace(());
    }

    /// Changes with each call of [`Presence::replaced`].
    pub fn replacements(&self) -> watch::Receiver<()> {
        self.replacements.subscribe()
    }

    /// Waits until something may be asked. Where there was trouble whose end was not seen yet,
    /// returns when: it is for [`Presence::after`] to ask first, once for all.
    pub(super) async fn calm(&self) -> Option<Instant> {
        loop {
            let (until, trouble) = lock(&self.quiet).state();
            match until.filter(|until| *until > Instant::now()) {
                Some(until) => sleep_until(until).await,
                None => return trouble,
            }
        }
    }

    /// Takes a server at its word that it wants to be left alone.
    pub fn heed(&self, status: &Status) {
        let pause = retry_after(status);
        if !pause.is_zero() {
            // And then not all nodes at once.
            lock(&self.quiet).extend(pause + pause.saturating_sub(jitter(pause)));
        }
    }

    /// The version of the server's state, where it can be told, by an answer to a question asked
    /// after `seen`; and when it was asked.
    pub(super) async fn after(&self, seen: Option<Instant>) -> (Instant, Answer<Option<u64>>) {
        let (client, quiet) = (self.client.clone(), Arc::clone(&self.quiet));
        let ask = |at, _| {
            async move {
                let answer = version(client).await;
                let mut quiet = lock(&quiet);
                match &answer {
                    Ok(_) => quiet.end(at),
                    Err(trouble) => {
                        let wait = quiet.pace.wait();
                        let asked = trouble.status().map_or(Duration::ZERO, retry_after);
                        quiet.extend(asked + wait);
                    }
                }
                answer.map_err(Arc::new)
            }
            .boxed()
        };
        self.question.after(seen, ask).await
    }
}

impl fmt::Debug for Presence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Presence").field("quiet", &self.quiet).finish_non_exhaustive()
    }
}

impl Quiet {
    fn state(&self) -> (Option<Instant>, Option<Instant>) {
        (self.until, self.trouble)
    }

    fn extend(&mut self, time: Duration) {
        let now = Instant::now();
        self.until = self.until.max(Some(now + time));
        self.trouble = Some(now);
    }

    /// A question that was asked then was answered.
    fn end(&mut self, asked: Instant) {
        self.pace.reset();
        self.trouble = self.trouble.filter(|trouble| *trouble > asked);
    }
}

/// How long a server asks to be left alone.
fn retry_after(status: &Status) -> Duration {
    let seconds = status.details.as_ref().map_or(0, |details| details.retry_after_seconds);
    Duration::from_secs(seconds.into())
}

/// The version of a list without an old one allowed (`resourceVersion` unset) is that of the whole
/// state (<https://kubernetes.io/docs/reference/using-api/api-concepts/#semantics-for-get-and-list>).
async fn version(client: Client) -> Result<Option<u64>, Trouble> {
    let api: Api<Namespace> = Api::all(client);
    let page = timeout(ANSWER, api.list_metadata(&ListParams::default().limit(1))).await;
    match page.map_err(|_| Trouble::Silent(ANSWER))? {
        Ok(page) => Ok(page.metadata.resource_version.and_then(|version| version.parse().ok())),
        // It is there. What this agent lacks is told where it is needed.
        Err(kube::Error::Api(status)) if status.code == 403 => Ok(None),
        Err(error) => Err(Trouble::of("list", error)),
    }
}

#[cfg(test)]
mod tests;
