//! App Mesh (S4) at the socket: what its nodes and gateways may dial.

use std::fs;

use anyhow::{Result, ensure};
use rstest::rstest;
use sekisho_tests::{
    app_mesh::{
        BY_NODE, CALLER, Case, OUTSIDE, PORT, SVC_1, SVC_2, SVC_V, UNDECLARED, at, both, object,
    },
    client::Client,
};

#[rstest]
#[case::s4_9("DROP_ALL")]
#[case::s4_11("")]
fn s4_9_and_s4_11_only_what_is_declared_is_reached(#[case] egress: &str) -> Result<()> {
    let mut case = Case::ready(egress)?;
    case.is_closed()?;

    let why = case.why(at(SVC_V, PORT)[0])?;
    let rule = "VirtualService.appmesh.k8s.aws mesh-test/svc-v spec.provider.virtualRouter";
    assert_eq!(why["explanation"]["decision"]["rule"]["source"], rule, "{why}");
    for to in at(UNDECLARED, PORT) {
        let why = case.why(to)?;
        let explanation = &why["explanation"];
        assert_eq!(explanation["decision"]["source"], "Mesh mesh-1 spec.egressFilter", "{why}");
        let near = &explanation["near"][0];
        let rule = "VirtualService.appmesh.k8s.aws mesh-test/svc-u spec.provider.virtualRouter";
        assert_eq!(near["rule"]["source"], rule, "{why}");
        assert_eq!(near["mismatch"]["by"], "VirtualNode mesh-test/vnode-x", "{why}");
    }
    let to = at(UNDECLARED, PORT)[0].to_string();
    let words = case.agent.ask(&["why", "mesh-test/caller", &to])?;
    let words = String::from_utf8(words.stdout)?;
    let expected = "is not among the spec.backends of VirtualNode mesh-test/vnode-x";
    assert!(words.contains(expected), "{words}");
    assert!(
        words.contains("the default of Mesh mesh-1 spec.egressFilter is registry-only"),
        "{words}"
    );
    Ok(())
}

#[test]
fn s4_2_and_s4_10_what_is_not_declared_passes_where_the_mesh_says_so() -> Result<()> {
    Case::ready("ALLOW_ALL")?.is_open()
}

#[test]
fn a_change_of_the_filter_holds_for_open_connections_too() -> Result<()> {
    let mut case = Case::ready("ALLOW_ALL")?;
    let mut open = Client::start(&case.pod)?;
    open.must(&format!("dial {}", at(OUTSIDE, PORT)[1]))?;
    case.change(|case| case.mesh("mesh-1", "DROP_ALL"))?;
    let said = open.tell("rest")?;
    assert!(said.errno.is_some() && said.took_ms < 1_000, "an open connection: {said:?}");
    case.is_closed()?;
    case.change(|case| case.mesh("mesh-1", "ALLOW_ALL"))?;
    case.is_open()
}

#[test]
fn s4_5_a_backend_comes_and_goes_with_its_declaration() -> Result<()> {
    let mut case = Case::ready("DROP_ALL")?;
    let mut open = Client::start(&case.pod)?;
    open.must(&format!("dial {}", at(SVC_V, PORT)[0]))?;
    case.change(|case| case.backends(&[]))?;
    let said = open.tell("rest")?;
    assert!(said.errno.is_some() && said.took_ms < 1_000, "an open connection: {said:?}");
    case.is_refused(SVC_V, PORT)?;
    let why = case.why(at(SVC_V, PORT)[0])?;
    let by = &why["explanation"]["near"][0]["mismatch"];
    assert_eq!(by["kind"], "not-listed", "{why}");

    case.change(|case| case.backends(&["svc-v", "svc-u"]))?;
    case.is_reached(SVC_V, PORT)?;
    case.is_reached(UNDECLARED, PORT)?;
    // Without a declaration it is a plain Service, which an open mesh lets pass.
    case.change(|case| case.backends(&[]))?;
    case.change(|case| case.mesh("mesh-1", "ALLOW_ALL"))?;
    case.is_reached(SVC_V, PORT)
}

