//! A service's port and subset as a destination: who is there, how it is dialled, with what TLS.

use std::sync::Arc;

use super::{
    Client, World,
    destination::{Merged, contains},
    policy::Effective,
    service::{Port, Service, ServiceEndpoint, ServiceEndpoints},
};
use crate::{
    requests::{
        backend::{Backend, Endpoint, Endpoints, Missing, Target},
        policy::{Certificate, ClientTls, MeshTls, OwnTls, Trust},
    },
    resource::{
        destination_rule::{self, ClientTlsMode},
        security::MtlsMode,
    },
};

impl World<'_> {
    /// A destination for a client.
    pub(super) fn backend(
        &self,
        client: &Client,
        service: &Service,
        port: &Port,
        subset: Option<&str>,
    ) -> Target {
        let key =
            (service.key.clone(), service.host.clone(), port.number, subset.map(str::to_owned));
        if let Some(known) = client.backends.borrow().get(&key) {
            return known.clone();
        }
        let made = self.make_backend(client, service, port, subset);
        client.backends.borrow_mut().insert(key, made.clone());
        made
    }

    fn make_backend(
        &self,
        client: &Client,
        service: &Service,
        port: &Port,
        subset: Option<&str>,
    ) -> Target {
        let seen_by = (client.namespace.as_str(), &client.labels);
        let rule = self.rules.find(seen_by, &service.host, &service.key.namespace);
        let rule = rule.map(Arc::as_ref);
        let wanted =
            rule.and_then(|rule| rule.subsets.iter().find(|one| Some(one.name.as_str()) == subset));
        if let (Some(name), None) = (subset, wanted) {
            let missing = Missing::Subset(service.host.clone(), name.to_owned());
            return Target::Missing(missing);
        }
        let effective = Effective::of(rule, port.number, subset);
        let said = rule.map(|rule| (rule, effective.tls));
        let tls = self.client_tls(client, service, (port, subset), said);
        let fits = |endpoint: &&ServiceEndpoint| {
            wanted.is_none_or(|one| contains(&endpoint.labels, &one.labels))
        };
        let endpoints = endpoints(service, port, fits, &tls);
        Target::Backend(Arc::new(Backend {
            service: service.host.clone(),
            port: port.number,
            subset: subset.map(str::to_owned),
            protocol: port.protocol,
            endpoints,
            policy: effective.policy(&self.settings, tls),
        }))
    }

    /// An object that speaks of TLS without a mode means none; one that does not speak of it
    /// leaves it to both sides.
    fn client_tls(
        &self,
        client: &Client,
        service: &Service,
        (port, subset): (&Port, Option<&str>),
        rule: Option<(&Merged, Option<&destination_rule::ClientTls>)>,
    ) -> ClientTls {
        let mesh = |names: &[String]| MeshTls {
            identities: match names {
                [] => service.identities(),
                names => names.iter().cloned().collect(),
            },
            server_name: format!(
                "outbound_.{}_.{}_.{}",
                port.number,
                subset.unwrap_or_default(),
                service.host
            ),
        };
        let Some((rule, Some(tls))) = rule else {
            let off = service.external
                || !self.settings.auto_mutual
                || self.peers.of_namespace(&service.key.namespace) == MtlsMode::Disable;
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
        [] => service.certificate_names.clone(),
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

fn endpoints(
    service: &Service,
    port: &Port,
    fits: impl Fn(&&ServiceEndpoint) -> bool,
    tls: &ClientTls,
) -> Endpoints {
    let always = matches!(tls, ClientTls::Mesh(_));
    let by_each = matches!(tls, ClientTls::Auto(_));
    match &port.endpoints {
        // The client has chosen one of them already, and all have to be spoken to alike.
        ServiceEndpoints::Listed(listed) if service.headless => Endpoints::Dialled {
            port: listed.first().map_or(port.number, |endpoint| endpoint.port.get()),
            mutual: always
                || (by_each
                    && !listed.is_empty()
                    && listed.iter().all(|endpoint| endpoint.enrolled)),
        },
        ServiceEndpoints::Listed(listed) => {
            let chosen = listed.iter().filter(fits).map(|endpoint| Endpoint {
                address: endpoint.address,
                port: endpoint.port,
                weight: endpoint.weight,
                locality: endpoint.locality.clone(),
                mutual: always || (by_each && endpoint.enrolled),
            });
            Endpoints::Listed(chosen.collect())
        }
        ServiceEndpoints::Dialled { port } => Endpoints::Dialled { port: *port, mutual: always },
        ServiceEndpoints::Named { names, first_only } => {
            Endpoints::Named { names: names.clone(), first_only: *first_only, mutual: always }
        }
        ServiceEndpoints::AsRequested { port } => Endpoints::AsRequested { port: *port },
    }
}
