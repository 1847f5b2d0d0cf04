//! `VirtualService` of `networking.istio.io` (v1, v1beta1, v1alpha3: one schema).

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{
    Custom,
    traffic::{Destination, PortSelector},
};

/// How requests to some hosts are routed.
pub type VirtualService = Custom<VirtualServiceSpec>;

/// Labels by key.
pub type Labels = BTreeMap<String, String>;

schema_fields! {
    /// The `spec` of a [`VirtualService`].
    VirtualServiceSpec {
        hosts: Vec<String>,
        gateways: Vec<String>,
        http: Vec<HttpRoute>,
        tls: Vec<TlsRoute>,
        tcp: Vec<TcpRoute>,
        export_to: Vec<String>,
    }
    /// A rule for HTTP.
    HttpRoute {
        name: String,
        #[serde(rename = "match")]
        matches: Vec<HttpMatch>,
        route: Vec<HttpDestination>,
        redirect: Option<Box<Redirect>>,
        direct_response: Option<Box<DirectResponse>>,
        delegate: Option<Delegate>,
        rewrite: Option<Box<Rewrite>>,
        timeout: Option<String>,
        retries: Option<Box<Retries>>,
        fault: Option<Box<Fault>>,
        mirror: Option<Destination>,
        mirrors: Vec<Mirror>,
        #[serde(alias = "mirror_percent")]
        mirror_percent: Option<u32>,
        mirror_percentage: Option<Percent>,
        cors_policy: Option<Box<CorsPolicy>>,
        headers: Option<Box<Headers>>,
    }
    /// A text that is matched in one of three ways.
    StringMatch { exact: Option<String>, prefix: Option<String>, regex: Option<String> }
    /// What a request must be like; all of it.
    HttpMatch {
        name: String,
        uri: Option<StringMatch>,
        ignore_uri_case: bool,
        scheme: Option<StringMatch>,
        method: Option<StringMatch>,
        authority: Option<StringMatch>,
        headers: BTreeMap<String, StringMatch>,
        without_headers: BTreeMap<String, StringMatch>,
        query_params: BTreeMap<String, StringMatch>,
        port: u32,
        source_labels: Labels,
        source_namespace: String,
        gateways: Vec<String>,
        stat_prefix: String,
    }
    /// Where a share of the requests goes.
    HttpDestination {
        destination: Option<Destination>,
        weight: i32,
        headers: Option<Box<Headers>>,
    }
    /// An answer that sends the client elsewhere.
    Redirect {
        uri: String,
        prefix_rewrite: String,
        authority: String,
        port: Option<u32>,
        derive_port: Option<DerivePort>,
        scheme: String,
        redirect_code: u32,
    }
    /// An answer made on the spot.
    DirectResponse { status: u32, body: Option<Body> }
    /// What an answer made on the spot carries; `bytes` is base64.
    Body { string: Option<String>, bytes: Option<String> }
    /// Rules that another object gives.
    Delegate { name: String, namespace: String }
    /// What is changed of a request.
    Rewrite { uri: String, authority: String, uri_regex_rewrite: Option<RegexRewrite> }
    /// A change by pattern.
    RegexRewrite {
        #[serde(rename = "match")]
        pattern: String,
        rewrite: String,
    }
    /// What is tried again.
    Retries {
        attempts: i32,
        per_try_timeout: Option<String>,
        retry_on: String,
        retry_remote_localities: Option<bool>,
        retry_ignore_previous_hosts: Option<bool>,
        backoff: Option<String>,
    }
    /// What goes wrong on purpose.
    Fault { delay: Option<Delay>, abort: Option<Abort> }
    /// A wait on purpose.
    Delay {
        fixed_delay: Option<String>,
        exponential_delay: Option<String>,
        percentage: Option<Percent>,
        percent: Option<i32>,
    }
    /// A failure on purpose.
    Abort {
        http_status: Option<i32>,
        grpc_status: Option<String>,
        http2_error: Option<String>,
        percentage: Option<Percent>,
    }
    /// 0 to 100.
    Percent { value: Option<f64> }
    /// A copy of requests.
    Mirror { destination: Option<Destination>, percentage: Option<Percent> }
    /// What browsers may do across origins.
    CorsPolicy {
        allow_origin: Vec<String>,
        allow_origins: Vec<StringMatch>,
        allow_methods: Vec<String>,
        allow_headers: Vec<String>,
        expose_headers: Vec<String>,
        max_age: Option<String>,
        allow_credentials: Option<bool>,
        unmatched_preflights: Option<UnmatchedPreflights>,
    }
    /// Changes of headers.
    Headers { request: Option<HeaderOperations>, response: Option<HeaderOperations> }
    /// Changes of headers in one direction: set, then add, then remove.
    HeaderOperations {
        set: BTreeMap<String, String>,
        add: BTreeMap<String, String>,
        remove: Vec<String>,
    }
    /// A rule for TLS that is not ended here.
    TlsRoute {
        #[serde(rename = "match")]
        matches: Vec<TlsMatch>,
        route: Vec<RouteDestination>,
    }
    /// What a TLS connection must be like.
    TlsMatch {
        sni_hosts: Vec<String>,
        destination_subnets: Vec<String>,
        port: u32,
        source_labels: Labels,
        source_namespace: String,
        gateways: Vec<String>,
    }
    /// A rule for TCP.
    TcpRoute {
        #[serde(rename = "match")]
        matches: Vec<L4Match>,
        route: Vec<RouteDestination>,
    }
    /// What a TCP connection must be like.
    L4Match {
        destination_subnets: Vec<String>,
        port: u32,
        source_labels: Labels,
        source_subnet: String,
        source_namespace: String,
        gateways: Vec<String>,
    }
    /// Where a share of the connections goes.
    RouteDestination { destination: Option<Destination>, weight: i32 }
}

impl VirtualServiceSpec {
    /// Whether all of it is for gateways, none for the mesh.
    pub fn is_for_gateways(&self) -> bool {
        !self.gateways.is_empty() && !self.gateways.iter().any(|one| one == "mesh")
    }
}

/// Where a redirect's port comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum DerivePort {
    /// 80 or 443.
    #[default]
    FromProtocolDefault,
    /// As in the request.
    FromRequestPort,
}

/// What happens to preflight requests of other origins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum UnmatchedPreflights {
    /// As FORWARD.
    #[default]
    Unspecified,
    /// To the service.
    Forward,
    /// Answered here, without the headers.
    Ignore,
}

impl Destination {
    /// The port's number, where one is given.
    pub fn number(&self) -> Option<u32> {
        self.port.as_ref().map(|PortSelector { number }| *number)
    }
}
