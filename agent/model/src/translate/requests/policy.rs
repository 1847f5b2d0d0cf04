//! A `DestinationRule`'s policy for one port and subset, with every default said.

use std::time::Duration;

use super::{super::mesh_config::MeshSettings, destination::Merged};
use crate::{
    requests::policy::{
        Balance, ClientPolicy, Ejection, HashKey, HashTable, Keepalive, Limits, Locality, Tunnel,
        Upgrade, Warmup,
    },
    resource::{
        destination_rule::{
            ClientTls, ClientTlsMode, ConsistentHash, LoadBalancer, OutlierDetection, PortPolicy,
            ProxyProtocol, ProxyProtocolVersion, RetryBudget, SimpleBalancer, TrafficPolicy,
        },
        duration::duration,
        mesh_config::MeshConfig,
        sidecar::{ConnectionPool, HttpPool, TcpKeepalive, TcpPool},
    },
};

/// What of a policy holds for one port and subset.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Effective<'a> {
    balancer: Option<&'a LoadBalancer>,
    pool: Option<&'a ConnectionPool>,
    outliers: Option<&'a OutlierDetection>,
    pub(super) tls: Option<&'a ClientTls>,
    tunnel: Option<&'a crate::resource::destination_rule::Tunnel>,
    proxy_protocol: Option<&'a ProxyProtocol>,
    retry_budget: Option<&'a RetryBudget>,
}

impl<'a> Effective<'a> {
    /// The service's policy, and over it the subset's, field by field. A port's own settings take
    /// the place of all of these, and what they leave out is the default again.
    pub(super) fn of(rule: Option<&'a Merged>, port: u16, subset: Option<&str>) -> Self {
        let mut found = Self::default();
        let Some(rule) = rule else { return found };
        let subset = rule.subsets.iter().find(|one| Some(one.name.as_str()) == subset);
        let of_subset = subset.and_then(|one| one.traffic_policy.as_deref());
        for policy in rule.policy.as_deref().into_iter().chain(of_subset) {
            found.take(policy);
            let is_port = |one: &&PortPolicy| {
                one.port.as_ref().is_some_and(|one| one.number == u32::from(port))
            };
            if let Some(own) = policy.port_level_settings.iter().find(is_port) {
                found.take_port(own);
            }
        }
        found
    }

    fn take_port(&mut self, own: &'a PortPolicy) {
        let PortPolicy { port: _, load_balancer, connection_pool, outlier_detection, tls } = own;
        self.balancer = load_balancer.as_ref();
        self.pool = connection_pool.as_ref();
        self.outliers = outlier_detection.as_ref();
        self.tls = tls.as_ref();
    }

    fn is_usual(&self) -> bool {
        let is_own = self
            .tls
            .is_some_and(|tls| matches!(tls.mode, ClientTlsMode::Simple | ClientTlsMode::Mutual));
        let settings = MeshSettings::of(MeshConfig::default());
        !is_own && self.policy(&settings, crate::requests::policy::ClientTls::Plain).is_usual()
    }

    fn take(&mut self, policy: &'a TrafficPolicy) {
        let TrafficPolicy {
            load_balancer,
            connection_pool,
            outlier_detection,
            tls,
            port_level_settings: _,
            tunnel,
            proxy_protocol,
            retry_budget,
        } = policy;
        self.balancer = load_balancer.as_ref().or(self.balancer);
        self.pool = connection_pool.as_ref().or(self.pool);
        self.outliers = outlier_detection.as_ref().or(self.outliers);
        self.tls = tls.as_ref().or(self.tls);
        self.tunnel = tunnel.as_ref().or(self.tunnel);
        self.proxy_protocol = proxy_protocol.as_ref().or(self.proxy_protocol);
        self.retry_budget = retry_budget.as_ref().or(self.retry_budget);
    }

