//! The entry that would allow a connection.

use std::net::IpAddr;

use super::Query;

/// A `ServiceEntry` for this destination and for the pod's namespace alone.
///
/// Its host is not looked at for TCP and UDP, but must be one that no other object has, or the two
/// would be taken for one service; a name below `.invalid` never resolves (RFC 2606).
pub(super) fn entry(query: &Query) -> String {
    let Query { pod, address, port, protocol } = query;
    let written = match address {
        IpAddr::V4(v4) => v4.to_string().replace('.', "-"),
        // In full, so that no label starts or ends with the dash that a `::` would leave.
        IpAddr::V6(v6) => v6.segments().map(|segment| format!("{segment:x}")).join("-"),
    };
    let name = format!("allow-{written}-{port}-{protocol}");
    let upper = protocol.to_string().to_uppercase();
    format!(
        "apiVersion: networking.istio.io/v1\n\
         kind: ServiceEntry\n\
         metadata:\n  \
           name: {name}\n  \
           namespace: {namespace}\n\
         spec:\n  \
           hosts: [\"{name}.{namespace}.invalid\"]\n  \
           addresses: [\"{address}\"]\n  \
           ports:\n  \
           - number: {port}\n    \
             name: {protocol}-{port}\n    \
             protocol: {upper}\n  \
           location: MESH_EXTERNAL\n  \
           resolution: NONE\n  \
           exportTo: [\".\"]\n",
        namespace = pod.namespace,
    )
}
