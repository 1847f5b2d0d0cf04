//! How requests travel: over one HTTP/2 connection, as client-go's do, where the server speaks it.
//!
//! Each kind has a watch of its own. By HTTP/1.1 each would be a connection with a TLS handshake, and
//! after an outage every node would make all of them at once.
//!
//! One connection also has one sign of life. A peer that does not answer a ping within [`PING`] twice
//! over is gone, and all watches learn of it then: within 20 s, and not by their own silence.
//!
//! Nothing is tried again here. kube's own client does so by default, which would hide from
//! [`super::follow`] what the server asks for, and from people why nothing happens.

use std::time::Duration;

use http::{Response, StatusCode, header};
use http_body_util::{Either, Full};
use hyper::body::{Bytes, Incoming};
use hyper_rustls::{FixedServerNameResolver, HttpsConnector, HttpsConnectorBuilder};
use hyper_timeout::TimeoutConnector;
use hyper_util::{
    client::legacy::{self, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use kube::{
    Client, Config,
    client::{ConfigExt as _, RustlsTlsError},
};
use serde_json::{Value, json};
use tower::{BoxError, ServiceBuilder};

use super::connect::ConnectError;

/// How long the server may take to accept a connection, its handshake included.
const CONNECT: Duration = Duration::from_secs(5);
/// How long a connection is silent before it is asked for a sign of life, and how long that may
/// take.
const PING: Duration = Duration::from_secs(10);
/// Unanswered questions of TCP before a connection of HTTP/1.1 is given up.
const TCP_QUESTIONS: u32 = 2;

/// A client for the server that the configuration names.
pub(super) fn client(config: &Config) -> Result<Client, ConnectError> {
    if let Some(proxy) = &config.proxy_url {
        return Err(ConnectError::Proxy { proxy: proxy.to_string() });
    }
    let mut connector = TimeoutConnector::new(https(config)?);
    connector.set_connect_timeout(Some(CONNECT));
    let service = legacy::Client::builder(TokioExecutor::new())
        .timer(TokioTimer::new())
        .pool_timer(TokioTimer::new())
        .http2_keep_alive_interval(PING)
        .http2_keep_alive_timeout(PING)
        .http2_keep_alive_while_idle(true)
        .build(connector);
    let service = ServiceBuilder::new()
        .layer(config.base_uri_layer())
        .option_layer(config.auth_layer().map_err(broken)?)
        .layer(config.extra_headers_layer().map_err(broken)?)
        .map_response(with_status)
        .map_err(BoxError::from)
        .service(service);
    Ok(Client::new(service, &*config.default_namespace))
}

fn https(config: &Config) -> Result<HttpsConnector<HttpConnector>, ConnectError> {
    let mut connector = HttpConnector::new();
    connector.enforce_http(false);
    connector.set_nodelay(true);
    connector.set_keepalive(Some(PING));
    connector.set_keepalive_interval(Some(PING / TCP_QUESTIONS));
    connector.set_keepalive_retries(Some(TCP_QUESTIONS));
    connector.set_tcp_user_timeout(Some(PING * 2));
    let tls = config.rustls_client_config().map_err(broken)?;
    let mut builder = HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http();
    if let Some(name) = &config.tls_server_name {
        let name = name.clone().try_into().map_err(RustlsTlsError::InvalidServerName);
        let name = name.map_err(|error| broken(kube::Error::RustlsTls(error)))?;
        builder = builder.with_server_name_resolver(FixedServerNameResolver::new(name));
    }
    Ok(builder.enable_all_versions().wrap_connector(connector))
}

fn broken(error: kube::Error) -> ConnectError {
    ConnectError::Client(Box::new(error))
}

/// A server that sheds load says so in plain text, and for how long in a header, which kube does
/// not read. Here it becomes the `Status` that any other refusal is.
fn with_status(response: Response<Incoming>) -> Response<Either<Incoming, Full<Bytes>>> {
    let (parts, body) = response.into_parts();
    let text = |name| parts.headers.get(name).and_then(|value| value.to_str().ok());
    let seconds = text(header::RETRY_AFTER).and_then(|value| value.trim().parse().ok());
    let is_status =
        text(header::CONTENT_TYPE).is_some_and(|kind| kind.starts_with("application/json"));
    let (Some(seconds), true, false) = (seconds, parts.status.as_u16() >= 400, is_status) else {
        return Response::from_parts(parts, Either::Left(body));
    };
    let status = refusal(parts.status, seconds).to_string();
    Response::from_parts(parts, Either::Right(Full::from(status)))
}

/// What a code and a header say, as a `Status`.
fn refusal(code: StatusCode, seconds: u32) -> Value {
    let reason = code.canonical_reason().unwrap_or("refused");
    json!({
        "apiVersion": "v1", "kind": "Status", "status": "Failure", "code": code.as_u16(),
        "reason": reason, "message": format!("{reason}, try again in {seconds} s"),
        "details": {"retryAfterSeconds": seconds},
    })
}

#[cfg(test)]
mod tests {
    use kube::core::Status;

    use super::*;

    #[test]
    fn a_header_becomes_the_status_that_kube_reads() {
        let value = refusal(StatusCode::TOO_MANY_REQUESTS, 7);
        let status: Status = serde_json::from_value(value).unwrap();
        assert_eq!(status.code, 429);
        assert_eq!(status.message, "Too Many Requests, try again in 7 s");
        assert_eq!(status.details.map(|details| details.retry_after_seconds), Some(7));
    }
}
