//! What a `VirtualGateway`'s pods serve: gateway routes in their order, each with what is rewritten
//! by default.

use std::collections::BTreeSet;

use super::{
    super::RequestModel,
    Client, Dialling, aws_name,
    matches::{order_of, read, read_grpc},
    node::{number, server_tls},
    router::Table,
    space,
};
use crate::{
    requests::{
        change::{PathRewrite, Rewrite},
        gateway::{Clients, Ending, Gateway, GatewayPort, GatewayTls, Inside, TlsServer},
        host::Domain,
        route::{Action, Match, Route, VirtualHost, end_at_catch_all},
        server::ServerTls,
        text::Text,
    },
    resource::app_mesh::{
        GatewayRoute, Mesh, VirtualGateway,
        common::Protocol,
        node::Listener,
        route::{self, GatewayTarget, HostnameMatch},
        selects,
    },
    translate::app_mesh::mesh_within,
};

/// One gateway route, read.
struct Entry {
    domain: Domain,
    priority: Option<i64>,
    route: Route,
}

impl RequestModel {
    pub(super) fn virtual_gateway(
        &self,
        client: &Client,
        mesh: &Mesh,
        gateway: &VirtualGateway,
    ) -> Gateway {
        let policy = gateway.spec.backend_defaults.as_ref();
        let policy = policy.and_then(|one| one.client_policy.as_ref());
        let how = Dialling { client, tls: policy.and_then(|policy| policy.tls.as_ref()) };
        let routes: Vec<&GatewayRoute> = self
            .objects
            .gateway_routes()
            .map(AsRef::as_ref)
            .filter(|route| self.belongs(route, mesh, gateway))
            .collect();
        let mut served = Gateway::default();
        for listener in &gateway.spec.listeners {
            let Some(port) = number(listener) else { continue };
            let hosts = self.hosts(&how, &routes, (port, listener.port_mapping.protocol));
            served.ports.entry(port).or_insert(serve(listener, hosts));
        }
        served
    }

    /// A route is for exactly one gateway: one that several select is for none.
    fn belongs(&self, route: &GatewayRoute, mesh: &Mesh, gateway: &VirtualGateway) -> bool {
        let own = space(route.metadata.namespace.as_ref());
        let Some(namespace) = self.namespace(own) else { return false };
        let of_mesh = mesh_within(&self.objects, namespace)
            .is_ok_and(|one| one.metadata.name == mesh.metadata.name);
        let labels = namespace.metadata.labels.clone().unwrap_or_default();
        let route_labels = route.metadata.labels.to_map();
        let takes = |one: &VirtualGateway| {
            let by_label = one.spec.gateway_route_selector.as_ref();
            selects(one.spec.namespace_selector.as_ref(), &labels)
                && by_label.is_none_or(|wanted| selects(Some(wanted), &route_labels))
        };
        let mut taking = self.objects.virtual_gateways().filter(|one| takes(one));
        let only = (taking.next(), taking.next());
        let is_this = |one: &VirtualGateway| {
            (&one.metadata.name, &one.metadata.namespace)
                == (&gateway.metadata.name, &gateway.metadata.namespace)
        };
        of_mesh && matches!(only, (Some(one), None) if is_this(one))
    }

    /// Hosts, each with every route that may hold for it.
    fn hosts(
        &self,
        how: &Dialling<'_>,
        routes: &[&GatewayRoute],
        (port, protocol): (u16, Option<Protocol>),
    ) -> Vec<VirtualHost> {
        let read = routes.iter().filter_map(|one| self.entry(how, one, (port, protocol)));
        let mut entries: Vec<Entry> = read.collect();
        entries.sort_by(|one, other| {
            let key = |entry: &Entry| order_of(entry.priority, &entry.route.when);
            let by_host = other.domain.rank().cmp(&one.domain.rank());
            let priority =
                one.priority.unwrap_or(i64::MAX).cmp(&other.priority.unwrap_or(i64::MAX));
            priority.then(by_host).then_with(|| key(one).cmp(&key(other)))
        });
        let domains: BTreeSet<Domain> = entries.iter().map(|entry| entry.domain.clone()).collect();
        let host = |domain: Domain| {
            let fits = entries.iter().filter(|entry| entry.domain.covers(&domain));
            let mut routes: Vec<Route> = fits.map(|entry| entry.route.clone()).collect();
            end_at_catch_all(&mut routes);
            VirtualHost { domains: [domain].into(), routes }
        };
        domains.into_iter().map(host).collect()
    }

