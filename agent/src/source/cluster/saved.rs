//! The objects in force on disk, for a start without an API server: each a line of JSON in a sealed
//! file, which is for root only, since pods carry secrets in their environment.

use std::{collections::BTreeMap, io, path::Path, sync::Arc};

use agent_model::resource::{Object, ObjectKey, Objects};
use jiff::Timestamp;
use serde_json::Value;

use crate::sealed::{Seal, SealError};

const SEAL: Seal = Seal { format: "sekisho-objects", version: 1 };

/// The text of each object whose type cannot be written back.
pub(super) type Texts = Arc<BTreeMap<ObjectKey, Arc<str>>>;

/// What is to be written.
#[derive(Clone, Debug, Default)]
pub(super) struct Contents {
    pub(super) objects: Arc<Objects>,
    pub(super) texts: Texts,
}

/// What was read.
#[derive(Debug)]
pub(super) struct Saved {
    pub(super) written: Timestamp,
    pub(super) objects: Vec<Value>,
}

/// Reads the file; `None` when there is none.
pub(super) fn read(path: &Path, node: &str) -> Result<Option<Saved>, SealError> {
    let Some((written, body)) = SEAL.read(path, node)? else { return Ok(None) };
    let lines = body.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    let objects = lines.map(serde_json::from_slice).collect::<Result<_, _>>()?;
    Ok(Some(Saved { written, objects }))
}

/// Writes the file whole.
pub(super) fn write(path: &Path, node: &str, contents: &Contents) -> io::Result<()> {
    SEAL.write(path, node, &body(contents)?)
}

fn body(contents: &Contents) -> io::Result<Vec<u8>> {
    let mut body = Vec::new();
    for (key, object) in contents.objects.iter() {
        match object {
            Object::Namespace(object) => serde_json::to_writer(&mut body, &**object)?,
            Object::Pod(object) => serde_json::to_writer(&mut body, &**object)?,
            Object::Service(object) => serde_json::to_writer(&mut body, &**object)?,
            Object::Endpoints(object) => serde_json::to_writer(&mut body, &**object)?,
            Object::EndpointSlice(object) => serde_json::to_writer(&mut body, &**object)?,
            _ => match contents.texts.get(key) {
                Some(text) => body.extend(text.as_bytes()),
                None => return Err(io::Error::other(format!("the text of {key} is not known"))),
            },
        }
        body.push(b'\n');
    }
    Ok(body)
}

#[cfg(test)]
mod tests;
