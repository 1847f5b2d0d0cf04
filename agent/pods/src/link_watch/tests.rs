use std::{fs, path::Path};

use agent_kernel::testing::{Sandbox, ip};
use tokio::time::timeout;

use super::*;

const PATIENCE: Duration = Duration::from_secs(20);

/// `host` plays the agent's namespace.
fn worker_in(host: &Sandbox) -> Worker {
    host.run(|| Worker::start().unwrap())
}

async fn news(changes: &LinkChanges) -> Pending {
    timeout(PATIENCE, changes.arrival()).await.expect("nothing is heard");
    changes.take()
}

/// Waits until a listener has had its rest and hears nothing more.
async fn quiet(changes: &LinkChanges) {
    while timeout(4 * REST, changes.arrival()).await.is_ok() {
        changes.take();
    }
}

#[tokio::test]
async fn a_change_in_a_pod_is_heard_as_that_pods() {
    let [host, pod, other] = [(); 3].map(|()| Sandbox::new());
    let worker = worker_in(&host);
    let mut watch = LinkWatch::new(Arc::default());
    let changes = Arc::clone(watch.changes());
    let namespace = pod.open(&worker).await;
    let _listening = watch.listen(&worker, &namespace).await.unwrap();
    let _other = watch.listen(&worker, &other.open(&worker).await).await.unwrap();
    for line in [
        "link add left type veth peer name right",
        "link set left name renamed",
        "link set renamed up",
        "link del renamed",
    ] {
        pod.run(|| ip(&line.split(' ').collect::<Vec<_>>()));
        let Pending { pods, host, all } = news(&changes).await;
        assert_eq!((pods, host.len(), all), ([namespace.cookie()].into(), 0, false), "{line}");
        quiet(&changes).await;
    }
}

#[tokio::test]
async fn at_home_only_ends_of_pairs_are_news() {
    let [host, pod] = [(); 2].map(|()| Sandbox::new());
    let worker = worker_in(&host);
    let mut watch = LinkWatch::new(Arc::default());
    let changes = Arc::clone(watch.changes());
    watch.listen_at_home(&worker).await.unwrap();
    host.run(|| ip(&["link", "add", "br0", "type", "bridge"]));
    assert!(timeout(4 * REST, changes.arrival()).await.is_err(), "{changes:?}");

    let holder = pod.task();
    host.run(|| {
        ip(&["link", "add", "h1", "type", "veth", "peer", "name", "eth0", "netns", &holder]);
    });
    let heard = news(&changes).await;
    assert!(heard.host.iter().any(|news| news.other.is_some()), "{heard:?}");
    assert!(heard.pods.is_empty() && !heard.all, "{heard:?}");
}

#[tokio::test]
async fn what_is_lost_makes_everything_suspect() {
    let host = Sandbox::new();
    let worker = worker_in(&host);
    let mut watch = LinkWatch::new(Arc::default());
    let changes = Arc::clone(watch.changes());
    watch.listen_at_home(&worker).await.unwrap();
    // Nothing reads meanwhile: this runtime has one thread, and it is busy here.
    let lines = "link add x0 type veth peer name x1\nlink del x0\n".repeat(500);
    host.run(|| batch(&lines));
    loop {
        if news(&changes).await.all {
            break;
        }
    }
    assert!(changes.overruns() > 0);
    quiet(&changes).await;
    host.run(|| ip(&["link", "add", "x0", "type", "veth", "peer", "name", "x1"]));
    assert!(!news(&changes).await.host.is_empty(), "it hears again");
}

/// What listens to a pod must not keep its namespace alive.
#[tokio::test]
async fn a_pod_that_is_let_go_has_no_listener() {
    let [host, pod] = [(); 2].map(|()| Sandbox::new());
    let worker = worker_in(&host);
    let mut watch = LinkWatch::new(Arc::default());
    let namespace = pod.open(&worker).await;
    let sockets = || pod.run(|| netlink_sockets(Path::new("/proc/thread-self/net/netlink")));
    let before = sockets();
    let listening = watch.listen(&worker, &namespace).await.unwrap();
    assert_eq!(sockets(), before + 1, "a socket for a pod");
    drop(listening);
    let gone = async {
        while sockets() > before {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, gone).await.expect("the socket is closed");
}

/// Those of the protocol `NETLINK_ROUTE` that have an owner.
fn netlink_sockets(table: &Path) -> usize {
    let text = fs::read_to_string(table).unwrap();
    let of_users = |line: &&str| {
        let mut words = line.split_whitespace().skip(1);
        words.next() == Some("0") && words.next() != Some("0")
    };
    text.lines().skip(1).filter(of_users).count()
}

fn batch(lines: &str) {
    use std::{
        io::Write as _,
        process::{Command, Stdio},
    };
    let mut child = Command::new("ip").args(["-batch", "-"]).stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(lines.as_bytes()).unwrap();
    assert!(child.wait().unwrap().success());
}
