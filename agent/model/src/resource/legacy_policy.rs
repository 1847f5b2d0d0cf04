//! `MeshPolicy` and `Policy` of `authentication.istio.io/v1alpha1`, which Istio no longer reads.

use serde::Deserialize;

use super::{Custom, security::MtlsMode};

/// For the whole mesh; cluster scope.
pub type MeshPolicy = Custom<PolicySpec>;
/// For a namespace or services of it.
pub type LegacyPolicy = Custom<PolicySpec>;

schema_fields! {
    /// The `spec` of both kinds.
    PolicySpec {
        targets: Vec<Target>,
        peers: Vec<PeerMethod>,
        peer_is_optional: bool,
        origins: Vec<serde_json::Value>,
        origin_is_optional: bool,
        principal_binding: String,
    }
    /// A service, by its short name.
    Target { name: String, ports: Vec<TargetPort> }
    /// A service's port.
    TargetPort { number: Option<u32>, name: Option<String> }
    /// How a peer shows who it is.
    PeerMethod { mtls: Option<LegacyMtls>, jwt: Option<serde_json::Value> }
    /// Mutual TLS.
    LegacyMtls { allow_tls: bool, mode: LegacyMode }
}

/// Whether plaintext is taken as well.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum LegacyMode {
    /// It is not.
    #[default]
    Strict,
    /// It is.
    Permissive,
}

impl PolicySpec {
    /// The mode in today's words. Without peers mutual TLS is off; `mtls: {}` and `mtls: null` are
    /// STRICT, and a null is a field that is not there.
    pub fn mode(&self) -> MtlsMode {
        let by_mtls = self.peers.iter().find(|peer| peer.jwt.is_none());
        let Some(peer) = by_mtls else { return MtlsMode::Disable };
        let mtls = peer.mtls.clone().unwrap_or_default();
        let optional = self.peer_is_optional || mtls.allow_tls;
        match mtls.mode {
            LegacyMode::Strict if !optional => MtlsMode::Strict,
            LegacyMode::Strict | LegacyMode::Permissive => MtlsMode::Permissive,
        }
    }
}
