//! The server that all requests end at, and the proxies that are not ours: the same two routes each.

use std::{net::Ipv4Addr, path::Path};

/// Where the server takes HTTP/1.1.
pub(super) const PORT: u16 = 8_080;
/// Where it takes HTTP/2 with prior knowledge.
pub(super) const H2_PORT: u16 = 8_081;
/// The size of the large answer, in bytes.
pub(super) const BULK: u64 = 256 * 1024 * 1024;

/// nginx, with an answer of 200 bytes and a large one.
pub(super) fn nginx(folder: &Path) -> String {
    let (folder, answer) = (folder.display(), "x".repeat(200));
    format!(
        "\
daemon off;
worker_processes 2;
pid {folder}/nginx.pid;
error_log {folder}/nginx.log;
events {{ worker_connections 20000; multi_accept on; }}
http {{
  access_log off;
  sendfile on;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  client_max_body_size 0;
  client_body_buffer_size 2m;
  keepalive_requests 1000000000;
  keepalive_timeout 1h;
  http2_max_concurrent_streams 1000;
  server {{
    listen {PORT} backlog=4096;
    listen {H2_PORT} http2 backlog=4096;
    location / {{ return 200 \"{answer}\"; }}
    location = /bulk {{ root {folder}; }}
  }}
}}
"
    )
}

pub(super) fn haproxy(server: Ipv4Addr) -> String {
    let routes = |port: u16, name: &str, proto: &str| {
        format!(
            "\
frontend {name}
  bind 127.0.0.1:{port} backlog 4096{proto}
  use_backend {name}-jason if {{ req.hdr(end-user) -m str jason }}
  default_backend {name}-all
backend {name}-jason
  server one {server}:{port}{proto}
backend {name}-all
  server one {server}:{port}{proto}
"
        )
    };
    format!(
        "\
global
  maxconn 9000
  nbthread 2
defaults
  mode http
  timeout connect 10s
  timeout client 1h
  timeout server 1h
  http-reuse always
  retries 2
  option redispatch
{}{}",
        routes(PORT, "h1", ""),
        routes(H2_PORT, "h2", " proto h2")
    )
}

pub(super) fn envoy(server: Ipv4Addr) -> String {
    let listener = |name: &str, port: u16| {
        format!(
            "\
  - name: {name}
    address: {{socket_address: {{address: 127.0.0.1, port_value: {port}}}}}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          \"@type\": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: {name}
          route_config:
            virtual_hosts:
            - name: all
              domains: ['*']
              routes:
              - match: {{prefix: /, headers: [{{name: end-user, string_match: {{exact: jason}}}}]}}
                route: {{cluster: {name}, timeout: 10s}}
              - match: {{prefix: /}}
                route: {{cluster: {name}, timeout: 10s, retry_policy: {{retry_on: 'connect-failure,refused-stream', num_retries: 2}}}}
          http_filters:
          - name: envoy.filters.http.router
            typed_config: {{\"@type\": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}
"
        )
    };
    let cluster = |name: &str, port: u16, options: &str| {
        format!(
            "\
  - name: {name}
    type: STATIC
    connect_timeout: 10s
    circuit_breakers: {{thresholds: [{{max_connections: 20000, max_pending_requests: 20000, max_requests: 20000}}]}}
{options}    load_assignment:
      cluster_name: {name}
      endpoints: [{{lb_endpoints: [{{endpoint: {{address: {{socket_address: {{address: {server}, port_value: {port}}}}}}}}}]}}]
"
        )
    };
    let h2 = "    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        \"@type\": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: {http2_protocol_options: {}}
";
    format!(
        "static_resources:\n  listeners:\n{}{}  clusters:\n{}{}",
        listener("h1", PORT),
        listener("h2", H2_PORT),
        cluster("h1", PORT, ""),
        cluster("h2", H2_PORT, h2)
    )
}
