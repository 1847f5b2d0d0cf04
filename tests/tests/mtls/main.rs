//! The mesh's TLS between two nodes: what goes over the network, as whom, and what is refused. Two
//! agents with one CA in a directory, real pods, real traffic.

mod mesh;
mod peer;
mod strict;

use std::net::SocketAddr;

use anyhow::{Context as _, Result, ensure};
use http::Method;
use rstest::rstest;
use sekisho_tests::{
    authority::{Authority, Kind},
    frame::Frame,
    stage::Net,
};

use mesh::{CLIENT, HBONE, HTTP, HTTP_OF_NOBODY, Mesh, TCP, TCP_OF_NOBODY};

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
    ensure!(is_hidden(&to.traffic()) && is_hidden(&back.traffic()), "plaintext on the network");
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

/// Whether no request or answer is in plaintext.
fn is_hidden(frames: &[Frame]) -> bool {
    !frames.iter().any(|frame| contains(frame.bytes(), "HTTP/1.1"))
}

#[rstest]
fn nothing_listens_is_told_as_without_a_mesh(
    #[values(Net::V4, Net::V6)] net: Net,
    #[values("direct", "hbone")] protocol: &str,
) -> Result<()> {
    let mut mesh = Mesh::with(net, |agent| agent.with("--mesh-protocol", protocol))?;
    let said = mesh.only(HTTP_OF_NOBODY)?;
    ensure!(said.starts_with("503") && said.contains("refused the connection"), "{said}");
    let said = mesh.only(TCP_OF_NOBODY)?;
    ensure!(said.starts_with("failed"), "{said}");
    ensure!(mesh.only(TCP)? == "200 v1", "the port beside it");
    Ok(())
}

#[rstest]
fn who_is_not_known_or_shows_another_name_is_told_nothing(
    #[values(Net::V4, Net::V6)] net: Net,
    #[values("direct", "hbone")] protocol: &str,
) -> Result<()> {
    let mut mesh = Mesh::with(net, |agent| agent.with("--mesh-protocol", protocol))?;
    ensure!(mesh.only(TCP)? == "200 v1", "before");
    let capture = mesh.server.capture()?;
    // The client's node is told that another ServiceAccount is there.
    let pods = mesh.pods("other");
    mesh.agents[0].config().write("pods", &pods)?;
    mesh.wait_for(HTTP, |said| said.starts_with("503") && said.contains("was expected"))?;
    mesh.wait_for(TCP, |said| said.starts_with("failed"))?;
    // It is told of an endpoint, and not yet who that is.
    mesh.agents[0].config().write("pods", pods.split("---\n").nth(1).context("no pod")?)?;
    mesh.wait_for(HTTP, |said| said.starts_with("503") && said.contains("identity-unknown"))?;
    mesh.wait_for(TCP, |said| said.starts_with("failed"))?;
    ensure!(is_hidden(&capture.traffic()), "something was sent in plaintext");
    mesh.agents[0].config().write("pods", &mesh.pods("server"))?;
    mesh.wait_for(HTTP, |said| said == "200 v1")?;
    mesh.wait_for(TCP, |said| said == "200 v1")
}

#[rstest]
fn an_agent_that_dies_opens_nothing_and_the_next_one_serves(
    #[values(Net::V4, Net::V6)] net: Net,
    #[values("direct", "hbone")] protocol: &str,
) -> Result<()> {
    let mut mesh = Mesh::with(net, |agent| agent.with("--mesh-protocol", protocol))?;
    ensure!(mesh.only(HTTP)? == "200 v1", "before");
    let capture = mesh.server.capture()?;
    mesh.agents[1].kill()?;
    let said = mesh.only(HTTP)?;
    ensure!(said.starts_with("503"), "{said}");
    let said = mesh.only(TCP)?;
    ensure!(said.starts_with("failed"), "{said}");
    mesh.start(1)?;
    mesh.wait_for(HTTP, |said| said == "200 v1")?;
    ensure!(mesh.only(TCP)? == "200 v1", "after a restart of the server's agent");
    mesh.agents[0].kill()?;
    mesh.start(0)?;
    ensure!(mesh.only(HTTP)? == "200 v1", "after a restart of the client's agent");
    ensure!(is_hidden(&capture.traffic()), "something was sent in plaintext");
    Ok(())
}

