//! Bounds of the proxy.

use std::time::Duration;

/// Bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections that one workload may have open through the proxy.
    pub connections_per_workload: usize,
    /// How long an upstream has to answer.
    pub connect: Duration,
}

impl Default for Limits {
    /// 8,192 connections are 16,384 descriptors: what a workload can do to the node stays bounded.
    /// Ten seconds are three lost SYNs and their repetitions (at 1, 3 and 7 s).
    fn default() -> Self {
        Self { connections_per_workload: 8_192, connect: Duration::from_secs(10) }
    }
}
