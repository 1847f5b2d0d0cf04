//! Of several fields one. As a schema such a condition says which form it has, and not which fields are
//! meant. Where a field stands once, an expression says it in words instead.

use serde_json::Value;

use super::Rule::{self, AtMostOne, Filled, OneFilled, OneOf};

/// The expression for a choice, and what it means that it is false.
pub(super) fn in_words(place: &Value, rule: &Rule) -> Option<(String, String)> {
    let (given, bound, message) = match rule {
        OneOf(fields) => (each(fields, there), "== 1", format!("give one of {}", list(fields))),
        AtMostOne(fields) => (each(fields, there), "<= 1", only_one(fields)),
        Filled(fields) => {
            let filled = each(fields, |field| filled(place, field));
            (filled, ">= 1", format!("it says nothing: give it one of {}", list(fields)))
        }
        OneFilled(fields) => (each(fields, |field| filled(place, field)), "<= 1", only_one(fields)),
        _ => return None,
    };
    let ones: Vec<String> = given.iter().map(|one| format!("({one} ? 1 : 0)")).collect();
    Some((format!("{} {bound}", ones.join(" + ")), message))
}

fn each(fields: &[&str], of: impl Fn(&str) -> String) -> Vec<String> {
    fields.iter().map(|field| of(field)).collect()
}

fn there(field: &str) -> String {
    format!("has(self.{field})")
}

/// A text or a list that is empty is none.
fn filled(place: &Value, field: &str) -> String {
    match place["properties"][field]["type"].as_str() {
        Some("array") => format!("has(self.{field}) && self.{field}.size() > 0"),
        Some("string") => format!("has(self.{field}) && self.{field} != ''"),
        _ => there(field),
    }
}

fn only_one(fields: &[&str]) -> String {
    format!("{} exclude each other: keep one", list(fields))
}

fn list(fields: &[&str]) -> String {
    match fields {
        [all @ .., last] if !all.is_empty() => format!("{} and {last}", all.join(", ")),
        _ => fields.concat(),
    }
}
