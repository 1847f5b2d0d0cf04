//! What the model says of a request, and what is done then.

use agent_model::{
    egress::{DefaultAction, ProxyDuty},
    requests::{
        Decided, Sent, Verdict,
        outbound::Outbound,
        route::{Abort, AbortStatus, Action, Route},
    },
};

use super::{
    Exchange,
    asked::AskedFor,
    attempt::{Done, Upload},
    cors::{Across, across},
    failed::{Failed, Local},
    flags::Flag,
    forward::Onward,
    story::Story,
};
use crate::http1::{body::Framing, edit::Edits};

/// A chance that is certain.
const CERTAIN: u32 = 1_000_000;

const BLOCKED: &str = "nothing that this workload may reach has this host";

/// What becomes of a request.
enum Way<'o> {
    Route(&'o Route),
    NoRoute,
    /// Nothing routes it, and its policy lets it go where it was dialled.
    Pass,
    /// Nothing routes it, and its policy lets nothing else out.
    Blocked,
}

/// What came of a request.
pub(super) enum Outcome {
    Done(Done),
    /// An answer that is made here, and what its route adds.
    Here(Local, Vec<(String, String)>),
    Failed(Failed),
}

impl Outcome {
    const fn here(local: Local) -> Self {
        Self::Here(local, Vec::new())
    }
}

impl From<Failed> for Outcome {
    fn from(failed: Failed) -> Self {
        Self::Failed(failed)
    }
}

impl From<Result<Done, Failed>> for Outcome {
    fn from(result: Result<Done, Failed>) -> Self {
        match result {
            Ok(done) => Self::Done(done),
            Err(failed) => Self::Failed(failed),
        }
    }
}

impl Exchange<'_> {
    /// Serves a request.
    pub(super) async fn serve_one(
        &self,
        asked: &AskedFor<'_>,
        upload: Upload<'_>,
        story: &mut Story,
    ) -> Outcome {
        let outbound = self.on.outbound();
        // A pod that is in no mesh any more has nothing routed, and nothing allowed by a name.
        let way =
            outbound.as_deref().map_or_else(|| self.by_policy(), |all| self.decide(asked, all));
        match way {
            Way::Route(route) => self.follow(asked, route, upload, story).await,
            Way::NoRoute => {
                story.flags.add(Flag::NoRoute);
                Outcome::here(Local::text(404, "no route matches the request"))
            }
            Way::Pass => {
                story.would_deny = self.on.policy.default_action == DefaultAction::Audit
                    && self.on.policy.duty == ProxyDuty::NameRequired;
                self.pass(asked, upload, story).await.into()
            }
            Way::Blocked => {
                story.is_denied = true;
                Outcome::here(Local::text(502, BLOCKED))
            }
        }
    }

    fn decide<'o>(&self, asked: &AskedFor<'_>, outbound: &'o Outbound) -> Way<'o> {
        let dialled = self.on.policy.origin.dst.0;
        let decided = asked.shown(|request| {
            match outbound.decide(Some(dialled.ip()), dialled.port(), Sent::Request(request)) {
                Decided::Requests(verdict) => Some(verdict),
                // A stream's port takes any bytes, and an address alone opened it.
                Decided::NotServed | Decided::Stream(_) => None,
            }
        });
        match decided {
            Some(Verdict::Route(route)) => Way::Route(route),
            Some(Verdict::NoRoute) => Way::NoRoute,
            Some(Verdict::UnknownHost) | None => self.by_policy(),
        }
    }

    /// A host that nothing declares. On a port for HTTP the address alone opens nothing.
    fn by_policy<'o>(&self) -> Way<'o> {
        match self.on.policy.default_action {
            DefaultAction::AllowAny | DefaultAction::Audit => Way::Pass,
            DefaultAction::RegistryOnly => Way::Blocked,
        }
    }

    /// Does what a route says.
    async fn follow(
        &self,
        asked: &AskedFor<'_>,
        route: &Route,
        upload: Upload<'_>,
        story: &mut Story,
    ) -> Outcome {
        story.route.clone_from(&route.name);
        let across = route.cors.as_ref().map(|cors| across(cors, asked));
        let lines = match across {
            Some(Across::Answer(local)) => return Outcome::Here(local, changed(route, &[])),
            Some(Across::On(lines)) => lines,
            None => Vec::new(),
        };
        match self.fault(route, story).await {
            Ok(Some(abort)) => return Outcome::Here(fault(abort), changed(route, &lines)),
            Ok(None) => {}
            Err(failed) => return failed.into(),
        }
        match &route.then {
            Action::Forward(forward) => {
                let onward = Onward { route, forward, lines: &lines };
                self.mirrored(asked, &onward, upload, story).await.into()
            }
            Action::Redirect(redirect) => {
                let location = asked.shown(|request| redirect.location(request));
                let headers = vec![("Location", location)];
                let local = Local { status: redirect.status, headers, body: Vec::new() };
                Outcome::Here(local, changed(route, &lines))
            }
            Action::Answer(answer) => {
                let mut local = Local::text(answer.status, "");
                local.body.clone_from(&answer.body);
                Outcome::Here(local, changed(route, &lines))
            }
            // Only gateways' routes go on to others.
            Action::Continue { .. } => Failed::NoCluster.into(),
        }
    }

    /// What goes wrong on purpose: the delay is waited for here.
    async fn fault(&self, route: &Route, story: &mut Story) -> Result<Option<Abort>, Failed> {
        if let Some(delay) = route.fault.delay.filter(|delay| happens(delay.chance)) {
            story.flags.add(Flag::DelayInjected);
            tokio::select! {
                () = tokio::time::sleep(delay.time) => {}
                error = self.client.broken() => return Err(Failed::Client(error)),
            }
        }
        let abort = route.fault.abort.filter(|abort| happens(abort.chance));
        if abort.is_some() {
            story.flags.add(Flag::FaultInjected);
        }
        Ok(abort)
    }

    /// Sends a request on, and copies of it. A copy of a request with a body is sent once the body is
    /// known, if it is not too long to be kept.
    async fn mirrored(
        &self,
        asked: &AskedFor<'_>,
        onward: &Onward<'_>,
        mut upload: Upload<'_>,
        story: &mut Story,
    ) -> Result<Done, Failed> {
        let mut copies = self.copies(asked, onward.route);
        let framing = upload.framing;
        if framing == Framing::Empty {
            copies.drain(..).for_each(|copy| self.on.clusters.copy(copy.send()));
        }
        let result = self.forward(asked, onward, &mut upload, story).await;
        if let (true, Some(body)) = (upload.end.is_some(), &upload.kept) {
            let copies = copies.drain(..).map(|copy| copy.with_body(body, framing));
            copies.for_each(|copy| self.on.clusters.copy(copy.send()));
        }
        result
    }
}

/// The fields that a route adds to an answer that is made here.
fn changed(route: &Route, lines: &[(String, String)]) -> Vec<(String, String)> {
    let mut edits = Edits::new([&route.headers.response]);
    edits.append(lines);
    let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    edits.lines().iter().map(owned).collect()
}

pub(super) fn happens(chance: u32) -> bool {
    fastrand::u32(..CERTAIN) < chance
}

fn fault(abort: Abort) -> Local {
    match abort.status {
        AbortStatus::Http(status) => Local::text(status, "fault filter abort"),
        AbortStatus::Grpc(status) => {
            let mut local = Local::text(200, "");
            local.headers = vec![
                ("Content-Type", "application/grpc".to_owned()),
                ("Grpc-Status", status.to_string()),
            ];
            local
        }
    }
}
