//! Structures as a schema has them: each field is optional on the wire, in camelCase, and can be
//! told whether it is set.

/// Declares the structures of a schema. Field names are the schema's own.
macro_rules! schema_fields {
    ($($(#[$about:meta])* $name:ident {
        $($(#[$field_about:meta])* $field:ident: $type:ty),+ $(,)?
    })+) => {$(
        $(#[$about])*
        #[derive(Clone, Debug, Default, PartialEq, serde::Deserialize)]
        #[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
        #[serde(rename_all = "camelCase", default)]
        pub struct $name { $($(#[$field_about])* pub $field: $type),+ }

        impl $name {
            /// The fields that say something, in their Rust spelling.
            pub fn set_fields(&self) -> Vec<&'static str> {
                let mut set = Vec::new();
                $(if self.$field != <$type>::default() { set.push(stringify!($field)); })+
                set
            }
        }
    )+};
}

/// A field's name as in a manifest.
pub(super) fn manifest_name(field: &str) -> String {
    let mut name = String::new();
    for (index, part) in field.split('_').enumerate() {
        let (first, rest) = part.split_at(part.len().min(1));
        match index {
            0 => name.push_str(part),
            _ => name.extend([first.to_ascii_uppercase().as_str(), rest]),
        }
    }
    name
}
