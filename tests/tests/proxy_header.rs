//! A destination that a `DestinationRule` has told by the PROXY protocol who dialled what: an echo server
//! sends the header back.

use std::net::SocketAddr;

use anyhow::{Result, ensure};
use rstest::rstest;
use sekisho_tests::{
    agent::Agent,
    client::Client,
    manifest::{Mode, NAMESPACE},
    named::Net,
    serve::Echo,
    world::{Wiring, World},
};

const PORT: u16 = 5_432;

#[rstest]
fn a_destination_is_told_the_pods_address_and_what_it_dialled(
    #[values(Net::V4, Net::V6)] net: Net,
    #[values("V1", "V2")] version: &str,
) -> Result<()> {
    let world = World::new(Wiring::Routed)?;
    let (pod, far) = (world.pod("app")?, world.far("db")?);
    let _echo = Echo::start(&far, PORT, &[])?;
    let mut agent = Agent::new(&world)?;
    agent.config().namespace(true)?;
    agent.config().mesh(Mode::RegistryOnly)?;
    agent.config().pod(&pod)?;
    let [v4, v6] = far.addresses();
    agent.config().write(
        "entry",
        &format!(
            "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\n\
             metadata: {{name: db, namespace: {NAMESPACE}}}\n\
             spec: {{hosts: [db.example.com], addresses: [10.96.7.7, \"2001:db8:96::7\"], \
             resolution: STATIC, endpoints: [{{address: \"{v4}\"}}, {{address: \"{v6}\"}}], \
             ports: [{{number: {PORT}, name: tcp, protocol: TCP}}]}}\n\
             ---\napiVersion: networking.istio.io/v1\nkind: DestinationRule\n\
             metadata: {{name: db, namespace: {NAMESPACE}}}\n\
             spec: {{host: db.example.com, trafficPolicy: {{proxyProtocol: {{version: {version}}}}}}}\n"
        ),
    )?;
    agent.start(&world)?;
    agent.wait_until("the pod is enrolled", |a| Ok(a.enrolment("app")? == "enrolled"))?;
    let (to, own, family) = match net {
        Net::V4 => ("10.96.7.7", pod.v4().to_string(), "TCP4"),
        Net::V6 => ("2001:db8:96::7", pod.v6().to_string(), "TCP6"),
    };
    let mut client = Client::start(&pod)?;
    client.must(&format!("dial {}", SocketAddr::new(to.parse()?, PORT)))?;
    if version == "V1" {
        let begin = format!("PROXY {family} {own} {to} ");
        ensure!(client.must(&format!("read {}", begin.len()))? == begin);
        let mut rest = String::new();
        while !rest.ends_with('\n') {
            rest += &client.must("read 1")?;
        }
        let ports: Vec<&str> = rest.trim_end().split(' ').collect();
        ensure!(ports.len() == 2 && ports[1] == PORT.to_string(), "{rest}");
    } else {
        let length = if net == Net::V4 { 28 } else { 52 };
        let header = client.must(&format!("read {length}"))?;
        ensure!(header.starts_with("\r\n\r\n\0\r\nQUIT\n!"), "{header:?}");
    }
    client.must("send hello")?;
    ensure!(client.must("read 5")? == "hello");
    Ok(())
}
