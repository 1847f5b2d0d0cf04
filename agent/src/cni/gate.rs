//! The agent's side of the CNI plugin: it answers once the live tables judge the pod, and not
//! before, or says why they do not.

use std::{io, sync::Arc, time::Duration};

use agent_abi::{Flow, Reason};
use agent_model::snapshot::{Enrolment, PodId, PodPlan};
use agent_pods::sandboxes::{Sandbox, Sandboxes};
use axum::{Json, Router, extract::State, http::StatusCode, routing::post};
use tokio::{
    net::UnixListener,
    time::{Instant, timeout_at},
};

use super::talk::{Alive, Goodbye, Question, Standing};
use crate::{admin::Answers as _, observe::status, report::Report};

#[cfg(test)]
mod tests;

/// What the gate asks and whom it tells.
#[derive(Clone, Debug)]
pub(crate) struct Gate {
    /// What is in force.
    pub(crate) report: Arc<Report>,
    /// Where pods are.
    pub(crate) sandboxes: Arc<Sandboxes>,
}

type Refusal = (StatusCode, String);

/// Answers until the future is dropped.
pub(crate) async fn serve(listener: UnixListener, gate: Gate) -> io::Result<()> {
    let routes = Router::new()
        .route("/add", post(add))
        .route("/check", post(check))
        .route("/del", post(del))
        .route("/gc", post(gc))
        .with_state(gate);
    axum::serve(listener, routes).await
}

async fn add(
    State(gate): State<Gate>,
    Json(question): Json<Question>,
) -> Result<Json<Standing>, Refusal> {
    let deadline = Instant::now() + Duration::from_millis(question.patience_ms);
    let standing = gate.admit(question.sandbox, deadline).await?;
    Ok(Json(standing))
}

async fn check(
    State(gate): State<Gate>,
    Json(question): Json<Question>,
) -> Result<Json<Standing>, Refusal> {
    let sandbox = question.sandbox;
    let known = gate.sandboxes.of(&pod_of(&sandbox), &sandbox.uid);
    let is_it = known.is_some_and(|known| known.identity == sandbox.identity);
    match gate.stand(&sandbox) {
        Stand::Judged if is_it => Ok(Json(Standing::Judged)),
        Stand::Judged => Err(refusal("another namespace is judged as this pod's")),
        Stand::Outside(why) => Ok(Json(Standing::Outside { why })),
        Stand::NotYet(why) => Err(refusal(why)),
    }
}

async fn del(State(gate): State<Gate>, Json(goodbye): Json<Goodbye>) -> Result<Json<()>, Refusal> {
    gate.sandboxes.forget(&goodbye.id).map_err(unwritten)?;
    Ok(Json(()))
}

async fn gc(State(gate): State<Gate>, Json(alive): Json<Alive>) -> Result<Json<()>, Refusal> {
    gate.sandboxes.keep(&alive.ids).map_err(unwritten)?;
    Ok(Json(()))
}

const STARTING: &str = "the agent has just started and does not know the pods of its node yet";

fn refusal(why: impl Into<String>) -> Refusal {
    (StatusCode::SERVICE_UNAVAILABLE, why.into())
}

#[expect(clippy::needless_pass_by_value, reason = "map_err hands the error over")]
fn unwritten(error: io::Error) -> Refusal {
    refusal(format!("the agent cannot write its run directory: {error}"))
}

fn pod_of(sandbox: &Sandbox) -> PodId {
    PodId { namespace: sandbox.namespace.clone(), name: sandbox.name.clone() }
}

/// How a pod stands to what is in force.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Stand {
    Judged,
    Outside(String),
    NotYet(String),
}

impl Gate {
    /// Waits until the pod is judged or known to be let be.
    async fn admit(&self, sandbox: Sandbox, deadline: Instant) -> Result<Standing, Refusal> {
        let mut publications = self.sandboxes.publications();
        let mut told = None;
        loop {
            publications.borrow_and_update();
            if let Stand::Outside(why) = plan_of(&self.report, &sandbox) {
                return Ok(Standing::Outside { why });
            }
            // Said only of a pod that is to be judged: what is let be needs no memory.
            let wanted = match told {
                Some(wanted) => Some(wanted),
                None if plan_of(&self.report, &sandbox) == Stand::Judged => {
                    Some(self.sandboxes.put(sandbox.clone()).map_err(unwritten)?)
                }
                None => None,
            };
            told = wanted;
            let taken_in = wanted.is_some_and(|wanted| *publications.borrow() >= wanted);
            let stand = self.stand(&sandbox);
            if taken_in && stand == Stand::Judged {
                tracing::info!(
                    pod = %pod_of(&sandbox), sandbox = sandbox.id, "pod is judged before it starts"
                );
                return Ok(Standing::Judged);
            }
            if timeout_at(deadline, publications.changed()).await.is_err() {
                let why = match stand {
                    Stand::NotYet(why) => why,
                    _ => "its generation is not in force yet".to_owned(),
                };
                return Err(refusal(format!(
                    "Pod {} cannot be judged yet: {why}",
                    pod_of(&sandbox)
                )));
            }
        }
    }

    /// How a pod stands now, by the live tables.
    fn stand(&self, sandbox: &Sandbox) -> Stand {
        match plan_of(&self.report, sandbox) {
            Stand::Judged => {}
            other => return other,
        }
        let Some(pod) = self.report.pod(&pod_of(sandbox)) else {
            return Stand::NotYet(STARTING.into());
        };
        let known = |netns| {
            let flow = Flow { netns, ..Flow::default() };
            let reason = self.report.judge(&flow).reason;
            !matches!(reason, Reason::UnknownAllowed | Reason::UnknownHeld | Reason::NotEnrolled)
        };
        standing_of(&pod, known)
    }
}

/// Whether the newest snapshot wants this very pod to be judged.
fn plan_of(report: &Report, sandbox: &Sandbox) -> Stand {
    let Some(snapshot) = report.snapshot() else { return Stand::NotYet(STARTING.into()) };
    planned(snapshot.pods.get(&pod_of(sandbox)), &sandbox.uid)
}

fn planned(plan: Option<&PodPlan>, uid: &str) -> Stand {
    let Some(plan) = plan else {
        return Stand::NotYet("the agent has not heard of it (yet)".into());
    };
    if !uid.is_empty() && !plan.uid.is_empty() && plan.uid != uid {
        return Stand::NotYet("the agent knows an older pod of this name".into());
    }
    match &plan.enrolment {
        Enrolment::Enrolled(_) => Stand::Judged,
        Enrolment::NotEnrolled(why) => Stand::Outside(why.clone()),
        Enrolment::Pending(why) => Stand::NotYet(why.clone()),
    }
}

/// A pod that is to be judged is when every layer is there and the live tables know its namespace.
fn standing_of(pod: &status::Pod, known: impl Fn(u64) -> bool) -> Stand {
    match (&pod.enrolment, pod.netns) {
        (status::Enrolment::Failing { why } | status::Enrolment::Pending { why }, _) => {
            Stand::NotYet(why.clone())
        }
        (status::Enrolment::NotEnrolled { why } | status::Enrolment::Unenrollable { why }, _) => {
            Stand::Outside(why.clone())
        }
        (status::Enrolment::Enrolled, Some(netns)) if known(netns) => Stand::Judged,
        (status::Enrolment::Enrolled, _) => {
            Stand::NotYet("its generation is not in force yet".into())
        }
    }
}
