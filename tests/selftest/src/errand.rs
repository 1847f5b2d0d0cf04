//! What the probe is told, and what it answers. Both cross its command line or its pipes as JSON.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
};

use serde::{Deserialize, Serialize};

use crate::{
    packet::Ends,
    way::{Family, Way},
};

/// One way out to try.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Errand {
    /// Which.
    pub way: Way,
    /// How the destination is dialled.
    pub family: Family,
    /// The destination, never in mapped form.
    pub dst: IpAddr,
    /// Its port.
    pub port: u16,
    /// The pod's own address.
    pub src: IpAddr,
    /// An address of the far host's that is always allowed: what an honest part of the way uses.
    pub door: IpAddr,
    /// The station for hand-made frames.
    pub next_hop: [u8; 6],
    /// The pod's own station.
    pub station: [u8; 6],
    /// The pod's group, for a probe that starts elsewhere.
    pub cgroup: PathBuf,
    /// The pod's namespace, for a probe that starts elsewhere.
    pub netns: PathBuf,
}

/// The port that a hand-made packet says it comes from; no socket of a test is bound there.
const FORGED_PORT: u16 = 1_023;

impl Errand {
    /// The destination as a socket of the family dials it.
    pub fn target(&self) -> SocketAddr {
        self.dial(self.dst)
    }

    /// Any address as a socket of the family dials it.
    pub fn dial(&self, address: IpAddr) -> SocketAddr {
        let address = match (self.family, address) {
            (Family::Mapped, IpAddr::V4(v4)) => v4.to_ipv6_mapped().into(),
            _ => address,
        };
        SocketAddr::new(address, self.port)
    }

    /// Both ends, for a packet made by hand.
    pub fn ends(&self) -> Ends {
        Ends { src: self.src, dst: self.dst, src_port: FORGED_PORT, dst_port: self.port }
    }
}

/// What came of one try.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// The error number of the call that failed.
    pub errno: Option<i32>,
    /// The far end's answer came, where there was one to wait for.
    pub answered: bool,
    /// How long it took.
    pub took_ms: u64,
}

/// Error numbers that a try meets, by the names that people know.
const NAMES: [(i32, &str); 21] = [
    (libc::EACCES, "EACCES"),
    (libc::EADDRNOTAVAIL, "EADDRNOTAVAIL"),
    (libc::EAGAIN, "EAGAIN"),
    (libc::ECONNABORTED, "ECONNABORTED"),
    (libc::ECONNREFUSED, "ECONNREFUSED"),
    (libc::ECONNRESET, "ECONNRESET"),
    (libc::EHOSTUNREACH, "EHOSTUNREACH"),
    (libc::EINPROGRESS, "EINPROGRESS"),
    (libc::EINVAL, "EINVAL"),
    (libc::EMSGSIZE, "EMSGSIZE"),
    (libc::ENETDOWN, "ENETDOWN"),
    (libc::ENETUNREACH, "ENETUNREACH"),
    (libc::ENOBUFS, "ENOBUFS"),
    (libc::ENOSYS, "ENOSYS"),
    (libc::ENOTCONN, "ENOTCONN"),
    (libc::ENOTRECOVERABLE, "ENOTRECOVERABLE"),
    (libc::EOPNOTSUPP, "EOPNOTSUPP"),
    (libc::EPERM, "EPERM"),
    (libc::EPIPE, "EPIPE"),
    (libc::EPROTONOSUPPORT, "EPROTONOSUPPORT"),
    (libc::ETIMEDOUT, "ETIMEDOUT"),
];

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.errno {
            Some(errno) => match NAMES.iter().find(|(known, _)| *known == errno) {
                Some((_, name)) => f.write_str(name)?,
                None => write!(f, "error {errno}")?,
            },
            None if self.answered => f.write_str("answered")?,
            None => f.write_str("no answer")?,
        }
        write!(f, " after {} ms", self.took_ms)
    }
}

/// What came of one round.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Report {
    /// On what an earlier round left open; none in the first, and none if nothing stayed open.
    pub held: Option<Outcome>,
    /// From the start.
    pub fresh: Outcome,
}
