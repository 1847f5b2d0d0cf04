//! What the API server calls the kinds, and which version of each it stores: as those have it who
//! made them, so that objects outlive a change from our definitions to theirs.

use agent_model::resource::Kind;

/// The short names.
pub(super) const fn short(kind: Kind) -> &'static [&'static str] {
    match kind {
        Kind::ServiceEntry => &["se"],
        Kind::WorkloadEntry => &["we"],
        Kind::VirtualService => &["vs"],
        Kind::DestinationRule => &["dr"],
        Kind::Gateway => &["gw"],
        Kind::WorkloadGroup => &["wg"],
        Kind::PeerAuthentication => &["pa"],
        Kind::AuthorizationPolicy => &["ap"],
        Kind::RequestAuthentication => &["ra"],
        _ => &[],
    }
}

/// The version that is stored: `v1beta1` of those that have it, as Istio's own definitions do.
pub(super) fn stored(kind: Kind) -> &'static str {
    let versions = kind.versions();
    versions.iter().find(|version| **version == "v1beta1").unwrap_or(&versions[0])
}
