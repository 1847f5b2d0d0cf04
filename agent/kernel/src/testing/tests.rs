//! What [`crate::netns`] does with namespaces, in some that are made for it.

use std::{
    os::unix::fs::symlink,
    time::{Duration, Instant},
};

use super::Sandbox;
use crate::netns::{NetNs, NetNsError, Worker, current_cookie};

#[tokio::test]
async fn a_job_runs_inside_and_the_thread_goes_home() {
    let worker = Worker::start().unwrap();
    let sandbox = Sandbox::new();
    let inside = sandbox.open(&worker).await;
    assert_ne!(inside.cookie(), worker.own().cookie());
    assert_eq!(worker.run(&inside, current_cookie).await.unwrap().unwrap(), inside.cookie());
    let own = worker.own().clone();
    assert_eq!(worker.run(&own, current_cookie).await.unwrap().unwrap(), own.cookie());
    assert_eq!(current_cookie().unwrap(), own.cookie());
}

#[tokio::test]
async fn jobs_for_several_namespaces_do_not_get_mixed_up() {
    let worker = Worker::start().unwrap();
    let sandboxes = [Sandbox::new(), Sandbox::new(), Sandbox::new()];
    let mut opened = Vec::new();
    for sandbox in &sandboxes {
        opened.push(sandbox.open(&worker).await);
    }
    let jobs = (0..300).map(|turn| {
        let namespace = &opened[turn * 7 % 3];
        let worker = &worker;
        async move {
            let seen = worker.run(namespace, current_cookie).await.unwrap().unwrap();
            assert_eq!(seen, namespace.cookie());
        }
    });
    futures_join_all(jobs).await;
}

/// Polls all of them at once, so that the worker's queue fills.
async fn futures_join_all(jobs: impl Iterator<Item = impl Future<Output = ()>>) {
    let mut jobs: Vec<_> = jobs.map(Box::pin).collect();
    std::future::poll_fn(|context| {
        jobs.retain_mut(|job| job.as_mut().poll(context).is_pending());
        if jobs.is_empty() { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
}

#[tokio::test]
async fn a_job_that_panics_takes_only_itself_along() {
    let worker = Worker::start().unwrap();
    let own = worker.own().clone();
    let lost = worker.run(&own, || panic!("on purpose")).await;
    assert!(matches!(lost, Err(NetNsError::Lost)));
    assert_eq!(worker.run(&own, || 7).await.unwrap(), 7);
}

#[tokio::test]
async fn what_is_no_network_namespace_is_refused_by_name() {
    let worker = Worker::start().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let missing = directory.path().join("missing");
    let error = NetNs::open(&worker, &missing).await.unwrap_err();
    assert!(matches!(&error, NetNsError::Missing { path } if *path == missing), "{error}");

    let plain = directory.path().join("plain");
    std::fs::write(&plain, "").unwrap();
    let fifo = directory.path().join("fifo");
    rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, 0o600.into(), 0)
        .unwrap();
    for path in [plain, fifo, "/proc/self/ns/mnt".into()] {
        let error = NetNs::open(&worker, &path).await.unwrap_err();
        assert!(matches!(error, NetNsError::NotANamespace { .. }), "{}: {error}", path.display());
    }
    assert_eq!(worker.run(&worker.own().clone(), || 7).await.unwrap(), 7);
}

#[tokio::test]
async fn a_handle_knows_when_its_path_names_nothing_or_another_namespace() {
    let worker = Worker::start().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("pod");
    let (first, second) = (Sandbox::new(), Sandbox::new());
    symlink(first.path(), &path).unwrap();
    let handle = NetNs::open(&worker, &path).await.unwrap();
    assert!(handle.is_current());
    assert!(handle.same_as(&first.open(&worker).await));

    std::fs::remove_file(&path).unwrap();
    assert!(!handle.is_current());
    symlink(second.path(), &path).unwrap();
    assert!(!handle.is_current());
    assert!(!handle.same_as(&second.open(&worker).await));
}

#[tokio::test]
async fn an_idle_worker_does_not_keep_a_namespace_alive() {
    let worker = Worker::start().unwrap();
    let sandbox = Sandbox::new();
    let inside = sandbox.open(&worker).await;
    let link = format!("net:[{}]", inside.identity().1);
    worker.run(&inside, || ()).await.unwrap();
    drop((inside, sandbox));
    let deadline = Instant::now() + Duration::from_secs(5);
    while threads_in(&link) > 0 {
        assert!(Instant::now() < deadline, "a thread stays in {link}");
        tokio::task::yield_now().await;
    }
}

/// Threads of this process that are in a namespace.
fn threads_in(link: &str) -> usize {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    let links = tasks.filter_map(|task| std::fs::read_link(task.ok()?.path().join("ns/net")).ok());
    links.filter(|found| found.as_os_str() == link).count()
}
