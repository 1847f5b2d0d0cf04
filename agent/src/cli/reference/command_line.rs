//! The command line, from clap's tree.

use std::fmt::Write as _;

use clap::{Arg, Command, CommandFactory as _};

use super::{code, plain};
use crate::args::Args;

pub(super) const ABOUT: &str = "`sekisho help COMMAND` says the same.";

pub(super) fn page() -> String {
    let mut program = Args::command();
    program.build();
    let mut text = String::new();
    let commands = program.get_subcommands().filter(|one| is_shown(one));
    for command in commands {
        describe(command, &mut text);
    }
    text.truncate(text.trim_end().len());
    text + "\n"
}

fn is_shown(command: &Command) -> bool {
    !command.is_hide_set() && command.get_name() != "help"
}

fn describe(command: &Command, text: &mut String) {
    let name = command.get_bin_name().unwrap_or_else(|| command.get_name());
    let _ = write!(text, "## {name}\n\n");
    if let Some(about) = command.get_about() {
        let _ = write!(text, "{}\n\n", plain(&about.to_string()));
    }
    let mut arguments: Vec<&Arg> = command
        .get_arguments()
        .filter(|one| !one.is_hide_set() && one.get_id() != "help")
        .collect();
    arguments.sort_by_key(|argument| (!argument.is_positional(), argument.get_long()));
    for argument in &arguments {
        text.push_str(&line(argument));
    }
    if !arguments.is_empty() {
        text.push('\n');
    }
    if let Some(more) = command.get_after_help() {
        let _ = write!(text, "```text\n{more}\n```\n\n");
    }
    for inner in command.get_subcommands().filter(|one| is_shown(one)) {
        describe(inner, text);
    }
}

/// An item of a list.
fn line(argument: &Arg) -> String {
    let mut text = format!("- {}", code(&spelling(argument)));
    if let Some(help) = argument.get_help() {
        let _ = write!(text, ": {}", plain(&help.to_string()));
    }
    text.push('.');
    let defaults = argument.get_default_values().iter();
    let defaults: Vec<String> = defaults.map(|value| code(&value.to_string_lossy())).collect();
    if !defaults.is_empty() && argument.get_action().takes_values() {
        let _ = write!(text, " Default: {}.", defaults.join(", "));
    }
    if let Some(variable) = argument.get_env() {
        let _ = write!(text, " Environment: {}.", code(&variable.to_string_lossy()));
    }
    text.push('\n');
    if argument.get_action().takes_values() {
        for value in argument.get_possible_values() {
            let _ = write!(text, "  - {}", code(value.get_name()));
            if let Some(help) = value.get_help() {
                let _ = write!(text, ": {}", plain(&help.to_string()));
            }
            text.push('\n');
        }
    }
    text
}

fn spelling(argument: &Arg) -> String {
    let values = argument.get_value_names().unwrap_or_default();
    let values = values.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
    let mut names = Vec::new();
    names.extend(argument.get_short().map(|short| format!("-{short}")));
    names.extend(argument.get_long().map(|long| format!("--{long}")));
    let names = names.join(", ");
    match (names.is_empty(), argument.get_action().takes_values()) {
        (true, _) => values,
        (false, true) => format!("{names} {values}"),
        (false, false) => names,
    }
}
