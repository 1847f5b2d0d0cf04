//! The ports of a pod that the kubelet probes: exempt from mutual TLS, since it has no certificate.

use std::collections::BTreeSet;

use k8s_openapi::{
    api::core::v1::{Container, HTTPGetAction, Pod, Probe},
    apimachinery::pkg::util::intstr::IntOrString,
};

/// The ports, in order. A probe of another host than the pod is none of its own.
pub(super) fn ports(pod: &Pod) -> Vec<u16> {
    let Some(spec) = &pod.spec else { return Vec::new() };
    let addresses = super::pod_addresses(pod);
    let is_its = |host: &Option<String>| {
        let host = host.as_deref().filter(|host| !host.is_empty());
        host.is_none_or(|host| host.parse().is_ok_and(|host| addresses.contains(&host)))
    };
    let containers = spec.containers.iter().chain(spec.init_containers.iter().flatten());
    let ports = containers.flat_map(|one| probed(one, &is_its));
    ports.collect::<BTreeSet<u16>>().into_iter().collect()
}

fn probed(container: &Container, is_its: &impl Fn(&Option<String>) -> bool) -> Vec<u16> {
    let probes = [&container.readiness_probe, &container.liveness_probe, &container.startup_probe];
    let probes = probes.into_iter().flatten();
    let mut ports: Vec<u16> =
        probes.filter_map(|probe| of_probe(container, probe, is_its)).collect();
    let lifecycle = container.lifecycle.as_ref();
    let hooks = lifecycle.map(|it| [&it.post_start, &it.pre_stop]).into_iter().flatten().flatten();
    let hooks = hooks.filter_map(|hook| of_http(container, hook.http_get.as_ref()?, is_its));
    ports.extend(hooks);
    ports
}

fn of_probe(
    container: &Container,
    probe: &Probe,
    is_its: &impl Fn(&Option<String>) -> bool,
) -> Option<u16> {
    if let Some(http) = &probe.http_get {
        return of_http(container, http, is_its);
    }
    if let Some(tcp) = &probe.tcp_socket {
        return number(container, &tcp.port).filter(|_| is_its(&tcp.host));
    }
    u16::try_from(probe.grpc.as_ref()?.port).ok()
}

fn of_http(
    container: &Container,
    http: &HTTPGetAction,
    is_its: &impl Fn(&Option<String>) -> bool,
) -> Option<u16> {
    number(container, &http.port).filter(|_| is_its(&http.host))
}

/// A port by its number, or by its name among the container's.
fn number(container: &Container, port: &IntOrString) -> Option<u16> {
    let number = match port {
        IntOrString::Int(number) => *number,
        IntOrString::String(name) => {
            let mut ports = container.ports.iter().flatten();
            ports.find(|one| one.name.as_ref() == Some(name))?.container_port
        }
    };
    u16::try_from(number).ok().filter(|port| *port != 0)
}
