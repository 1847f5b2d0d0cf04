//! The pages that are one table each.

use agent_model::{
    finding::code::{self as model, Code},
    translate::labels,
};
use agent_source::code as source;

use super::{code, table};
use crate::observe::log_fields::{FIELDS, Target};

pub(super) const ABOUT_FIELDS: &str = "The agent logs to its standard error: `--log` says what, \
    `--log-format json` makes each line a JSON object. A line has a target, a constant message and \
    fields. A field without a value is left out.";

pub(super) const ABOUT_CODES: &str = "A finding says what is wrong with a field of an object and \
    what to do. `sekisho status` and `sekisho analyze` show findings, and so do Events and \
    conditions on the object. An *error* refuses the object, and its last good form stays in force. \
    A *warning* is honoured in part, or likely not what was meant. An *info* is worth knowing. A \
    code never changes its meaning. Codes of the form `IST…` mean what they mean in \
    `istioctl analyze`.";

pub(super) const ABOUT_KEYS: &str = "Every label and annotation that the agent reads, and those that \
    it writes on its own Leases.";

const TARGETS: [(Target, &str); 4] = [
    (Target::Access, "one line for each connection and each end of one, at level `debug`"),
    (Target::Deny, "what was refused or held, or would be but for an audit, at level `info`"),
    (Target::Config, "what becomes of objects, and one line for each generation"),
    (Target::Module, "everything else, under the path of the module that writes it"),
];

pub(super) fn log_fields() -> String {
    let targets = TARGETS.map(|(target, meaning)| [code(target.name()), meaning.to_owned()]);
    let fields = FIELDS.iter().map(|field| {
        let targets = field.targets.iter().map(|target| match target {
            Target::Module => "other".to_owned(),
            target => code(target.name()),
        });
        let targets = targets.collect::<Vec<_>>().join(", ");
        [code(field.name), targets, field.meaning.to_owned()]
    });
    let targets = table(["Target", "Lines"], targets);
    let fields = table(["Field", "Targets", "Meaning"], fields);
    format!("## Targets\n\n{targets}\n## Fields\n\n{fields}")
}

pub(super) fn finding_codes() -> String {
    let mut codes: Vec<&Code> = model::ALL.iter().chain(source::ALL).collect();
    codes.sort_unstable();
    let row = |one: &Code| {
        let severities: Vec<&str> = one.severities.iter().map(|one| one.name()).collect();
        [code(one.name), severities.join(", "), one.meaning.trim().to_owned()]
    };
    table(["Code", "Severity", "Meaning"], codes.into_iter().map(row))
}

pub(super) fn annotations() -> String {
    let row = |key: &labels::Key| {
        let values = key.values.to_owned();
        [code(key.name), key.on.to_owned(), values, key.meaning.to_owned()]
    };
    table(["Key", "On", "Value", "Meaning"], labels::ALL.iter().map(row))
}
