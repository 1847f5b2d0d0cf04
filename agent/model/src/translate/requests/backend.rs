//! A service's port and subset as a destination: who is there, how it is dialled, with what TLS.

use std::sync::Arc;

use super::{
    Client, RequestModel,
    destination::{Merged, contains},
    policy::Effective,
    visible::{KnownEndpoint, VisiblePort},
};
use crate::{
    endpoints::{Endpoint, Endpoints},
    registry::Service,
    requests::{
        backend::{Backend, Missing, Target},
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
        if let Some(known) = client.backends.borrow().get(&key) {
            return known.clone();
        }
        let made = self.make_backend(client, at, subset);
        client.backends.borrow_mut().insert(key, made.clone());
        made
    }

    fn make_backend(&self, client: &Client, at: &VisiblePort, subset: Option<&str>) -> Target {
        let seen_by = (client.namespace.as_str(), &client.labels);
        let rule = self.rules().find(seen_by, &at.host, &at.service.key.namespace);
        let rule = rule.map(Arc::as_ref);
        let wanted =
            rule.and_then(|rule| rule.subsets.iter().find(|one| Some(one.name.as_str()) == subset));
        if let (Some(name), None) = (subset, wanted) {
            let missing = Missing::Subset(at.host.to_string(), name.to_owned());
            return Target::Missing(missing);
        }
        let effective = Effective::of(rule, at.number(), subset);
        let said = rule.map(|rule| (rule, effective.tls));
        let tls = self.client_tls(client, (at, subset), said);
        let fits = |endpoint: &KnownEndpoint| {
            wanted.is_none_or(|one| contains(&endpoint.labels, &one.labels))
        };
        Target::Backend(Arc::new(Backend {
            service: at.host.to_string(),
            port: at.number(),
            subset: subset.map(str::to_owned),
            protocol: at.port().protocol.unwrap_or(AppProtocol::Tcp),
            endpoints: self.chosen(at, fits, &tls),
            policy: effective.policy(&self.settings, tls),
        }))
    }

    /// An object that speaks of TLS without a mode means none; one that does not speak of it
    /// leaves it to both sides.
    fn client_tls(
        &self,
        client: &Client,
        (at, subset): (&VisiblePort, Option<&str>),
        rule: Option<(&Merged, Option<&destination_rule::ClientTls>)>,
    ) -> ClientTls {
        let service = &at.service;
        let mesh = |names: &[String]| MeshTls {
            identities: match names {
                [] => self.identities(at),
                names => names.iter().cloned().collect(),
            },
            server_name: format!(
                "outbound_.{}_.{}_.{}",
                at.number(),
                subset.unwrap_or_default(),
                at.host
            ),
        };
        let Some((rule, Some(tls))) = rule else {
            let off = service.external
                || !self.settings.auto_mutual
                || self.peers().of_namespace(&service.key.namespace) == MtlsMode::Disable;
            return if off { ClientTls::Plain } else { ClientTls::Auto(mesh(&[])) };
        };
        // A workload has no secrets of its own unless the rule says whose it is.
        let secrets = client.is_gateway || rule.selector.is_some();
        let secret = Some(&tls.credential_name).filter(|name| secrets && !name.is_empty());
        match tls.mode {
            ClientTlsMode::Disable => ClientTls::Plain,
            ClientTlsMode::IstioMutual => ClientTls::Mesh(mesh(&tls.subject_alt_names)),
            ClientTlsMode::Simple => ClientTls::Own(own(tls, secret, None, service)),
            ClientTlsMode::Mutual => {
                let files =
                    || Certificate::Files(tls.client_certificate.clone(), tls.private_key.clone());
                let certificate = secret.cloned().map_or_else(files, Certificate::Secret);
                ClientTls::Own(own(tls, secret, Some(certificate), service))
            }
        }
    }
}

fn own(
    tls: &destination_rule::ClientTls,
    secret: Option<&String>,
    certificate: Option<Certificate>,
    service: &Service,
) -> OwnTls {
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
    OwnTls {
        trust,
        verify: tls.insecure_skip_verify != Some(true),
        names,
        server_name: Some(tls.sni.clone()).filter(|name| !name.is_empty()),
        certificate,
    }
}

impl RequestModel {
    /// Those of a port's endpoints that fit, each with how it is spoken to.
    fn chosen(
        &self,
        at: &VisiblePort,
        fits: impl Fn(&KnownEndpoint) -> bool,
        tls: &ClientTls,
    ) -> Endpoints {
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
                let chosen = known.filter(fits).map(|known| Endpoint {
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
}
