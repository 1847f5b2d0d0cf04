//! `Gateway` and `WorkloadGroup` of `networking.istio.io` (v1, v1beta1, v1alpha3: one schema).

use std::collections::BTreeMap;

use super::{Custom, service_entry::WorkloadEntrySpec, sidecar::ServerTls};

/// What some pods listen on at the edge of the mesh.
pub type Gateway = Custom<GatewaySpec>;

/// What workloads that are no pods have in common.
pub type WorkloadGroup = Custom<WorkloadGroupSpec>;

schema_fields! {
    /// The `spec` of a [`Gateway`].
    GatewaySpec { servers: Vec<Server>, selector: BTreeMap<String, String> }
    /// A listener.
    Server {
        port: Option<GatewayPort>,
        bind: String,
        hosts: Vec<String>,
        tls: Option<ServerTls>,
        default_endpoint: String,
        name: String,
    }
    /// A listener's port, by the Service's number or the pod's.
    GatewayPort { number: u32, protocol: String, name: String, target_port: u32 }
    /// The `spec` of a [`WorkloadGroup`].
    WorkloadGroupSpec {
        metadata: Option<GroupMetadata>,
        template: Option<WorkloadEntrySpec>,
        probe: Option<Probe>,
    }
    /// Whether a workload is well.
    Probe {
        initial_delay_seconds: i32,
        timeout_seconds: i32,
        period_seconds: i32,
        success_threshold: i32,
        failure_threshold: i32,
        http_get: Option<HttpProbe>,
        tcp_socket: Option<TcpProbe>,
        exec: Option<ExecProbe>,
        grpc: Option<GrpcProbe>,
    }
    /// A request that is answered.
    HttpProbe {
        path: String,
        port: u32,
        host: String,
        scheme: String,
        http_headers: Vec<ProbeHeader>,
    }
    /// A header of such a request.
    ProbeHeader { name: String, value: String }
    /// A connection that is taken.
    TcpProbe { host: String, port: u32 }
    /// A command that ends well.
    ExecProbe { command: Vec<String> }
    /// A call that is answered.
    GrpcProbe { port: u32, service: String }
    /// What each of the group's workloads gets.
    GroupMetadata { labels: BTreeMap<String, String>, annotations: BTreeMap<String, String> }
}
