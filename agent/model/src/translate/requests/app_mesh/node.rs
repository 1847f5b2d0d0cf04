//! A `VirtualNode` as a destination and as a server.

use std::{collections::BTreeSet, net::IpAddr, num::NonZeroU16, sync::Arc, time::Duration};

use super::{super::RequestModel, Dialling, space};
use crate::{
    endpoints::{Endpoint, Endpoints, NamedEndpoint},
    requests::{
        backend::{Backend, Members, Missing, Target},
        policy::{self, Balance, ClientPolicy, Ejection, Limits, OwnTls, Trust},
        server::{Acceptance, Server, ServerTls},
    },
    resource::{
        Kind, Object, ObjectKey,
        app_mesh::{
            VirtualNode,
            common::{self, DurationUnit, Protocol, Timeout, Timeouts},
            node::{
                self, Certificate, ConnectionPool, Dns, Listener, ListenerTls, OutlierDetection,
                ResponseType, TlsMode, Validation,
            },
            selects,
        },
        protocol::AppProtocol,
    },
    translate::{mesh_config::CONNECT_TIMEOUT, pod_facts},
};

/// The default timeout of a request: at a route, and at a listener as well.
pub(super) const REQUEST_TIMEOUT: Duration = Duration::from_secs(15);

/// A node's listener as a destination, and how soon it gives up by itself.
pub(super) fn target(
    how: &Dialling<'_>,
    node: &VirtualNode,
    port: Option<u16>,
) -> (Target, Option<Duration>) {
    let wanted = |one: &&Listener| port.is_none_or(|port| number(one) == Some(port));
    let listener = node.spec.listeners.iter().find(wanted);
    let name = space(node.metadata.name.as_ref());
    let namespace = space(node.metadata.namespace.as_ref());
    let missing = || (Target::Missing(Missing::Provider(format!("{namespace}/{name}"))), None);
    let Some((listener, number)) = listener.and_then(|one| Some((one, number(one)?))) else {
        return missing();
    };
    let Some(dialled) = NonZeroU16::new(number) else { return missing() };
    let protocol = listener.port_mapping.protocol.unwrap_or(Protocol::Tcp);
    let discovery = node.spec.service_discovery.as_ref();
    let (service, members) = match discovery {
        Some(node::ServiceDiscovery { dns: Some(dns), .. }) => {
            let host = dns.hostname.to_ascii_lowercase();
            let Some(members) = by_name(how, dns, dialled) else {
                return (Target::Missing(Missing::Port(host, number)), None);
            };
            (host, members)
        }
        // Without AWS's registry its instances are the pods of the node.
        Some(node::ServiceDiscovery { aws_cloud_map: Some(map), .. }) => {
            let host = format!("{}.{}", map.service_name, map.namespace_name);
            let node = ObjectKey::of(Kind::VirtualNode, &node.metadata);
            (host, Members::OfNode { node, port: dialled })
        }
        _ => return missing(),
    };
    let policy = ClientPolicy {
        balance: Balance::RoundRobin,
        locality: None,
        warmup: None,
        limits: Limits::none(CONNECT_TIMEOUT),
        ejection: listener.outlier_detection.as_ref().map(ejection),
        tls: client_tls(how, listener, &service, number),
        tunnel: None,
        proxy_protocol: None,
        retry_budget: None,
    };
    let protocol = spoken(protocol);
    let backend = Backend { service, port: number, subset: None, protocol, policy, members };
    (Target::Backend(Arc::new(backend)), listener_timeout(listener))
}

