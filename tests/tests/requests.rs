//! Requests of a pod to a Service whose `VirtualService` has a say: two versions of a web server, on
//! real sockets, through the node's proxy.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use rstest::rstest;
use sekisho_tests::{
    agent::Agent,
    manifest::{Mode, NAMESPACE},
    pod::http::{Answers, Requests, is_share},
    process::{Process, probe},
    service,
    stage::Net,
    web::Web,
    world::{Host, Wiring, World},
};
use serde_json::Value;

const PORT: u16 = 9_080;
/// Longer than all requests of one test.
const PATIENCE: Duration = Duration::from_mins(1);

/// A pod, two versions of a server, and an agent.
struct Case {
    net: Net,
    client: Process,
    agent: Agent,
    _servers: [Web; 2],
    _hosts: [Host; 2],
    _pod: Host,
    world: World,
}

impl Case {
    /// With these rules of a `VirtualService`.
    fn new(net: Net, rules: &str) -> Result<Self> {
        let world = World::new(Wiring::Routed)?;
        let (pod, v1, v2) = (world.pod("app")?, world.far("v1")?, world.far("v2")?);
        let servers = [Web::start(&v1, PORT, "v1")?, Web::start(&v2, PORT, "v2")?];
        let agent = Agent::new(&world)?;
        agent.config().namespace(true)?;
        agent.config().mesh(Mode::RegistryOnly)?;
        agent.config().pod(&pod)?;
        let (at, ports) = (service::addresses(), [("http", PORT)]);
        let reviews = service::with_versions("reviews", (at, &ports), &[(&v1, "v1"), (&v2, "v2")]);
        agent.config().write("reviews", &reviews)?;
        agent.config().write("routes", &routes(rules))?;
        let mut command = probe()?;
        command.arg("http");
        let client = pod.run(command)?;
        let mut case =
            Self { net, client, agent, _servers: servers, _hosts: [v1, v2], _pod: pod, world };
        case.agent.start(&case.world)?;
        case.agent
            .wait_until("the pod is enrolled", |agent| Ok(agent.enrolment("app")? == "enrolled"))?;
        Ok(case)
    }

    /// Changes the rules; they hold some moments later.
    fn route(&self, rules: &str) -> Result<()> {
        self.agent.config().write("routes", &routes(rules))
    }

    fn begin(&mut self, requests: &Requests) -> Result<()> {
        self.client.say(&serde_json::to_string(requests)?)
    }

    fn answers(&mut self) -> Result<Answers> {
        self.client.answer(PATIENCE)
    }

    fn send(&mut self, requests: &Requests) -> Result<Answers> {
        self.begin(requests)?;
        self.answers()
    }

    /// The one answer to a request.
    fn ask(&mut self, lines: &[&str]) -> Result<String> {
        let said = self.send(&self.get(lines, 1))?;
        Ok(said.only().with_context(|| format!("{said:?}"))?.to_owned())
    }

