//! Destinations that are told by the PROXY protocol who dialled what.

use std::sync::Arc;

use agent_model::requests::{
    backend::{Target, Weighted},
    change::HeaderChanges,
    outbound::{Listener, Outbound, Port, StreamRoute},
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::{
    rig::{Answers, Rig, soon},
    talk::{FINE, GET, accept, head, hear, say},
    way::{backend, dialled},
};

#[tokio::test]
async fn each_client_is_introduced_once_on_connections_of_its_own() {
    let rig = dialled(|policy| policy.proxy_protocol = Some(1), |_| {}).await;
    let at = rig.upstream.local_addr().unwrap().port();
    let mut clients = Vec::new();
    for _ in 0..2 {
        let mut client = rig.dial().await;
        let port = client.local_addr().unwrap().port();
        say(&mut client, GET).await;
        let mut upstream = accept(&rig).await;
        let first = head(&mut upstream).await;
        let wanted = format!("PROXY TCP4 127.0.0.1 127.0.0.1 {port} {at}\r\nGET /new?a=1 ");
        assert!(first.starts_with(&wanted), "{first}");
        say(&mut upstream, FINE).await;
        hear(&mut client, "hi").await;
        // The same client's next request has been introduced already.
        say(&mut client, GET).await;
        assert!(head(&mut upstream).await.starts_with("GET /new?a=1 "));
        say(&mut upstream, FINE).await;
        hear(&mut client, "hi").await;
        // They stay open: another client's connection waits, and is not taken.
        clients.push((client, upstream));
    }
}

#[tokio::test]
async fn bytes_are_introduced_before_a_server_speaks() {
    let answers = Answers::allow();
    let slot = Arc::clone(&answers.outbound);
    let rig = Rig::new(answers).await;
    let at = rig.upstream.local_addr().unwrap();
    let target = Target::Backend(backend(&[at], |policy| policy.proxy_protocol = Some(2)));
    let headers = HeaderChanges::default();
    let to = vec![Weighted { weight: 1, target, headers, answer_within: None }];
    let tcp = Some(Arc::new(StreamRoute { names: [].into(), to, idle: None }));
    let port = Port { any: Listener { tcp, ..Listener::default() }, ..Port::default() };
    *slot.lock().unwrap() =
        Some(Arc::new(Outbound { ports: [(at.port(), Arc::new(port))].into() }));
    let mut client = rig.dial().await;
    let mut upstream = accept(&rig).await;
    let mut header = [0; 28];
    soon(upstream.read_exact(&mut header)).await.unwrap();
    assert_eq!(header[..16], *b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c");
    let ports = [client.local_addr().unwrap().port(), at.port()].map(u16::to_be_bytes).concat();
    assert_eq!(header[16..], [&[127, 0, 0, 1, 127, 0, 0, 1], &ports[..]].concat());
    upstream.write_all(b"220 ready").await.unwrap();
    assert_eq!(hear(&mut client, "ready").await, "220 ready");
}
