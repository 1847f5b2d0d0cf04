//! Where objects come from.

pub(crate) mod debounce;
