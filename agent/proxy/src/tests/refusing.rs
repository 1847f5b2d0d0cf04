//! What is refused, and how it looks from both ends.

use std::io::ErrorKind;

use agent_model::egress::{DefaultAction, ProxyDuty};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::rig::{Answers, How, Rig, end_of, reset, soon};
use crate::{Blame, Limits, Ruling};

/// What a client sees that was refused: a reset, and no byte.
const RESET: (usize, Option<ErrorKind>) = (0, Some(ErrorKind::ConnectionReset));

fn named(default_action: DefaultAction) -> Answers {
    let ruling = Ruling {
        duty: ProxyDuty::NameRequired,
        default_action,
        upstream: None,
        reads_all: false,
        by_endpoint: false,
    };
    Answers { ruling: Some(ruling), ..Answers::allow() }
}

#[tokio::test]
async fn what_may_not_pass_is_reset_with_its_reason_and_nothing_is_dialled() {
    let allow = Answers::allow;
    let none = Limits { connections_per_workload: 0, ..Limits::default() };
    for (answers, cause, blame) in [
        (Answers { origin: false, ..allow() }, "no-origin", Blame::Client),
        (Answers { ruling: None, ..allow() }, "unknown-rule", Blame::Policy),
        (named(DefaultAction::RegistryOnly), "needs-host-routing", Blame::Policy),
        (Answers { limits: none, ..allow() }, "too-many-connections", Blame::Client),
    ] {
        let mut rig = Rig::new(answers).await;
        let mut client = rig.dial().await;
        assert_eq!(end_of(&mut client).await, RESET, "{cause}");
        let failure = rig.record().await.failure.unwrap();
        assert_eq!((failure.cause(), failure.blame()), (cause, blame));
        let dialled =
            tokio::time::timeout(std::time::Duration::from_millis(50), rig.upstream.accept());
        assert!(dialled.await.is_err(), "{cause}: the upstream was dialled");
    }
}

#[tokio::test]
async fn a_name_nobody_read_passes_where_anything_may_and_under_audit() {
    for (default_action, would_deny) in
        [(DefaultAction::AllowAny, false), (DefaultAction::Audit, true)]
    {
        let mut rig = Rig::new(named(default_action)).await;
        drop(rig.pair().await);
        let record = rig.record().await;
        assert!(record.failure.is_none(), "{record:?}");
        assert_eq!(record.would_deny, would_deny);
    }
}

#[tokio::test]
async fn the_connection_past_the_limit_is_refused_and_the_next_one_after_an_end_is_not() {
    let limits = Limits { connections_per_workload: 2, ..Limits::default() };
    let mut rig = Rig::new(Answers { limits, ..Answers::allow() }).await;
    let (first, _second) = (rig.pair().await, rig.pair().await);
    let mut third = rig.dial().await;
    assert_eq!(end_of(&mut third).await, RESET);
    assert_eq!(rig.cause().await, Some("too-many-connections"));
    drop(first);
    assert_eq!(rig.cause().await, None);
    while rig.workload.open() > 1 {
        tokio::task::yield_now().await;
    }
    rig.pair().await;
}

#[tokio::test]
async fn an_upstream_that_refuses_resets_the_client() {
    let mut rig = Rig::new(Answers::allow()).await;
    let closed = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    drop(std::mem::replace(&mut rig.upstream, closed));
    let mut client = rig.dial().await;
    assert_eq!(end_of(&mut client).await, RESET);
    let failure = rig.record().await.failure.unwrap();
    assert_eq!((failure.cause(), failure.blame()), ("upstream-refused", Blame::Upstream));
    assert!(failure.retry());
}

#[tokio::test]
async fn a_reset_on_either_side_reaches_the_other_as_one() {
    let mut rig = Rig::new(Answers::allow()).await;
    for (client_resets, cause) in [(true, "client-reset"), (false, "upstream-reset")] {
        let (mut client, mut server) = rig.pair().await;
        client.write_all(b"half of a").await.unwrap();
        server.write_all(b"half of a").await.unwrap();
        // Both have what was said before, so nothing unread explains the reset.
        let mut read = [0; 9];
        for stream in [&mut client, &mut server] {
            soon(stream.read_exact(&mut read)).await.unwrap();
        }
        let (broken, mut whole) = if client_resets { (client, server) } else { (server, client) };
        reset(broken);
        assert_eq!(end_of(&mut whole).await, RESET, "{cause}");
        assert_eq!(rig.cause().await, Some(cause));
    }
}

#[tokio::test]
async fn what_an_upstream_said_before_its_reset_is_delivered() {
    let mut rig = Rig::new(Answers::allow()).await;
    let (mut client, mut server) = rig.pair().await;
    client.write_all(b"POST").await.unwrap();
    let mut read = [0; 4];
    soon(server.read_exact(&mut read)).await.unwrap();
    server.write_all(b"413 too large").await.unwrap();
    reset(server);
    let (length, error) = end_of(&mut client).await;
    assert_eq!((length, error), (13, Some(ErrorKind::ConnectionReset)));
    assert_eq!(rig.cause().await, Some("upstream-reset"));
}

#[tokio::test]
async fn a_client_that_goes_while_its_upstream_is_dialled_or_does_not_read_is_noticed() {
    let mut rig = Rig::new(Answers { dial: How::Never, ..Answers::allow() }).await;
    let client = rig.dial().await;
    while rig.workload.open() == 0 {
        tokio::task::yield_now().await;
    }
    reset(client);
    assert_eq!(rig.cause().await, Some("client-reset"));

    let mut rig = Rig::new(Answers::allow()).await;
    let (mut client, _silent) = rig.pair().await;
    let flood = vec![0; 64 << 20];
    let stuck =
        tokio::time::timeout(std::time::Duration::from_millis(300), client.write_all(&flood));
    assert!(stuck.await.is_err());
    reset(client);
    assert_eq!(rig.cause().await, Some("client-reset"));
}
