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
    SEAL.read_lines(path, node)
}

/// Writes the file whole.
pub(super) fn write(path: &Path, node: &str, lines: &[Line]) -> io::Result<()> {
    SEAL.write_lines(path, node, lines)
}
