//! The application protocols that a port may declare.

/// An application protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
pub enum AppProtocol {
    /// Not declared: told from the first bytes.
    Auto,
    /// HTTP/1.
    Http,
    /// HTTP/2 in the clear.
    Http2,
    /// gRPC.
    Grpc,
    /// gRPC for browsers.
    GrpcWeb,
    /// HTTP inside the application's own TLS.
    Https,
    /// The application's own TLS.
    Tls,
    /// Opaque bytes.
    Tcp,
    /// `MongoDB`.
    Mongo,
    /// Redis.
    Redis,
    /// `MySQL`.
    Mysql,
    /// Datagrams.
    Udp,
}

/// What a protocol means for who decides about a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// The address alone.
    Opaque,
    /// The Host header.
    Http,
    /// The server name in the TLS hello.
    Tls,
    /// Whatever the first bytes turn out to be.
    Auto,
    /// The address alone, and never a proxy.
    Datagram,
}

impl AppProtocol {
    /// The protocol that a name stands for, in any case; `None` for one that we do not know.
    pub fn named(name: &str) -> Option<Self> {
        Some(match name.to_ascii_lowercase().as_str() {
            // What a client says to a proxy is HTTP.
            "http" | "http_proxy" => Self::Http,
            "http2" => Self::Http2,
            "grpc" => Self::Grpc,
            "grpc-web" => Self::GrpcWeb,
            "https" => Self::Https,
            "tls" => Self::Tls,
            "tcp" => Self::Tcp,
            "mongo" => Self::Mongo,
            "redis" => Self::Redis,
            "mysql" => Self::Mysql,
            "udp" => Self::Udp,
            _ => return None,
        })
    }

    /// The protocol of a Kubernetes Service port over TCP: `appProtocol` beats the name, and an
    /// unknown `appProtocol` leaves it to detection, never to the name.
    pub fn of_service_port(app_protocol: Option<&str>, name: &str, port: u16) -> Self {
        let declared = match app_protocol {
            Some("kubernetes.io/h2c") => Some(Self::Http2),
            Some("kubernetes.io/ws") => Some(Self::Http),
            Some("kubernetes.io/wss") => Some(Self::Https),
            Some(other) => return Self::named(other).unwrap_or(Self::Auto),
            None => Self::of_name(name),
        };
        declared.unwrap_or(if is_server_first(port) { Self::Tcp } else { Self::Auto })
    }

    /// The name up to its first dash; `grpc-web` is the one prefix that has a dash itself.
    fn of_name(name: &str) -> Option<Self> {
        let lower = name.to_ascii_lowercase();
        if lower == "grpc-web" || lower.starts_with("grpc-web-") {
            return Some(Self::GrpcWeb);
        }
        Self::named(lower.split('-').next().unwrap_or_default())
    }

    /// Who decides about a connection of this protocol.
    pub const fn family(self) -> Family {
        match self {
            Self::Auto => Family::Auto,
            Self::Http | Self::Http2 | Self::Grpc | Self::GrpcWeb => Family::Http,
            Self::Https | Self::Tls => Family::Tls,
            Self::Tcp | Self::Mongo | Self::Redis | Self::Mysql => Family::Opaque,
            Self::Udp => Family::Datagram,
        }
    }
}

/// Ports whose servers speak first (SMTP, DNS, `MySQL`, `MongoDB`): waiting for the client's bytes
/// there would hang.
pub const fn is_server_first(port: u16) -> bool {
    matches!(port, 25 | 53 | 3306 | 27017)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_protocol_of_a_service_port_follows_istios_order() {
        use AppProtocol as P;
        for (app_protocol, name, port, expected) in [
            (None, "http", 80, P::Http),
            (None, "HTTP-web", 80, P::Http),
            (None, "grpc-web", 80, P::GrpcWeb),
            (None, "grpc-web-x", 80, P::GrpcWeb),
            (None, "grpc-x", 80, P::Grpc),
            (None, "mysql", 80, P::Mysql),
            (None, "sampleapp-port", 8080, P::Auto),
            (None, "", 3306, P::Tcp),
            (None, "database", 27017, P::Tcp),
            (Some("http"), "tcp-x", 80, P::Http),
            (Some("kubernetes.io/h2c"), "tcp", 80, P::Http2),
            (Some("kubernetes.io/wss"), "tcp", 80, P::Https),
            (Some("example.com/own"), "http", 80, P::Auto),
            (Some("example.com/own"), "http", 3306, P::Auto),
        ] {
            let found = P::of_service_port(app_protocol, name, port);
            assert_eq!(found, expected, "{app_protocol:?} {name} {port}");
        }
    }
}
