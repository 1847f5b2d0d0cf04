//! `Sidecar` of `networking.istio.io` (v1, v1beta1, v1alpha3: one schema). Every field is typed;
//! which of them have an effect here, [`super::validate`] says.

use serde::Deserialize;

use super::{
    Custom,
    traffic::{OutboundTrafficPolicy, WorkloadSelector},
};

/// What some pods may see of the mesh.
pub type Sidecar = Custom<SidecarSpec>;

/// The `spec` of a [`Sidecar`].
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct SidecarSpec {
    /// The pods; all of the namespace without it.
    pub workload_selector: Option<WorkloadSelector>,
    /// Listeners for what comes in.
    pub ingress: Vec<IngressListener>,
    /// Listeners for what goes out.
    pub egress: Vec<EgressListener>,
    /// Limits for what comes in.
    pub inbound_connection_pool: Option<ConnectionPool>,
    /// What happens to traffic that no rule names; the mesh's own answer without it.
    pub outbound_traffic_policy: Option<OutboundTrafficPolicy>,
}

/// A listener for what comes in.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct IngressListener {
    /// The port.
    pub port: Option<SidecarPort>,
    /// The address that it is bound to.
    pub bind: String,
    /// How traffic gets to it.
    pub capture_mode: CaptureMode,
    /// Where the application listens.
    pub default_endpoint: String,
    /// TLS that ends here.
    pub tls: Option<ServerTls>,
    /// Limits.
    pub connection_pool: Option<ConnectionPool>,
}

/// A listener for what goes out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct EgressListener {
    /// The only port that it is for; all without it.
    pub port: Option<SidecarPort>,
    /// The address that it is bound to.
    pub bind: String,
    /// How traffic gets to it.
    pub capture_mode: CaptureMode,
    /// `namespace/dnsName`.
    pub hosts: Vec<String>,
}

/// A listener's port.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct SidecarPort {
    /// The number; zero for a Unix socket.
    pub number: u32,
    /// The application protocol.
    pub protocol: String,
    /// A name.
    pub name: String,
    /// Without effect.
    pub target_port: u32,
}

/// How traffic gets to a listener.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum CaptureMode {
    /// As the environment has it.
    #[default]
    Default,
    /// Redirected.
    Iptables,
    /// By the application itself.
    None,
}

/// TLS that a listener ends.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct ServerTls {
    /// Redirect plaintext.
    pub https_redirect: bool,
    /// `PASSTHROUGH`, `SIMPLE`, `MUTUAL`, …
    pub mode: String,
    /// A file.
    pub server_certificate: String,
    /// A file.
    pub private_key: String,
    /// A file.
    pub ca_certificates: String,
    /// A file.
    pub ca_crl: String,
    /// A secret.
    pub credential_name: String,
    /// Secrets.
    pub credential_names: Vec<String>,
    /// A secret.
    pub ca_cert_credential_name: String,
    /// Files.
    pub tls_certificates: Vec<TlsCertificate>,
    /// Names that clients' certificates may carry.
    pub subject_alt_names: Vec<String>,
    /// Hashes that clients' keys may have.
    pub verify_certificate_spki: Vec<String>,
    /// Hashes that clients' certificates may have.
    pub verify_certificate_hash: Vec<String>,
    /// The lowest version.
    pub min_protocol_version: String,
    /// The highest version.
    pub max_protocol_version: String,
    /// The cipher suites.
    pub cipher_suites: Vec<String>,
    /// The curves.
    pub ecdh_curves: Vec<String>,
    /// Whether clients' certificates are taken unseen.
    pub insecure_skip_verify: Option<bool>,
}

/// A certificate in files.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct TlsCertificate {
    /// A file.
    pub server_certificate: String,
    /// A file.
    pub private_key: String,
    /// A file.
    pub ca_certificates: String,
}

/// Limits on connections.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct ConnectionPool {
    /// For connections.
    pub tcp: Option<TcpPool>,
    /// For requests.
    pub http: Option<HttpPool>,
}

/// Limits on TCP connections.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct TcpPool {
    /// How many.
    pub max_connections: i32,
    /// A duration.
    pub connect_timeout: Option<String>,
    /// Keep-alive.
    pub tcp_keepalive: Option<TcpKeepalive>,
    /// A duration.
    pub max_connection_duration: Option<String>,
    /// A duration.
    pub idle_timeout: Option<String>,
}

/// Keep-alive probes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct TcpKeepalive {
    /// How many unanswered ones end a connection.
    pub probes: u32,
    /// A duration.
    pub time: Option<String>,
    /// A duration.
    pub interval: Option<String>,
}

/// Limits on HTTP.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct HttpPool {
    /// Requests that wait.
    #[serde(rename = "http1MaxPendingRequests")]
    pub http1_max_pending_requests: i32,
    /// Requests at once.
    #[serde(rename = "http2MaxRequests")]
    pub http2_max_requests: i32,
    /// Requests of one connection.
    pub max_requests_per_connection: i32,
    /// Retries at once.
    pub max_retries: i32,
    /// A duration.
    pub idle_timeout: Option<String>,
    /// `DEFAULT`, `DO_NOT_UPGRADE`, `UPGRADE`.
    pub h2_upgrade_policy: String,
    /// Upstream as downstream.
    pub use_client_protocol: bool,
    /// Streams of one connection.
    pub max_concurrent_streams: i32,
    /// Pings on connections that say nothing.
    pub http2_keep_alive: Option<Http2KeepAlive>,
}

/// Pings on connections of HTTP/2.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct Http2KeepAlive {
    /// A duration.
    pub interval: Option<String>,
    /// A duration.
    pub timeout: Option<String>,
}
