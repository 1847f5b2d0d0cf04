//! What of routes and of rules for destinations has no effect yet: requests are routed on ports that are
//! declared as HTTP, HTTP/2 or gRPC, connections on ports that are declared as TLS or TCP.

use super::Report;
use crate::{
    finding::code,
    resource::{
        destination_rule::{
            ClientTls, ClientTlsMode, DestinationRuleSpec, LoadBalancer, PortPolicy, TrafficPolicy,
        },
        schema_fields::manifest_name,
        sidecar::{ConnectionPool, HttpPool, TcpPool},
        virtual_service::VirtualServiceSpec,
    },
};

const REQUESTS: &str = "holds on ports that are declared as HTTP, HTTP/2 or gRPC: ports without a \
                        declared protocol go where the pod dials";
const GATEWAYS: &str = "no listener is opened here yet: the gateway's own pods serve it";
const MESH: &str = "spoken with pods of the mesh on nodes whose agents have a CA (--ca, --ca-dir): on others \
                    what is routed fails, requests with 503; other connections are made without it";
const SECRETS: &str = "Secrets are not read here yet: in a rule with a workloadSelector, where it counts, \
                       requests fail with 503 and other connections are closed";
const CLIENTS: &str = "connections are made here without it";
const BALANCER: &str = "endpoints are chosen here without it, near and far ones alike";

fn without(report: &mut Report<'_>, is_set: bool, field: String, meanwhile: &str) {
    if is_set {
        report.warn(code::NOT_SUPPORTED, field, meanwhile);
    }
}

/// Reports what of a `VirtualService` has no effect.
pub(super) fn routes(spec: &VirtualServiceSpec, report: &mut Report<'_>) {
    let VirtualServiceSpec { hosts: _, gateways, http, tls: _, tcp: _, export_to: _ } = spec;
    let at_edge = gateways.iter().any(|gateway| gateway != "mesh");
    without(report, at_edge, "spec.gateways".to_owned(), GATEWAYS);
    if !http.is_empty() {
        report.info(code::NOT_SUPPORTED, "spec.http", REQUESTS);
    }
}

/// Reports what of a `DestinationRule` has no effect.
pub(super) fn clients(spec: &DestinationRuleSpec, report: &mut Report<'_>) {
    let all = spec.traffic_policy.iter().map(|one| ("spec".to_owned(), one));
    let of_subsets = spec.subsets.iter().enumerate().filter_map(|(index, subset)| {
        let policy = subset.traffic_policy.as_ref()?;
        Some((format!("spec.subsets[{index}]"), policy))
    });
    for (at, one) in all.chain(of_subsets) {
        policy(&format!("{at}.trafficPolicy"), one, report);
    }
}

fn policy(at: &str, policy: &TrafficPolicy, report: &mut Report<'_>) {
    let TrafficPolicy {
        load_balancer,
        connection_pool,
        outlier_detection: _,
        tls,
        port_level_settings,
        tunnel,
        proxy_protocol: _,
        retry_budget: _,
    } = policy;
    balancer(at, load_balancer.as_ref(), report);
    pool(at, connection_pool.as_ref(), report);
    let field = |name: &str| format!("{at}.{name}");
    client_tls(at, tls.as_ref(), report);
    without(report, tunnel.is_some(), field("tunnel"), CLIENTS);
    for (index, own) in port_level_settings.iter().enumerate() {
        let PortPolicy { port: _, load_balancer, connection_pool, outlier_detection: _, tls } = own;
        let at = format!("{at}.portLevelSettings[{index}]");
        balancer(&at, load_balancer.as_ref(), report);
        pool(&at, connection_pool.as_ref(), report);
        client_tls(&at, tls.as_ref(), report);
    }
}

/// TLS with certificates of the mesh, or of Secrets.
fn client_tls(at: &str, tls: Option<&ClientTls>, report: &mut Report<'_>) {
    let Some(tls) = tls else { return };
    match tls.mode {
        ClientTlsMode::Disable => {}
        ClientTlsMode::IstioMutual => {
            report.info(code::NOT_SUPPORTED, format!("{at}.tls"), MESH);
        }
        ClientTlsMode::Simple | ClientTlsMode::Mutual => {
            let is_set = !tls.credential_name.is_empty();
            without(report, is_set, format!("{at}.tls.credentialName"), SECRETS);
        }
    }
}

/// Near and far endpoints are not told apart yet.
fn balancer(at: &str, balancer: Option<&LoadBalancer>, report: &mut Report<'_>) {
    let fields = balancer.map(LoadBalancer::set_fields).unwrap_or_default();
    for field in fields.into_iter().filter(|field| field.starts_with("locality")) {
        let field = format!("{at}.loadBalancer.{}", manifest_name(field));
        without(report, true, field, BALANCER);
    }
}

/// Some limits of HTTP/2 have no effect, and those of TCP none on streams.
fn pool(at: &str, pool: Option<&ConnectionPool>, report: &mut Report<'_>) {
    let Some(ConnectionPool { tcp, http }) = pool else { return };
    let mut not_yet = |is_set: bool, name: &str| {
        without(report, is_set, format!("{at}.connectionPool.{name}"), CLIENTS);
    };
    if let Some(tcp) = tcp {
        let TcpPool {
            max_connections: _,
            connect_timeout: _,
            tcp_keepalive: _,
            max_connection_duration: _,
            idle_timeout,
        } = tcp;
        not_yet(idle_timeout.is_some(), "tcp.idleTimeout");
    }
    if let Some(http) = http {
        let HttpPool {
            http1_max_pending_requests: _,
            http2_max_requests: _,
            max_requests_per_connection: _,
            max_retries: _,
            idle_timeout: _,
            h2_upgrade_policy: _,
            use_client_protocol: _,
            max_concurrent_streams,
            http2_keep_alive,
        } = http;
        not_yet(*max_concurrent_streams != 0, "http.maxConcurrentStreams");
        not_yet(http2_keep_alive.is_some(), "http.http2KeepAlive");
    }
}
