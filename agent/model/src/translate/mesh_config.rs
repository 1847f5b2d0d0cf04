//! The mesh's own settings, read once for rules and requests.

use std::{sync::Arc, time::Duration};

use super::{exposure::exposure, retries::retries};
use crate::{
    egress::DefaultAction,
    finding::{Finding, Severity, code},
    names::DEFAULT_REFRESH,
    registry::Exposure,
    requests::route::Retries,
    resource::{
        Object, ObjectKey,
        duration::duration,
        mesh_config::{MeshConfig, MeshConfigMap},
        traffic::OutboundMode,
    },
};

/// The default connect timeout.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// What the settings say, with what is usual where they say nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct MeshSettings {
    pub(super) outbound: DefaultAction,
    pub(super) root_namespace: String,
    pub(super) trust_domain: String,
    /// Who sees services, routes and rules that do not say.
    pub(super) services: Exposure,
    pub(super) routes: Exposure,
    pub(super) rules: Exposure,
    /// Whether mutual TLS is spoken where both sides can.
    pub(super) auto_mutual: bool,
    pub(super) connect_timeout: Duration,
    pub(super) retries: Option<Retries>,
    /// The longest time between two questions for a name.
    pub(super) dns_refresh: Duration,
    /// The object, where it is refused and this is the stricter reading.
    pub(super) refused: Option<ObjectKey>,
}

impl MeshSettings {
    pub(super) fn of(config: MeshConfig) -> Self {
        let MeshConfig {
            outbound_traffic_policy: policy,
            root_namespace,
            default_service_export_to: services,
            default_virtual_service_export_to: routes,
            default_destination_rule_export_to: rules,
            enable_auto_mtls,
            trust_domain,
            connect_timeout,
            default_http_retry_policy,
            dns_refresh_rate,
        } = config;
        let exposed = |list: &[String]| exposure(list).unwrap_or(Exposure::All);
        let connect = connect_timeout.as_deref().and_then(duration);
        Self {
            outbound: outbound(policy.mode),
            root_namespace,
            trust_domain,
            services: exposed(&services),
            routes: exposed(&routes),
            rules: exposed(&rules),
            auto_mutual: enable_auto_mtls,
            connect_timeout: connect.unwrap_or(CONNECT_TIMEOUT),
            retries: retries(default_http_retry_policy.as_ref(), Some(Retries::usual())),
            dns_refresh: dns_refresh_rate.as_deref().and_then(time).unwrap_or(DEFAULT_REFRESH),
            refused: None,
        }
    }

    /// The identity of a service account's workloads.
    pub(super) fn identity(&self, namespace: &str, service_account: &str) -> String {
        format!("spiffe://{}/ns/{namespace}/sa/{service_account}", self.trust_domain)
    }
}

/// What in the settings is not honoured.
pub(super) fn findings(config: &Arc<MeshConfigMap>) -> Vec<Finding> {
    let mut findings = Vec::new();
    let usual = MeshConfig::default();
    let mesh = &config.mesh;
    let key = Object::MeshConfig(config.clone()).key();
    for (field, is_set) in [
        ("defaultVirtualServiceExportTo", !mesh.default_virtual_service_export_to.is_empty()),
        ("defaultDestinationRuleExportTo", !mesh.default_destination_rule_export_to.is_empty()),
        ("enableAutoMtls", mesh.enable_auto_mtls != usual.enable_auto_mtls),
        ("trustDomain", mesh.trust_domain != usual.trust_domain),
        ("connectTimeout", mesh.connect_timeout.is_some()),
        ("defaultHttpRetryPolicy", mesh.default_http_retry_policy.is_some()),
    ] {
        if is_set {
            let message = "routes and mutual TLS are not served here yet, which this is about";
            let (severity, field) = (Severity::Info, format!("data.mesh: {field}"));
            findings.push(Finding::new(severity, code::NOT_SUPPORTED, &key, field, message));
        }
    }
    let mut warn = |field: &str, message: &str| {
        let severity = Severity::Warning;
        findings.push(Finding::new(severity, code::NOT_SUPPORTED, &key, field, message));
    };
    if mesh.outbound_traffic_policy.mode == OutboundMode::AllowAnyDynamicDns {
        let message = "names are not resolved from the Host yet: the mode acts as ALLOW_ANY";
        warn("data.mesh: outboundTrafficPolicy.mode", message);
    }
    if mesh.dns_refresh_rate.as_deref().is_some_and(|rate| time(rate).is_none()) {
        let message = "this is no time: give one such as 60s; a minute is used";
        warn("data.mesh: dnsRefreshRate", message);
    }
    if mesh.outbound_traffic_policy.egress_proxy.is_some() {
        let message = "an egress proxy is not supported: unknown traffic goes out directly";
        warn("data.mesh: outboundTrafficPolicy.egressProxy", message);
    }
    findings
}

/// A time that is longer than nothing.
fn time(text: &str) -> Option<Duration> {
    duration(text).filter(|time| !time.is_zero())
}

pub(super) const fn outbound(mode: OutboundMode) -> DefaultAction {
    match mode {
        OutboundMode::RegistryOnly => DefaultAction::RegistryOnly,
        OutboundMode::AllowAny | OutboundMode::AllowAnyDynamicDns => DefaultAction::AllowAny,
    }
}
