//! The kernel's enums as the names that people see: for `#[serde(with = ...)]`.

use serde::de::{Error, Unexpected};

/// Of [`agent_abi::Verdict`].
pub(crate) mod verdict {
    use agent_abi::Verdict;
    use serde::{Deserialize as _, Deserializer, Serializer};

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
    pub(crate) fn serialize<S: Serializer>(verdict: &Verdict, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(verdict.name())
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Verdict, D::Error> {
        let name = String::deserialize(from)?;
        let all = (0..=u8::MAX).filter_map(|word| Verdict::from_word(word.into()));
        super::named(all, Verdict::name, &name)
    }
}

/// Of [`agent_abi::Reason`].
pub(crate) mod reason {
    use agent_abi::Reason;
    use serde::{Deserialize as _, Deserializer, Serializer};

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
    pub(crate) fn serialize<S: Serializer>(reason: &Reason, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(reason.name())
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Reason, D::Error> {
        let name = String::deserialize(from)?;
        let all = (0..=u8::MAX).filter_map(|word| Reason::from_word(word.into()));
        super::named(all, Reason::name, &name)
    }
}

fn named<T: Copy, E: Error>(
    mut all: impl Iterator<Item = T>,
    name_of: impl Fn(T) -> &'static str,
    name: &str,
) -> Result<T, E> {
    let found = all.find(|one| name_of(*one) == name);
    found.ok_or_else(|| E::invalid_value(Unexpected::Str(name), &"a name of this version"))
}
