//! The kinds that are read, and in which groups and versions.

/// A group and the versions of it that share one schema.
type Group = (&'static str, &'static [&'static str]);

const CORE: Group = ("", &["v1"]);
const DISCOVERY: Group = ("discovery.k8s.io", &["v1"]);
const ADMISSION: Group = ("admissionregistration.k8s.io", &["v1"]);
const NETWORKING: Group = ("networking.istio.io", &["v1", "v1beta1", "v1alpha3"]);
const SECURITY: Group = ("security.istio.io", &["v1", "v1beta1"]);
const LEGACY: Group = ("authentication.istio.io", &["v1alpha1"]);
const APP_MESH: Group = ("appmesh.k8s.aws", &["v1beta2"]);

/// Where objects of a kind live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scope {
    Cluster,
    Namespace,
}

macro_rules! kinds {
    ($($(#[$about:meta])* $kind:ident = $name:literal, $plural:literal, $group:ident, $scope:ident;)+) => {
        /// The kinds that are read.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Kind { $($(#[$about])* $kind),+ }

        impl Kind {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$kind),+];

            /// The name in a manifest. Two groups may have one name, see [`Self::shown`].
            pub const fn name(self) -> &'static str {
                match self { $(Self::$kind => $name),+ }
            }

            /// The name of its resource in an address of the API server.
            pub const fn plural(self) -> &'static str {
                match self { $(Self::$kind => $plural),+ }
            }

            const fn of(self) -> (Group, Scope) {
                match self { $(Self::$kind => ($group, Scope::$scope)),+ }
            }
        }
    };
}

kinds! {
    /// `v1`, cluster scope.
    Namespace = "Namespace", "namespaces", CORE, Cluster;
    /// `v1`.
    Pod = "Pod", "pods", CORE, Namespace;
    /// `v1`.
    Service = "Service", "services", CORE, Namespace;
    /// `v1`.
    Endpoints = "Endpoints", "endpoints", CORE, Namespace;
    /// `discovery.k8s.io/v1`.
    EndpointSlice = "EndpointSlice", "endpointslices", DISCOVERY, Namespace;
    /// `v1`; only the mesh's own settings.
    ConfigMap = "ConfigMap", "configmaps", CORE, Namespace;
    /// `admissionregistration.k8s.io/v1`, cluster scope; only the tags of revisions.
    MutatingWebhookConfiguration = "MutatingWebhookConfiguration", "mutatingwebhookconfigurations",
        ADMISSION, Cluster;
    /// `networking.istio.io`.
    ServiceEntry = "ServiceEntry", "serviceentries", NETWORKING, Namespace;
    /// `networking.istio.io`.
    WorkloadEntry = "WorkloadEntry", "workloadentries", NETWORKING, Namespace;
    /// `networking.istio.io`.
    Sidecar = "Sidecar", "sidecars", NETWORKING, Namespace;
    /// `networking.istio.io`.
    VirtualService = "VirtualService", "virtualservices", NETWORKING, Namespace;
    /// `networking.istio.io`.
    DestinationRule = "DestinationRule", "destinationrules", NETWORKING, Namespace;
    /// `networking.istio.io`.
    Gateway = "Gateway", "gateways", NETWORKING, Namespace;
    /// `networking.istio.io`.
    WorkloadGroup = "WorkloadGroup", "workloadgroups", NETWORKING, Namespace;
    /// `security.istio.io`.
    PeerAuthentication = "PeerAuthentication", "peerauthentications", SECURITY, Namespace;
    /// `security.istio.io`.
    AuthorizationPolicy = "AuthorizationPolicy", "authorizationpolicies", SECURITY, Namespace;
    /// `security.istio.io`.
    RequestAuthentication = "RequestAuthentication", "requestauthentications", SECURITY, Namespace;
    /// `authentication.istio.io`, cluster scope.
    MeshPolicy = "MeshPolicy", "meshpolicies", LEGACY, Cluster;
    /// `authentication.istio.io`.
    Policy = "Policy", "policies", LEGACY, Namespace;
    /// `appmesh.k8s.aws`, cluster scope.
    Mesh = "Mesh", "meshes", APP_MESH, Cluster;
    /// `appmesh.k8s.aws`.
    VirtualNode = "VirtualNode", "virtualnodes", APP_MESH, Namespace;
    /// `appmesh.k8s.aws`.
    VirtualRouter = "VirtualRouter", "virtualrouters", APP_MESH, Namespace;
    /// `appmesh.k8s.aws`; not to be taken for Istio's.
    AppMeshVirtualService = "VirtualService", "virtualservices", APP_MESH, Namespace;
    /// `appmesh.k8s.aws`.
    VirtualGateway = "VirtualGateway", "virtualgateways", APP_MESH, Namespace;
    /// `appmesh.k8s.aws`.
    GatewayRoute = "GatewayRoute", "gatewayroutes", APP_MESH, Namespace;
    /// `appmesh.k8s.aws`.
    BackendGroup = "BackendGroup", "backendgroups", APP_MESH, Namespace;
}

impl Kind {
    /// The kind of a manifest, if it is one that is read.
    pub fn read(api_version: &str, name: &str) -> Option<Self> {
        let (group, version) = api_version.rsplit_once('/').unwrap_or(("", api_version));
        Self::ALL.iter().copied().find(|kind| {
            let ((known, versions), _) = kind.of();
            kind.name() == name && known == group && versions.contains(&version)
        })
    }

    /// The group; empty for the core's.
    pub const fn group(self) -> &'static str {
        self.of().0.0
    }

    /// The versions that are read, the newest first.
    pub const fn versions(self) -> &'static [&'static str] {
        self.of().0.1
    }

    /// Whether a cluster may lack it: a custom resource.
    pub const fn is_custom(self) -> bool {
        !matches!(
            self.group().as_bytes(),
            b"" | b"discovery.k8s.io" | b"admissionregistration.k8s.io"
        )
    }

    /// The name that people see: with the group where the name alone is another kind's too.
    pub const fn shown(self) -> &'static str {
        match self {
            Self::AppMeshVirtualService => "VirtualService.appmesh.k8s.aws",
            other => other.name(),
        }
    }

    /// Whether objects of this kind live in a namespace.
    pub const fn is_namespaced(self) -> bool {
        matches!(self.of().1, Scope::Namespace)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_served_version_is_read_and_the_group_tells_kinds_apart() {
        for kind in Kind::ALL {
            for version in kind.versions() {
                let api_version = match kind.group() {
                    "" => (*version).to_owned(),
                    group => format!("{group}/{version}"),
                };
                assert_eq!(Kind::read(&api_version, kind.name()), Some(*kind), "{api_version}");
            }
        }
        assert_eq!(Kind::read("networking.istio.io/v2", "Gateway"), None);
        assert_eq!(Kind::read("gateway.networking.k8s.io/v1", "Gateway"), None);
        let shown: std::collections::BTreeSet<_> =
            Kind::ALL.iter().map(|kind| kind.shown()).collect();
        assert_eq!(shown.len(), Kind::ALL.len());
    }
}
