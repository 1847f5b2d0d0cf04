//! Objects that are a change or three away from a good one, as a schema has it. The same seed gives the
//! same objects.

use serde_json::{Map, Value, json};

/// Numbers that look like chance (`SplitMix64`).
#[derive(Debug)]
pub(crate) struct Random(pub(crate) u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        let bound = u64::try_from(bound).expect("a count");
        usize::try_from(self.next() % bound).expect("less than a count")
    }

    pub(crate) fn pick<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.below(all.len())]
    }

    /// True once in so many times.
    fn once_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }
}

/// Texts that some field takes and another one does not.
const TEXTS: [&str; 52] = [
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
pub(crate) fn mutant(good: &Value, schema: &Value, random: &mut Random) -> Value {
    let mut value = good.clone();
    for _ in 0..=random.below(3) {
        let mut ways = Vec::new();
        walk(&value, schema, &mut Vec::new(), &mut ways);
        let (way, schema) = random.pick(&ways).clone();
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

fn change(value: &mut Value, way: &[Step], schema: &Value, random: &mut Random) {
    let here = at(value, way);
    match (random.below(6), way.split_last()) {
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
                Some(of_item) if !random.once_in(4) => items.push(any(of_item, 0, random)),
                _ => items.clear(),
            },
            _ => *here = any(schema, 0, random),
        },
    }
}

/// One more field, or another value of one.
fn add(fields: &mut Map<String, Value>, schema: &Value, random: &mut Random) {
    if let Some(known) = schema["properties"].as_object().filter(|known| !known.is_empty()) {
        let names: Vec<&String> = known.keys().collect();
        let name = (*random.pick(&names)).clone();
        let value = any(&known[&name], 0, random);
        fields.insert(name, value);
    } else if let Some(of_value) = schema.get("additionalProperties").filter(|one| one.is_object())
    {
        let key = (*random.pick(&KEYS)).to_owned();
        fields.insert(key, any(of_value, 0, random));
    }
}

/// A value that a schema may have, and now and then one that it has not.
fn any(schema: &Value, depth: usize, random: &mut Random) -> Value {
    if random.once_in(40) {
        return random.pick(&[json!(null), json!({}), json!([]), json!("a"), json!(1.5)]).clone();
    }
    if schema["x-kubernetes-int-or-string"] == true {
        return if random.once_in(2) { json!(80) } else { json!("a") };
    }
    match schema["type"].as_str() {
        Some("string") => match schema["enum"].as_array() {
            Some(words) if !random.once_in(8) => random.pick(words).clone(),
            _ => json!(random.pick(&TEXTS)),
        },
        Some("integer") => json!(random.pick(&NUMBERS)),
        Some("number") => {
            random.pick(&[json!(0), json!(0.5), json!(-1), json!(100), json!(100.5)]).clone()
        }
        Some("boolean") => json!(random.once_in(2)),
        Some("array") => {
            (0..random.below(3)).map(|_| any(&schema["items"], depth + 1, random)).collect()
        }
        Some("object") => object(schema, depth, random),
        _ => json!({}),
    }
}

fn object(schema: &Value, depth: usize, random: &mut Random) -> Value {
    let mut fields = Map::new();
    if let Some(of_value) = schema.get("additionalProperties").filter(|one| one.is_object()) {
        for _ in 0..random.below(3) {
            fields.insert((*random.pick(&KEYS)).to_owned(), any(of_value, depth + 1, random));
        }
    }
    let required = |name: &String| {
        schema["required"].as_array().is_some_and(|all| all.iter().any(|one| one == name.as_str()))
    };
    for (name, of_field) in schema["properties"].as_object().into_iter().flatten() {
        if depth < 4 && (random.once_in(4 + depth) || (required(name) && !random.once_in(8))) {
            fields.insert(name.clone(), any(of_field, depth + 1, random));
        }
    }
    Value::Object(fields)
}
