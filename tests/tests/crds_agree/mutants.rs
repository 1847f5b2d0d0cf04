//! Objects that are a change or three away from a good one, as a schema has it. The same seed gives the
//! same objects.

use fastrand::Rng;
use serde_json::{Map, Value, json};

fn pick<'a, T>(all: &'a [T], random: &mut Rng) -> &'a T {
    &all[random.usize(..all.len())]
}

/// True once in so many times.
fn once_in(times: usize, random: &mut Rng) -> bool {
    random.usize(..times) == 0
}

/// Texts that some field takes and another one does not.
const TEXTS: [&str; 80] = [
    "",
    " ",
    "a",
    "a.b",
    "a.b.c.example.com",
    "A.example.com",
    "*",
    "*.a.b",
    "*a.b",
    "a.*",
    "a.b.",
    "a_b",
    "a b",
    "-a",
    "a-",
    "a/b",
    "./a",
    "../a",
    "*/*",
    "./*",
    "~",
    "~/*",
    ".",
    "a/*.b.com",
    "10.0.0.1",
    "10.0.0.0/8",
    "10.0.0.0/33",
    "10.0.0.1.5",
    "::1",
    "2001:db8::/32",
    "[::1]",
    "unix:///tmp/a",
    "unix://@a",
    "unix://a",
    "/a",
    "/",
    "http://a.b/c",
    "https://a.b/c",
    "https://",
    "1s",
    "0s",
    "-1s",
    "1.5s",
    "100us",
    "1h1m",
    "1",
    "80",
    "x y",
    "mesh",
    "(",
    "^a.*$",
    "cluster.local/ns/a/sa/b",
    "a.b.",
    "*-a.b",
    "a.10",
    "*.10",
    "a.b:80",
    "10.0.0.1/8",
    "010.0.0.1",
    "::ffff:10.0.0.1",
    "1:2:3:4:5:6:7:8",
    "1:2:3:4:5:6:7:8:9",
    "2001:db8::/129",
    "unix:///a/",
    "configmap://a",
    "configmap://b/a",
    "outbound_.80_._.a.b.c",
    "127.0.0.1:80",
    "100ms",
    "1500us",
    "1.5ms",
    "0",
    "0.0001s",
    "65535",
    "65536",
    "/a/{*}",
    "/{**}/{*}",
    "/a{b}",
    "*a*",
    "destination.port",
];

const NUMBERS: [i64; 14] =
    [-1, 0, 1, 2, 50, 80, 99, 100, 101, 599, 600, 65_535, 65_536, 4_294_967_296];

const KEYS: [&str; 7] = ["a", "app", "x-a", "a.b/c", "A b", "", "80"];

/// One step of the way to a value.
#[derive(Clone, Debug)]
enum Step {
    Field(String),
    Item(usize),
}

/// The value with one to three changes.
pub(crate) fn mutant(good: &Value, schema: &Value, random: &mut Rng) -> Value {
    let mut value = good.clone();
    for _ in 0..=random.usize(..3) {
        let mut ways = Vec::new();
        walk(&value, schema, &mut Vec::new(), &mut ways);
        let (way, schema) = pick(&ways, random).clone();
        change(&mut value, &way, schema, random);
    }
    value
}

fn walk<'a>(
    value: &Value,
    schema: &'a Value,
    way: &mut Vec<Step>,
    found: &mut Vec<(Vec<Step>, &'a Value)>,
) {
    found.push((way.clone(), schema));
    let mut step = |step: Step, value: &Value, schema: &'a Value| {
        way.push(step);
        walk(value, schema, way, found);
        way.pop();
    };
    for (name, inner) in value.as_object().into_iter().flatten() {
        let of_field =
            schema["properties"].get(name).or_else(|| schema.get("additionalProperties"));
        if let Some(of_field) = of_field.filter(|one| one.is_object()) {
            step(Step::Field(name.clone()), inner, of_field);
        }
    }
    if let Some(of_item) = schema.get("items") {
        for (at, inner) in value.as_array().into_iter().flatten().enumerate() {
            step(Step::Item(at), inner, of_item);
        }
    }
}

