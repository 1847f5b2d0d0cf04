//! Values and texts that a manifest must not have.

use fastrand::Rng;
use serde_json::{Value, json};

/// The way to a value.
pub(crate) type Place = Vec<Step>;

/// One step of it.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    Field(String),
    Item(usize),
}

/// Every value inside of one, and that itself.
pub(crate) fn places(value: &Value) -> Vec<Place> {
    let mut found = vec![Vec::new()];
    let mut step = |step: Step, inner: &Value| {
        for mut place in places(inner) {
            place.insert(0, step.clone());
            found.push(place);
        }
    };
    for (name, inner) in value.as_object().into_iter().flatten() {
        step(Step::Field(name.clone()), inner);
    }
    for (at, inner) in value.as_array().into_iter().flatten().enumerate() {
        step(Step::Item(at), inner);
    }
    found
}

/// The value with something else at a place.
pub(crate) fn replaced(value: &Value, place: &Place) -> Vec<Value> {
    let bad = [
        json!(null),
        json!(true),
        json!(0),
        json!(-1),
        json!(443.0),
        json!(443.5),
        json!(1e30),
        json!(u64::MAX),
        json!(i64::MIN),
        json!(65_536),
        json!(""),
        json!("x y"),
        json!("10.0.0.0/33"),
        json!([]),
        json!([1]),
        json!([null]),
        json!([[]]),
        json!({}),
        json!({"x": "y"}),
        json!({"": null}),
    ];
    let put = |bad: Value| {
        let mut value = value.clone();
        let there = place.iter().fold(&mut value, |value, step| match step {
            Step::Field(name) => &mut value[name.as_str()],
            Step::Item(at) => &mut value[*at],
        });
        *there = bad;
        value
    };
    bad.map(put).into()
}

/// What a slip of a keyboard may put into a manifest.
const SLIPS: [&str; 40] = [
    "\t",
    " ",
    "\n",
    ":",
    ": ",
    "- ",
    "-",
    "[",
    "]",
    "{",
    "}",
    ",",
    "#",
    "&a ",
    "*a",
    "*b ",
    "!x ",
    "!!int ",
    "!!binary ",
    "!!map ",
    "!!float ",
    "!!bool ",
    "|",
    ">",
    "'",
    "\"",
    "%YAML 9.9\n",
    "---\n",
    "...\n",
    "<<: ",
    "<<: *a",
    "? ",
    "? [a] : b",
    "@",
    "`",
    "\\",
    "\u{feff}",
    "\u{0}",
    ".nan",
    ".inf",
];

/// Texts that are no YAML in ways of their own.
pub(crate) const NO_YAML: [&str; 22] = [
    "a: 1\na: 2",
    "a: *b",
    "a: &a {b: *a}",
    "a: {<<: 1}",
    "a: {<<: [1]}",
    "a: !!int x",
    "a: !!float x",
    "a: !!bool x",
    "a: !!binary '*'",
    "a: !!binary gA==",
    "a: .nan",
    "a: -.inf",
    "? [a]\n: b",
    "null: a",
    "a: 1\n...\nb: 2",
    "a:\n\tb: c",
    "a: 'b",
    "a: \"\\q\"",
    "%YAML 9.9\n---\na: b",
    "a: b: c",
    "[a",
    "{a: b",
];

/// A text with one or two slips in it.
pub(crate) fn spoilt(text: &str, random: &mut Rng) -> String {
    let mut letters: Vec<String> = text.chars().map(String::from).collect();
    for _ in 0..=random.usize(..2) {
        let at = random.usize(..letters.len());
        match random.usize(..4) {
            0 => drop(letters.remove(at)),
            1 => SLIPS[random.usize(..SLIPS.len())].clone_into(&mut letters[at]),
            2 => letters.truncate(at.max(1)),
            _ => letters.insert(at, SLIPS[random.usize(..SLIPS.len())].to_owned()),
        }
    }
    letters.concat()
}
