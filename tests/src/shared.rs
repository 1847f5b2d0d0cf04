//! One API server for all cases of a suite that run on either source, lent to one case at a time.
//!
//! A server takes seconds to start and a case one to run. It stands in a world of its own; a case
//! reaches it by a gate on its own node, and finds it empty.

use std::{
    fs,
    path::PathBuf,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
};

use anyhow::{Context as _, Result};

use crate::{
    agent::Agent,
    control_plane::{ACCOUNT, ControlPlane},
    gate::Gate,
    kubernetes::{is_left_out, tree},
    manifest::{Mirror, NAMESPACE},
    raw,
    world::{Wiring, World},
};

/// Where an agent's configuration is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// Files.
    Directory,
    /// Objects of an API server.
    Server,
}

impl Source {
    /// Whether cases with it were left out on purpose.
    pub fn is_left_out(self) -> bool {
        self == Self::Server && is_left_out()
    }

    /// An agent whose configuration is there.
    pub fn agent(self, world: &World) -> Result<Agent> {
        let mut agent = Agent::new(world)?;
        if self == Self::Server {
            let server = Loan::take(world)?;
            agent.follow_mirror(server.account.clone(), Box::new(server));
        }
        Ok(agent)
    }
}

/// Where its gate stands on a case's node.
const GATE: u16 = 6_444;
/// What a case may leave behind.
const KINDS: &str = "pods,services,endpoints,endpointslices,serviceentries.networking.istio.io,\
                     sidecars.networking.istio.io";

static SERVER: Mutex<Option<Server>> = Mutex::new(None);
static IS_LENT: Mutex<bool> = Mutex::new(false);
static FREE: Condvar = Condvar::new();

#[derive(Debug)]
struct Server {
    plane: ControlPlane,
    world: World,
    account: PathBuf,
}

/// The server, for one case. Dropped, it is the next one's.
#[derive(Debug)]
pub struct Loan {
    account: PathBuf,
    _gate: Gate,
    _turn: Turn,
}

#[derive(Debug)]
struct Turn;

impl Turn {
    fn wait() -> Self {
        let lent = lock(&IS_LENT);
        let lent = FREE.wait_while(lent, |lent| *lent);
        *lent.unwrap_or_else(PoisonError::into_inner) = true;
        Self
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        *lock(&IS_LENT) = false;
        FREE.notify_one();
    }
}

impl Loan {
    /// Waits for its turn; starts the server where there is none.
    pub fn take(world: &World) -> Result<Self> {
        let turn = Turn::wait();
        with(|server| {
            server.empty()?;
            let upstream = (server.plane.netns(&server.world), server.plane.address());
            let gate = Gate::start((&[world.node()], GATE), upstream, false)?;
            Ok(Self { account: server.account.clone(), _gate: gate, _turn: turn })
        })
    }
}

impl Mirror for Loan {
    /// `kubectl apply`, server-side; a status is taken only once its pod is there.
    fn apply(&self, manifests: &str, status: Option<(&str, &str)>) -> Result<()> {
        with(|server| {
            server.plane.apply(&server.world, manifests)?;
            let Some((pod, status)) = status else { return Ok(()) };
            let patch = ["patch", "pod", pod, "-n", NAMESPACE, "--subresource=status"];
            let patch = [&patch[..], &["--type=merge", "-p", status]].concat();
            server.plane.kubectl(&server.world, &patch, "").map(drop)
        })
    }

    /// `kubectl delete`.
    fn delete(&self, manifests: &str) -> Result<()> {
        with(|server| {
            let delete = ["delete", "--wait=false", "-f", "-"];
            server.plane.kubectl(&server.world, &delete, manifests).map(drop)
        })
    }
}

impl Server {
    fn start() -> Result<Self> {
        let world = World::new(Wiring::Routed)?;
        let plane = ControlPlane::start(&world)?;
        let deploy = tree().join("deploy");
        let definitions = deploy.join("crds").display().to_string();
        plane.kubectl(&world, &["create", "-f", &definitions], "")?;
        let wait = ["wait", "--for=condition=Established", "--timeout=60s", "crd", "--all"];
        plane.kubectl(&world, &wait, "")?;
        for file in ["namespace.yaml", "rbac.yaml"] {
            plane.apply(&world, &fs::read_to_string(deploy.join("base").join(file))?)?;
        }
        for name in ["istio-system", NAMESPACE] {
            plane.kubectl(&world, &["create", "namespace", name], "")?;
        }
        let account = plane.account_by(&world, ACCOUNT, &format!("https://127.0.0.1:{GATE}"))?;
        Ok(Self { plane, world, account })
    }

    fn empty(&self) -> Result<()> {
        let delete = ["delete", KINDS, "--all", "-n", NAMESPACE, "--grace-period=0", "--force"];
        self.plane.kubectl(&self.world, &delete, "").map(drop)
    }
}

/// Does something with the server.
fn with<T>(work: impl FnOnce(&Server) -> Result<T>) -> Result<T> {
    let mut server = lock(&SERVER);
    if server.is_none() {
        raw::at_exit(end)?;
        *server = Some(Server::start()?);
    }
    work(server.as_ref().context("no server")?)
}

extern "C" fn end() {
    drop(lock(&SERVER).take());
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