    /// The policy in the model's words; what TLS is spoken is told elsewhere.
    pub(super) fn policy(
        &self,
        settings: &MeshSettings,
        tls: crate::requests::policy::ClientTls,
    ) -> ClientPolicy {
        ClientPolicy {
            balance: self.balancer.map(balance).unwrap_or_default(),
            locality: self.balancer.and_then(locality),
            warmup: self.balancer.and_then(warmup),
            limits: limits(self.pool, settings),
            ejection: self.outliers.map(ejection),
            tls,
            tunnel: self.tunnel.map(|one| Tunnel {
                by_post: one.protocol.eq_ignore_ascii_case("POST"),
                host: one.target_host.clone(),
                port: u16::try_from(one.target_port).unwrap_or_default(),
            }),
            proxy_protocol: self.proxy_protocol.map(|one| match one.version {
                Some(ProxyProtocolVersion::V2) => 2,
                Some(ProxyProtocolVersion::V1) | None => 1,
            }),
            retry_budget: self.retry_budget.map(|one| {
                let least = one.min_retry_concurrency;
                (millionths(one.percent.unwrap_or(20.0)), if least == 0 { 3 } else { least })
            }),
        }
    }
}

/// Whether a policy says no more, for every port, than a connection that the kernel makes has anyway.
pub(super) fn is_usual(policy: &TrafficPolicy) -> bool {
    let mut effective = Effective::default();
    effective.take(policy);
    effective.is_usual()
}

/// The same of a port's own settings.
pub(super) fn is_usual_on_port(own: &PortPolicy) -> bool {
    let mut effective = Effective::default();
    effective.take_port(own);
    effective.is_usual()
}

/// Per cent in millionths.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "clamped to what fits before it is cast"
)]
pub(super) fn millionths(percent: f64) -> u32 {
    (percent.clamp(0.0, 100.0) * 10_000.0).round() as u32
}

fn balance(balancer: &LoadBalancer) -> Balance {
    if let Some(hash) = &balancer.consistent_hash {
        return by_hash(hash).unwrap_or_default();
    }
    match balancer.simple.unwrap_or_default() {
        SimpleBalancer::Unspecified | SimpleBalancer::LeastConn | SimpleBalancer::LeastRequest => {
            Balance::LeastRequest
        }
        SimpleBalancer::Random => Balance::Random,
        SimpleBalancer::Passthrough => Balance::Dialled,
        SimpleBalancer::RoundRobin => Balance::RoundRobin,
    }
}

fn by_hash(hash: &ConsistentHash) -> Option<Balance> {
    let key = if let Some(name) = &hash.http_header_name {
        HashKey::Header(name.to_ascii_lowercase())
    } else if let Some(cookie) = &hash.http_cookie {
        let attributes = cookie.attributes.iter();
        HashKey::Cookie {
            name: cookie.name.clone(),
            path: cookie.path.clone(),
            ttl: cookie.ttl.as_deref().and_then(duration),
            attributes: attributes.map(|one| (one.name.clone(), one.value.clone())).collect(),
        }
    } else if hash.use_source_ip == Some(true) {
        HashKey::SourceAddress
    } else {
        HashKey::Query(hash.http_query_parameter_name.clone()?)
    };
    let ring = hash.ring_hash.as_ref().and_then(|ring| ring.minimum_ring_size);
    let table = match &hash.maglev {
        Some(maglev) => HashTable::Maglev(maglev.table_size.unwrap_or(65_537)),
        None => HashTable::Ring(ring.or(hash.minimum_ring_size).unwrap_or(1024)),
    };
    Some(Balance::Hash { key, table })
}

fn locality(balancer: &LoadBalancer) -> Option<Locality> {
    let setting = balancer.locality_lb_setting.as_ref()?;
    (setting.enabled != Some(false)).then(|| Locality {
        distribute: setting
            .distribute
            .iter()
            .map(|one| (one.from.clone(), one.to.clone()))
            .collect(),
        failover: setting.failover.iter().map(|one| (one.from.clone(), one.to.clone())).collect(),
        priority: setting.failover_priority.clone(),
    })
}

