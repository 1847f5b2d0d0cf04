//! What names resolved to on disk, for a start without a name server: each a line of JSON in a
//! sealed file.

use std::{io, net::IpAddr, path::Path, sync::Arc};

use agent_base::sealed::{Seal, SealError};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

const SEAL: Seal = Seal { format: "sekisho-names", version: 1 };

/// A name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Line {
    pub(super) name: Arc<str>,
    /// When an answer with an address came last.
    pub(super) answered: Option<Timestamp>,
    /// With the end of the answer's TTL.
    pub(super) current: Vec<Until>,
    /// With the end of the grace.
    pub(super) lingering: Vec<Until>,
    pub(super) former: Vec<IpAddr>,
}

/// An address with a time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Until {
    pub(super) address: IpAddr,
    pub(super) at: Timestamp,
}

/// Reads the file; nothing when there is none.
pub(super) fn read(path: &Path, node: &str) -> Result<Vec<Line>, SealError> {
    let Some((_, body)) = SEAL.read(path, node)? else { return Ok(Vec::new()) };
    let lines = body.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    Ok(lines.map(serde_json::from_slice).collect::<Result<_, _>>()?)
}

/// Writes the file whole.
pub(super) fn write(path: &Path, node: &str, lines: &Vec<Line>) -> io::Result<()> {
    let mut body = Vec::new();
    for line in lines {
        serde_json::to_writer(&mut body, line)?;
        body.push(b'\n');
    }
    SEAL.write(path, node, &body)
}
