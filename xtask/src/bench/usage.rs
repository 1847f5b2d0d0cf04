//! What a process costs: memory and processor time.

use std::fs;

use anyhow::Context as _;

/// In bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Memory {
    pub(super) resident: f64,
    pub(super) anonymous: f64,
    pub(super) highest: f64,
}

impl Memory {
    pub(super) fn of(process: u32) -> anyhow::Result<Self> {
        let status = fs::read_to_string(format!("/proc/{process}/status"))?;
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            let kibibytes = line.and_then(|line| line.split_whitespace().nth(1));
            let kibibytes = kibibytes.with_context(|| format!("a process has {name}"))?;
            anyhow::Ok(kibibytes.parse::<f64>()? * 1024.0)
        };
        Ok(Self {
            resident: field("VmRSS")?,
            anonymous: field("RssAnon")?,
            highest: field("VmHWM")?,
        })
    }
}

/// Processor time of a process so far, in seconds.
pub(super) fn processor(process: u32) -> anyhow::Result<f64> {
    /// `USER_HZ`, which proc(5) counts in: 100 on every architecture that Linux has today.
    const HERTZ: f64 = 100.0;
    let stat = fs::read_to_string(format!("/proc/{process}/stat"))?;
    // The name, in parentheses, may hold anything.
    let (_, rest) = stat.rsplit_once(") ").context("stat has a name")?;
    let fields: Vec<&str> = rest.split(' ').collect();
    let ticks = |at: usize| fields.get(at).context("stat has fourteen fields and more");
    Ok((ticks(11)?.parse::<f64>()? + ticks(12)?.parse::<f64>()?) / HERTZ)
}
