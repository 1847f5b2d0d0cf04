//! Network namespaces of a test's own: gone when the test ends, however it ends.
#![expect(clippy::unwrap_used, reason = "what cannot be made ends the test")]

use std::{
    os::fd::AsFd,
    path::{Path, PathBuf},
    process::Command,
    sync::mpsc,
    thread::{self, JoinHandle},
};

use rustix::thread::{UnshareFlags, gettid, move_into_link_name_space};

use super::netns::{NetNs, Worker};

#[cfg(test)]
mod tests;

/// A namespace with its loopback up, held by a thread that waits inside it.
#[derive(Debug)]
pub struct Sandbox {
    path: PathBuf,
    task: String,
    hold: Option<(mpsc::Sender<()>, JoinHandle<()>)>,
}

impl Default for Sandbox {
    fn default() -> Self {
        Self::new()
    }
}

impl Sandbox {
    pub fn new() -> Self {
        let (ready, task) = mpsc::channel();
        let (hold, end) = mpsc::channel::<()>();
        let thread = thread::spawn(move || {
            unshare();
            ip(&["link", "set", "lo", "up"]);
            ready.send(gettid().as_raw_nonzero().to_string()).unwrap();
            let _ = end.recv();
        });
        let task = task.recv().expect("the namespace could not be made: is this root?");
        let path = format!("/proc/self/task/{task}/ns/net").into();
        Self { path, task, hold: Some((hold, thread)) }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The thread that holds it: how `ip link set .. netns` names it.
    pub fn task(&self) -> String {
        self.task.clone()
    }

    /// Runs something inside, on a thread of its own, and waits for it.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let enter = || {
            let namespace = std::fs::File::open(&self.path).unwrap();
            move_into_link_name_space(namespace.as_fd(), None).unwrap();
            work()
        };
        thread::scope(|scope| scope.spawn(enter).join().unwrap())
    }

    pub async fn open(&self, worker: &Worker) -> NetNs {
        NetNs::open(worker, &self.path).await.unwrap()
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        if let Some((hold, thread)) = self.hold.take() {
            drop(hold);
            let _ = thread.join();
        }
    }
}

#[expect(unsafe_code, reason = "unsharing file descriptors would be unsound; the network is not")]
fn unshare() {
    // SAFETY: only the network namespace is unshared, so no descriptor changes hands.
    unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNET) }.unwrap();
}

/// Runs `ip` in the calling thread's namespace.
pub fn ip(arguments: &[&str]) {
    let status = Command::new("ip").args(arguments).status().expect("iproute2 is installed");
    assert!(status.success(), "ip {}", arguments.join(" "));
}
