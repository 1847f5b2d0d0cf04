//! What a pod serves as one of Istio's gateways.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use k8s_openapi::api::core::v1::Pod;

use super::{
    super::annotation::created, Client, RequestModel, destination::contains, legacy::target_port,
    matches::RouteContext, virtual_service::Routes,
};
use crate::{
    requests::{
        change::{HeaderChanges, Redirect, RedirectPort},
        gateway::{Clients, Ending, Gateway, GatewayPort, GatewayTls, Inside, TlsServer},
        host::Domain,
        outbound::StreamRoute,
        policy::{Certificate, Trust},
        route::{Action, Fault, Match, Route, VirtualHost, end_at_catch_all},
    },
    resource::{
        gateway::{Gateway as Object, Server},
        protocol::{AppProtocol, Family},
        sidecar::ServerTls,
    },
};

/// A server of a gateway object, and the names that routes call the gateway by.
struct Listening<'a> {
    server: &'a Server,
    /// `namespace/name`.
    gateway: String,
    namespace: String,
    /// The number that is written.
    number: u16,
}

impl RequestModel {
    /// What a pod serves; `None` if no gateway object selects it.
    pub(super) fn gateway_of(&self, pod: &Pod) -> Option<Gateway> {
        let labels = pod.metadata.labels.clone().unwrap_or_default();
        let mut all: Vec<&Arc<Object>> = self.objects.gateways().collect();
        all.sort_by_key(|one| (created(&one.metadata), one.metadata.name.clone()));
        let named = all
            .iter()
            .any(|one| !one.spec.selector.is_empty() && contains(&labels, &one.spec.selector));
        if !named {
            return None;
        }
        // One without a selector is for the pods of all gateways.
        all.retain(|one| contains(&labels, &one.spec.selector));
        let namespace = pod.metadata.namespace.clone().unwrap_or_default();
        // A gateway has no Sidecar.
        let mut client = self.client_of(namespace, labels, None);
        client.is_gateway = true;
        let mut ports: BTreeMap<u16, Vec<Listening<'_>>> = BTreeMap::new();
        for gateway in all {
            let own = gateway.metadata.namespace.clone().unwrap_or_default();
            let name = gateway.metadata.name.clone().unwrap_or_default();
            for server in &gateway.spec.servers {
                let Some(port) = &server.port else { continue };
                let Ok(number) = u16::try_from(port.number) else { continue };
                let listening = Listening {
                    server,
                    gateway: format!("{own}/{name}"),
                    namespace: own.clone(),
                    number,
                };
                ports.entry(self.listened(pod, number)).or_default().push(listening);
            }
        }
        let ports = ports.into_iter();
        Some(Gateway {
            ports: ports.map(|(port, all)| (port, self.serve(&client, &all))).collect(),
        })
    }

    /// A number is a port of a Service that selects the pod, and else the pod's own.
    fn listened(&self, pod: &Pod, number: u16) -> u16 {
        let labels = pod.metadata.labels.clone().unwrap_or_default();
        let selecting = self.objects.services().filter(|service| {
            service.metadata.namespace == pod.metadata.namespace && service.selects(&labels)
        });
        let mut ports = selecting.flat_map(|service| &service.ports);
        let port = ports.find(|port| port.port == i32::from(number));
        port.and_then(|port| target_port(port, pod)).unwrap_or(number)
    }

