//! A service's port and subset as a destination: how it is dialled, with what TLS; and who is there.

use std::{collections::BTreeSet, sync::Arc};

use super::{
    super::workloads::Labels,
    Client, RequestModel,
    destination::{Merged, contains},
    policy::Effective,
    reads::Read,
    visible::VisiblePort,
};
use crate::{
    endpoints::{Endpoint, Endpoints},
    registry::Service,
    requests::{
        backend::{Backend, LoadAssignment, Members, Missing, Target},
        policy::{Certificate, ClientTls, MeshTls, OwnTls, Trust},
    },
    resource::{
        destination_rule::{self, ClientTlsMode},
        protocol::AppProtocol,
        security::MtlsMode,
    },
};

impl RequestModel {
    /// A destination for a client.
    pub(super) fn backend(
        &self,
        client: &Client,
        at: &VisiblePort,
        subset: Option<&str>,
    ) -> Target {
        let key =
            (at.service.key.clone(), Arc::clone(&at.host), at.number(), subset.map(str::to_owned));
        let known = client.backends.borrow().get(&key).cloned();
        let target = known.unwrap_or_else(|| {
            let found = self.find_backend(client, at, subset);
            client.backends.borrow_mut().insert(key, found.clone());
            found
        });
        client.note(|| match &target {
            Target::Backend(backend) => Read::Backend(Arc::clone(backend)),
            Target::Missing(_) => {
                Read::NoSubset(at.clone(), subset.map(str::to_owned).unwrap_or_default())
            }
        });
        target
    }

    /// The destination that another client or generation has, where it follows from the same.
    fn find_backend(&self, client: &Client, at: &VisiblePort, subset: Option<&str>) -> Target {
        let seen_by = (client.namespace.as_str(), &client.labels);
        let rule = self.rules().find(seen_by, &at.host, &at.service.key.namespace);
        let service = &at.service;
        let said = Effective::of(rule.map(AsRef::as_ref), at.number(), subset).tls;
        let is_own = said
            .is_some_and(|tls| matches!(tls.mode, ClientTlsMode::Simple | ClientTlsMode::Mutual));
        let with = MadeWith {
            rule: rule.cloned(),
            namespace: is_own.then(|| client.namespace.clone()),
            by_gateway: client.is_gateway,
            is_plain: service.external
                || !self.settings.auto_mutual
                || self.peers().of_namespace(&service.key.namespace) == MtlsMode::Disable,
        };
        let is_it = |one: &MadeWith, backend: &Backend| {
            let Members::OfPort { port, .. } = &backend.members else { return false };
            let same_port = port.index == at.index && port.host == at.host;
            same_port && backend.subset.as_deref() == subset && one.is_same(&with)
        };
        let (pool, about) = (&self.views.shared.backends, Arc::as_ptr(service).addr());
        if let Some(known) = pool.find(about, is_it) {
            return Target::Backend(known);
        }
        let made = self.make_backend(&with, at, subset);
        if let Target::Backend(made) = &made {
            pool.put(about, with, made);
        }
        made
    }

    fn make_backend(&self, with: &MadeWith, at: &VisiblePort, subset: Option<&str>) -> Target {
        let rule = with.rule.as_deref();
        let wanted =
            rule.and_then(|rule| rule.subsets.iter().find(|one| Some(one.name.as_str()) == subset));
        if let (Some(name), None) = (subset, wanted) {
            let missing = Missing::Subset(at.host.to_string(), name.to_owned());
            return Target::Missing(missing);
        }
        let effective = Effective::of(rule, at.number(), subset);
        let tls = client_tls(with, effective.tls, (at, subset));
        Target::Backend(Arc::new(Backend {
            service: at.host.to_string(),
            port: at.number(),
            subset: subset.map(str::to_owned),
            protocol: at.port().protocol.unwrap_or(AppProtocol::Tcp),
            policy: effective.policy(&self.settings, tls),
            members: Members::OfPort {
                port: at.clone(),
                labels: wanted.map(|one| one.labels.clone()).unwrap_or_default(),
            },
        }))
    }
}

/// What a destination is made from, besides its port and subset.
#[derive(Clone, Debug)]
pub(super) struct MadeWith {
    rule: Option<Arc<Merged>>,
    /// The client's, where TLS is spoken with files or secrets of the client's.
    namespace: Option<String>,
    by_gateway: bool,
    /// Whether no TLS is spoken where no rule says.
    is_plain: bool,
}

impl MadeWith {
    fn is_same(&self, other: &Self) -> bool {
        let same_rule = match (&self.rule, &other.rule) {
            (Some(one), Some(other)) => Arc::ptr_eq(one, other),
            (None, None) => true,
            _ => false,
        };
        same_rule
            && self.namespace == other.namespace
            && self.by_gateway == other.by_gateway
            && self.is_plain == other.is_plain
    }
}

