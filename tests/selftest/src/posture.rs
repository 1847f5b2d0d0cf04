//! What a policy makes of every way out: set up for an agent, and held against what came of it.

use std::{
    fmt, thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};

use crate::{
    agent::Agent,
    errand::Outcome,
    ground::{Ground, PORT, Row},
    manifest::{Config, Mode, Port, listed},
    way::{Family, Layer, Needs, Refusal, Way},
};

/// How a pod stands to the rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Posture {
    /// Its namespace is not in the mesh.
    Unenrolled,
    /// It is, and anything is let out.
    AllowAny,
    /// Only what a rule names is let out, and a rule names every destination.
    Ruled,
    /// Only what a rule names is let out, and none names any destination but the honest ones.
    Closed,
    /// No manifest names it, and the agent holds what it does not know. Only the hooks of sockets
    /// see such a pod: which link is its own is not known yet.
    Unknown,
}

/// Every way's own destination, as a rule names them.
const PREFIXES: [&str; 2] = ["203.0.113.64/26", "2001:db8::40/122"];
const PORTS: [Port<'static>; 2] = [(PORT, "TCP"), (PORT, "UDP")];
/// A refusal that takes longer is not "at once".
const AT_ONCE_MS: u64 = 1_000;
/// Reports follow their verdicts through a ring and a task of the agent's.
const REPORTED: Duration = Duration::from_millis(800);

impl Posture {
    /// Writes the manifests of a world that stands so.
    pub fn write(self, config: &Config, ground: &Ground) -> Result<()> {
        config.namespace(self != Self::Unenrolled)?;
        if self == Self::Unknown {
            return config.mesh(Mode::RegistryOnly);
        }
        config.pod(ground.pod())?;
        config.mesh(if self == Self::AllowAny { Mode::AllowAny } else { Mode::RegistryOnly })?;
        config.service_entry("honest", &listed(&ground.honest_addresses()), &PORTS)?;
        if self == Self::Ruled {
            config.service_entry("ways", &PREFIXES.map(String::from), &PORTS)?;
        } else if config.path("ways").exists() {
            config.remove("ways")?;
        }
        Ok(())
    }

    /// Changes what differs from the posture before, which is one file, and waits until a
    /// generation with the change is in force.
    pub fn impose(self, agent: &mut Agent, ground: &Ground) -> Result<()> {
        let before = agent.generation()?;
        self.write(agent.config(), ground)?;
        agent.wait_until(&format!("{self:?} is enforced"), |agent| {
            let enrolment = agent.enrolment(ground.pod().name())?;
            Ok(agent.generation()? > before && enrolment == self.enrolment())
        })
    }

    /// What the status is to say of the pod.
    fn enrolment(self) -> &'static str {
        if self == Self::Unenrolled { "not-enrolled" } else { "enrolled" }
    }

    /// Whether a way out is open.
    pub fn opens(self, way: Way) -> bool {
        match self {
            Self::Unenrolled | Self::AllowAny => true,
            Self::Ruled => way.profile().needs == Needs::Rule,
            Self::Closed | Self::Unknown => false,
        }
    }

    /// The ways that are tried: no hook is on the link of an unknown pod.
    pub fn ways(self) -> Vec<Way> {
        let is_seen = |way: &Way| self != Self::Unknown || way.profile().layer != Layer::Link;
        Way::ALL.iter().copied().filter(is_seen).collect()
    }

    /// What is wrong about a round of tries under this posture.
    pub fn violations(self, rows: &[Row], family: Family) -> Vec<Violation> {
        rows.iter()
            .flat_map(|row| {
                let complaints = match self {
                    _ if self.opens(row.way) => open(row),
                    Self::Unknown => held(row, family),
                    _ => closed(row, family),
                };
                complaints.into_iter().map(|what| Violation { way: row.way, what })
            })
            .collect()
    }

    /// What is wrong about the flows that an agent reports of ways that are closed: each refusal
    /// is to come from the layer that is nearest to the call.
    pub fn misreported(
        self,
        agent: &Agent,
        rows: &[Row],
        family: Family,
    ) -> Result<Vec<Violation>> {
        let deadline = Instant::now() + REPORTED;
        loop {
            let found = self.misreported_now(agent, rows, family)?;
            if found.is_empty() || Instant::now() > deadline {
                return Ok(found);
            }
            thread::sleep(REPORTED / 20);
        }
    }

    fn misreported_now(
        self,
        agent: &Agent,
        rows: &[Row],
        family: Family,
    ) -> Result<Vec<Violation>> {
        let flows = agent.flows()?;
        let mut found = Vec::new();
        for way in rows.iter().map(|row| row.way) {
            if self.opens(way) || !way.is_named() {
                continue;
            }
            let destination = way.destination(family).to_string();
            let layers: Vec<&str> = flows
                .iter()
                .filter(|flow| flow["dst"] == *destination && flow["verdict"] == "deny")
                .filter_map(|flow| flow["layer"].as_str())
                .collect();
            let wanted = layer_name(way.profile().layer);
            if !layers.contains(&wanted) {
                let what = format!("refused by {layers:?} and not by {wanted:?}");
                found.push(Violation { way, what });
            }
        }
        Ok(found)
    }
}

