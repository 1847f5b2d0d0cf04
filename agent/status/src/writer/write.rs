//! The writes themselves.

use std::time::Duration;

use agent_model::resource::{Kind, ObjectKey};
use agent_source::inventory::{Conditions, resource};
use jiff::Timestamp;
use k8s_openapi::{
    api::{core::v1::ObjectReference, events::v1::Event},
    apimachinery::pkg::apis::meta::v1::MicroTime,
};
use kube::{
    Api,
    api::{DynamicObject, Patch, PatchParams, PostParams},
    core::ApiResource,
};
use serde_json::json;
use tokio::time::Instant;

use super::{Echo, Write, Writer};
use crate::{
    answer::{Failure, MANAGER},
    events::{self, AGAIN, Due},
    state::Attempt,
};

/// Where Events are.
const EVENTS: &str = "events.events.k8s.io";
/// How long something that was refused is left alone.
const REFUSED: Duration = Duration::from_mins(1);
/// And something that is not there.
const ABSENT: Duration = Duration::from_mins(10);
/// And a server that does not answer.
const AWAY: Duration = Duration::from_secs(5);
/// An Event that is this young is not said once more.
const YOUNG: Duration = Duration::from_mins(1);

impl Writer<'_> {
    /// Writes as much as the rate allows: Events at most half of it while conditions wait.
    pub(super) async fn carry_out(&mut self, writes: Vec<Write>, due: Vec<Due>) {
        self.requests.refill(Instant::now().into_std());
        let kept = if writes.is_empty() { 0 } else { self.requests.left().div_ceil(2) };
        for due in due {
            if self.requests.left() < 1 + kept || self.paused.contains_key(EVENTS) {
                break;
            }
            self.tell(&due).await;
        }
        for write in writes {
            if self.requests.left() == 0 {
                break;
            }
            if !self.paused.contains_key(&resource(write.key.kind)) {
                self.write(write).await;
            }
        }
        if self.analyst.since.is_some() && !self.paused.contains_key(EVENTS) {
            self.ledger.settle();
        }
    }

    /// Writes the conditions of one object.
    async fn write(&mut self, write: Write) {
        let Write { key, known, conditions, said, is_interim: _ } = write;
        let identity = &known.identity;
        let list = identity.conditions.with(&conditions, Timestamp::now());
        let patch = Patch::Merge(json!({
            "metadata": {"uid": identity.uid, "resourceVersion": identity.version},
            "status": {"conditions": list},
        }));
        self.requests.spend();
        let api = self.objects(&key, identity.api);
        let written =
            self.tools.state.answer(api.patch_status(&key.name, &parameters(), &patch)).await;
        let name = format!("{}/status", resource(key.kind));
        let attempt = Attempt { verb: "patch", resource: &name, namespace: None };
        let state = &self.tools.state;
        match written {
            Ok(object) => {
                state.worked(attempt);
                state.wrote(|view| &mut view.conditions);
                let got = Conditions::read(object.data.get("status")).said;
                let after = identity.version.clone();
                self.echoes.insert(key, Echo { wanted: said, got, after });
            }
            // Another client wrote, and the watch will say what; or it is gone.
            Err(failure) if failure.is_conflict() || failure.is_missing_object() => {}
            Err(failure) if failure.is_missing_path() => {
                tracing::info!(target: "config", resource = name, "has no status to write");
                self.pause(resource(key.kind), ABSENT);
            }
            Err(failure) => {
                state.failed(attempt, &failure);
                self.pause(resource(key.kind), patience(&failure));
            }
        }
    }

    /// Says one Event.
    async fn tell(&mut self, due: &Due) {
        let Some(regarding) = self.regarding(due) else { return };
        match self.say(due, regarding).await {
            Ok((count, ago)) => self.ledger.said(due, count, ago),
            // It would not be read.
            Err((_, failure)) if failure.is_about_the_end() || failure.is_missing_object() => {
                self.ledger.said(due, 1, Duration::ZERO);
            }
            Err((verb, failure)) => {
                self.tools.state.failed(events(verb), &failure);
                self.pause(EVENTS.to_owned(), patience(&failure));
            }
        }
    }

    /// Makes the Event, or says it once more; how often it has been said, and how long ago.
    async fn say(
        &mut self,
        due: &Due,
        regarding: ObjectReference,
    ) -> Result<(i32, Duration), (&'static str, Failure)> {
        let (name, namespace) = events::place(due);
        let api: Api<Event> = Api::namespaced(self.tools.client.clone(), &namespace);
        if due.said > 0 {
            match self.again(&api, &name, due.said + 1).await {
                Err(failure) if failure.is_missing_object() => {}
                other => return other.map_err(|failure| ("patch", failure)),
            }
        }
        let event = events::event(due, regarding, &self.tools.node);
        let by = PostParams { field_manager: Some(MANAGER.to_owned()), ..PostParams::default() };
        self.requests.spend();
        match self.tools.state.answer(api.create(&by, &event)).await {
            Ok(_) => {
                self.tools.state.worked(events("create"));
                self.tools.state.wrote(|view| &mut view.events);
                Ok((1, Duration::ZERO))
            }
            Err(failure) if failure.is_conflict() => {
                self.join(&api, &name, due).await.map_err(|failure| ("patch", failure))
            }
            Err(failure) => Err(("create", failure)),
        }
    }

    /// The Event is there, from before this agent was elected or from an earlier time.
    async fn join(
        &mut self,
        api: &Api<Event>,
        name: &str,
        due: &Due,
    ) -> Result<(i32, Duration), Failure> {
        // A patch that changes nothing is the way to read with the right to patch.
        self.requests.spend();
        let nothing = Patch::Merge(json!({}));
        let there = self.tools.state.answer(api.patch(name, &parameters(), &nothing)).await?;
        let (count, last) = match &there.series {
            Some(series) => (series.count, Some(series.last_observed_time.0)),
            None => (1, there.event_time.as_ref().map(|time| time.0)),
        };
        let ago = last.map(|last| Timestamp::now().duration_since(last).unsigned_abs());
        let ago = ago.unwrap_or(AGAIN);
        let limit = if due.inherited { AGAIN } else { YOUNG };
        if due.told.is_none() || ago < limit {
            return Ok((count, ago));
        }
        self.again(api, name, count + 1).await
    }

    async fn again(
        &mut self,
        api: &Api<Event>,
        name: &str,
        count: i32,
    ) -> Result<(i32, Duration), Failure> {
        let now = MicroTime(Timestamp::now());
        let series = json!({"series": {"count": count, "lastObservedTime": now}});
        self.requests.spend();
        self.tools.state.answer(api.patch(name, &parameters(), &Patch::Merge(series))).await?;
        self.tools.state.worked(events("patch"));
        self.tools.state.wrote(|view| &mut view.events);
        Ok((count, Duration::ZERO))
    }

    /// The object, as an Event names it.
    fn regarding(&self, due: &Due) -> Option<ObjectReference> {
        let ObjectKey { kind, namespace, name } = &due.key;
        let known = self.tools.inventory.get(&due.key);
        let observed = self.seen.as_ref().and_then(|(observed, _)| observed.objects.get(&due.key));
        let (api, uid, version) = match known {
            Some(known) => {
                let version = Some(known.identity.version.to_string());
                (known.identity.api, known.identity.uid.to_string(), version)
            }
            None => (*kind.versions().first()?, observed?.metadata().uid()?.to_owned(), None),
        };
        let field = due.told.as_ref().map(|told| told.note.finding.field.to_string());
        Some(ObjectReference {
            api_version: Some(api_version(*kind, api)),
            kind: Some(kind.name().to_owned()),
            namespace: Some(namespace.to_string()).filter(|namespace| !namespace.is_empty()),
            name: Some(name.to_string()),
            uid: Some(uid),
            resource_version: version,
            field_path: field.filter(|field| !field.is_empty()),
        })
    }

    fn objects(&self, key: &ObjectKey, version: &str) -> Api<DynamicObject> {
        let kind = key.kind;
        let resource = ApiResource {
            group: kind.group().to_owned(),
            version: version.to_owned(),
            api_version: api_version(kind, version),
            kind: kind.name().to_owned(),
            plural: kind.plural().to_owned(),
        };
        let client = self.tools.client.clone();
        match key.namespace.as_str() {
            "" => Api::all_with(client, &resource),
            namespace => Api::namespaced_with(client, namespace, &resource),
        }
    }

    fn pause(&mut self, what: String, time: Duration) {
        self.paused.insert(what, Instant::now() + time);
    }
}

fn api_version(kind: Kind, version: &str) -> String {
    match kind.group() {
        "" => version.to_owned(),
        group => format!("{group}/{version}"),
    }
}

fn parameters() -> PatchParams {
    PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() }
}

fn events(verb: &'static str) -> Attempt<'static> {
    Attempt { verb, resource: EVENTS, namespace: None }
}

fn patience(failure: &Failure) -> Duration {
    if failure.code().is_some_and(|code| code < 429) { REFUSED } else { AWAY }
}