/// An object that speaks of TLS without a mode means none; one that does not speak of it leaves it to
/// both sides.
fn client_tls(
    with: &MadeWith,
    said: Option<&destination_rule::ClientTls>,
    (at, subset): (&VisiblePort, Option<&str>),
) -> ClientTls {
    let service = &at.service;
    let mesh = |names: &[String]| MeshTls {
        names: names.to_vec(),
        server_name: format!(
            "outbound_.{}_.{}_.{}",
            at.number(),
            subset.unwrap_or_default(),
            at.host
        ),
    };
    let (Some(rule), Some(tls)) = (&with.rule, said) else {
        return if with.is_plain { ClientTls::Plain } else { ClientTls::Auto(mesh(&[])) };
    };
    // A workload has no secrets of its own unless the rule says whose it is.
    let secrets = with.by_gateway || rule.selector.is_some();
    let secret = Some(&tls.credential_name).filter(|name| secrets && !name.is_empty());
    match tls.mode {
        ClientTlsMode::Disable => ClientTls::Plain,
        ClientTlsMode::IstioMutual => ClientTls::Mesh(mesh(&tls.subject_alt_names)),
        ClientTlsMode::Simple => own(with, tls, (secret, None), service),
        ClientTlsMode::Mutual => {
            let files =
                || Certificate::Files(tls.client_certificate.clone(), tls.private_key.clone());
            let certificate = secret.cloned().map_or_else(files, Certificate::Secret);
            own(with, tls, (secret, Some(certificate)), service)
        }
    }
}

fn own(
    with: &MadeWith,
    tls: &destination_rule::ClientTls,
    (secret, certificate): (Option<&String>, Option<Certificate>),
    service: &Service,
) -> ClientTls {
    let revoked = Some(tls.ca_crl.clone()).filter(|file| !file.is_empty());
    let trust = match (secret, tls.ca_certificates.as_str()) {
        (Some(secret), _) => Trust::Secret(secret.clone()),
        (None, "" | "system") => Trust::System,
        (None, file) => Trust::File(file.to_owned(), revoked),
    };
    let names = match &tls.subject_alt_names[..] {
        [] => service.certificate_names.to_vec(),
        names => names.to_vec(),
    };
    ClientTls::Own(OwnTls {
        namespace: with.namespace.clone().unwrap_or_default(),
        trust,
        verify: tls.insecure_skip_verify != Some(true),
        names,
        server_name: Some(tls.sni.clone()).filter(|name| !name.is_empty()),
        certificate,
    })
}

impl RequestModel {
    /// Who serves a backend.
    pub(super) fn assignment(&self, backend: &Backend) -> LoadAssignment {
        let tls = &backend.policy.tls;
        let endpoints = match &backend.members {
            Members::OfPort { port, labels } => self.chosen(port, labels, tls),
            Members::Listed(port) => self.listed(port),
            Members::OfNode { node, port } => self.pods_of(node, *port),
            Members::Stated(endpoints) => endpoints.clone(),
        };
        let identities = match (tls, &backend.members) {
            (ClientTls::Mesh(tls) | ClientTls::Auto(tls), _) if !tls.names.is_empty() => {
                tls.names.iter().cloned().collect()
            }
            (ClientTls::Mesh(_) | ClientTls::Auto(_), Members::OfPort { port, .. }) => {
                self.identities(port)
            }
            _ => BTreeSet::new(),
        };
        LoadAssignment { endpoints, identities }
    }

    /// Those of a port's endpoints that have some labels, each with how it is spoken to.
    fn chosen(&self, at: &VisiblePort, labels: &Labels, tls: &ClientTls) -> Endpoints {
        let always = matches!(tls, ClientTls::Mesh(_));
        let by_each = matches!(tls, ClientTls::Auto(_));
        match self.endpoints(at) {
            // The client has chosen one of them already, and all have to be spoken to alike.
            Endpoints::Listed(listed) if at.service.headless => {
                let enrolled = |one: &Endpoint| self.known(&at.service, one).enrolled;
                Endpoints::Dialled {
                    port: listed.first().map_or(at.port().dialled(), |endpoint| endpoint.port),
                    mutual: always
                        || (by_each && !listed.is_empty() && listed.iter().all(enrolled)),
                }
            }
            Endpoints::Listed(listed) => {
                let known = listed.iter().map(|one| self.known(&at.service, one));
                let fits = known.filter(|known| contains(&known.labels, labels));
                let chosen = fits.map(|known| Endpoint {
                    locality: known.locality,
                    mutual: always || (by_each && known.enrolled),
                    ..Endpoint::new(known.address, known.port, known.weight)
                });
                Endpoints::Listed(chosen.collect())
            }
            Endpoints::Dialled { port, .. } => Endpoints::Dialled { port, mutual: always },
            Endpoints::Named { names, first_only, .. } => {
                Endpoints::Named { names, first_only, mutual: always }
            }
            requested @ Endpoints::AsRequested { .. } => requested,
        }
    }
    /// A port's endpoints, of whom nothing else matters.
    fn listed(&self, at: &VisiblePort) -> Endpoints {
        let Endpoints::Listed(listed) = self.endpoints(at) else {
            return Endpoints::Listed([].into());
        };
        let plain = |one: &Endpoint| Endpoint {
            locality: one.locality.clone(),
            ..Endpoint::new(one.address, one.port, one.weight)
        };
        Endpoints::Listed(listed.iter().map(plain).collect())
    }
}
