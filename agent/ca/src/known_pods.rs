//! The pods of the cluster: listed once, and followed by a watch.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{
        RwLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use agent_base::lock::{read, write};
use agent_identity::authorise::{Phase, Pod, Pods};
use futures_util::TryStreamExt as _;
use jiff::SignedDuration;
use k8s_openapi::api::core::v1::Pod as Object;
use kube::{
    Api, Client,
    api::{ListParams, WatchEvent, WatchParams},
};
use tokio::time::sleep;

/// How many pods the server gives at once.
const PAGE: u32 = 500;
/// Between one try and the next.
const PAUSE: Duration = Duration::from_secs(1);

/// By namespace and name.
type Key = (String, String);

/// See the module.
#[derive(Debug, Default)]
pub struct KnownPods {
    pods: RwLock<State>,
    listed: AtomicBool,
}

#[derive(Debug, Default)]
struct State {
    all: HashMap<Key, Pod>,
    by_node: HashMap<String, BTreeSet<Key>>,
}

impl State {
    fn put(&mut self, pod: Pod) {
        let key = (pod.namespace.clone(), pod.name.clone());
        self.remove(&key);
        self.by_node.entry(pod.node.clone()).or_default().insert(key.clone());
        self.all.insert(key, pod);
    }

    fn remove(&mut self, key: &Key) {
        let Some(pod) = self.all.remove(key) else { return };
        if let Some(keys) = self.by_node.get_mut(&pod.node) {
            keys.remove(key);
            if keys.is_empty() {
                self.by_node.remove(&pod.node);
            }
        }
    }
}

impl KnownPods {
    /// Follows the server as long as the future lives.
    pub async fn follow(&self, client: Client) {
        let api = Api::<Object>::all(client);
        loop {
            if let Err(error) = self.list_and_watch(&api).await {
                tracing::warn!(%error, "pods are not followed; what is known of them is kept");
            }
            sleep(PAUSE).await;
        }
    }

    async fn list_and_watch(&self, api: &Api<Object>) -> kube::Result<()> {
        let mut state = State::default();
        let mut params = ListParams::default().limit(PAGE);
        let mut version = loop {
            let page = api.list(&params).await?;
            page.items.iter().for_each(|object| state.put(pod(object)));
            match page.metadata.continue_.filter(|more| !more.is_empty()) {
                Some(more) => params = params.continue_token(&more),
                None => break page.metadata.resource_version.unwrap_or_default(),
            }
        };
        *write(&self.pods) = state;
        self.listed.store(true, Ordering::Release);
        loop {
            let watch = WatchParams::default().timeout(290);
            let events = api.watch(&watch, &version).await?;
            futures_util::pin_mut!(events);
            while let Some(event) = events.try_next().await? {
                match self.take(event)? {
                    Some(newer) => version = newer,
                    None => return Ok(()),
                }
            }
        }
    }

    /// Takes an event; the version to go on from, or none if all is to be listed again.
    fn take(&self, event: WatchEvent<Object>) -> kube::Result<Option<String>> {
        let newer = |object: &Object| object.metadata.resource_version.clone().unwrap_or_default();
        match event {
            WatchEvent::Added(object) | WatchEvent::Modified(object) => {
                write(&self.pods).put(pod(&object));
                Ok(Some(newer(&object)))
            }
            WatchEvent::Deleted(object) => {
                let Pod { namespace, name, .. } = pod(&object);
                write(&self.pods).remove(&(namespace, name));
                Ok(Some(newer(&object)))
            }
            WatchEvent::Bookmark(bookmark) => Ok(Some(bookmark.metadata.resource_version)),
            // The version is too old.
            WatchEvent::Error(status) if status.code == 410 => Ok(None),
            WatchEvent::Error(status) => Err(kube::Error::Api(status)),
        }
    }
}

impl Pods for KnownPods {
    fn are_listed(&self) -> bool {
        self.listed.load(Ordering::Acquire)
    }

    fn named(&self, namespace: &str, name: &str) -> Option<Pod> {
        read(&self.pods).all.get(&(namespace.to_owned(), name.to_owned())).cloned()
    }

    fn any(&self, node: &str, namespace: &str, account: &str, is: &dyn Fn(&Pod) -> bool) -> bool {
        let state = read(&self.pods);
        let pods = state.by_node.get(node).into_iter().flatten();
        pods.filter_map(|key| state.all.get(key))
            .filter(|pod| pod.namespace == namespace && pod.service_account == account)
            .any(is)
    }
}

fn pod(object: &Object) -> Pod {
    let spec = object.spec.as_ref();
    let phase = object.status.as_ref().and_then(|status| status.phase.as_deref());
    // The timestamp is when its grace ends.
    let grace = object.metadata.deletion_grace_period_seconds.unwrap_or_default();
    let ends = object.metadata.deletion_timestamp.as_ref().map(|time| time.0);
    Pod {
        namespace: object.metadata.namespace.clone().unwrap_or_default(),
        name: object.metadata.name.clone().unwrap_or_default(),
        uid: object.metadata.uid.clone().unwrap_or_default(),
        service_account: spec
            .and_then(|spec| spec.service_account_name.clone())
            .filter(|account| !account.is_empty())
            .unwrap_or_else(|| "default".to_owned()),
        node: spec.and_then(|spec| spec.node_name.clone()).unwrap_or_default(),
        host_network: spec.and_then(|spec| spec.host_network).unwrap_or_default(),
        phase: match phase {
            None | Some("Pending") => Phase::Pending,
            Some("Running") => Phase::Running,
            Some(_) => Phase::Other,
        },
        deleted: ends.and_then(|end| end.checked_sub(SignedDuration::from_secs(grace)).ok()),
    }
}
