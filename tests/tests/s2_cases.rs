//! Kubernetes Services for what lies outside (S2), as far as sockets go.

use anyhow::{Result, ensure};
use rstest::rstest;
use sekisho_tests::{
    manifest::NAMESPACE,
    maps,
    named::{
        Case, DB, Net, OTHER_PORT, PORT, PROXIED, TTL, at, both, cluster_ip, entry, external_name,
    },
};

/// The table of endpoints is kube-proxy's business; here the Service's address is a host's own.
#[rstest]
fn s2_10_a_service_is_reached_at_its_address_and_its_endpoints_are_not(
    #[values(Net::V4, Net::V6)] net: Net,
) -> Result<()> {
    let endpoints = format!(
        "---\napiVersion: v1\nkind: Endpoints\nmetadata: {{name: wiki, namespace: {NAMESPACE}}}\n\
         subsets: [{{addresses: [{{ip: \"{}\"}}], ports: [{{name: tcp-mysql, port: {PORT}}}]}}]\n",
        at(net, 2)
    );
    let mut case = Case::new(&(cluster_ip("wiki", net, 1) + &endpoints))?;
    case.is_served((at(net, 1), PORT))?;
    case.is_refused((at(net, 2), PORT))
}

#[rstest]
fn s2_12_and_s2_13_what_is_removed_leaves_nothing_behind(
    #[values(Net::V4, Net::V6)] net: Net,
) -> Result<()> {
    let headless = |numbers: &[u8]| {
        let list: Vec<String> =
            numbers.iter().map(|number| format!("{{ip: \"{}\"}}", at(net, *number))).collect();
        format!(
            "apiVersion: v1\nkind: Service\nmetadata: {{name: wiki, namespace: {NAMESPACE}}}\n\
             spec: {{clusterIP: None, ports: [{{name: tcp, port: {PORT}}}]}}\n---\n\
             apiVersion: v1\nkind: Endpoints\nmetadata: {{name: wiki, namespace: {NAMESPACE}}}\n\
             subsets: [{{addresses: [{}], ports: [{{name: tcp, port: {PORT}}}]}}]\n",
            list.join(", ")
        )
    };
    let anchor = format!("---\n{}", cluster_ip("anchor", net, 9));
    let mut case = Case::new(&anchor)?;
    case.is_served((at(net, 9), PORT))?;
    let before = maps::counts(case.agent.pins())?;

    case.apply(&(headless(&[1, 2]) + &anchor))?;
    case.is_served((at(net, 1), PORT))?;
    case.is_served((at(net, 2), PORT))?;
    case.apply(&(headless(&[2]) + &anchor))?;
    case.is_refused((at(net, 1), PORT))?;
    case.is_served((at(net, 2), PORT))?;
    case.apply(&(headless(&[]) + &anchor))?;
    case.is_refused((at(net, 2), PORT))?;

    case.server.set("other.example.com", TTL, &both(&[1]));
    let all = format!(
        "{}---\n{}---\n{}",
        headless(&[1, 2]),
        entry("DNS"),
        external_name("my", "other.example.com", OTHER_PORT)
    );
    case.apply(&(all + &anchor))?;
    case.wait((at(net, 1), OTHER_PORT), true)?;
    ensure!(maps::counts(case.agent.pins())? > before);
    case.apply(&anchor)?;
    for (number, port) in [(1, PORT), (2, PORT), (1, OTHER_PORT), (1, PROXIED)] {
        case.is_refused((at(net, number), port))?;
    }
    // What is not needed goes after a grace period.
    case.agent.wait_until("the maps are as before", |agent| {
        Ok(maps::counts(agent.pins())? == before && agent.status()?["names"].is_null())
    })?;
    case.is_served((at(net, 9), PORT))
}

#[rstest]
fn s2_14_and_s2_15_a_name_that_is_pointed_elsewhere_keeps_working(
    #[values(Net::V4, Net::V6)] net: Net,
) -> Result<()> {
    let real = format!("---\n{}", cluster_ip("real", net, 2));
    let mut case = Case::new(&(external_name("my", DB, PORT) + &real))?;
    case.wait((at(net, 1), PORT), true)?;
    // Within the cluster: the name leads to that Service's address.
    let inside = format!("real.{NAMESPACE}.svc.cluster.local");
    case.apply(&(external_name("my", &inside, OTHER_PORT) + &real))?;
    case.is_served((at(net, 2), PORT))?;
    case.is_refused((at(net, 1), PORT))?;
    case.is_refused((at(net, 2), OTHER_PORT))?;
    // A Service of its own.
    case.apply(&(cluster_ip("my", net, 9) + &real))?;
    case.is_served((at(net, 9), PORT))?;
    // And outside again.
    case.apply(&(external_name("my", DB, PORT) + &real))?;
    case.wait((at(net, 1), PORT), true)?;
    case.is_refused((at(net, 9), PORT))
}