fn at<'a>(value: &'a mut Value, way: &[Step]) -> &'a mut Value {
    way.iter().fold(value, |value, step| match step {
        Step::Field(name) => &mut value[name.as_str()],
        Step::Item(at) => &mut value[*at],
    })
}

fn change(value: &mut Value, way: &[Step], schema: &Value, random: &mut Rng) {
    let here = at(value, way);
    match (random.usize(..6), way.split_last()) {
        (0, Some((last, above))) => match (at(value, above), last) {
            (Value::Object(fields), Step::Field(name)) => drop(fields.remove(name)),
            (Value::Array(items), Step::Item(at)) => drop(items.remove(*at)),
            _ => {}
        },
        (1, Some((Step::Item(at_item), above))) => {
            if let Value::Array(items) = at(value, above) {
                items.push(items[*at_item].clone());
            }
        }
        _ => match here {
            Value::Object(fields) => add(fields, schema, random),
            Value::Array(items) => match schema.get("items") {
                Some(of_item) if !once_in(4, random) => items.push(any(of_item, 0, random)),
                _ => items.clear(),
            },
            _ => *here = any(schema, 0, random),
        },
    }
}

/// One more field, or another value of one.
fn add(fields: &mut Map<String, Value>, schema: &Value, random: &mut Rng) {
    if let Some(known) = schema["properties"].as_object().filter(|known| !known.is_empty()) {
        let names: Vec<&String> = known.keys().collect();
        let name = (*pick(&names, random)).clone();
        let value = any(&known[&name], 0, random);
        fields.insert(name, value);
    } else if let Some(of_value) = schema.get("additionalProperties").filter(|one| one.is_object())
    {
        let key = (*pick(&KEYS, random)).to_owned();
        fields.insert(key, any(of_value, 0, random));
    }
}

/// A value that a schema may have, and now and then one that it has not.
fn any(schema: &Value, depth: usize, random: &mut Rng) -> Value {
    if once_in(40, random) {
        let odd = [json!(null), json!({}), json!([]), json!("a"), json!(1.5)];
        return pick(&odd, random).clone();
    }
    if schema["x-kubernetes-int-or-string"] == true {
        return if once_in(2, random) { json!(80) } else { json!("a") };
    }
    match schema["type"].as_str() {
        Some("string") => match schema["enum"].as_array() {
            Some(words) if !once_in(8, random) => pick(words, random).clone(),
            _ => json!(pick(&TEXTS, random)),
        },
        Some("integer") => json!(pick(&NUMBERS, random)),
        Some("number") => {
            let numbers = [json!(0), json!(0.5), json!(-1), json!(100), json!(100.5)];
            pick(&numbers, random).clone()
        }
        Some("boolean") => json!(once_in(2, random)),
        Some("array") => {
            (0..random.usize(..3)).map(|_| any(&schema["items"], depth + 1, random)).collect()
        }
        Some("object") => object(schema, depth, random),
        _ => json!({}),
    }
}

fn object(schema: &Value, depth: usize, random: &mut Rng) -> Value {
    let mut fields = Map::new();
    if let Some(of_value) = schema.get("additionalProperties").filter(|one| one.is_object()) {
        for _ in 0..random.usize(..3) {
            fields.insert((*pick(&KEYS, random)).to_owned(), any(of_value, depth + 1, random));
        }
    }
    let required = |name: &String| {
        schema["required"].as_array().is_some_and(|all| all.iter().any(|one| one == name.as_str()))
    };
    for (name, of_field) in schema["properties"].as_object().into_iter().flatten() {
        if depth < 4 && (once_in(4 + depth, random) || (required(name) && !once_in(8, random))) {
            fields.insert(name.clone(), any(of_field, depth + 1, random));
        }
    }
    Value::Object(fields)
}
