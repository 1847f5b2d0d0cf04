//! The pieces that several Istio kinds share.

use std::collections::BTreeMap;

use serde::Deserialize;

/// What happens to traffic that no rule names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum OutboundMode {
    /// Denied. The default of a *present* policy without a mode: it is the enum's zero.
    #[default]
    RegistryOnly,
    /// Let through.
    AllowAny,
    /// Let through, with plaintext HTTP resolved by its Host.
    AllowAnyDynamicDns,
}

/// `outboundTrafficPolicy`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct OutboundTrafficPolicy {
    /// What happens.
    pub mode: OutboundMode,
    /// Where unknown traffic is sent, in a Sidecar.
    pub egress_proxy: Option<Destination>,
}

/// A service, or a part of one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct Destination {
    /// The service's host.
    pub host: String,
    /// A subset of it.
    pub subset: String,
    /// One of its ports.
    pub port: Option<PortSelector>,
}

/// A port by its number.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct PortSelector {
    /// The number.
    pub number: u32,
}

/// Which pods an object is for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct WorkloadSelector {
    /// Labels that a pod must all have.
    pub labels: BTreeMap<String, String>,
}

impl WorkloadSelector {
    /// Whether labels satisfy the selector; an empty one selects all.
    pub fn selects(&self, labels: &BTreeMap<String, String>) -> bool {
        self.labels.iter().all(|(key, value)| labels.get(key) == Some(value))
    }
}
