//! `ServiceEntry` and `WorkloadEntry` of `networking.istio.io` (v1, v1beta1, v1alpha3: one schema).

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{Custom, traffic::WorkloadSelector};

/// Services that the cluster does not know by itself.
pub type ServiceEntry = Custom<ServiceEntrySpec>;

/// A workload that is no pod.
pub type WorkloadEntry = Custom<WorkloadEntrySpec>;

/// The `spec` of a [`ServiceEntry`].
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct ServiceEntrySpec {
    /// Names: Host for HTTP, SNI for TLS, nothing for plain TCP.
    pub hosts: Vec<String>,
    /// IPs and CIDRs.
    pub addresses: Vec<String>,
    /// Ports.
    pub ports: Vec<ServicePort>,
    /// Inside the mesh or outside.
    pub location: Location,
    /// How endpoints are found.
    pub resolution: Resolution,
    /// The endpoints, where they are listed.
    pub endpoints: Vec<WorkloadEntrySpec>,
    /// The workloads that are endpoints, where they are selected.
    pub workload_selector: Option<WorkloadSelector>,
    /// Namespaces that see it.
    pub export_to: Vec<String>,
    /// Names that a server's certificate may carry.
    pub subject_alt_names: Vec<String>,
}

/// A port of a [`ServiceEntrySpec`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct ServicePort {
    /// What clients dial.
    pub number: u32,
    /// The application protocol; empty for detection.
    pub protocol: String,
    /// Unique in the entry.
    pub name: String,
    /// What endpoints listen on; zero for `number`.
    pub target_port: u32,
}

/// Whether the service is part of the mesh.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Location {
    /// Outside: no mesh identity is expected of it.
    #[default]
    MeshExternal,
    /// Inside.
    MeshInternal,
}

/// How endpoints are found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Resolution {
    /// Whatever the client dialled.
    #[default]
    None,
    /// As listed or selected.
    Static,
    /// By name, all answers.
    Dns,
    /// By name, the first answer.
    DnsRoundRobin,
    /// By the name in the request.
    DynamicDns,
}

/// An endpoint; the `spec` of a [`WorkloadEntry`] too.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct WorkloadEntrySpec {
    /// An IP, a name, or `unix:///path`.
    pub address: String,
    /// Its ports, by the service's port names.
    pub ports: BTreeMap<String, u32>,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its network.
    pub network: String,
    /// `region/zone/subzone`.
    pub locality: String,
    /// Its share of the load; zero for one share.
    pub weight: u32,
    /// Its identity.
    pub service_account: String,
}