    fn entry(
        &self,
        how: &Dialling<'_>,
        one: &GatewayRoute,
        (port, protocol): (u16, Option<Protocol>),
    ) -> Option<Entry> {
        let spec = &one.spec;
        let http = match protocol? {
            Protocol::Http => spec.http_route.as_ref(),
            Protocol::Http2 => spec.http2_route.as_ref(),
            Protocol::Grpc | Protocol::Tcp => None,
        };
        let grpc = spec.grpc_route.as_ref().filter(|_| protocol == Some(Protocol::Grpc));
        let (when, host, on, action) = if let Some(http) = http {
            let given = &http.matches;
            (read(given)?, given.hostname.as_ref(), given.port, &http.action)
        } else {
            let grpc = grpc?;
            let given = &grpc.matches;
            (read_grpc(given)?, given.hostname.as_ref(), given.port, &grpc.action)
        };
        if on.is_some_and(|on| on != i64::from(port)) {
            return None;
        }
        let route = self.target_of(how, one, action, when)?;
        Some(Entry { domain: domain(host), priority: spec.priority, route })
    }

    /// A name's own routes decide once the request is rewritten. Where they are one for everything,
    /// that one is taken in.
    fn target_of(
        &self,
        how: &Dialling<'_>,
        one: &GatewayRoute,
        action: &route::RouteAction,
        when: Match,
    ) -> Option<Route> {
        let own = space(one.metadata.namespace.as_ref());
        let GatewayTarget { virtual_service, port } = action.target.as_ref()?;
        let service = self.virtual_service(virtual_service.virtual_service_ref.as_ref()?, own)?;
        let mut tables = self.tables(how, service).into_iter();
        let table = tables.find(|(number, _, table)| {
            matches!(table, Table::Http(_)) && port.is_none_or(|port| port == i64::from(*number))
        });
        let Some((_, _, Table::Http(mut routes))) = table else { return None };
        let rewrite = rewritten(action.rewrite.as_ref(), &when, &aws_name(service));
        let name = space(one.metadata.name.as_ref()).to_owned();
        if let [only] = &mut routes[..]
            && only.when.is_everything()
            && let Action::Forward(forward) = &mut only.then
        {
            forward.rewrite = rewrite;
            return Some(Route { name, when, ..only.clone() });
        }
        let template = routes.first()?.clone();
        let then = Action::Continue { rewrite, routes };
        Some(Route { name, when, then, ..template })
    }
}

fn domain(host: Option<&HostnameMatch>) -> Domain {
    match host {
        Some(HostnameMatch { exact: Some(exact), .. }) => Domain::new(exact),
        Some(HostnameMatch { suffix: Some(suffix), .. }) => {
            Domain::new(&format!("*{}", suffix.trim_start_matches('*')))
        }
        _ => Domain::any(),
    }
}

/// Unless it says otherwise, the host becomes the target's name, and a matched prefix the root.
fn rewritten(given: Option<&route::Rewrite>, when: &Match, target: &str) -> Rewrite {
    let is_off = |text: Option<&String>| text.is_some_and(|text| text == "DISABLED");
    let host = given.and_then(|one| one.hostname.as_ref());
    let keeps = is_off(host.and_then(|one| one.default_target_hostname.as_ref()));
    let whole = given.and_then(|one| one.path.as_ref()).and_then(|path| path.exact.clone());
    let prefix = given.and_then(|one| one.prefix.as_ref());
    let by_prefix = || {
        let Some(Text::Prefix(matched)) = &when.path else { return None };
        let value = prefix.and_then(|one| one.value.as_deref());
        if value.is_none() && is_off(prefix.and_then(|one| one.default_prefix.as_ref())) {
            return None;
        }
        let to = value.unwrap_or("/");
        if matched.ends_with('/') {
            return PathRewrite::prefix(matched, to);
        }
        Some(PathRewrite::Segments { matched: matched.clone(), to: to.to_owned() })
    };
    Rewrite {
        authority: (!keeps).then(|| target.to_owned()),
        path: whole.map(PathRewrite::Whole).or_else(by_prefix),
    }
}

fn serve(listener: &Listener, hosts: Vec<VirtualHost>) -> GatewayPort {
    let ServerTls::Own { certificate, clients, names, or_plain: _ } = server_tls(listener) else {
        return GatewayPort::Http(hosts);
    };
    let ending = Ending {
        certificates: certificate.into_iter().collect(),
        clients: clients.map_or(Clients::Anyone, Clients::Required),
        names,
        hashes: Vec::new(),
        versions: (String::new(), String::new()),
        ciphers: Vec::new(),
    };
    GatewayPort::Tls(vec![TlsServer {
        names: [Domain::any()].into(),
        tls: GatewayTls::Ends(ending),
        then: Inside::Http(hosts),
    }])
}
