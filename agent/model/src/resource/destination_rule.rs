//! `DestinationRule` of `networking.istio.io` (v1, v1beta1, v1alpha3: one schema).

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{Custom, sidecar::ConnectionPool, traffic::PortSelector};

/// How clients talk to a host.
pub type DestinationRule = Custom<DestinationRuleSpec>;

schema_fields! {
    /// The `spec` of a [`DestinationRule`].
    DestinationRuleSpec {
        host: String,
        traffic_policy: Option<Box<TrafficPolicy>>,
        subsets: Vec<Subset>,
        export_to: Vec<String>,
        workload_selector: Option<WorkloadLabels>,
    }
    /// Here the selector's labels are called `matchLabels`.
    WorkloadLabels { match_labels: BTreeMap<String, String> }
    /// A part of the endpoints.
    Subset {
        name: String,
        labels: BTreeMap<String, String>,
        traffic_policy: Option<Box<TrafficPolicy>>,
    }
    /// How connections are made and spread.
    TrafficPolicy {
        load_balancer: Option<LoadBalancer>,
        connection_pool: Option<ConnectionPool>,
        outlier_detection: Option<OutlierDetection>,
        tls: Option<ClientTls>,
        port_level_settings: Vec<PortPolicy>,
        tunnel: Option<Tunnel>,
        proxy_protocol: Option<ProxyProtocol>,
        retry_budget: Option<RetryBudget>,
    }
    /// The same for one port; it replaces all of the policy there.
    PortPolicy {
        port: Option<PortSelector>,
        load_balancer: Option<LoadBalancer>,
        connection_pool: Option<ConnectionPool>,
        outlier_detection: Option<OutlierDetection>,
        tls: Option<ClientTls>,
    }
    /// Which endpoint is next.
    LoadBalancer {
        simple: Option<SimpleBalancer>,
        consistent_hash: Option<ConsistentHash>,
        backend_utilization: Option<BackendUtilization>,
        locality_lb_setting: Option<Locality>,
        zone_aware_lb_setting: Option<ZoneAware>,
        warmup_duration_secs: Option<String>,
        warmup: Option<Warmup>,
    }
    /// One key, one endpoint.
    ConsistentHash {
        http_header_name: Option<String>,
        http_cookie: Option<HashCookie>,
        use_source_ip: Option<bool>,
        http_query_parameter_name: Option<String>,
        ring_hash: Option<RingHash>,
        maglev: Option<Maglev>,
        minimum_ring_size: Option<u64>,
    }
    /// A cookie that is the key; with `ttl` it is issued.
    HashCookie {
        name: String,
        path: String,
        ttl: Option<String>,
        attributes: Vec<CookieAttribute>,
    }
    /// Another attribute of the cookie.
    CookieAttribute { name: String, value: String }
    /// A way to spread keys.
    RingHash { minimum_ring_size: Option<u64> }
    /// Another way to spread keys.
    Maglev { table_size: Option<u64> }
    /// Near endpoints first.
    Locality {
        distribute: Vec<Distribute>,
        failover: Vec<Failover>,
        failover_priority: Vec<String>,
        enabled: Option<bool>,
    }
    /// Shares by what endpoints say of their load.
    BackendUtilization {
        error_utilization_penalty_percent: Option<u32>,
        metric_names_for_computing_utilization: Vec<String>,
        weight_expiration_period: Option<String>,
        weight_stabilization_period: Option<String>,
        weight_update_period: Option<String>,
    }
    /// The same zone first, as much as it can take.
    ZoneAware {
        enabled: Option<bool>,
        failover: Vec<Failover>,
        failover_priority: Vec<String>,
        min_cluster_size: Option<u32>,
    }
    /// Shares by place.
    Distribute { from: String, to: BTreeMap<String, u32> }
    /// Where to go when a place is out.
    Failover { from: String, to: String }
    /// A slow start for new endpoints.
    Warmup {
        duration: Option<String>,
        minimum_percent: Option<f64>,
        aggression: Option<f64>,
    }
    /// Endpoints that fail are left out for a while.
    OutlierDetection {
        consecutive_errors: Option<i32>,
        split_external_local_origin_errors: Option<bool>,
        consecutive_local_origin_failures: Option<u32>,
        consecutive_gateway_errors: Option<u32>,
        #[serde(rename = "consecutive5xxErrors")]
        consecutive_5xx_errors: Option<u32>,
        interval: Option<String>,
        base_ejection_time: Option<String>,
        max_ejection_percent: i32,
        min_health_percent: i32,
        outlier_detection_http_error_codes: Vec<u32>,
    }
    /// How TLS is spoken to the host.
    ClientTls {
        mode: ClientTlsMode,
        client_certificate: String,
        private_key: String,
        ca_certificates: String,
        ca_crl: String,
        credential_name: String,
        subject_alt_names: Vec<String>,
        sni: String,
        insecure_skip_verify: Option<bool>,
    }
    /// Through an HTTP proxy.
    Tunnel { protocol: String, target_host: String, target_port: u32 }
    /// A header before the first byte.
    ProxyProtocol { version: Option<ProxyProtocolVersion> }
    /// How much of the load may be retries.
    RetryBudget {
        percent: Option<f64>,
        min_retry_concurrency: u32,
        budget_interval: Option<String>,
    }
}

/// Which endpoint is next, in a word.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum SimpleBalancer {
    /// The default.
    #[default]
    Unspecified,
    /// The old name of [`Self::LeastRequest`].
    LeastConn,
    /// Any.
    Random,
    /// The one that was dialled.
    Passthrough,
    /// Each in turn.
    RoundRobin,
    /// The less busy one of two.
    LeastRequest,
}

/// How TLS is spoken. A `tls` without mode is DISABLE: it is the enum's zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ClientTlsMode {
    /// Not at all.
    #[default]
    Disable,
    /// The server shows a certificate.
    Simple,
    /// Both do, from files or a secret.
    Mutual,
    /// Both do, with the mesh's identities.
    IstioMutual,
}

/// A version of the PROXY protocol.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum ProxyProtocolVersion {
    /// Text.
    #[default]
    V1,
    /// Binary.
    V2,
}