#[rstest]
fn a_long_body_arrives_whole(
    #[values(Net::V4, Net::V6)] net: Net,
    #[values(HTTP, TCP)] port: u16,
    #[values("direct", "hbone")] protocol: &str,
) -> Result<()> {
    const LENGTH: usize = 8 << 20;
    let mut mesh = Mesh::with(net, |agent| agent.with("--mesh-protocol", protocol))?;
    let mut requests = mesh.requests(port, 1);
    requests.lines[0] = "POST / HTTP/1.1".to_owned();
    requests.lines.push(format!("Content-Length: {LENGTH}"));
    requests.body = "x".repeat(LENGTH);
    let said = mesh.send(&requests)?;
    let wanted = format!("200 v1 {LENGTH}");
    ensure!(said.only() == Some(wanted.as_str()), "{:?}", said.failures);
    Ok(())
}

#[rstest]
fn hbone_of_others_is_answered_as_ztunnel_answers(
    #[values(Net::V4, Net::V6)] net: Net,
) -> Result<()> {
    let mesh = Mesh::new(net)?;
    let shown = mesh.ca.sign(&["spiffe://cluster.local/ns/else/sa/peer"], Kind::Good)?;
    let ask = |method: Method, authority: &str| {
        peer::connect(&mesh.far, (mesh.hbone(), Some(&shown)), (method, authority))
    };
    let own = |port: u16| SocketAddr::new(mesh.net.of(&mesh.server), port).to_string();
    let (status, said) = ask(Method::CONNECT, &own(TCP))?;
    ensure!(status == 200 && said.contains("200 Fine") && said.ends_with("v1"), "{status} {said}");
    let another = SocketAddr::new(mesh.net.of(&mesh.pod), TCP).to_string();
    for (method, authority, wanted) in [
        (Method::CONNECT, another.as_str(), 400),
        (Method::CONNECT, "server.shop.svc.cluster.local:9090", 400),
        (Method::GET, &own(TCP), 400),
        (Method::CONNECT, &own(15_001), 503),
        (Method::CONNECT, &own(HBONE), 503),
        (Method::CONNECT, &own(TCP_OF_NOBODY), 503),
    ] {
        let (status, _) = ask(method, authority).context(authority.to_owned())?;
        ensure!(status == wanted, "{authority}: {status} and not {wanted}");
    }
    Ok(())
}

#[rstest]
fn who_shows_no_certificate_of_the_mesh_is_refused(
    #[values(Net::V4, Net::V6)] net: Net,
) -> Result<()> {
    const NAME: &str = "spiffe://cluster.local/ns/else/sa/peer";
    let mesh = Mesh::new(net)?;
    let foreign = Authority::new("another")?.sign(&[NAME], Kind::Good)?;
    let expired = mesh.ca.sign(&[NAME], Kind::Expired)?;
    let other = mesh.ca.sign(&["spiffe://other.example/ns/else/sa/peer"], Kind::Good)?;
    let two = mesh.ca.sign(&[NAME, "spiffe://cluster.local/ns/else/sa/other"], Kind::Good)?;
    let nameless = mesh.ca.sign(&["peer.example.com"], Kind::Good)?;
    let own = SocketAddr::new(mesh.net.of(&mesh.server), TCP).to_string();
    for (what, shown) in [
        ("none", None),
        ("of another CA", Some(&foreign)),
        ("expired", Some(&expired)),
        ("of another trust domain", Some(&other)),
        ("two names", Some(&two)),
        ("no identity", Some(&nameless)),
    ] {
        let asked = (Method::CONNECT, own.as_str());
        let said = peer::connect(&mesh.far, (mesh.hbone(), shown), asked);
        let error = said.err().with_context(|| format!("{what}: it is answered"))?;
        ensure!(format!("{error:#}").contains("alert"), "{what}: {error:#}");
    }
    let good = mesh.ca.sign(&[NAME], Kind::Good)?;
    let asked = (Method::CONNECT, own.as_str());
    ensure!(peer::connect(&mesh.far, (mesh.hbone(), Some(&good)), asked)?.0 == 200, "a good one");
    Ok(())
}
