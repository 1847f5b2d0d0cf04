use std::{os::unix::fs::PermissionsExt, path::Path, time::Duration};

use agent_abi::{Reason, Verdict};
use tokio::task::JoinSet;

use super::{
    client::{Client, ClientError, Line},
    rundir::RunDir,
    *,
};
use crate::observe::{flow_record::test_record as record, status::State};

struct Fixed(State);

impl Answers for Fixed {
    fn status(&self) -> Status {
        Status { node: "node-1".into(), generation: 5, state: self.0.clone(), ..Status::default() }
    }

    fn judge(&self, _: &Flow) -> Judgement {
        unreachable!("no test asks about a flow here")
    }

    fn snapshot(&self) -> Option<Arc<Snapshot>> {
        None
    }
}

/// An agent's server on a socket in a directory of its own.
struct Agent {
    run_dir: RunDir,
    flows: Arc<FlowLog>,
    _tasks: JoinSet<std::io::Result<()>>,
}

async fn agent(dir: &Path, state: State) -> Agent {
    let run_dir = RunDir::claim(dir).unwrap();
    let flows = Arc::new(FlowLog::default());
    let admin = Admin {
        answers: Arc::new(Fixed(state)),
        flows: Arc::clone(&flows),
        metrics: Arc::new(Metrics::default()),
    };
    let listener = server::bind_socket(&run_dir).await.unwrap();
    let mut tasks = JoinSet::new();
    tasks.spawn(server::serve_socket(listener, admin));
    Agent { run_dir, flows, _tasks: tasks }
}

#[tokio::test]
async fn a_status_comes_back_as_it_went_in() {
    let dir = tempfile::tempdir().unwrap();
    let agent = agent(dir.path(), State::Degraded { why: "no room".into() }).await;
    let status: Status = Client::new(dir.path()).ask("/status").await.unwrap();
    assert_eq!(status, Fixed(State::Degraded { why: "no room".into() }).status());
    let mode = std::fs::metadata(agent.run_dir.socket()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[tokio::test]
async fn kept_flows_end_and_followed_ones_go_on() {
    let dir = tempfile::tempdir().unwrap();
    let agent = agent(dir.path(), State::Ready).await;
    agent.flows.record(record(1, Verdict::Direct, Reason::Rule));
    agent.flows.record(record(2, Verdict::Deny, Reason::NoRule));
    let client = Client::new(dir.path());
    let ports = |path: &'static str, most: usize| {
        let client = client.clone();
        async move {
            let mut ports = Vec::new();
            let take = |line| {
                if let Line::Flow(flow) = line {
                    ports.extend(flow.dst_port);
                }
                ports.len() < most
            };
            client.lines(path, take).await.unwrap();
            ports
        }
    };
    assert_eq!(ports("/flows", 9).await, [1, 2]);
    assert_eq!(ports("/flows?denied=true", 9).await, [2]);

    let mut following = JoinSet::new();
    following.spawn(ports("/flows?follow=true&denied=true", 3));
    // Until the follower has the flows kept, none of the coming ones is surely a coming one; it
    // does not matter here, because it gets each of them once either way.
    for port in 3..6 {
        agent.flows.record(record(port, Verdict::Direct, Reason::Rule));
        agent.flows.record(record(port + 10, Verdict::Deny, Reason::NoRule));
    }
    let followed = tokio::time::timeout(Duration::from_secs(10), following.join_next()).await;
    assert_eq!(followed.unwrap().unwrap().unwrap(), [2, 13, 14]);
}

#[tokio::test]
async fn readiness_says_why_not() {
    let dir = tempfile::tempdir().unwrap();
    for (state, wanted) in [
        (State::Starting, "starting"),
        (State::Degraded { why: "a hook is missing".into() }, "a hook is missing"),
    ] {
        let _agent = agent(dir.path(), state).await;
        let error = Client::new(dir.path()).ask::<String>("/readyz").await.unwrap_err();
        let ClientError::Refused { status, message } = error else { panic!("{error}") };
        assert_eq!((status.as_u16(), message.as_str()), (503, wanted));
    }
}

#[tokio::test]
async fn the_tcp_port_serves_probes_and_metrics_only() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let admin = Admin {
        answers: Arc::new(Fixed(State::Ready)),
        flows: Arc::new(FlowLog::default()),
        metrics: Arc::new(Metrics::default()),
    };
    let listener = server::bind_port("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let addr = listener.local_addr().unwrap();
    let error = server::bind_port(addr).await.unwrap_err();
    assert!(error.to_string().contains("in use"), "{error}");
    let mut tasks = JoinSet::new();
    tasks.spawn(server::serve_port(listener, admin));
    for (path, status, body) in [
        ("/healthz", "200", "ok"),
        ("/readyz", "200", "ok"),
        ("/metrics", "200", "sekisho_sync_generation 5"),
        ("/status", "404", ""),
        ("/flows", "404", ""),
    ] {
        let mut stream = tokio::net::TcpStream::connect(addr).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{path}: {answer}");
        assert!(answer.contains(body), "{path}: {answer}");
    }
}

#[tokio::test]
async fn without_an_agent_the_error_names_the_socket() {
    let dir = tempfile::tempdir().unwrap();
    let error = Client::new(dir.path()).ask::<Status>("/status").await.unwrap_err();
    assert!(matches!(error, ClientError::NoAgent { .. }));
    assert!(error.to_string().contains("admin.sock"), "{error}");
    assert!(error.to_string().contains("--run-dir"), "{error}");
}

#[tokio::test]
async fn a_dead_agents_socket_is_replaced_and_a_live_ones_is_not() {
    let dir = tempfile::tempdir().unwrap();
    // A listener that is dropped leaves its socket behind, as a killed process does.
    drop(std::os::unix::net::UnixListener::bind(rundir::socket(dir.path())).unwrap());
    let first = agent(dir.path(), State::Ready).await;
    assert_eq!(Client::new(dir.path()).ask::<Status>("/status").await.unwrap().generation, 5);

    // The lock is removed under a live agent.
    std::fs::remove_file(dir.path().join("agent.lock")).unwrap();
    let second = RunDir::claim(dir.path()).unwrap();
    let error = server::bind_socket(&second).await.unwrap_err();
    assert!(error.to_string().contains("another agent answers"), "{error}");
    drop(first);
}