/// Something that must not be.
#[derive(Clone, Debug)]
pub struct Violation {
    /// The way out.
    pub way: Way,
    /// What came of it.
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.way, self.what)
    }
}

/// One a line.
pub fn lines(violations: &[Violation]) -> String {
    violations.iter().fold(String::new(), |text, violation| format!("{text}\n  {violation}"))
}

fn open(row: &Row) -> Vec<String> {
    let mut found = Vec::new();
    if row.frames.is_empty() {
        found.push("no frame arrived".into());
    }
    if !row.report.fresh.answered {
        found.push(format!("a fresh try: {}", row.report.fresh));
    }
    if let Some(held) = row.report.held.filter(|held| !held.answered) {
        found.push(format!("what was open: {held}"));
    }
    found
}

fn closed(row: &Row, family: Family) -> Vec<String> {
    let mut found = Vec::new();
    if !row.frames.is_empty() {
        let first = &row.frames[0];
        found.push(format!("{} frames leaked, the first: {first:?}", row.frames.len()));
    }
    if row.way.refusal(family) == Refusal::Errno && !is_eperm(&row.report.fresh) {
        found.push(format!("a fresh try is to fail with EPERM: {}", row.report.fresh));
    }
    if row.way.refusal_of_held(family) == Refusal::Errno
        && let Some(held) = row.report.held
        && (held.errno.is_none() || held.took_ms >= AT_ONCE_MS)
    {
        found.push(format!("what was open is to fail: {held}"));
    }
    found
}

fn held(row: &Row, family: Family) -> Vec<String> {
    let mut found = Vec::new();
    if let [first, ..] = &row.frames[..] {
        found.push(format!("{} frames leaked, the first: {first:?}", row.frames.len()));
    }
    // A call that the hooks of sockets answer may be tried again; what is dropped later cannot say so.
    let fresh = &row.report.fresh;
    let again = row.way.profile().layer != Layer::Connect || fresh.errno == Some(libc::EAGAIN);
    let is_told = fresh.errno.is_some() && again && fresh.took_ms < AT_ONCE_MS;
    if row.way.refusal(family) == Refusal::Errno && !is_told {
        found.push(format!("a fresh try is to fail with EAGAIN: {fresh}"));
    }
    found
}

fn is_eperm(outcome: &Outcome) -> bool {
    outcome.errno == Some(libc::EPERM) && outcome.took_ms < AT_ONCE_MS
}

const fn layer_name(layer: Layer) -> &'static str {
    match layer {
        Layer::Connect => "connect",
        Layer::Packet => "packet",
        Layer::Link => "link",
    }
}

/// An agent that judges the pod of a ground from the start.
pub fn judged(ground: &Ground, posture: Posture) -> Result<Agent> {
    judged_by(Agent::new(ground.world())?, ground, posture)
}

/// The same, with an agent of the test's choice.
pub fn judged_by(mut agent: Agent, ground: &Ground, posture: Posture) -> Result<Agent> {
    posture.write(agent.config(), ground)?;
    agent.start(ground.world()).context("starting the agent")?;
    if posture == Posture::Unknown {
        return Ok(agent);
    }
    agent.wait_until(&format!("the pod is {}", posture.enrolment()), |agent| {
        Ok(agent.enrolment(ground.pod().name())? == posture.enrolment())
    })?;
    Ok(agent)
}