impl RequestModel {
    /// The pods of a node.
    pub(in crate::translate::requests) fn pods_of(
        &self,
        node: &ObjectKey,
        port: NonZeroU16,
    ) -> Endpoints {
        let Some(Object::VirtualNode(node)) = self.objects.get(node) else {
            return Endpoints::Listed([].into());
        };
        let fits = self.objects.pods().filter(|pod| {
            let labels = pod.metadata.labels.clone().unwrap_or_default();
            pod.metadata.namespace == node.metadata.namespace
                && selects(node.spec.pod_selector.as_ref(), &labels)
                && !pod_facts::is_finished(pod)
                && pod_facts::is_ready(pod)
        });
        let addresses: BTreeSet<IpAddr> =
            fits.filter_map(|pod| pod_facts::pod_addresses(pod).first().copied()).collect();
        let endpoints = addresses.into_iter().map(|address| Endpoint::new(address, port, 1));
        Endpoints::Listed(endpoints.collect())
    }
}

/// A name that a Service of the cluster has is that Service; `None` if it lacks the port.
fn by_name(how: &Dialling<'_>, dns: &Dns, port: NonZeroU16) -> Option<Members> {
    let host = dns.hostname.to_ascii_lowercase();
    let Some(seen) = how.client.reachable.get(host.as_str()) else {
        return Some(Members::Stated(named(host, port, dns)));
    };
    let at = seen.port(port.get())?;
    Some(match &at.port().endpoints {
        None | Some(Endpoints::Listed(_)) => Members::Listed(at.clone()),
        Some(
            Endpoints::Dialled { .. } | Endpoints::Named { .. } | Endpoints::AsRequested { .. },
        ) => Members::Stated(named(host, port, dns)),
    })
}

fn named(host: String, port: NonZeroU16, dns: &Dns) -> Endpoints {
    let (current, lingering) = (Vec::new(), Vec::new());
    let name = NamedEndpoint { host, port, weight: 1, current, lingering };
    Endpoints::Named {
        names: [name].into(),
        first_only: dns.response_type.unwrap_or_default() == ResponseType::LoadBalancer,
        mutual: false,
    }
}

pub(super) fn number(listener: &Listener) -> Option<u16> {
    u16::try_from(listener.port_mapping.port).ok().filter(|port| *port != 0)
}

pub(super) const fn spoken(protocol: Protocol) -> AppProtocol {
    match protocol {
        Protocol::Grpc => AppProtocol::Grpc,
        Protocol::Http => AppProtocol::Http,
        Protocol::Http2 => AppProtocol::Http2,
        Protocol::Tcp => AppProtocol::Tcp,
    }
}

/// A time; zero is none at all.
pub(super) fn time(given: &common::Duration) -> Option<Duration> {
    let value = u64::try_from(given.value).ok().filter(|value| *value > 0)?;
    Some(match given.unit {
        DurationUnit::S => Duration::from_secs(value),
        DurationUnit::Ms => Duration::from_millis(value),
    })
}

fn of_protocol(timeouts: &Timeouts) -> Option<&Timeout> {
    let Timeouts { tcp, http, http2, grpc } = timeouts;
    [tcp, http, http2, grpc].into_iter().find_map(Option::as_ref)
}

fn listener_timeout(listener: &Listener) -> Option<Duration> {
    if listener.port_mapping.protocol == Some(Protocol::Tcp) {
        return None;
    }
    let own = listener.timeout.as_ref().and_then(of_protocol);
    own.and_then(|own| own.per_request.as_ref()).map_or(Some(REQUEST_TIMEOUT), time)
}

fn ejection(given: &OutlierDetection) -> Ejection {
    let OutlierDetection {
        max_server_errors,
        interval,
        base_ejection_duration,
        max_ejection_percent,
    } = given;
    Ejection {
        server_errors: u32::try_from(*max_server_errors).ok(),
        gateway_errors: None,
        local_errors: None,
        split: false,
        interval: interval.as_ref().and_then(time).unwrap_or(Duration::from_secs(10)),
        base: base_ejection_duration.as_ref().and_then(time).unwrap_or(Duration::from_secs(30)),
        most_percent: u32::try_from(*max_ejection_percent).unwrap_or(0),
        panic_percent: 0,
    }
}

