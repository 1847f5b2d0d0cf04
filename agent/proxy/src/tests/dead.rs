//! Endpoints that do not answer at all.

use std::{net::SocketAddr, time::Duration};

use agent_model::{
    endpoints::Endpoints,
    requests::{
        backend::Target,
        policy::{Balance, ClientPolicy, Limits},
    },
    resource::protocol::AppProtocol,
};
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::Instant,
};

use super::{
    rig::{DEAD, Rig, soon},
    talk::{FINE, GET, hear, say},
    way::{backend_of, routed},
};

/// A rig whose way leads to its upstream, where it is asked for, and to endpoints that are dead.
async fn rig(protocol: AppProtocol, alive: bool, dead: u16, connect: Duration) -> Rig {
    routed(|way| {
        let Target::Backend(own) = &way.to[0].target else { panic!("{way:?}") };
        let Some(Endpoints::Listed(listed)) = own.stated_endpoints() else { panic!("{own:?}") };
        let mut at: Vec<SocketAddr> = (1..=dead).map(|port| SocketAddr::new(DEAD, port)).collect();
        if alive {
            at.push(SocketAddr::new(listed[0].address, listed[0].port.get()));
        }
        let policy = |policy: &mut ClientPolicy| {
            policy.balance = Balance::RoundRobin;
            policy.limits = Limits::none(connect);
        };
        way.to[0].target = Target::Backend(backend_of(protocol, &at, policy));
        way.retries = None;
    })
    .await
}

/// Answers every request, one connection after the other.
async fn answer(upstream: &TcpListener) {
    let mut open = JoinSet::new();
    while let Ok((mut server, _)) = upstream.accept().await {
        open.spawn(async move {
            loop {
                hear(&mut server, "\r\n\r\n").await;
                say(&mut server, FINE).await;
            }
        });
    }
}

#[tokio::test]
async fn one_dead_endpoint_of_two_costs_some_requests_a_quarter_of_a_second_and_fails_none() {
    let rig = rig(AppProtocol::Http, true, 1, Duration::from_secs(5)).await;
    let mut longest = Duration::ZERO;
    let asking = async {
        for _ in 0..6 {
            let mut client = rig.dial().await;
            let begun = Instant::now();
            say(&mut client, GET).await;
            assert_eq!(hear(&mut client, "hi").await, FINE);
            longest = longest.max(begun.elapsed());
        }
    };
    tokio::select! {
        () = soon(asking) => {}
        () = answer(&rig.upstream) => {}
    }
    assert!(longest >= Duration::from_millis(250), "the dead one was not chosen: {longest:?}");
    assert!(longest < Duration::from_secs(2), "{longest:?}");
}

async fn is_unavailable(mut client: TcpStream, connect: Duration) -> Duration {
    let begun = Instant::now();
    say(&mut client, GET).await;
    let answer = hear(&mut client, &format!("within {connect:?}")).await;
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    begun.elapsed()
}

#[tokio::test]
async fn dead_endpoints_alone_are_a_503_once_all_that_were_dialled_had_their_time() {
    let connect = Duration::from_secs(1);
    let mut rig = rig(AppProtocol::Http, false, 5, connect).await;
    let took = is_unavailable(rig.dial().await, connect).await;
    // Three side by side, the last one half a second after the first.
    assert!((1_400..2_500).contains(&took.as_millis()), "{took:?}");
    assert_eq!(rig.exchanged().await.flags.to_string(), "UF");
}

/// One dials for all of them, and they do not wait for each other's turn.
#[tokio::test]
async fn requests_that_share_a_connection_wait_for_a_dead_endpoint_all_at_once() {
    let connect = Duration::from_millis(500);
    let rig = rig(AppProtocol::Http2, false, 1, connect).await;
    let mut waiting = JoinSet::new();
    for _ in 0..5 {
        waiting.spawn(is_unavailable(rig.dial().await, connect));
    }
    while let Some(took) = soon(waiting.join_next()).await {
        let took = took.unwrap();
        assert!(took < Duration::from_millis(1_500), "{took:?}");
    }
}