#[test]
fn s4_8_another_provider_reaches_other_nodes() -> Result<()> {
    let mut case = Case::ready("DROP_ALL")?;
    case.is_reached(SVC_2, PORT)?;
    case.change(|case| case.provider(BY_NODE))?;
    case.is_reached(SVC_V, PORT)?;
    case.is_reached(SVC_1, PORT)?;
    case.is_refused(SVC_2, PORT)
}

/// What is pinned judges while the agent is dead, and its successor finds the same. Requests that only
/// the proxy can route fail meanwhile, at once.
#[test]
fn a_restart_of_the_agent_changes_no_verdict() -> Result<()> {
    let mut case = Case::ready("DROP_ALL")?;
    case.is_closed()?;
    case.agent.kill()?;
    case.is_closed_without_agent()?;
    case.start("enrolled")?;
    case.is_closed()
}

#[test]
fn sl_9_a_pod_says_which_ports_and_addresses_are_ignored() -> Result<()> {
    let mut case = Case::ready("DROP_ALL")?;
    case.is_reached(OUTSIDE, 22)?;
    ensure!(!case.is_asked(OUTSIDE, 22)?, "the default is for TCP");
    case.change(|case| case.labelled(CALLER, ", appmesh.k8s.aws/egressIgnoredPorts: \"8080\""))?;
    case.is_refused(OUTSIDE, 22)?;
    case.is_reached(OUTSIDE, 8_080)?;
    let [v4, v6] = both(OUTSIDE);
    let ignored = format!(", appmesh.k8s.aws/egressIgnoredIPs: \"{v4},{v6}\"");
    case.change(|case| case.labelled(CALLER, &ignored))?;
    case.is_reached(OUTSIDE, PORT)?;
    ensure!(case.is_asked(OUTSIDE, PORT)?, "an ignored address answers datagrams");
    case.is_refused(UNDECLARED, PORT)
}

#[test]
fn s4_12_a_gateways_pods_reach_the_targets_of_its_routes() -> Result<()> {
    let mut case = Case::new("DROP_ALL")?;
    case.labelled("for: gateway", "")?;
    let gateway = "namespaceSelector: {matchLabels: {mesh: mesh-1}}, \
                   podSelector: {matchLabels: {for: gateway}}, \
                   listeners: [{portMapping: {port: 8088, protocol: http}}]";
    case.write("gateway", &object("VirtualGateway", "gateway-v", gateway))?;
    case.start("enrolled")?;
    case.is_refused(SVC_V, PORT)?;
    let route = "httpRoute: {match: {prefix: /}, \
                 action: {target: {virtualService: {virtualServiceRef: {name: svc-v}}}}}";
    case.change(|case| case.write("route", &object("GatewayRoute", "route-v", route)))?;
    case.is_closed()
}

/// On the port of name servers alone, over both transports and in both families.
#[test]
fn a_pod_reaches_the_name_servers_that_it_asks_for() -> Result<()> {
    let mut case = Case::ready("DROP_ALL")?;
    case.is_refused(OUTSIDE, 53)?;
    let manifest = fs::read_to_string(case.agent.config().path("pod-caller"))?;
    let [v4, v6] = both(OUTSIDE);
    let asked = format!("spec: {{dnsConfig: {{nameservers: [{v4}, \"{v6}\"]}}, ");
    case.change(|case| case.write("pod-caller", &manifest.replace("spec: {", &asked)))?;
    case.is_reached(OUTSIDE, 53)?;
    ensure!(case.is_asked(OUTSIDE, 53)?, "the pod's own name server does not answer");
    case.is_refused(UNDECLARED, 53)?;
    ensure!(!case.is_asked(UNDECLARED, 53)?, "another one answers");
    case.is_closed()
}
