//! A network namespace with a name, as `ip netns` would make it.

use std::{
    fs::{self, File},
    io,
    os::fd::{AsFd, BorrowedFd},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
};

use anyhow::{Context as _, Result, ensure};
use rustix::{
    io::Errno,
    mount::{UnmountFlags, mount_bind, unmount},
    thread::{LinkNameSpaceType, move_into_link_name_space},
};

use crate::sys;

/// Where namespaces get their names, as `ip netns` has it.
pub const NETNS_DIR: &str = "/run/netns";

/// A named namespace; removed when dropped.
#[derive(Debug)]
pub struct Netns {
    name: String,
    file: File,
}

impl Netns {
    /// A new namespace with loopback up, IPv6 addresses usable at once, and no router expected.
    pub fn new(name: &str) -> Result<Self> {
        fs::create_dir_all(NETNS_DIR)?;
        let path = Path::new(NETNS_DIR).join(name);
        File::create_new(&path).with_context(|| format!("naming {}", path.display()))?;
        let target = path.clone();
        let made = on_a_thread(move || {
            sys::leave_network()?;
            Ok(mount_bind("/proc/thread-self/ns/net", &target)?)
        });
        if let Err(error) = made {
            fs::remove_file(&path)?;
            return Err(error.context(format!("making the namespace {name}")));
        }
        let netns = Self { name: name.to_owned(), file: File::open(&path)? };
        netns.enter(|| {
            for family in ["all", "default"] {
                fs::write(format!("/proc/sys/net/ipv6/conf/{family}/accept_dad"), "0")?;
                fs::write(format!("/proc/sys/net/ipv6/conf/{family}/accept_ra"), "0")?;
                fs::write(format!("/proc/sys/net/ipv6/conf/{family}/disable_ipv6"), "0")?;
                fs::write(format!("/proc/sys/net/ipv4/conf/{family}/rp_filter"), "0")?;
            }
            Ok(())
        })?;
        netns.ip("link set lo up")?;
        Ok(netns)
    }

    /// The name, as `ip netns` shows it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where the name lies.
    pub fn path(&self) -> PathBuf {
        Path::new(NETNS_DIR).join(&self.name)
    }

    /// Does `work` on a thread that is inside. Sockets that it returns stay inside.
    pub fn enter<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        on_a_thread(|| {
            move_into(&self.file).with_context(|| format!("entering {}", self.name))?;
            work()
        })
    }

    /// What lets the thread that calls it in, for good.
    pub fn door(&self) -> Result<impl FnOnce() -> Result<()> + Send + 'static> {
        let (file, name) = (self.file.try_clone()?, self.name.clone());
        Ok(move || move_into(file).with_context(|| format!("entering {name}")))
    }

    /// Runs lines of `ip` inside, as many as there are, all or nothing but the first error.
    pub fn ip(&self, lines: &str) -> Result<()> {
        let mut child = Command::new("ip")
            .args(["-netns", &self.name, "-batch", "-"])
            .stdin(Stdio::piped())
            .stderr(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("running `ip` (Debian: iproute2)")?;
        let mut input = child.stdin.take().context("no pipe to ip")?;
        io::Write::write_all(&mut input, lines.as_bytes())?;
        drop(input);
        let output = child.wait_with_output()?;
        let complaint = String::from_utf8_lossy(&output.stderr);
        // `ip` ends with "Command failed -:<line>".
        let number = complaint.trim_end().rsplit(':').next().and_then(|n| n.parse::<usize>().ok());
        let line = number.and_then(|number| lines.lines().nth(number.saturating_sub(1)));
        ensure!(
            output.status.success(),
            "ip in {}: {}: {complaint}",
            self.name,
            line.unwrap_or(lines)
        );
        Ok(())
    }

    /// Writes settings below `/proc/sys/net` inside.
    pub fn set(&self, settings: &[(&str, &str)]) -> Result<()> {
        self.enter(|| {
            for (name, value) in settings {
                fs::write(format!("/proc/sys/net/{name}"), value)
                    .with_context(|| format!("setting {name} to {value}"))?;
            }
            Ok(())
        })
    }
}

impl AsFd for Netns {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl Drop for Netns {
    fn drop(&mut self) {
        if let Err(error) = remove(&self.path())
            && error.kind() != io::ErrorKind::NotFound
        {
            eprintln!("could not remove the namespace {}: {error}", self.name);
        }
    }
}

/// Removes a name; the namespace itself goes with its last user.
pub(crate) fn remove(path: &Path) -> io::Result<()> {
    // A name that was never mounted on, from a run killed half-way, is only a file.
    match unmount(path, UnmountFlags::DETACH) {
        Ok(()) | Err(Errno::INVAL) => fs::remove_file(path),
        Err(error) => Err(error.into()),
    }
}

/// The thread that calls it is in the namespace from here on.
pub fn move_into(netns: impl AsFd) -> io::Result<()> {
    Ok(move_into_link_name_space(netns.as_fd(), Some(LinkNameSpaceType::Network))?)
}

/// A thread of its own, because a thread that has entered a namespace is of no use afterwards.
fn on_a_thread<T: Send>(work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    thread::scope(|scope| {
        scope.spawn(work).join().map_err(|_| anyhow::anyhow!("a thread in a namespace panicked"))?
    })
}
