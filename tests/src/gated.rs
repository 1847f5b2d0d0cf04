//! A scene whose agent reaches its server by a gate.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};

use crate::{
    control_plane::{ACCOUNT, ControlPlane},
    gate::{Gate, Mode},
    process::Process,
    scene::Scene,
    world::World,
};

/// From the return of a server to what it says in the kernel: the longest wait between two looks
/// (10 s), and the lists.
pub const RETURN: Duration = Duration::from_secs(20);
/// Where a gate stands, and what stands behind one that reads requests.
const GATE: u16 = 6_444;
const PLAIN: u16 = 6_445;

/// A scene whose agent reaches the server by a gate.
#[derive(Debug)]
pub struct Gated {
    /// The gate.
    pub gate: Gate,
    /// What a gate that reads requests needs behind it.
    pub plain: Option<Process>,
    /// The scene.
    pub scene: Scene,
}

impl Gated {
    /// By a gate that passes bytes on, with all of TLS within.
    pub fn sealed(others: &[World]) -> Result<Self> {
        let mut scene = Scene::set()?;
        let upstream = scene.plane.address();
        let gate = gate(&scene, others, (upstream, false))?;
        let account = scene.plane.account_by(&scene.stage.world, ACCOUNT, &url("https"))?;
        scene.stage.agent.follow_server(account);
        scene.begin()?;
        Ok(Self { gate, plain: None, scene })
    }

    /// By a gate that reads requests.
    pub fn plain(start: impl FnOnce(&World) -> Result<ControlPlane>, mode: Mode) -> Result<Self> {
        let mut scene = Scene::with(start)?;
        let plain = scene.plane.plain(&scene.stage.world, PLAIN)?;
        let gate = gate(&scene, &[], (([127, 0, 0, 1], PLAIN).into(), true))?;
        gate.set(mode);
        let account = scene.plane.account_by(&scene.stage.world, ACCOUNT, &url("http"))?;
        scene.stage.agent.follow_server(account);
        scene.begin()?;
        Ok(Self { gate, plain: Some(plain), scene })
    }

    /// With the rule for the far host in force.
    pub fn judging(self) -> Result<Self> {
        self.scene.apply(&self.scene.rule()?)?;
        self.scene.wait_allowed(true, RETURN)?;
        self.scene.stage.check_verdicts()?;
        Ok(self)
    }

    /// Cuts every connection; what comes next is let in.
    pub fn interrupt(&self, next: Mode) {
        self.gate.set(Mode::Shut);
        thread::sleep(Duration::from_millis(50));
        self.gate.forget();
        self.gate.set(next);
    }
}

/// Where agents reach the server.
pub fn url(scheme: &str) -> String {
    format!("{scheme}://127.0.0.1:{GATE}")
}

fn gate(
    scene: &Scene,
    others: &[World],
    (upstream, reads): (std::net::SocketAddr, bool),
) -> Result<Gate> {
    let world = &scene.stage.world;
    let mut inside = vec![world.node()];
    inside.extend(others.iter().map(World::node));
    Gate::start((&inside, GATE), (scene.plane.netns(world), upstream), reads)
}

/// Until a kind is behind for this reason; how long that took.
pub fn wait_behind(scene: &Scene, word: &str, patience: Duration) -> Result<Duration> {
    let start = Instant::now();
    loop {
        let (state, why) = scene.followed("services")?;
        if state == "behind" && why.contains(word) {
            return Ok(start.elapsed());
        }
        ensure!(start.elapsed() < patience, "services is {state}: {why:?}, and not for {word:?}");
        thread::sleep(Duration::from_millis(100));
    }
}
