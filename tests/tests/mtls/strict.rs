//! `STRICT`, from the mesh and from outside.

use std::{
    io::ErrorKind,
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use anyhow::{Result, bail, ensure};
use rstest::rstest;
use sekisho_tests::{agent::Agent, client::Client, manifest::NAMESPACE, stage::Net, world::Host};

use super::mesh::{HTTP, Mesh, TCP};

/// The whole namespace takes nothing but mutual TLS.
fn policy() -> String {
    format!(
        "apiVersion: security.istio.io/v1\nkind: PeerAuthentication\n\
         metadata: {{name: default, namespace: {NAMESPACE}}}\nspec: {{mtls: {{mode: STRICT}}}}\n"
    )
}

impl Mesh {
    fn make_strict(&mut self) -> Result<()> {
        let before = self.agents.iter().map(Agent::generation).collect::<Result<Vec<_>>>()?;
        self.write("strict", &policy())?;
        for (agent, before) in self.agents.iter_mut().zip(before) {
            agent.wait_until("STRICT is in force", |agent| Ok(agent.generation()? > before))?;
        }
        Ok(())
    }

    /// Whether the server refuses a host's plaintext.
    fn refuses(&self, from: &Host, port: u16) -> Result<bool> {
        let to = SocketAddr::new(self.net.of(&self.server), port);
        from.netns().enter(|| match TcpStream::connect_timeout(&to, Duration::from_secs(2)) {
            Ok(_) => Ok(false),
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => Ok(true),
            Err(error) => bail!("{to}: {error}"),
        })
    }
}

#[rstest]
fn strict_takes_the_mesh_of_another_node_and_no_plaintext(
    #[values(Net::V4, Net::V6)] net: Net,
    #[values("direct", "hbone")] protocol: &str,
) -> Result<()> {
    let mut mesh = Mesh::with(net, |agent| agent.with("--mesh-protocol", protocol))?;
    ensure!(mesh.only(HTTP)? == "200 v1" && mesh.only(TCP)? == "200 v1", "before");
    ensure!(!mesh.refuses(&mesh.far, TCP)?, "refused without a reason");
    mesh.make_strict()?;
    for port in [HTTP, TCP] {
        mesh.wait_for(port, |said| said == "200 v1")?;
        ensure!(mesh.refuses(&mesh.far, port)?, "plaintext of a stranger");
        // Straight to the pod's address, by no Service: in plaintext, from a node that is another.
        let to = SocketAddr::new(net.of(&mesh.server), port);
        let said = Client::start(&mesh.pod)?.dial(to)?;
        ensure!(
            said.errno == Some(libc::ECONNREFUSED),
            "plaintext of another node's pod: {said:?}"
        );
    }
    mesh.agents[1].kill()?;
    ensure!(mesh.refuses(&mesh.far, TCP)?, "with the agent dead");
    mesh.start(1)?;
    mesh.wait_for(TCP, |said| said == "200 v1")?;
    ensure!(mesh.refuses(&mesh.far, TCP)?, "after a restart");
    Ok(())
}

#[rstest]
fn strict_takes_pods_of_the_same_node_by_any_way(
    #[values(Net::V4, Net::V6)] net: Net,
) -> Result<()> {
    let mut mesh = Mesh::of_one_node(net)?;
    mesh.make_strict()?;
    for port in [HTTP, TCP] {
        mesh.wait_for(port, |said| said == "200 v1")?;
        ensure!(mesh.refuses(&mesh.far, port)?, "plaintext of a stranger");
        let to = SocketAddr::new(net.of(&mesh.server), port);
        Client::start(&mesh.pod)?.must(&format!("dial {to}"))?;
    }
    Ok(())
}
