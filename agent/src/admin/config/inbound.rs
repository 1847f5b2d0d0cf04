//! What a pod accepts, port by port.

use agent_model::{
    pod::PodId,
    requests::server::{Server, ServerTls},
    snapshot::{PodPlan, Snapshot},
};

use super::InboundRow;

/// The ports that some object or probe names, and last all others.
pub(super) fn rows(snapshot: &Snapshot, pod: &PodId) -> Vec<InboundRow> {
    let (Some(server), Some(plan)) = (snapshot.requests.server(pod), snapshot.pods.get(pod)) else {
        return Vec::new();
    };
    let mut ports: Vec<u16> = server.ports.keys().chain(&plan.probes).copied().collect();
    ports.sort_unstable();
    ports.dedup();
    let apart = ports.into_iter().map(|port| row(&server, plan, port));
    apart.chain([row(&server, plan, 0)]).collect()
}

fn row(server: &Server, plan: &PodPlan, port: u16) -> InboundRow {
    let is_probed = plan.probes.binary_search(&port).is_ok();
    let (mode, plaintext) = match &server.acceptance(port).tls {
        ServerTls::Plain => ("DISABLE", "accepted"),
        ServerTls::MeshOrPlain => ("PERMISSIVE", "accepted"),
        ServerTls::MeshOnly if is_probed => ("STRICT", "from this node"),
        ServerTls::MeshOnly => ("STRICT", "from this node's mesh"),
        ServerTls::Own { .. } => ("OWN", "accepted"),
    };
    InboundRow { port, mode: mode.to_owned(), plaintext: plaintext.to_owned(), is_probed }
}
