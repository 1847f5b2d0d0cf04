//! Findings as text: of an agent, and of `sekisho analyze`.

use std::fmt::Write as _;

use agent_model::finding::Severity;

use super::output::{Paint, Tone};
use crate::observe::status::Note;

/// Findings, one below the other.
pub(super) fn findings(notes: &[Note], paint: Paint) -> String {
    let mut text = String::new();
    for note in notes {
        let tone = match note.severity {
            Severity::Error => Some(Tone::Bad),
            Severity::Warning => Some(Tone::Doubtful),
            Severity::Info => None,
        };
        let severity = format!("{:7}", note.severity.name());
        let severity = tone.map_or_else(|| severity.clone(), |tone| paint.word(tone, &severity));
        text += &paint.beside(&format!("  {severity} "), &note_line(note));
    }
    text
}

fn note_line(note: &Note) -> String {
    let mut line = String::new();
    if let Some(place) = &note.place {
        let _ = write!(line, "{place}: ");
    }
    let (object, field) = (note.object(), note.field.as_str());
    match (object.is_empty(), field.is_empty()) {
        (true, true) => {}
        (false, true) => line.extend([&object, ": "]),
        (true, false) => line.extend([field, ": "]),
        (false, false) => line.extend([&object, " ", field, ": "]),
    }
    format!("{line}{} [{}]", note.message, note.code)
}
