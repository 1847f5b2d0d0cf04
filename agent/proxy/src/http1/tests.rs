mod bodies;
mod heads;
mod writing;

use super::{
    Refusal,
    head::{Field, Limits, Role},
    request::{self, Request},
};

/// A request whose lines are joined by CR LF.
fn head(lines: &[&str]) -> Vec<u8> {
    let mut bytes = lines.join("\r\n").into_bytes();
    bytes.extend_from_slice(b"\r\n\r\n");
    bytes
}

fn read(bytes: &[u8]) -> Result<Option<Request>, Refusal> {
    request::read(bytes, &Limits::default())
}

/// What a head says of a field: `name: value` for those that are passed on.
fn passed_on(bytes: &[u8], fields: &[Field]) -> Vec<String> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let kept = fields.iter().filter(|field| field.role == Role::EndToEnd);
    kept.map(|field| format!("{}: {}", text(field.name.of(bytes)), text(field.value.of(bytes))))
        .collect()
}