    /// The first server of a port says what the port is; those that do not go with it are none.
    fn serve(&self, client: &Client, all: &[Listening<'_>]) -> GatewayPort {
        let kind = all.first().map_or(Serves::Tcp, serves);
        let alike: Vec<&Listening<'_>> = all.iter().filter(|one| serves(one) == kind).collect();
        match kind {
            Serves::Http => GatewayPort::Http(self.http_hosts(client, &alike)),
            Serves::Tls => GatewayPort::Tls(self.tls_servers(client, &alike)),
            Serves::Tcp => {
                let route = alike.first().and_then(|one| {
                    let context = RouteContext { port: one.number, gateway: &one.gateway };
                    let all = self.bound(client, one);
                    let rules =
                        all.iter().flat_map(|routes| self.tcp_rules(client, context, routes));
                    rules.map(|(_, route)| route).next()
                });
                GatewayPort::Tcp(route)
            }
        }
    }

    /// The objects that route for a server: they name its gateway, and one of its hosts.
    fn bound<'w>(&'w self, client: &Client, one: &Listening<'_>) -> Vec<&'w Arc<Routes>> {
        let all = self.routes().of(client, &one.gateway);
        all.into_iter().filter(|routes| !served(one, routes).is_empty()).collect()
    }

    /// Hosts of all servers: objects of one host stand together, the oldest first, and what takes
    /// everything comes last. Where a server sends clients to HTTPS, that is all it does.
    fn http_hosts(&self, client: &Client, all: &[&Listening<'_>]) -> Vec<VirtualHost> {
        let mut hosts: BTreeMap<Domain, Vec<Route>> = BTreeMap::new();
        let mut redirected = BTreeSet::new();
        let mut joined: BTreeSet<(Domain, String)> = BTreeSet::new();
        for one in all {
            let to_https = one.server.tls.as_ref().is_some_and(|tls| tls.https_redirect);
            if to_https {
                redirected.extend(server_hosts(one).map(|(_, domain)| domain));
            }
            let context = RouteContext { port: one.number, gateway: &one.gateway };
            for routes in self.bound(client, one) {
                for domain in served(one, routes) {
                    if to_https {
                        redirected.insert(domain.clone());
                    }
                    let object = format!("{}/{:?}", routes.namespace, routes.object.metadata.name);
                    // Two servers of one port may lead to one object.
                    if joined.insert((domain.clone(), object)) {
                        let found = self.routes_of(client, context, routes).unwrap_or_default();
                        hosts.entry(domain).or_default().extend(found);
                    }
                }
            }
        }
        for routes in hosts.values_mut() {
            routes.sort_by_key(|route| route.when.is_everything());
            end_at_catch_all(routes);
        }
        for domain in redirected {
            hosts.insert(domain, vec![to_https()]);
        }
        hosts.retain(|_, routes| !routes.is_empty());
        let host = |(domain, routes)| VirtualHost { domains: [domain].into(), routes };
        hosts.into_iter().map(host).collect()
    }

    fn tls_servers(&self, client: &Client, all: &[&Listening<'_>]) -> Vec<TlsServer> {
        let mut taken = BTreeSet::new();
        let mut servers = Vec::new();
        for one in all {
            let mut names: BTreeSet<Domain> = server_hosts(one).map(|(_, name)| name).collect();
            // A name that an earlier server has is not this one's.
            names.retain(|name| taken.insert(name.clone()));
            let Some(tls) = one.server.tls.as_ref().filter(|_| !names.is_empty()) else { continue };
            let tls = ending(tls);
            let context = RouteContext { port: one.number, gateway: &one.gateway };
            let bound = self.bound(client, one);
            let is_https = protocol(one) == AppProtocol::Https;
            let then = match &tls {
                GatewayTls::Through | GatewayTls::ThroughByName => {
                    let rules =
                        bound.iter().flat_map(|routes| self.tls_rules(client, context, routes));
                    let rules = rules.map(|(_, route)| route);
                    Inside::Tcp(rules.filter_map(|route| within(route, &names)).collect())
                }
                GatewayTls::Mesh | GatewayTls::Ends(_) if is_https => {
                    Inside::Http(self.http_hosts(client, &[one]))
                }
                GatewayTls::Mesh | GatewayTls::Ends(_) => {
                    let rules =
                        bound.iter().flat_map(|routes| self.tcp_rules(client, context, routes));
                    Inside::Tcp(rules.map(|(_, route)| route).take(1).collect())
                }
            };
            servers.push(TlsServer { names, tls, then });
        }
        servers
    }
}

/// What a port serves; servers of one port serve the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Serves {
    Http,
    Tls,
    Tcp,
}

fn protocol(one: &Listening<'_>) -> AppProtocol {
    let name = one.server.port.as_ref().map_or("", |port| port.protocol.as_str());
    AppProtocol::named(name).unwrap_or(AppProtocol::Tcp)
}

fn serves(one: &Listening<'_>) -> Serves {
    match protocol(one).family() {
        Family::Http => Serves::Http,
        Family::Tls => Serves::Tls,
        Family::Opaque | Family::Auto | Family::Datagram => Serves::Tcp,
    }
}

/// A server's hosts, each with the namespace that its routes may come from.
fn server_hosts<'a>(one: &'a Listening<'_>) -> impl Iterator<Item = (&'a str, Domain)> {
    one.server.hosts.iter().map(|host| {
        let (namespace, name) = host.split_once('/').unwrap_or(("*", host));
        (if namespace == "." { one.namespace.as_str() } else { namespace }, Domain::new(name))
    })
}

/// The names under which a server serves an object: of two that overlap the more specific one.
fn served(one: &Listening<'_>, routes: &Routes) -> BTreeSet<Domain> {
    let mut names = BTreeSet::new();
    for (namespace, of_server) in server_hosts(one) {
        if namespace != "*" && namespace != routes.namespace {
            continue;
        }
        for host in &routes.hosts {
            if of_server.covers(host) {
                names.insert(host.clone());
            } else if host.covers(&of_server) {
                names.insert(of_server.clone());
            }
        }
    }
    names
}

fn within(route: StreamRoute, names: &BTreeSet<Domain>) -> Option<StreamRoute> {
    let fits = |name: &&Domain| names.iter().any(|own| own.covers(name) || name.covers(own));
    let kept: BTreeSet<Domain> = route.names.iter().filter(fits).cloned().collect();
    (!kept.is_empty()).then_some(StreamRoute { names: kept, ..route })
}

fn to_https() -> Route {
    let redirect = Redirect {
        path: None,
        authority: None,
        port: RedirectPort::Default,
        scheme: Some("https".to_owned()),
        status: 301,
    };
    Route {
        name: String::new(),
        when: Match::default(),
        then: Action::Redirect(redirect),
        fault: Fault::default(),
        mirrors: Vec::new(),
        cors: None,
        headers: HeaderChanges::default(),
    }
}

fn ending(tls: &ServerTls) -> GatewayTls {
    let clients = match tls.mode.as_str() {
        "SIMPLE" => Clients::Anyone,
        "MUTUAL" => Clients::Required(trust(tls)),
        "OPTIONAL_MUTUAL" => Clients::Optional(trust(tls)),
        "ISTIO_MUTUAL" => return GatewayTls::Mesh,
        "AUTO_PASSTHROUGH" => return GatewayTls::ThroughByName,
        _ => return GatewayTls::Through,
    };
    let single = (!tls.server_certificate.is_empty())
        .then(|| Certificate::Files(tls.server_certificate.clone(), tls.private_key.clone()));
    let several = tls.tls_certificates.iter();
    let several = several
        .map(|one| Certificate::Files(one.server_certificate.clone(), one.private_key.clone()));
    let secrets = [&tls.credential_name].into_iter().chain(&tls.credential_names);
    let secrets = secrets.filter(|name| !name.is_empty()).cloned().map(Certificate::Secret);
    let hashes = tls.verify_certificate_spki.iter().chain(&tls.verify_certificate_hash);
    GatewayTls::Ends(Ending {
        certificates: secrets.chain(single).chain(several).collect(),
        clients,
        names: tls.subject_alt_names.clone(),
        hashes: hashes.cloned().collect(),
        versions: (tls.min_protocol_version.clone(), tls.max_protocol_version.clone()),
        ciphers: tls.cipher_suites.clone(),
    })
}

fn trust(tls: &ServerTls) -> Trust {
    let secret = [&tls.ca_cert_credential_name, &tls.credential_name];
    if let Some(secret) = secret.into_iter().find(|name| !name.is_empty()) {
        return Trust::Secret(secret.clone());
    }
    let revoked = Some(tls.ca_crl.clone()).filter(|file| !file.is_empty());
    Trust::File(tls.ca_certificates.clone(), revoked)
}
