//! `VirtualNode` and `VirtualGateway`: what listens, and how others are reached from it.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use serde::Deserialize;

use super::{
    MeshReference, Reference,
    common::{Duration, PortMapping, Protocol, Timeouts},
};

schema_fields! {
    /// The `spec` of a `VirtualNode`.
    VirtualNodeSpec {
        aws_name: Option<String>,
        pod_selector: Option<LabelSelector>,
        listeners: Vec<Listener>,
        service_discovery: Option<ServiceDiscovery>,
        backends: Vec<Backend>,
        backend_groups: Vec<Reference>,
        backend_defaults: Option<BackendDefaults>,
        logging: Option<Logging>,
        mesh_ref: Option<MeshReference>,
    }
    /// The `spec` of a `VirtualGateway`.
    VirtualGatewaySpec {
        aws_name: Option<String>,
        namespace_selector: Option<LabelSelector>,
        pod_selector: Option<LabelSelector>,
        gateway_route_selector: Option<LabelSelector>,
        listeners: Vec<Listener>,
        backend_defaults: Option<BackendDefaults>,
        logging: Option<Logging>,
        mesh_ref: Option<MeshReference>,
    }
    /// A port that is served.
    Listener {
        port_mapping: PortMapping,
        health_check: Option<HealthCheck>,
        outlier_detection: Option<OutlierDetection>,
        connection_pool: Option<ConnectionPool>,
        timeout: Option<Timeouts>,
        tls: Option<ListenerTls>,
    }
    /// Whether an endpoint is well.
    HealthCheck {
        healthy_threshold: i64,
        interval_millis: i64,
        path: Option<String>,
        port: Option<i64>,
        protocol: Option<Protocol>,
        timeout_millis: i64,
        unhealthy_threshold: i64,
    }
    /// Clients leave endpoints out that fail.
    OutlierDetection {
        max_server_errors: i64,
        interval: Option<Duration>,
        base_ejection_duration: Option<Duration>,
        max_ejection_percent: i64,
    }
    /// Limits; exactly one.
    ConnectionPool {
        tcp: Option<TcpPool>,
        http: Option<HttpPool>,
        http2: Option<RequestPool>,
        grpc: Option<RequestPool>,
    }
    /// A limit for TCP.
    TcpPool { max_connections: i64 }
    /// Limits for HTTP.
    HttpPool { max_connections: i64, max_pending_requests: Option<i64> }
    /// A limit for HTTP/2 and gRPC.
    RequestPool { max_requests: i64 }
    /// TLS that a listener ends.
    ListenerTls {
        mode: TlsMode,
        certificate: Option<Certificate>,
        validation: Option<Validation>,
    }
    /// Where a certificate comes from.
    Certificate { acm: Option<AcmCertificate>, file: Option<FileCertificate>, sds: Option<Sds> }
    /// A certificate in AWS.
    AcmCertificate {
        #[serde(rename = "certificateARN")]
        certificate_arn: String,
    }
    /// A certificate in files.
    FileCertificate { certificate_chain: String, private_key: String }
    /// A certificate by the secret discovery service.
    Sds { secret_name: String }
    /// Which certificates are believed.
    Validation { trust: Option<Trust>, subject_alternative_names: Option<AlternativeNames> }
    /// Who signs them.
    Trust { acm: Option<AcmTrust>, file: Option<FileTrust>, sds: Option<Sds> }
    /// Authorities in AWS.
    AcmTrust {
        #[serde(rename = "certificateAuthorityARNs")]
        certificate_authority_arns: Vec<String>,
    }
    /// Authorities in a file.
    FileTrust { certificate_chain: String }
    /// Which names they carry.
    AlternativeNames {
        #[serde(rename = "match")]
        matches: NameMatch,
    }
    /// Exact names.
    NameMatch { exact: Vec<String> }
    /// How a node's endpoints are found.
    ServiceDiscovery { dns: Option<Dns>, aws_cloud_map: Option<CloudMap> }
    /// By name.
    Dns {
        hostname: String,
        response_type: Option<ResponseType>,
    }
    /// By AWS's registry.
    CloudMap { namespace_name: String, service_name: String, attributes: Vec<CloudMapAttribute> }
    /// What an instance must have there.
    CloudMapAttribute { key: String, value: String }
    /// A name that a node dials.
    Backend { virtual_service: BackendService }
    /// The name, and how it is dialled.
    BackendService {
        virtual_service_ref: Option<Reference>,
        #[serde(rename = "virtualServiceARN")]
        virtual_service_arn: Option<String>,
        client_policy: Option<ClientPolicy>,
    }
    /// How backends are dialled that do not say.
    BackendDefaults { client_policy: Option<ClientPolicy> }
    /// How a backend is dialled.
    ClientPolicy { tls: Option<ClientTls> }
    /// TLS to a backend.
    ClientTls {
        enforce: Option<bool>,
        ports: Vec<i64>,
        certificate: Option<Certificate>,
        validation: Option<Validation>,
    }
    /// What is written of each request.
    Logging { access_log: Option<AccessLog> }
    /// Where it is written.
    AccessLog { file: Option<LogFile> }
    /// A file.
    LogFile { path: String, format: Option<LogFormat> }
    /// How it looks.
    LogFormat { text: Option<String>, json: Vec<JsonItem> }
    /// A key and a pattern.
    JsonItem { key: String, value: String }
}

/// Whether plaintext is taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum TlsMode {
    /// Only plaintext.
    #[default]
    Disabled,
    /// Both.
    Permissive,
    /// Only TLS.
    Strict,
}

/// Whether a name is one endpoint or many.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum ResponseType {
    /// One logical endpoint.
    #[default]
    #[serde(rename = "LOADBALANCER")]
    LoadBalancer,
    /// Each address is one.
    #[serde(rename = "ENDPOINTS")]
    Endpoints,
}
