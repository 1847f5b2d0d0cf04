//! What went wrong with a request, in Envoy's words, which operators know.

use std::fmt;

/// One thing that went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Flag {
    /// No route matches.
    NoRoute,
    /// The route leads to what is not there.
    NoCluster,
    /// There is no endpoint.
    NoHealthyUpstream,
    /// No connection could be made.
    UpstreamConnectionFailure,
    /// The upstream ended its connection.
    UpstreamConnectionTermination,
    /// The upstream reset the stream.
    UpstreamReset,
    /// A limit of the destination is reached.
    UpstreamOverflow,
    /// The last of the tries failed as well.
    UpstreamRetryLimit,
    /// The upstream did not answer in time.
    UpstreamTimeout,
    /// Nothing was sent either way for too long.
    StreamIdleTimeout,
    /// The upstream's answer is no HTTP.
    UpstreamProtocolError,
    /// The client left.
    DownstreamTermination,
    /// The client's message is no HTTP.
    DownstreamProtocolError,
    /// A delay on purpose.
    DelayInjected,
    /// A failure on purpose.
    FaultInjected,
}

const ALL: [(Flag, &str); 15] = [
    (Flag::NoRoute, "NR"),
    (Flag::NoCluster, "NC"),
    (Flag::NoHealthyUpstream, "UH"),
    (Flag::UpstreamConnectionFailure, "UF"),
    (Flag::UpstreamConnectionTermination, "UC"),
    (Flag::UpstreamReset, "UR"),
    (Flag::UpstreamOverflow, "UO"),
    (Flag::UpstreamRetryLimit, "URX"),
    (Flag::UpstreamTimeout, "UT"),
    (Flag::StreamIdleTimeout, "SI"),
    (Flag::UpstreamProtocolError, "UPE"),
    (Flag::DownstreamTermination, "DC"),
    (Flag::DownstreamProtocolError, "DPE"),
    (Flag::DelayInjected, "DI"),
    (Flag::FaultInjected, "FI"),
];

/// What went wrong with one request; shown as `UF,URX`, and as `-` where nothing did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flags(u16);

impl Flags {
    /// Adds one.
    pub fn add(&mut self, flag: Flag) {
        self.0 |= 1 << flag as u8;
    }

    /// Whether nothing went wrong.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether it is among them.
    pub const fn has(self, flag: Flag) -> bool {
        self.0 & 1 << flag as u8 != 0
    }
}

impl fmt::Display for Flags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut names = ALL.iter().filter(|(flag, _)| self.has(*flag)).map(|(_, name)| *name);
        f.write_str(names.next().unwrap_or("-"))?;
        names.try_for_each(|name| write!(f, ",{name}"))
    }
}
