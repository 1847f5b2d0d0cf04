//! A network namespace as an open handle, and the one thread that enters namespaces.
//!
//! A namespace is known by its cookie, which the kernel never hands out twice while the machine is
//! up. The handle keeps the namespace itself alive, so a holder gives it up once the pod
//! is gone: that is what [`NetNs::is_current`] is for.
//!
//! `setns` moves one thread. The runtime's threads never move; [`Worker`] is a thread of its own
//! that runs short jobs (opening a socket) inside a namespace and goes home when it has nothing to
//! do, so that it does not keep a dead pod's namespace alive. A socket belongs to the namespace it
//! was made in for good: everything after `socket()` happens on the runtime.

use std::{
    fs::File,
    io,
    os::fd::{AsFd, BorrowedFd},
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::{Arc, mpsc},
    thread,
};

use rustix::{
    fs::{Mode, OFlags},
    io::Errno,
    thread::{LinkNameSpaceType, move_into_link_name_space},
};
use thiserror::Error;
use tokio::sync::oneshot;

/// The agent's own namespace, as the calling thread sees it.
const OWN: &str = "/proc/thread-self/ns/net";

/// What goes wrong with a namespace.
#[derive(Debug, Error)]
pub enum NetNsError {
    /// The path names nothing.
    #[error("there is no network namespace at {path}: the pod is gone, or the path is wrong")]
    Missing {
        /// The path.
        path: PathBuf,
    },
    /// The path names something else. `ip netns` leaves a plain file behind while it works.
    #[error("{path} is not a network namespace")]
    NotANamespace {
        /// The path.
        path: PathBuf,
    },
    /// The path cannot be opened or looked at.
    #[error("cannot open the network namespace at {path}")]
    Open {
        /// The path.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The namespace cannot be entered, mostly for want of `CAP_SYS_ADMIN`.
    #[error("cannot enter the network namespace at {path}")]
    Enter {
        /// The path.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The namespace's cookie cannot be read: the kernel is older than 5.14.
    #[error("cannot read the cookie of the network namespace at {path}")]
    Cookie {
        /// The path.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The thread cannot be started.
    #[error("cannot start the thread that enters namespaces")]
    Start {
        /// Why.
        source: io::Error,
    },
    /// The job panicked, or the thread has ended.
    #[error("the job inside the namespace ended without a result")]
    Lost,
}

/// An open network namespace. Holding one, or a clone of it, keeps the namespace alive.
#[derive(Clone, Debug)]
pub struct NetNs {
    handle: Arc<Handle>,
    cookie: u64,
}

#[derive(Debug)]
struct Handle {
    file: File,
    path: PathBuf,
    identity: Identity,
}

/// What tells two open namespaces apart. Not reused while one holds the namespace open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Identity {
    device: u64,
    inode: u64,
}

impl NetNs {
    /// Opens the namespace that a path such as `/run/netns/NAME` names.
    pub async fn open(worker: &Worker, path: &Path) -> Result<Self, NetNsError> {
        let handle = Arc::new(Handle::open(path)?);
        let cookie = worker
            .run_in(Arc::clone(&handle), current_cookie)
            .await?
            .map_err(|source| NetNsError::Cookie { path: path.into(), source })?;
        Ok(Self { handle, cookie })
    }

    /// The namespace of the calling thread.
    pub fn own() -> Result<Self, NetNsError> {
        let path = Path::new(OWN);
        let handle = Arc::new(Handle::open(path)?);
        let cookie =
            current_cookie().map_err(|source| NetNsError::Cookie { path: path.into(), source })?;
        Ok(Self { handle, cookie })
    }

    /// The kernel's number for it: what the hooks see of a pod.
    pub fn cookie(&self) -> u64 {
        self.cookie
    }

    /// Where it was opened.
    pub fn path(&self) -> &Path {
        &self.handle.path
    }

    /// The device and inode that tell it from every other namespace that is open.
    pub fn identity(&self) -> (u64, u64) {
        (self.handle.identity.device, self.handle.identity.inode)
    }

    /// False once its path names nothing or another namespace: the pod has gone.
    pub fn is_current(&self) -> bool {
        Handle::open(&self.handle.path).is_ok_and(|now| now.identity == self.handle.identity)
    }

    /// True for two handles of one namespace.
    pub fn same_as(&self, other: &Self) -> bool {
        self.handle.identity == other.handle.identity
    }
}

impl AsFd for NetNs {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.handle.file.as_fd()
    }
}

impl Handle {
    fn open(path: &Path) -> Result<Self, NetNsError> {
        let failed = |errno: Errno| match errno {
            Errno::NOENT => NetNsError::Missing { path: path.into() },
            _ => NetNsError::Open { path: path.into(), source: errno.into() },
        };
        // Without NONBLOCK a path that names a FIFO would hang the agent.
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let file = File::from(rustix::fs::open(path, flags, Mode::empty()).map_err(failed)?);
        if !is_namespace(file.as_fd()).map_err(failed)? {
            return Err(NetNsError::NotANamespace { path: path.into() });
        }
        let stat = rustix::fs::fstat(&file).map_err(failed)?;
        let identity = Identity { device: stat.st_dev, inode: stat.st_ino };
        Ok(Self { file, path: path.into(), identity })
    }

