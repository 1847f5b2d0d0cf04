//! `VirtualRouter` and `GatewayRoute`: which request goes where.

use super::{
    MeshReference, Reference,
    common::{Duration, PortMapping, Timeout},
};

schema_fields! {
    /// The `spec` of a `VirtualRouter`.
    VirtualRouterSpec {
        aws_name: Option<String>,
        listeners: Vec<RouterListener>,
        routes: Vec<Route>,
        mesh_ref: Option<MeshReference>,
    }
    /// A port that a router takes.
    RouterListener { port_mapping: PortMapping }
    /// A route; of exactly one protocol.
    Route {
        name: String,
        grpc_route: Option<GrpcRoute>,
        http_route: Option<HttpRoute>,
        http2_route: Option<HttpRoute>,
        tcp_route: Option<TcpRoute>,
        priority: Option<i64>,
    }
    /// A route for HTTP/1 and HTTP/2.
    HttpRoute {
        #[serde(rename = "match")]
        matches: HttpMatch,
        action: RouteAction,
        retry_policy: Option<RetryPolicy>,
        timeout: Option<Timeout>,
    }
    /// A route for gRPC.
    GrpcRoute {
        #[serde(rename = "match")]
        matches: GrpcMatch,
        action: RouteAction,
        retry_policy: Option<RetryPolicy>,
        timeout: Option<Timeout>,
    }
    /// A route for TCP.
    TcpRoute {
        #[serde(rename = "match")]
        matches: Option<TcpMatch>,
        action: RouteAction,
        timeout: Option<Timeout>,
    }
    /// What a connection must be like.
    TcpMatch { port: Option<i64> }
    /// What a request must be like.
    HttpMatch {
        headers: Vec<HeaderMatch>,
        method: Option<String>,
        path: Option<PathMatch>,
        prefix: Option<String>,
        query_parameters: Vec<QueryParameter>,
        scheme: Option<String>,
        port: Option<i64>,
        hostname: Option<HostnameMatch>,
    }
    /// A whole path.
    PathMatch { exact: Option<String>, regex: Option<String> }
    /// A parameter of the query.
    QueryParameter {
        name: String,
        #[serde(rename = "match")]
        matches: Option<QueryMatch>,
    }
    /// Its value.
    QueryMatch { exact: Option<String> }
    /// A header, or a key of gRPC's metadata.
    HeaderMatch {
        name: String,
        invert: Option<bool>,
        #[serde(rename = "match")]
        matches: Option<ValueMatch>,
    }
    /// Its value; one of these.
    ValueMatch {
        exact: Option<String>,
        prefix: Option<String>,
        range: Option<Range>,
        regex: Option<String>,
        suffix: Option<String>,
    }
    /// From `start` up to and without `end`.
    Range { start: i64, end: i64 }
    /// What a call must be like.
    GrpcMatch {
        service_name: Option<String>,
        method_name: Option<String>,
        metadata: Vec<HeaderMatch>,
        port: Option<i64>,
        hostname: Option<HostnameMatch>,
    }
    /// A request's host.
    HostnameMatch { exact: Option<String>, suffix: Option<String> }
    /// Where it goes, by shares.
    RouteAction {
        weighted_targets: Vec<WeightedTarget>,
        target: Option<GatewayTarget>,
        rewrite: Option<Rewrite>,
    }
    /// A node and its share.
    WeightedTarget {
        virtual_node_ref: Option<Reference>,
        #[serde(rename = "virtualNodeARN")]
        virtual_node_arn: Option<String>,
        weight: i64,
        port: Option<i64>,
    }
    /// What is tried again.
    RetryPolicy {
        max_retries: Option<i64>,
        per_retry_timeout: Option<Duration>,
        http_retry_events: Vec<String>,
        tcp_retry_events: Vec<String>,
        grpc_retry_events: Vec<String>,
    }
    /// The `spec` of a `GatewayRoute`.
    GatewayRouteSpec {
        aws_name: Option<String>,
        priority: Option<i64>,
        grpc_route: Option<GrpcRoute>,
        http_route: Option<HttpRoute>,
        http2_route: Option<HttpRoute>,
        virtual_gateway_ref: Option<Reference>,
        mesh_ref: Option<MeshReference>,
    }
    /// The name that a gateway's request goes to.
    GatewayTarget { virtual_service: TargetService, port: Option<i64> }
    /// A name.
    TargetService {
        virtual_service_ref: Option<Reference>,
        #[serde(rename = "virtualServiceARN")]
        virtual_service_arn: Option<String>,
    }
    /// What a gateway changes of a request.
    Rewrite {
        hostname: Option<HostnameRewrite>,
        prefix: Option<PrefixRewrite>,
        path: Option<PathRewrite>,
    }
    /// Whether the host becomes the name.
    HostnameRewrite { default_target_hostname: Option<String> }
    /// What the matched prefix becomes.
    PrefixRewrite { default_prefix: Option<String>, value: Option<String> }
    /// What the path becomes.
    PathRewrite { exact: Option<String> }
}