fn warmup(balancer: &LoadBalancer) -> Option<Warmup> {
    let own = balancer.warmup.as_ref();
    let time = own.and_then(|one| one.duration.as_deref());
    let time = time.or(balancer.warmup_duration_secs.as_deref()).and_then(duration)?;
    Some(Warmup {
        time,
        minimum: millionths(own.and_then(|one| one.minimum_percent).unwrap_or(10.0)),
        aggression: millionths(own.and_then(|one| one.aggression).unwrap_or(1.0) * 100.0),
    })
}

/// Zero is the schema's word for nothing said.
fn count(value: i32) -> Option<u32> {
    u32::try_from(value).ok().filter(|value| *value > 0)
}

fn time(text: Option<&String>) -> Option<Duration> {
    text.and_then(|text| duration(text))
}

fn limits(pool: Option<&ConnectionPool>, settings: &MeshSettings) -> Limits {
    let mut limits = Limits::none(settings.connect_timeout);
    let Some(ConnectionPool { tcp, http }) = pool else { return limits };
    if let Some(tcp) = tcp {
        let TcpPool {
            max_connections,
            connect_timeout,
            tcp_keepalive,
            max_connection_duration,
            idle_timeout,
        } = tcp;
        limits.connections = count(*max_connections);
        limits.connect_timeout = time(connect_timeout.as_ref()).unwrap_or(limits.connect_timeout);
        limits.connection_age = time(max_connection_duration.as_ref());
        limits.tcp_idle = time(idle_timeout.as_ref());
        limits.keepalive =
            tcp_keepalive.as_ref().map(|TcpKeepalive { probes, time: t, interval }| {
                let probes = (*probes > 0).then_some(*probes);
                Keepalive { probes, time: time(t.as_ref()), interval: time(interval.as_ref()) }
            });
    }
    if let Some(http) = http {
        let HttpPool {
            http1_max_pending_requests,
            http2_max_requests,
            max_requests_per_connection,
            max_retries,
            idle_timeout,
            h2_upgrade_policy,
            use_client_protocol,
            max_concurrent_streams,
            http2_keep_alive: _,
        } = http;
        limits.pending = count(*http1_max_pending_requests);
        limits.requests = count(*http2_max_requests);
        limits.per_connection = count(*max_requests_per_connection);
        limits.retries = count(*max_retries);
        limits.http_idle = time(idle_timeout.as_ref());
        limits.streams = count(*max_concurrent_streams);
        limits.upgrade = match h2_upgrade_policy.as_str() {
            _ if *use_client_protocol => Upgrade::AsClient,
            "UPGRADE" => Upgrade::ToHttp2,
            _ => Upgrade::AsDeclared,
        };
    }
    limits
}

/// An empty object turns it on; a zero turns what it counts off.
fn ejection(outliers: &OutlierDetection) -> Ejection {
    let OutlierDetection {
        consecutive_errors,
        split_external_local_origin_errors,
        consecutive_local_origin_failures,
        consecutive_gateway_errors,
        consecutive_5xx_errors,
        interval,
        base_ejection_time,
        max_ejection_percent,
        min_health_percent,
        outlier_detection_http_error_codes: _,
    } = outliers;
    let positive = |value: u32| (value > 0).then_some(value);
    let split = split_external_local_origin_errors.unwrap_or(false);
    // The oldest of the names counted what is now the gateway's errors.
    let old = consecutive_errors.and_then(count);
    let local = split.then(|| consecutive_local_origin_failures.unwrap_or(5));
    Ejection {
        server_errors: positive(consecutive_5xx_errors.unwrap_or(5)),
        gateway_errors: consecutive_gateway_errors.and_then(positive).or(old),
        local_errors: local.and_then(positive),
        split,
        interval: time(interval.as_ref()).unwrap_or(Duration::from_secs(10)),
        base: time(base_ejection_time.as_ref()).unwrap_or(Duration::from_secs(30)),
        most_percent: count(*max_ejection_percent).unwrap_or(10),
        panic_percent: count(*min_health_percent).unwrap_or(0),
    }
}
