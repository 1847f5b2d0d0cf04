//! The mesh's own settings.

use std::time::Duration;

use super::exposure::exposure;
use crate::{
    egress::DefaultAction,
    names::DEFAULT_REFRESH,
    registry::Exposure,
    resource::{Objects, duration::duration, mesh_config, traffic::OutboundMode},
    snapshot::{Finding, Severity, code},
};

/// What of the settings matters here.
#[derive(Clone, Debug)]
pub(super) struct MeshSettings {
    pub(super) outbound: DefaultAction,
    pub(super) root_namespace: String,
    pub(super) default_exposure: Exposure,
    /// The longest time between two questions for a name.
    pub(super) dns_refresh: Duration,
}

pub(super) fn read(objects: &Objects) -> (MeshSettings, Vec<Finding>) {
    let mut findings = Vec::new();
    let config = objects.mesh_configs().next();
    let settings = config.map(|config| config.mesh.clone()).unwrap_or_default();
    let mesh_config::MeshConfig {
        outbound_traffic_policy: policy,
        root_namespace,
        default_service_export_to,
        default_virtual_service_export_to: routes,
        default_destination_rule_export_to: rules,
        enable_auto_mtls,
        trust_domain,
        connect_timeout,
        default_http_retry_policy: retries,
        dns_refresh_rate,
    } = settings;
    let refresh = dns_refresh_rate.as_deref().map(time);
    if let Some(config) = config {
        let usual = mesh_config::MeshConfig::default();
        let key = crate::resource::Object::MeshConfig(config.clone()).key();
        for (field, is_set) in [
            ("defaultVirtualServiceExportTo", !routes.is_empty()),
            ("defaultDestinationRuleExportTo", !rules.is_empty()),
            ("enableAutoMtls", enable_auto_mtls != usual.enable_auto_mtls),
            ("trustDomain", trust_domain != usual.trust_domain),
            ("connectTimeout", connect_timeout.is_some()),
            ("defaultHttpRetryPolicy", retries.is_some()),
        ] {
            if is_set {
                let message = "routes and mutual TLS are not served here yet, which this is about";
                let (severity, field) = (Severity::Info, format!("data.mesh: {field}"));
                findings.push(Finding::new(severity, code::NOT_SUPPORTED, &key, field, message));
            }
        }
    }
    if let Some(config) = config {
        let key = crate::resource::Object::MeshConfig(config.clone()).key();
        let mut warn = |field: &str, message: &str| {
            let severity = Severity::Warning;
            findings.push(Finding::new(severity, code::NOT_SUPPORTED, &key, field, message));
        };
        if policy.mode == OutboundMode::AllowAnyDynamicDns {
            let message = "names are not resolved from the Host yet: the mode acts as ALLOW_ANY";
            warn("data.mesh: outboundTrafficPolicy.mode", message);
        }
        if refresh == Some(None) {
            let message = "this is no time: give one such as 60s; a minute is used";
            warn("data.mesh: dnsRefreshRate", message);
        }
        if policy.egress_proxy.is_some() {
            let message = "an egress proxy is not supported: unknown traffic goes out directly";
            warn("data.mesh: outboundTrafficPolicy.egressProxy", message);
        }
    }
    let mesh = MeshSettings {
        outbound: outbound(policy.mode),
        default_exposure: exposure(&default_service_export_to).unwrap_or(Exposure::All),
        dns_refresh: refresh.flatten().unwrap_or(DEFAULT_REFRESH),
        root_namespace,
    };
    (mesh, findings)
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
