//! The machine that `bench sync` builds: a node with a few pods, and a real API server beside it.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::Context as _;
use sekisho_tests::{
    agent::Agent,
    control_plane::ControlPlane,
    manifest::NODE,
    process::Process,
    world::{Host, Wiring, World},
};
use serde_json::json;

use super::api::Api;
use crate::{command::workspace, e2e::manifests::MESH};

/// How long a client tries what it is told, and a little more.
const PATIENCE: Duration = Duration::from_secs(40);

/// Everything, in the order in which it is taken down.
pub(super) struct Stage {
    pub(super) agent: Agent,
    client: Process,
    _proxy: Process,
    pub(super) socket: PathBuf,
    pods: Vec<Host>,
    _plane: ControlPlane,
    pub(super) world: World,
}

impl Stage {
    /// With the definitions, the agent's account and the mesh's settings on the server.
    pub(super) fn set(program: &Path, pods: u32) -> anyhow::Result<Self> {
        let world = World::new(Wiring::Routed)?;
        // Addresses of Services are data here: nothing is sent to any.
        let plane = ControlPlane::start_with(&world, &["--service-cluster-ip-range=10.0.0.0/14"])?;
        let deploy = workspace().join("deploy");
        for file in ["base/namespace.yaml", "base/rbac.yaml"] {
            plane.apply(&world, &fs::read_to_string(deploy.join(file))?)?;
        }
        let crds = deploy.join("crds");
        plane.kubectl(&world, &["create", "-f", &crds.display().to_string()], "")?;
        let wait = ["wait", "--for=condition=Established", "--timeout=10s", "crd", "--all"];
        plane.kubectl(&world, &wait, "")?;
        plane.apply(&world, MESH)?;
        let pods = (0..pods).map(|number| world.pod(&format!("pod-{number}")));
        let pods = pods.collect::<anyhow::Result<Vec<_>>>()?;
        let first = pods.first().context("there is a pod at least")?;
        let mut client = Command::new(std::env::current_exe()?);
        client.args(["load", "client", &first.v4().to_string()]);
        let mut client = first.run(client)?;
        client.line(PATIENCE)?;
        let socket = std::env::temp_dir().join(format!("{}-api.sock", world.name()));
        let proxy = plane.proxy(&world, &socket)?;
        let mut agent = Agent::of(&world, program.to_owned())?;
        agent.follow_server(plane.account(&world, "sekisho-system", "sekisho-agent")?);
        Ok(Self { agent, client, _proxy: proxy, socket, pods, _plane: plane, world })
    }

    /// Puts the node's pods on the server, three in each namespace.
    pub(super) fn create_pods(&self) -> anyhow::Result<()> {
        for (number, host) in self.pods.iter().enumerate() {
            let (name, namespace) = (host.name(), format!("team-{}", number / 3));
            let pod = json!({
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {
                    "name": name,
                    "annotations": {"sekisho.dev/netns": host.netns().path()},
                },
                "spec": {"nodeName": NODE, "containers": [{"name": "app", "image": "none"}]},
            });
            let collection = format!("/api/v1/namespaces/{namespace}/pods");
            let mut api = Api::connect(&self.socket)?;
            api.create(&collection, &pod)?;
            let [v4, v6] = host.addresses();
            let status = json!([{"op": "add", "path": "/status/podIPs", "value": [{"ip": v4}, {"ip": v6}]},
                {"op": "add", "path": "/status/podIP", "value": v4}]);
            api.patch(&format!("{collection}/{name}/status"), &status)?;
        }
        Ok(())
    }

    /// Gives the client in the first pod an order whose answer is fetched later.
    pub(super) fn give(&mut self, order: &str) -> anyhow::Result<()> {
        crate::interrupt::check()?;
        self.client.say(order)
    }

    /// Waits until the client has done what it was told.
    pub(super) fn answer(&mut self) -> anyhow::Result<()> {
        self.client.line(PATIENCE).map(drop)
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        // The proxy ends without removing it.
        let _ = fs::remove_file(&self.socket);
    }
}
