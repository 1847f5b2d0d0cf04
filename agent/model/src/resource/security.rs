//! `security.istio.io` (v1, v1beta1: one schema).

use std::collections::BTreeMap;

use serde::Deserialize;

use super::Custom;

/// Whether pods take plaintext.
pub type PeerAuthentication = Custom<PeerAuthenticationSpec>;
/// Who may do what.
pub type AuthorizationPolicy = Custom<AuthorizationPolicySpec>;
/// Which tokens are good.
pub type RequestAuthentication = Custom<RequestAuthenticationSpec>;

schema_fields! {
    /// The `spec` of a [`PeerAuthentication`].
    PeerAuthenticationSpec {
        selector: Option<Selector>,
        mtls: Option<PeerMtls>,
        port_level_mtls: Option<BTreeMap<String, PeerMtls>>,
    }
    /// Which pods; none and an empty one are the same.
    Selector { match_labels: BTreeMap<String, String> }
    /// A mode.
    PeerMtls { mode: MtlsMode }
    /// The `spec` of an [`AuthorizationPolicy`].
    AuthorizationPolicySpec {
        selector: Option<Selector>,
        target_ref: Option<TargetRef>,
        target_refs: Vec<TargetRef>,
        rules: Vec<Rule>,
        action: Action,
        provider: Option<Provider>,
    }
    /// An object that a policy is bound to.
    TargetRef { group: String, kind: String, name: String, namespace: String }
    /// What decides on behalf of the mesh.
    Provider { name: String }
    /// From, to and when; all of it.
    Rule { from: Vec<From>, to: Vec<To>, when: Vec<Condition> }
    /// Where a request comes from.
    From { source: Option<Source> }
    /// What a request is for.
    To { operation: Option<Operation> }
    /// Who asks.
    Source {
        principals: Vec<String>,
        not_principals: Vec<String>,
        request_principals: Vec<String>,
        not_request_principals: Vec<String>,
        namespaces: Vec<String>,
        not_namespaces: Vec<String>,
        service_accounts: Vec<String>,
        not_service_accounts: Vec<String>,
        trust_domains: Vec<String>,
        not_trust_domains: Vec<String>,
        ip_blocks: Vec<String>,
        not_ip_blocks: Vec<String>,
        remote_ip_blocks: Vec<String>,
        not_remote_ip_blocks: Vec<String>,
    }
    /// What is asked.
    Operation {
        hosts: Vec<String>,
        not_hosts: Vec<String>,
        ports: Vec<String>,
        not_ports: Vec<String>,
        methods: Vec<String>,
        not_methods: Vec<String>,
        paths: Vec<String>,
        not_paths: Vec<String>,
    }
    /// Another attribute.
    Condition { key: String, values: Vec<String>, not_values: Vec<String> }
    /// The `spec` of a [`RequestAuthentication`].
    RequestAuthenticationSpec {
        selector: Option<Selector>,
        target_ref: Option<TargetRef>,
        target_refs: Vec<TargetRef>,
        jwt_rules: Vec<JwtRule>,
    }
    /// Tokens of one issuer, and where they are.
    JwtRule {
        issuer: String,
        audiences: Vec<String>,
        #[serde(alias = "jwks_uri")]
        jwks_uri: String,
        jwks: String,
        from_headers: Vec<JwtHeader>,
        from_params: Vec<String>,
        from_cookies: Vec<String>,
        output_payload_to_header: String,
        output_claim_to_headers: Vec<ClaimToHeader>,
        forward_original_token: bool,
        timeout: Option<String>,
        presence: TokenPresence,
        space_delimited_claims: Vec<String>,
    }
    /// A header that holds a token, after a prefix.
    JwtHeader { name: String, prefix: String }
    /// A header that is made of a claim.
    ClaimToHeader { header: String, claim: String }
}

/// Whether plaintext is taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum MtlsMode {
    /// As the wider policy says.
    #[default]
    Unset,
    /// Only plaintext.
    Disable,
    /// Both.
    Permissive,
    /// Only mutual TLS.
    Strict,
}

/// Whether a request needs a token.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum TokenPresence {
    /// It does not.
    #[default]
    Optional,
    /// It does.
    Required,
}

/// What happens to a request that a rule matches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Action {
    /// Let through, and nothing else is.
    #[default]
    Allow,
    /// Denied.
    Deny,
    /// Noted.
    Audit,
    /// An external authorizer decides.
    Custom,
}