    fn enter(&self) -> Result<(), NetNsError> {
        let kind = Some(LinkNameSpaceType::Network);
        move_into_link_name_space(self.file.as_fd(), kind).map_err(|errno| match errno {
            // A namespace of another kind, such as `/proc/PID/ns/mnt`.
            Errno::INVAL => NetNsError::NotANamespace { path: self.path.clone() },
            _ => NetNsError::Enter { path: self.path.clone(), source: errno.into() },
        })
    }
}

/// True for a namespace of any kind; entering it tells which.
fn is_namespace(file: BorrowedFd<'_>) -> Result<bool, Errno> {
    /// `NSFS_MAGIC` of `include/uapi/linux/magic.h`.
    const NSFS_MAGIC: u64 = 0x6e73_6673;
    let magic = rustix::fs::fstatfs(file)?.f_type;
    Ok(u64::try_from(magic).is_ok_and(|magic| magic == NSFS_MAGIC))
}

/// The cookie of the calling thread's namespace, by way of a socket: there is no other way to ask.
pub(crate) fn current_cookie() -> io::Result<u64> {
    let socket = socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::DGRAM, None)?;
    cookie(socket.as_fd())
}

/// The cookie of the namespace that a socket belongs to.
#[expect(unsafe_code, reason = "no safe wrapper knows SO_NETNS_COOKIE")]
pub fn cookie(socket: BorrowedFd<'_>) -> io::Result<u64> {
    use std::os::fd::AsRawFd;

    /// `SO_NETNS_COOKIE` of `include/uapi/asm-generic/socket.h`, since Linux 5.14.
    const SO_NETNS_COOKIE: libc::c_int = 71;
    let mut cookie: u64 = 0;
    let mut length = libc::socklen_t::try_from(size_of::<u64>()).unwrap_or(8);
    // SAFETY: both pointers are to locals that outlive the call, and `length` is the size of the
    // first.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            SO_NETNS_COOKIE,
            (&raw mut cookie).cast(),
            &raw mut length,
        )
    };
    if result == 0 { Ok(cookie) } else { Err(io::Error::last_os_error()) }
}

/// The thread that enters namespaces. Dropping this ends the thread once its jobs are done.
#[derive(Debug)]
pub struct Worker {
    jobs: mpsc::Sender<Job>,
    own: NetNs,
}

struct Job {
    place: Arc<Handle>,
    work: Box<dyn FnOnce(Result<(), NetNsError>) + Send>,
}

impl Worker {
    /// Starts the thread in the caller's namespace, which is the one that it goes home to.
    pub fn start() -> Result<Self, NetNsError> {
        let own = NetNs::own()?;
        let (jobs, queue) = mpsc::channel();
        let home = Arc::clone(&own.handle);
        thread::Builder::new()
            .name("netns".into())
            .spawn(move || Traveller { at: Some(home.identity), home }.serve(&queue))
            .map_err(|source| NetNsError::Start { source })?;
        Ok(Self { jobs, own })
    }

    /// The agent's own namespace.
    pub fn own(&self) -> &NetNs {
        &self.own
    }

    /// Runs a job inside a namespace. The job must be short and must not wait: the jobs of all
    /// pods share the thread.
    pub async fn run<T: Send + 'static>(
        &self,
        namespace: &NetNs,
        job: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, NetNsError> {
        self.run_in(Arc::clone(&namespace.handle), job).await
    }

    async fn run_in<T: Send + 'static>(
        &self,
        place: Arc<Handle>,
        job: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, NetNsError> {
        let (answer, result) = oneshot::channel();
        let work = Box::new(move |entered: Result<(), NetNsError>| {
            // The caller may have stopped waiting; what the job made is dropped with the answer.
            let _ = answer.send(entered.map(|()| job()));
        });
        self.jobs.send(Job { place, work }).map_err(|_| NetNsError::Lost)?;
        result.await.map_err(|_| NetNsError::Lost)?
    }
}

/// The state of the thread.
struct Traveller {
    home: Arc<Handle>,
    /// Where the thread is; `None` when it could not go where it was to go.
    at: Option<Identity>,
}

impl Traveller {
    fn serve(mut self, queue: &mpsc::Receiver<Job>) {
        while let Some(Job { place, work }) = self.next(queue) {
            let entered = self.go(&place);
            // A job that panics has lost its own answer, and must not take the thread along.
            let _ = catch_unwind(AssertUnwindSafe(|| work(entered)));
        }
    }

    /// The next job at once, or home first and then whatever comes.
    fn next(&mut self, queue: &mpsc::Receiver<Job>) -> Option<Job> {
        if let Ok(job) = queue.try_recv() {
            return Some(job);
        }
        let home = Arc::clone(&self.home);
        if let Err(error) = self.go(&home) {
            tracing::error!(%error, "the namespace thread cannot go home");
        }
        queue.recv().ok()
    }

    fn go(&mut self, place: &Handle) -> Result<(), NetNsError> {
        if self.at != Some(place.identity) {
            // After a failure the thread is where it was; only `None` makes the next job try.
            self.at = None;
            place.enter()?;
            self.at = Some(place.identity);
        }
        Ok(())
    }
}