/// A policy that does not insist on TLS uses it where the listener offers it.
fn client_tls(how: &Dialling<'_>, listener: &Listener, host: &str, port: u16) -> policy::ClientTls {
    let Some(tls) = how.tls else { return policy::ClientTls::Plain };
    let offered = listener.tls.as_ref().is_some_and(|tls| tls.mode != TlsMode::Disabled);
    let for_port = tls.ports.is_empty() || tls.ports.contains(&i64::from(port));
    if !for_port || !(tls.enforce.unwrap_or(true) || offered) {
        return policy::ClientTls::Plain;
    }
    let validation = tls.validation.as_ref();
    let names = validation.and_then(|one| one.subject_alternative_names.as_ref());
    policy::ClientTls::Own(OwnTls {
        namespace: how.client.namespace.clone(),
        trust: validation.map_or(Trust::System, trust),
        verify: true,
        names: names.map_or_else(|| vec![host.to_owned()], |names| names.matches.exact.clone()),
        server_name: Some(host.to_owned()),
        certificate: tls.certificate.as_ref().and_then(certificate),
    })
}

fn trust(validation: &Validation) -> Trust {
    let Some(trust) = &validation.trust else { return Trust::System };
    if let Some(file) = &trust.file {
        Trust::File(file.certificate_chain.clone(), None)
    } else if let Some(sds) = &trust.sds {
        Trust::Secret(sds.secret_name.clone())
    } else {
        let acm = trust.acm.as_ref();
        Trust::Elsewhere(acm.map(|acm| acm.certificate_authority_arns.clone()).unwrap_or_default())
    }
}

fn certificate(given: &Certificate) -> Option<policy::Certificate> {
    let Certificate { acm, file, sds } = given;
    let file = file.as_ref().map(|file| {
        policy::Certificate::Files(file.certificate_chain.clone(), file.private_key.clone())
    });
    let secret = sds.as_ref().map(|sds| policy::Certificate::Secret(sds.secret_name.clone()));
    let acm = acm.as_ref().map(|acm| policy::Certificate::Elsewhere(acm.certificate_arn.clone()));
    file.or(secret).or(acm)
}

pub(super) fn server_tls(listener: &Listener) -> ServerTls {
    let Some(ListenerTls { mode, certificate: own, validation }) = &listener.tls else {
        return ServerTls::Plain;
    };
    if *mode == TlsMode::Disabled {
        return ServerTls::Plain;
    }
    let names = validation.as_ref().and_then(|one| one.subject_alternative_names.as_ref());
    ServerTls::Own {
        certificate: own.as_ref().and_then(certificate),
        clients: validation.as_ref().map(trust),
        names: names.map(|names| names.matches.exact.clone()).unwrap_or_default(),
        or_plain: *mode == TlsMode::Permissive,
    }
}

/// What listeners accept. Every other port is as without a mesh.
pub(super) fn server(listeners: &[Listener]) -> Server {
    let accept = |listener: &Listener| {
        let mut accepted = Acceptance::of(server_tls(listener));
        let count = |value: i64| u32::try_from(value).ok();
        if let Some(ConnectionPool { tcp, http, http2, grpc }) = &listener.connection_pool {
            accepted.connections = tcp.as_ref().and_then(|pool| count(pool.max_connections));
            if let Some(pool) = http {
                accepted.connections = count(pool.max_connections);
                accepted.pending = pool.max_pending_requests.and_then(count);
            }
            let pool = http2.as_ref().or(grpc.as_ref());
            accepted.requests = pool.and_then(|pool| count(pool.max_requests));
        }
        let timeout = listener.timeout.as_ref().and_then(of_protocol);
        accepted.idle = timeout.and_then(|one| one.idle.as_ref()).and_then(time);
        accepted
    };
    let ports = listeners.iter().filter_map(|one| Some((number(one)?, accept(one))));
    Server { other: Acceptance::of(ServerTls::Plain), ports: ports.collect() }
}