    /// Asks until the answer is this, while new rules come into force.
    fn ask_until(&mut self, lines: &[&str], wanted: &str) -> Result<()> {
        let mut last = Answers::default();
        for _ in 0..500 {
            last = self.send(&self.get(lines, 1))?;
            if last.only() == Some(wanted) {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        anyhow::bail!("not {wanted:?} but {last:?}\n{}", self.agent.words())
    }

    /// Requests with these lines, by default `GET /` of reviews.
    fn get(&self, lines: &[&str], count: u32) -> Requests {
        let lines = if lines.is_empty() { &["GET / HTTP/1.1"][..] } else { lines };
        let mut lines: Vec<String> = lines.iter().map(|line| (*line).to_owned()).collect();
        if !lines.iter().any(|line| line.starts_with("Host:")) {
            lines.insert(1, format!("Host: reviews:{PORT}"));
        }
        let (to, body) = (service::at(self.net, PORT), String::new());
        Requests { to, lines, body, count, millis: 0, each: 10, tls: None }
    }

    /// What the agent's flows say of the last request for a path; they say it once it has ended, which
    /// is after its answer.
    fn flow(&mut self, path: &str) -> Result<Value> {
        let mut last = None;
        self.agent.wait_until("the request is told of", |agent| {
            let flows = agent.flows()?;
            last = flows.iter().rev().find(|flow| flow["request"]["path"] == path).cloned();
            Ok(last.is_some())
        })?;
        last.context("a flow")
    }
}

fn routes(rules: &str) -> String {
    format!(
        "apiVersion: networking.istio.io/v1\nkind: DestinationRule\n\
         metadata: {{name: reviews, namespace: {NAMESPACE}}}\n\
         spec: {{host: reviews, subsets: [{{name: v1, labels: {{version: v1}}}}, \
         {{name: v2, labels: {{version: v2}}}}, {{name: v3, labels: {{version: v3}}}}]}}\n\
         ---\napiVersion: networking.istio.io/v1\nkind: VirtualService\n\
         metadata: {{name: reviews, namespace: {NAMESPACE}}}\n\
         spec: {{hosts: [reviews], http: [{rules}]}}\n"
    )
}

fn to(subset: &str) -> String {
    format!("{{destination: {{host: reviews, subset: {subset}}}}}")
}

/// Shares of v1 and v2.
fn split(one: u32, other: u32) -> String {
    let share = |subset, weight| {
        format!("{{destination: {{host: reviews, subset: {subset}}}, weight: {weight}}}")
    };
    format!("{{route: [{}, {}]}}", share("v1", one), share("v2", other))
}

#[rstest]
fn s1_2_weights_split_requests_whatever_connections_they_share(
    #[values(Net::V4, Net::V6)] net: Net,
) -> Result<()> {
    let mut case = Case::new(net, &split(90, 10))?;
    let said = case.send(&case.get(&[], 3_000))?;
    ensure!(said.failures.is_empty(), "{said:?}");
    ensure!(said.of("200 v1") + said.of("200 v2") == 3_000, "{said:?}");
    ensure!(is_share(said.of("200 v2"), 3_000, 0.1), "{said:?}");
    Ok(())
}

#[rstest]
fn a_header_leads_to_a_subset_and_everybody_else_to_another(
    #[values(Net::V4, Net::V6)] net: Net,
) -> Result<()> {
    let rules = format!(
        "{{match: [{{headers: {{end-user: {{exact: jason}}}}}}], route: [{}]}}, {{route: [{}]}}",
        to("v2"),
        to("v1")
    );
    let mut case = Case::new(net, &rules)?;
    let jason = case.send(&case.get(&["GET / HTTP/1.1", "End-User: jason"], 50))?;
    ensure!(jason.only() == Some("200 v2") && jason.of("200 v2") == 50, "{jason:?}");
    let other = case.send(&case.get(&["GET / HTTP/1.1", "End-User: jane"], 50))?;
    ensure!(other.only() == Some("200 v1") && other.of("200 v1") == 50, "{other:?}");
    Ok(())
}

#[rstest]
fn weights_that_change_under_load_fail_no_request(
    #[values(Net::V4, Net::V6)] net: Net,
) -> Result<()> {
    let mut case = Case::new(net, &split(100, 0))?;
    let load = Requests { millis: 3_000, ..case.get(&[], 1) };
    case.begin(&load)?;
    for share in [75, 50, 25, 0] {
        std::thread::sleep(Duration::from_millis(500));
        case.route(&split(share, 100 - share))?;
    }
    let said = case.answers()?;
    ensure!(said.failures.is_empty(), "{said:?}");
    ensure!(said.answers.keys().all(|one| one == "200 v1" || one == "200 v2"), "{said:?}");
    ensure!(said.of("200 v1") > 0 && said.of("200 v2") > 0, "{said:?}");
    case.ask_until(&[], "200 v2")?;
    let after = case.send(&case.get(&[], 200))?;
    ensure!(after.only() == Some("200 v2"), "{after:?}");
    Ok(())
}

#[rstest]
fn failures_are_told_as_envoy_tells_them(#[values(Net::V4, Net::V6)] net: Net) -> Result<()> {
    let rules = format!(
        "{{match: [{{uri: {{prefix: /empty}}}}], route: [{}]}}, \
         {{match: [{{uri: {{prefix: /late}}}}], rewrite: {{uri: /silent}}, timeout: 0.3s, route: [{one}]}}, \
         {{match: [{{uri: {{prefix: /missing}}}}], route: [{{destination: {{host: nowhere}}}}]}}, \
         {{match: [{{uri: {{prefix: /again}}}}], rewrite: {{uri: /503}}, \
           retries: {{attempts: 2, retryOn: 5xx}}, route: [{one}]}}, \
         {{match: [{{uri: {{prefix: /fault}}}}], \
           fault: {{abort: {{httpStatus: 418, percentage: {{value: 100}}}}}}, route: [{one}]}}, \
         {{match: [{{uri: {{regex: '/(half|gone)'}}}}], route: [{one}]}}",
        to("v3"),
        one = to("v1")
    );
    let mut case = Case::new(net, &rules)?;
    let told = |case: &mut Case, path: &str| -> Result<(String, String, String, u64)> {
        let said = case.send(&case.get(&[&format!("GET {path} HTTP/1.1")], 1))?;
        let said = said.only().unwrap_or("none").split(' ').next().unwrap_or_default().to_owned();
        let request = case.flow(path)?["request"].clone();
        let flags = request["flags"].as_str().unwrap_or_default().to_owned();
        let tries = request["tries"].as_u64().unwrap_or_default();
        Ok((said, request["status"].to_string(), flags, tries))
    };
    for (path, said, status, flags, tries) in [
        // On a connection that had been idle it would be sent once more.
        ("/gone", "503", "503", "UC", 1),
        ("/empty", "503", "503", "UH", 1),
        ("/late", "504", "504", "UT", 1),
        ("/missing", "503", "503", "NC", 0),
        ("/again", "503", "503", "URX", 3),
        ("/fault", "418", "418", "FI", 0),
        ("/half", "none", "0", "UC", 1),
        ("/none", "404", "404", "NR", 0),
    ] {
        let found = told(&mut case, path)?;
        let wanted = (said.to_owned(), status.to_owned(), flags.to_owned(), tries);
        ensure!(found == wanted, "{path}: {found:?}, and not {wanted:?}");
    }
    Ok(())
}

#[rstest]
fn a_route_changes_what_it_says_and_answers_by_itself(
    #[values(Net::V4, Net::V6)] net: Net,
) -> Result<()> {
    let rules = format!(
        "{{match: [{{uri: {{prefix: /old/}}}}], rewrite: {{uri: /, authority: inner}}, \
           headers: {{request: {{set: {{x-set: one}}, add: {{x-added: two}}, remove: [x-gone]}}}}, \
           route: [{one}]}}, \
         {{match: [{{uri: {{prefix: /moved}}}}], redirect: {{uri: /there, authority: other.example}}}}, \
         {{match: [{{uri: {{prefix: /here}}}}], directResponse: {{status: 202, body: {{string: done}}}}}}, \
         {{route: [{one}]}}",
        one = to("v1")
    );
    let mut case = Case::new(net, &rules)?;
    let seen = case.ask(&["GET /old/show HTTP/1.1", "X-Gone: 1", "X-Kept: 3"])?;
    for line in ["GET /show HTTP/1.1", "Host: inner", "X-Kept: 3", "x-set: one", "x-added: two"] {
        ensure!(seen.contains(line), "{line} in {seen}");
    }
    ensure!(!seen.contains("X-Gone"), "{seen}");
    ensure!(case.ask(&["GET /moved HTTP/1.1"])? == "301 http://other.example/there");
    ensure!(case.ask(&["GET /here HTTP/1.1"])? == "202 done");
    let body = Requests {
        body: "x".repeat(100_000),
        ..case.get(&["POST /up HTTP/1.1", "Content-Length: 100000"], 20)
    };
    let said = case.send(&body)?;
    ensure!(said.only() == Some("200 v1 100000"), "{said:?}");
    Ok(())
}

#[rstest]
fn s0_2_under_registry_only_a_host_that_is_not_declared_is_a_502(
    #[values(Net::V4, Net::V6)] net: Net,
) -> Result<()> {
    let mut case = Case::new(net, &format!("{{route: [{}]}}", to("v1")))?;
    ensure!(case.ask(&[])? == "200 v1");
    let said = case.ask(&["GET /other HTTP/1.1", "Host: unknown.example.com"])?;
    ensure!(said.starts_with("502"), "{said}");
    let flow = case.flow("/other")?;
    ensure!(flow["verdict"] == "deny" && flow["denied"] == true, "{flow}");
    Ok(())
}
