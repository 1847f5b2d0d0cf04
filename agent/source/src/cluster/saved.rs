//! The objects in force on disk, for a start without an API server: each a line of JSON in a sealed
//! file, which is for root only, since pods carry secrets in their environment.

use std::{
    collections::BTreeMap,
    io::{self, BufRead as _, Write},
    path::Path,
    sync::Arc,
};

use agent_base::sealed::{Seal, SealError};
use agent_model::resource::{Object, ObjectKey, Objects};
use jiff::Timestamp;
use serde_json::Value;

const SEAL: Seal = Seal { format: "sekisho-objects", version: 1 };

/// The text of each object whose type cannot be written back.
pub(super) type Texts = Arc<BTreeMap<Arc<ObjectKey>, Text>>;

/// An object's JSON, packed: it is wanted only when the file is written, and a large cluster has
/// tens of megabytes of it. Equal objects have equal texts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Text(Arc<[u8]>);

impl Text {
    pub(super) fn of(value: &Value) -> Self {
        Self(lz4_flex::compress_prepend_size(value.to_string().as_bytes()).into())
    }

    pub(super) fn unpack(&self) -> io::Result<Vec<u8>> {
        lz4_flex::decompress_size_prepended(&self.0).map_err(io::Error::other)
    }
}

/// What is to be written.
#[derive(Clone, Debug, Default)]
pub(super) struct Contents {
    pub(super) objects: Arc<Objects>,
    pub(super) texts: Texts,
    /// Those of which the newest form is broken: written where there is no good one, so that the
    /// next start knows of them, too.
    pub(super) broken: Texts,
}

/// Hands on each object of the file; returns when it was written, or `None` when there is none.
pub(super) fn read(
    path: &Path,
    node: &str,
    mut object: impl FnMut(Value),
) -> Result<Option<Timestamp>, SealError> {
    let Some((written, file)) = SEAL.open(path, node)? else { return Ok(None) };
    for line in file.split(b'\n') {
        object(serde_json::from_slice(&line.map_err(SealError::Read)?)?);
    }
    Ok(Some(written))
}

/// Writes the file whole.
pub(super) fn write(path: &Path, node: &str, contents: &Contents) -> io::Result<()> {
    SEAL.write_with(path, node, |file| body(contents, file))
}

fn body(contents: &Contents, mut file: &mut dyn Write) -> io::Result<()> {
    for (key, object) in contents.objects.iter() {
        match object {
            Object::Namespace(object) => serde_json::to_writer(&mut file, &**object)?,
            Object::Pod(object) => serde_json::to_writer(&mut file, &**object)?,
            Object::Service(object) => serde_json::to_writer(&mut file, &object.manifest())?,
            Object::Endpoints(object) => serde_json::to_writer(&mut file, &**object)?,
            Object::EndpointSlice(object) => serde_json::to_writer(&mut file, &object.manifest())?,
            Object::RevisionTag(object) => serde_json::to_writer(&mut file, &object.manifest())?,
            _ => match contents.texts.get(key) {
                Some(text) => file.write_all(&text.unpack()?)?,
                None => return Err(io::Error::other(format!("the text of {key} is not known"))),
            },
        }
        file.write_all(b"\n")?;
    }
    for (key, text) in &*contents.broken {
        if contents.objects.get(key).is_none() && contents.objects.refused(key).is_some() {
            file.write_all(&text.unpack()?)?;
            file.write_all(b"\n")?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
