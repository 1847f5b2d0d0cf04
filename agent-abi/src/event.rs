//! What the kernel programs tell user space.

use crate::Addr;

/// Seen by a socket hook.
pub const LAYER_CONNECT: u32 = 1;
/// Seen as a packet that leaves a socket.
pub const LAYER_PACKET: u32 = 2;
/// Seen as a frame on the host's end of the pod's link.
pub const LAYER_LINK: u32 = 3;
/// Seen as the first segment of a connection to the pod. The far end is then in [`Event::dst`] and
/// [`Event::dst_port`], and the port that it is for in [`Event::src_port`].
pub const LAYER_INBOUND: u32 = 4;

/// What an [`Event`] reports: values of [`Event::kind`].
#[derive(Clone, Copy, Debug)]
pub struct EventKind;

impl EventKind {
    /// A verdict.
    pub const VERDICT: u32 = 1;
    /// The end of a connection, with what it carried.
    pub const CLOSE: u32 = 2;
}

/// One record of the event ring.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Event {
    /// A value of [`EventKind`].
    pub kind: u32,
    /// [`LAYER_CONNECT`], [`LAYER_PACKET`], [`LAYER_LINK`] or [`LAYER_INBOUND`].
    pub layer: u32,
    /// When, in nanoseconds of the monotonic clock.
    pub time_ns: u64,
    /// The cookie of the pod's network namespace.
    pub netns: u64,
    /// The generation that judged.
    pub generation: u64,
    /// A [`crate::Verdict`] as a word.
    pub verdict: u32,
    /// A [`crate::Reason`] as a word.
    pub reason: u32,
    /// The number of the rule that decided, or zero.
    pub rule: u32,
    /// The destination; at [`LAYER_INBOUND`] the far end.
    pub dst: Addr,
    /// The destination's port.
    pub dst_port: u16,
    /// The source's port, zero when it is not known yet.
    pub src_port: u16,
    /// The protocol number.
    pub protocol: u32,
    /// For a close: bytes that the far end acknowledged.
    pub bytes_sent: u64,
    /// For a close: bytes received.
    pub bytes_received: u64,
    /// For a close: how long it was open, in nanoseconds. The kernel leaves it to the reader, who
    /// has seen the verdict.
    pub duration_ns: u64,
    /// For a close: the smoothed round-trip time in microseconds.
    pub rtt_us: u32,
    /// The process that called, as the host numbers it; zero where there is none.
    pub pid: u32,
    /// The cookie of the socket, which ties a close to its verdict; zero for layers 2 and 3.
    pub socket: u64,
}

const _: () = assert!(size_of::<Event>() == 112);

/// Indices of the counters, a `u64` a CPU each.
pub mod counter {
    /// Connections and datagrams let out directly by layer 1.
    pub const DIRECT: u32 = 0;
    /// Connections sent to the proxy.
    pub const PROXY: u32 = 1;
    /// Calls refused by layer 1.
    pub const DENY_CONNECT: u32 = 2;
    /// Packets refused by layer 2.
    pub const DENY_PACKET: u32 = 3;
    /// Frames refused by layer 3.
    pub const DENY_LINK: u32 = 4;
    /// Calls and packets held because the pod is not known.
    pub const HOLD: u32 = 5;
    /// What an audit let out and a registry would deny.
    pub const WOULD_DENY: u32 = 6;
    /// Events that found the ring full.
    pub const EVENTS_LOST: u32 = 7;
    /// Connections refused because the table of original destinations was full.
    pub const ORIGINS_FULL: u32 = 8;
    /// Sockets that could not be remembered for want of memory.
    pub const SOCKETS_FULL: u32 = 9;
    /// Connections to pods that were refused as plaintext.
    pub const DENY_INBOUND: u32 = 10;
    /// How many there are.
    pub const COUNT: u32 = 11;
    /// Their names, in order.
    pub const NAMES: [&str; COUNT as usize] = [
        "direct",
        "proxy",
        "deny_connect",
        "deny_packet",
        "deny_link",
        "hold",
        "would_deny",
        "events_lost",
        "origins_full",
        "sockets_full",
        "deny_inbound",
    ];
}
