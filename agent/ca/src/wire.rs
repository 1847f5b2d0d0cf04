//! The protocol: Istio's `security/v1alpha1/ca.proto`. Fields that no peer sends are left out.

use std::collections::HashMap;

/// The service.
pub const SERVICE: &str = "istio.v1.auth.IstioCertificateService";
/// Its one method, as a path.
pub const METHOD: &str = "/istio.v1.auth.IstioCertificateService/CreateCertificate";
/// The header that istiod finds the authorizer of a cluster by: it must be there.
pub const CLUSTER: (&str, &str) = ("clusterid", "Kubernetes");
/// The header of an answer with the CA's time, RFC 3339. Ours alone.
pub const TIME: &str = "x-sekisho-time";
/// Where a request names the identity.
const IDENTITY: &str = "ImpersonatedIdentity";

/// `IstioCertificateRequest`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Request {
    /// The certificate request, PEM.
    #[prost(string, tag = "1")]
    pub csr: String,
    /// For how long, in seconds.
    #[prost(int64, tag = "3")]
    pub validity_duration: i64,
    /// For whom.
    #[prost(message, optional, tag = "4")]
    pub metadata: Option<Struct>,
}

/// `IstioCertificateResponse`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Answer {
    /// A PEM text each: the leaf, the intermediates, and the roots together.
    #[prost(string, repeated, tag = "1")]
    pub cert_chain: Vec<String>,
}

/// `google.protobuf.Struct`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Struct {
    /// By name.
    #[prost(map = "string, message", tag = "1")]
    pub fields: HashMap<String, Value>,
}

/// `google.protobuf.Value`, as far as it is a text.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Value {
    /// The text.
    #[prost(string, optional, tag = "3")]
    pub text: Option<String>,
}

impl Request {
    /// A request for an identity.
    pub fn new(csr: String, validity_duration: i64, identity: &str) -> Self {
        let value = Value { text: Some(identity.to_owned()) };
        let metadata = Some(Struct { fields: [(IDENTITY.to_owned(), value)].into() });
        Self { csr, validity_duration, metadata }
    }

    /// The identity that is asked for.
    pub fn identity(&self) -> Option<&str> {
        self.metadata.as_ref()?.fields.get(IDENTITY)?.text.as_deref()
    }
}

#[cfg(test)]
mod tests {
    use prost::Message as _;

    use super::*;

    /// As protoc's own encoder writes it: a map entry is a message, a text of a `Value` has tag 3.
    #[test]
    fn a_request_is_as_other_peers_write_it() {
        let bytes = Request::new("csr".to_owned(), 60, "spiffe://a").encode_to_vec();
        let mut expected = b"\x0a\x03csr\x18\x3c\x22".to_vec();
        let entry =
            [b"\x0a\x14ImpersonatedIdentity".as_slice(), b"\x12\x0c\x1a\x0aspiffe://a"].concat();
        expected.push(u8::try_from(entry.len() + 2).unwrap());
        expected.extend([0x0a, u8::try_from(entry.len()).unwrap()]);
        expected.extend(entry);
        assert_eq!(bytes, expected);
        let read = Request::decode(&*bytes).unwrap();
        assert_eq!(read.identity(), Some("spiffe://a"));
        assert_eq!(Request::default().identity(), None);
    }
}
