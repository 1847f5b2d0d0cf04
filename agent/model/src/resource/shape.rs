//! A value as typed objects are read from it: a mapping, a list and a scalar each only where it
//! belongs, and what is wrong in the words of the manifest's author.
//!
//! What serde derives takes a list for a structure and reads it by position, which no API server
//! does. A whole number may be written as `443.0`, which API servers take as well.

use std::{fmt, vec};

use serde::de::{
    self, DeserializeSeed, Deserializer, Expected, IntoDeserializer, MapAccess, SeqAccess,
    Unexpected, Visitor,
};
use serde_json::{Map, Number, Value, map};

/// A value that is still to be read.
pub(super) struct Shaped(pub(super) Value);

/// What is there and what is expected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShapeError(String);

impl fmt::Display for ShapeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ShapeError {}

impl de::Error for ShapeError {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self(message.to_string())
    }

    fn invalid_type(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self(format!("found {}, expected {}", shown(found), wanted(&expected.to_string())))
    }

    fn invalid_value(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::invalid_type(found, expected)
    }

    fn unknown_variant(found: &str, expected: &'static [&'static str]) -> Self {
        Self(format!("found {found:?}, expected {}", one_of(expected)))
    }

    fn missing_field(field: &'static str) -> Self {
        Self(format!("{field} is missing"))
    }
}

/// What is there, in a manifest's terms.
fn shown(found: Unexpected<'_>) -> String {
    match found {
        Unexpected::Bool(value) => value.to_string(),
        Unexpected::Unsigned(value) => value.to_string(),
        Unexpected::Signed(value) => value.to_string(),
        Unexpected::Float(value) => value.to_string(),
        Unexpected::Str(text) => format!("the string {:?}", beginning(text)),
        Unexpected::Unit | Unexpected::Option => "null".to_owned(),
        Unexpected::Seq => "a list".to_owned(),
        Unexpected::Map => "a mapping".to_owned(),
        other => other.to_string(),
    }
}

/// The first 60 characters.
fn beginning(text: &str) -> String {
    const MOST: usize = 60;
    let mut beginning: String = text.chars().take(MOST).collect();
    if text.chars().nth(MOST).is_some() {
        beginning.push('…');
    }
    beginning
}

/// What is expected, in a manifest's terms. The library's are those of the types that it fills.
fn wanted(expected: &str) -> String {
    let bounded = |least: i64, most: i64| format!("a whole number from {least} to {most}");
    match expected {
        "u8" => bounded(0, u8::MAX.into()),
        "u16" => bounded(0, u16::MAX.into()),
        "u32" => bounded(0, u32::MAX.into()),
        "i32" => bounded(i32::MIN.into(), i32::MAX.into()),
        "u64" | "usize" => "a whole number, 0 or more".to_owned(),
        "i64" | "isize" => "a whole number".to_owned(),
        "f32" | "f64" => "a number".to_owned(),
        "a boolean" => "true or false".to_owned(),
        "a sequence" => "a list".to_owned(),
        "a map" => "a mapping".to_owned(),
        "IntOrString" => "a whole number or a string".to_owned(),
        "Quantity" => "a quantity, such as 100m or 1Gi".to_owned(),
        structure if structure.starts_with("struct ") => "a mapping".to_owned(),
        other => other.to_owned(),
    }
}

fn one_of(words: &[&str]) -> String {
    match words {
        [only] => (*only).to_owned(),
        _ => format!("one of {}", words.join(", ")),
    }
}

fn unexpected(value: &Value) -> Unexpected<'_> {
    match value {
        Value::Null => Unexpected::Unit,
        Value::Bool(value) => Unexpected::Bool(*value),
        Value::Number(number) => number
            .as_u64()
            .map(Unexpected::Unsigned)
            .or_else(|| number.as_i64().map(Unexpected::Signed))
            .unwrap_or_else(|| Unexpected::Float(number.as_f64().unwrap_or(f64::NAN))),
        Value::String(text) => Unexpected::Str(text),
        Value::Array(_) => Unexpected::Seq,
        Value::Object(_) => Unexpected::Map,
    }
}

/// A number without a fraction as the whole number that it is.
fn whole(number: Number) -> Number {
    let is_whole = |value: &f64| value.fract() == 0.0;
    if number.is_u64() || number.is_i64() {
        return number;
    }
    let found = number.as_f64().filter(is_whole).map(|value| format!("{value:.0}"));
    let read = |text: String| text.parse::<i64>().map(Number::from).ok();
    found.and_then(read).unwrap_or(number)
}

/// What takes whole numbers only.
macro_rules! whole_numbers {
    ($($method:ident)+) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ShapeError> {
            let value = match self.0 {
                Value::Number(number) => Value::Number(whole(number)),
                other => other,
            };
            Shaped(value).deserialize_any(visitor)
        }
    )+};
}

impl<'de> Deserializer<'de> for Shaped {
    type Error = ShapeError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ShapeError> {
        match self.0 {
            Value::Null => visitor.visit_unit(),
            Value::Bool(value) => visitor.visit_bool(value),
            Value::Number(number) => match (number.as_u64(), number.as_i64()) {
                (Some(value), _) => visitor.visit_u64(value),
                (None, Some(value)) => visitor.visit_i64(value),
                (None, None) => visitor.visit_f64(number.as_f64().unwrap_or(f64::NAN)),
            },
            Value::String(text) => visitor.visit_string(text),
            Value::Array(items) => visitor.visit_seq(Items(items.into_iter())),
            Value::Object(map) => visitor.visit_map(Fields::new(map)),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ShapeError> {
        if self.0.is_null() { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, ShapeError> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ShapeError> {
        match self.0 {
            Value::Object(map) => visitor.visit_map(Fields::new(map)),
            other => Err(de::Error::invalid_type(unexpected(&other), &"a map")),
        }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        words: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ShapeError> {
        match self.0 {
            Value::String(text) => visitor.visit_enum(text.into_deserializer()),
            other => Err(de::Error::invalid_type(unexpected(&other), &one_of(words).as_str())),
        }
    }

    whole_numbers! {
        deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64 deserialize_i128
        deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64 deserialize_u128
    }

    serde::forward_to_deserialize_any! {
        bool f32 f64 char str string bytes byte_buf unit unit_struct seq tuple tuple_struct map
        identifier ignored_any
    }
}

/// A list's items, one after the other.
struct Items(vec::IntoIter<Value>);

impl<'de> SeqAccess<'de> for Items {
    type Error = ShapeError;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, ShapeError> {
        self.0.next().map(|item| seed.deserialize(Shaped(item))).transpose()
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.0.len())
    }
}

/// A mapping's fields, one after the other.
struct Fields {
    rest: map::IntoIter,
    /// The value of the field whose name was read last.
    value: Option<Value>,
}

impl Fields {
    fn new(map: Map<String, Value>) -> Self {
        Self { rest: map.into_iter(), value: None }
    }
}

impl<'de> MapAccess<'de> for Fields {
    type Error = ShapeError;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, ShapeError> {
        let Some((name, value)) = self.rest.next() else { return Ok(None) };
        self.value = Some(value);
        seed.deserialize(name.into_deserializer()).map(Some)
    }

    fn next_value_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<T::Value, ShapeError> {
        seed.deserialize(Shaped(self.value.take().unwrap_or(Value::Null)))
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.rest.len())
    }
}
