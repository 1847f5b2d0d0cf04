//! The mesh's TLS between two nodes: what goes over the network, as whom, and what is refused. Two
//! agents with one CA in a directory, real pods, real traffic.

mod mesh;

use anyhow::{Context as _, Result, ensure};
use rstest::rstest;
use sekisho_tests::stage::Net;

use mesh::{CLIENT, HTTP, Mesh, TCP};

/// Whether a text is in some bytes.
fn contains(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

#[rstest]
fn what_a_pod_says_to_one_of_another_node_is_encrypted_and_its_name_is_known_there(
    #[values(Net::V4, Net::V6)] net: Net,
    #[values(HTTP, TCP)] port: u16,
    #[values("direct", "hbone")] protocol: &str,
) -> Result<()> {
    let mut mesh = Mesh::with(net, |agent| agent.with("--mesh-protocol", protocol))?;
    let (to, back) = (mesh.server.capture()?, mesh.pod.capture()?);
    let said = mesh.send(&mesh.requests(port, 5))?;
    ensure!(said.failures.is_empty() && said.answers.len() == 1, "{said:?}");
    for (frame, way) in to
        .traffic()
        .iter()
        .map(|one| (one, "to"))
        .chain(back.traffic().iter().map(|one| (one, "back")))
    {
        ensure!(!contains(frame.bytes(), "HTTP/1.1"), "{way}: {frame:?}");
    }
    ensure!(to.traffic().len() > 3, "nothing went there");
    // The flow tells of a connection when it ends: a pooled one waits for more.
    mesh.agents[0].kill()?;
    mesh.agents[1].wait_until("the flows are told", |agent| {
        Ok(agent.flows()?.iter().any(|flow| flow["direction"] == "inbound"))
    })?;
    let flows = mesh.received(1)?;
    let flow = flows.first().context("no flow")?;
    ensure!(flow["peer"] == CLIENT, "{flow}");
    ensure!(flow["dst_port"] == port, "{flow}");
    Ok(())
}
