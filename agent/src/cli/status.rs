//! `sekisho status`: a section for each thing that an agent says of itself.

mod head;
mod layers;
mod links;
mod pods;
mod source;

use std::fmt::Write as _;

use super::{
    Answer,
    findings::findings,
    output::{Paint, Table, Tone, encode},
};
use crate::{
    admin::client::Client,
    args::{StatusArgs, exit},
    observe::status::{State, Status},
};

pub(super) async fn run(args: &StatusArgs, paint: Paint) -> anyhow::Result<Answer> {
    let status: Status = Client::new(&args.ask.run_dir).ask("/status").await?;
    let code = if status.state == State::Ready { exit::OK } else { exit::FAILURE };
    let text = match encode(args.ask.output.format, &status)? {
        Some(text) => text,
        None => table(&status, paint),
    };
    Ok(Answer { text, code })
}

fn table(status: &Status, paint: Paint) -> String {
    let mut text = head::head(status, paint);
    section(&mut text, "PODS", &pods::pods(status, paint), paint);
    let links = links::links(status, paint);
    if !links.is_empty() {
        section(&mut text, "LINKS", &links, paint);
    }
    section(&mut text, "LAYERS", &layers::layers(status, paint), paint);
    if let Some(source) = &status.source {
        section(&mut text, "API SERVER", &source::followed(source, paint), paint);
    }
    if !status.names.is_empty() {
        section(&mut text, "NAMES", &source::names(&status.names, paint), paint);
    }
    section(&mut text, "COUNTERS", &counters(status, paint), paint);
    section(&mut text, "FINDINGS", &findings(&status.findings, paint), paint);
    text
}

fn section(text: &mut String, title: &str, body: &str, paint: Paint) {
    let body = if body.is_empty() { "  none\n" } else { body };
    let _ = write!(text, "\n{}\n{body}", paint.word(Tone::Strong, title));
}

fn counters(status: &Status, paint: Paint) -> String {
    let mut table = Table::default();
    for (name, count) in &status.counters {
        table.row(&[&name.replace('_', " "), &count.to_string()], None);
    }
    table.text("  ", paint)
}

#[cfg(test)]
mod tests;
