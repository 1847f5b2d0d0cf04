//! The mesh's own settings: the `ConfigMap` `istio` in `istio-system`, whose key `mesh` is YAML, and
//! those of each other revision in `istio-REVISION`.
//!
//! Only the fields below are read; each other one becomes a finding, so no reader believes that it has
//! an effect here.

use serde::Deserialize;
use serde_json::Value;

use super::{
    Described as _, Metadata, ObjectKey,
    traffic::{OutboundMode, OutboundTrafficPolicy},
    virtual_service::Retries,
};

/// Where the `ConfigMap` lives.
pub const NAMESPACE: &str = "istio-system";
/// The `ConfigMap`'s name; those of other revisions go on with a dash and the revision.
pub const NAME: &str = "istio";
/// The name of the revision that has no other.
pub const DEFAULT_REVISION: &str = "default";
/// The key of its data.
pub const KEY: &str = "mesh";

/// The `ConfigMap` with its text read.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MeshConfigMap {
    /// Name, namespace, labels, annotations and age.
    pub metadata: Metadata,
    /// The settings.
    pub mesh: MeshConfig,
}

/// The revision that a `ConfigMap` of this name has settings of.
pub fn revision_of(name: &str) -> Option<&str> {
    match name.strip_prefix(NAME)? {
        "" => Some(DEFAULT_REVISION),
        rest => rest.strip_prefix('-').filter(|revision| !revision.is_empty()),
    }
}

/// The `ConfigMap` with the settings of a revision.
pub fn name_of(revision: &str) -> String {
    match revision {
        DEFAULT_REVISION => NAME.to_owned(),
        other => format!("{NAME}-{other}"),
    }
}

/// Whether a `ConfigMap` has settings of a mesh. Istio has others beside them whose names begin alike,
/// and only the settings have the key; one whose data is no mapping may be either.
pub(super) fn is_settings(key: &ObjectKey, data: Option<&Value>) -> bool {
    let has_key = || match data {
        None | Some(Value::Null) => false,
        Some(Value::Object(data)) => data.contains_key(KEY),
        Some(_) => true,
    };
    key.namespace == NAMESPACE
        && (key.name == NAME || (revision_of(&key.name).is_some() && has_key()))
}

impl MeshConfigMap {
    /// The revision whose settings these are.
    pub fn revision(&self) -> &str {
        revision_of(self.metadata.name()).unwrap_or(DEFAULT_REVISION)
    }
}

/// The settings that are read, with Istio's defaults.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct MeshConfig {
    /// What happens to traffic that no rule names.
    pub outbound_traffic_policy: OutboundTrafficPolicy,
    /// The namespace whose Sidecar without selector is everybody's.
    pub root_namespace: String,
    /// Who sees Services and `ServiceEntry`s that do not say so themselves.
    pub default_service_export_to: Vec<String>,
    /// Who sees `VirtualService`s that do not say so themselves.
    pub default_virtual_service_export_to: Vec<String>,
    /// Who sees `DestinationRule`s that do not say so themselves.
    pub default_destination_rule_export_to: Vec<String>,
    /// Whether mutual TLS is spoken where both sides can and no object says otherwise.
    pub enable_auto_mtls: bool,
    /// The first part of every identity.
    pub trust_domain: String,
    /// How long dialling may take; a duration.
    pub connect_timeout: Option<String>,
    /// What is tried again where a route does not say.
    pub default_http_retry_policy: Option<Retries>,
    /// The longest time between two questions for a name; a minute where it does not say.
    pub dns_refresh_rate: Option<String>,
}

impl Default for MeshConfig {
    fn default() -> Self {
        Self {
            outbound_traffic_policy: OutboundTrafficPolicy {
                mode: OutboundMode::AllowAny,
                egress_proxy: None,
            },
            root_namespace: NAMESPACE.to_owned(),
            default_service_export_to: Vec::new(),
            default_virtual_service_export_to: Vec::new(),
            default_destination_rule_export_to: Vec::new(),
            enable_auto_mtls: true,
            trust_domain: "cluster.local".to_owned(),
            connect_timeout: None,
            default_http_retry_policy: None,
            dns_refresh_rate: None,
        }
    }
}
