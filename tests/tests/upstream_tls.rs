//! TLS that the node's proxy adds towards destinations: what a `DestinationRule` asks for, with real
//! servers of TLS and real files.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use anyhow::{Context as _, Result, ensure};
use rstest::rstest;
use sekisho_tests::{
    agent::Agent,
    authority::{Authority, Kind, put},
    manifest::{Mode, NAMESPACE},
    named::Net,
    pod::http::{Answers, Requests},
    process::{Process, probe},
    web::Web,
    world::{Host, Wiring, World},
};
use serde_json::Value;

/// Where pods dial: requests, and bytes.
const HTTP: u16 = 80;
const TCP: u16 = 5_432;
/// Requests to a port for which no rule asks for TLS.
const PLAIN: u16 = 81;
/// Where the servers listen.
const TLS: u16 = 8_443;
const BARE: u16 = 8_080;
const HOST: &str = "api.example.com";
const PATIENCE: Duration = Duration::from_mins(1);

/// A pod, a server of TLS, and an agent.
struct Case {
    net: Net,
    client: Process,
    agent: Agent,
    files: PathBuf,
    authority: Authority,
    server: Option<Web>,
    _plain: Web,
    far: Host,
    _pod: Host,
    world: World,
}

impl Case {
    /// With this as the rule's `tls`, in which `FILES` stands for the folder of its namespace.
    fn new(net: Net, tls: &str) -> Result<Self> {
        Self::with(net, tls, |_| None)
    }

    /// The same, of an agent that has the file in `SSL_CERT_FILE`.
    fn with(net: Net, tls: &str, roots: impl FnOnce(&Authority) -> Option<String>) -> Result<Self> {
        let world = World::new(Wiring::Routed)?;
        let (pod, far) = (world.pod("app")?, world.far("v1")?);
        let authority = Authority::new("right")?;
        let agent = Agent::new(&world)?;
        let directory = agent.run_dir().with_file_name("tls");
        let files = directory.join(NAMESPACE);
        put(&files.join("ca.pem"), &authority.pem())?;
        agent.config().namespace(true)?;
        agent.config().mesh(Mode::RegistryOnly)?;
        agent.config().pod(&pod)?;
        agent.config().write("entry", &entry(&far))?;
        let mut command = probe()?;
        command.arg("http");
        let mut case = Self {
            net,
            client: pod.run(command)?,
            agent: agent.with("--tls-dir", &directory.display().to_string()),
            server: None,
            _plain: Web::start(&far, BARE, "bare")?,
            files,
            authority,
            far,
            _pod: pod,
            world,
        };
        case.rule(tls)?;
        case.serve(&[HOST], Kind::Good)?;
        let mut command = case.agent.command();
        if let Some(roots) = roots(&case.authority) {
            let file = case.files.with_file_name("system.pem");
            put(&file, &roots)?;
            command.env("SSL_CERT_FILE", file);
        }
        case.agent.start_command(command, &case.world)?;
        case.enrolled()?;
        Ok(case)
    }

    fn enrolled(&mut self) -> Result<()> {
        self.agent.wait_until("the pod is enrolled", |a| Ok(a.enrolment("app")? == "enrolled"))
    }

    fn rule(&self, tls: &str) -> Result<()> {
        let tls = tls.replace("FILES", &self.files.display().to_string());
        let policy = if tls.starts_with("portLevelSettings") { tls } else { format!("tls: {tls}") };
        self.agent.config().write(
            "rule",
            &format!(
                "apiVersion: networking.istio.io/v1\nkind: DestinationRule\n\
                 metadata: {{name: api, namespace: {NAMESPACE}}}\n\
                 spec: {{host: {HOST}, trafficPolicy: {{{policy}}}}}\n"
            ),
        )
    }

    /// Serves with a certificate for these names.
    fn serve(&mut self, names: &[&str], kind: Kind) -> Result<()> {
        let config = self.authority.sign(names, kind)?.server(None)?;
        drop(self.server.take());
        self.server = Some(Web::secured(&self.far, TLS, "v1", config)?);
        Ok(())
    }

    fn send(&mut self, port: u16, path: &str) -> Result<Answers> {
        let address = match self.net {
            Net::V4 => "10.96.7.7",
            Net::V6 => "2001:db8:96::7",
        };
        let requests = Requests {
            to: SocketAddr::new(address.parse()?, port),
            lines: vec![format!("GET {path} HTTP/1.1"), format!("Host: {HOST}")],
            body: String::new(),
            count: 1,
            millis: 0,
            each: 1,
            tls: None,
        };
        self.client.say(&serde_json::to_string(&requests)?)?;
        self.client.answer(PATIENCE)
    }

    /// The answer to a request.
    fn ask(&mut self, port: u16, path: &str) -> Result<String> {
        let said = self.send(port, path)?;
        Ok(said.only().map_or_else(|| format!("{said:?}"), str::to_owned))
    }

    /// The status, and what the flow says of the reason; asked until it is this, while rules change.
    fn ask_until(&mut self, port: u16, path: &str, wanted: &str) -> Result<()> {
        let mut last = String::new();
        for _ in 0..500 {
            last = self.ask(port, path)?;
            if last.starts_with(wanted) {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        anyhow::bail!("not {wanted:?} but {last:?}\n{}", self.agent.words())
    }

    /// The last flow that fits.
    fn flow(&mut self, fits: impl Fn(&Value) -> bool) -> Result<Value> {
        let mut last = None;
        self.agent.wait_until("it is told of", |agent| {
            let flows = agent.flows()?;
            last = flows.iter().rev().find(|flow| fits(flow)).cloned();
            Ok(last.is_some())
        })?;
        last.context("a flow")
    }

    /// A request fails with 503 for a reason that its flow has.
    fn fails(&mut self, path: &str, reason: &str) -> Result<()> {
        self.ask_until(HTTP, path, "503")?;
        let request = |flow: &Value| flow["request"].clone();
        let flow =
            self.flow(|flow| request(flow)["path"] == path && request(flow)["status"] == 503)?;
        let error = flow["error"].as_str().unwrap_or_default();
        ensure!(flow["request"]["flags"] == "UF,URX" || flow["request"]["flags"] == "UF", "{flow}");
        ensure!(error.contains(reason), "{reason} is not in {error:?}");
        Ok(())
    }
}

fn entry(far: &Host) -> String {
    let addresses: Vec<String> =
        far.addresses().iter().map(|at| format!("{{address: \"{at}\"}}")).collect();
    let at = addresses.join(", ");
    let port = |number: u16, target: u16, protocol: &str| {
        let name = format!("{}-{number}", protocol.to_lowercase());
        format!("{{number: {number}, targetPort: {target}, name: {name}, protocol: {protocol}}}")
    };
    format!(
        "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\n\
         metadata: {{name: api, namespace: {NAMESPACE}}}\n\
         spec: {{hosts: [{HOST}], addresses: [10.96.7.7, \"2001:db8:96::7\"], resolution: STATIC, \
         endpoints: [{at}], ports: [{}, {}, {}]}}\n",
        port(HTTP, TLS, "HTTP"),
        port(PLAIN, BARE, "HTTP"),
        port(TCP, TLS, "TCP"),
    )
}

const SIMPLE: &str = "{mode: SIMPLE, caCertificates: FILES/ca.pem}";

#[rstest]
fn simple_tls_is_added_to_requests_and_to_bytes_first_time_and_after_a_restart(
    #[values(Net::V4, Net::V6)] net: Net,
) -> Result<()> {
    let mut case = Case::new(net, SIMPLE)?;
    for again in [false, true] {
        ensure!(case.ask(HTTP, "/")? == "200 v1", "again: {again}");
        ensure!(case.ask(HTTP, "/tls")? == format!("200 {HOST} http/1.1 0"));
        ensure!(case.ask(TCP, "/tls")? == format!("200 {HOST} - 0"));
        if !again {
            case.agent.kill()?;
            case.agent.start(&case.world)?;
            case.enrolled()?;
        }
    }
    Ok(())
}

#[rstest]
fn a_rule_for_a_port_is_for_that_port_alone(#[values(Net::V4, Net::V6)] net: Net) -> Result<()> {
    let rule = format!("portLevelSettings: [{{port: {{number: {HTTP}}}, tls: {SIMPLE}}}]");
    let mut case = Case::new(net, &rule)?;
    ensure!(case.ask(HTTP, "/")? == "200 v1");
    ensure!(case.ask(PLAIN, "/tls")? == "200 none");
    Ok(())
}

#[rstest]
fn a_server_whose_certificate_is_wrong_gets_nothing_and_the_flow_says_why(
    #[values(Net::V4, Net::V6)] net: Net,
) -> Result<()> {
    let mut case = Case::new(net, SIMPLE)?;
    case.serve(&[HOST], Kind::Expired)?;
    case.fails("/expired", "expired")?;
    case.serve(&["other.example.com"], Kind::Good)?;
    case.fails("/name", "not valid for name")?;
    put(&case.files.join("ca.pem"), &Authority::new("wrong")?.pem())?;
    case.serve(&[HOST], Kind::Good)?;
    case.fails("/unknown", "UnknownIssuer")?;
    // The file is read again: the right one makes it right.
    put(&case.files.join("ca.pem"), &case.authority.pem())?;
    ensure!(case.ask(HTTP, "/")? == "200 v1");

    case.serve(&["other.example.com"], Kind::Good)?;
    let said = case.send(TCP, "/")?;
    ensure!(said.answers.is_empty(), "{said:?}");
    let flow = case.flow(|flow| flow["reason"] == "upstream-tls")?;
    let error = flow["error"].as_str().unwrap_or_default();
    ensure!(error.contains("not valid for name"), "{flow}");
    // Names that the rule states are those that count, and so is its own server name.
    case.rule(&SIMPLE.replace('}', ", subjectAltNames: [none, other.example.com]}"))?;
    case.ask_until(HTTP, "/tls", &format!("200 {HOST} http/1.1"))?;
    case.rule(&SIMPLE.replace('}', ", sni: other.example.com}"))?;
    case.ask_until(HTTP, "/tls", "200 other.example.com http/1.1")?;
    case.rule("{mode: SIMPLE, insecureSkipVerify: true}")?;
    case.ask_until(HTTP, "/tls", &format!("200 {HOST} http/1.1"))?;
    case.rule(SIMPLE)?;
    case.ask_until(HTTP, "/", "503")
}

#[rstest]
fn mutual_tls_shows_the_certificate_that_its_files_have_now(
    #[values(Net::V4, Net::V6)] net: Net,
) -> Result<()> {
    let mutual = "{mode: MUTUAL, caCertificates: FILES/ca.pem, clientCertificate: FILES/tls.crt, \
                  privateKey: FILES/tls.key}";
    let mut case = Case::new(net, mutual)?;
    let clients = Authority::new("clients")?;
    let config = case.authority.sign(&[HOST], Kind::Good)?.server(Some(&clients))?;
    drop(case.server.take());
    case.server = Some(Web::secured(&case.far, TLS, "v1", config)?);
    case.fails("/missing", "tls.crt cannot be read")?;
    let show = |case: &Case, authority: &Authority| {
        let signed = authority.sign(&["client"], Kind::Good)?;
        put(&case.files.join("tls.crt"), &signed.certificate)?;
        put(&case.files.join("tls.key"), &signed.key)
    };
    show(&case, &Authority::new("unknown")?)?;
    case.fails("/unknown", "alert")?;
    show(&case, &clients)?;
    ensure!(case.ask(HTTP, "/tls")? == format!("200 {HOST} http/1.1 1"));
    ensure!(case.ask(TCP, "/tls")? == format!("200 {HOST} - 1"));
    std::fs::remove_file(case.files.join("tls.key"))?;
    case.fails("/gone", "tls.key cannot be read")?;
    // A file of another namespace is not this one's to name. Until the rule is in force, all is well.
    show(&case, &clients)?;
    let other = case.files.with_file_name("other").join("ca.pem");
    put(&other, &case.authority.pem())?;
    case.rule(&SIMPLE.replace("FILES/ca.pem", &other.display().to_string()))?;
    case.fails("/other", "is not below")
}

#[rstest]
fn without_certificates_of_its_own_a_rule_believes_whom_the_system_believes(
    #[values(Net::V4, Net::V6)] net: Net,
) -> Result<()> {
    let mut case = Case::with(net, "{mode: SIMPLE}", |authority| Some(authority.pem()))?;
    ensure!(case.ask(HTTP, "/")? == "200 v1");
    let wrong = Authority::new("wrong")?.pem();
    let mut case = Case::with(net, "{mode: SIMPLE}", |_| Some(wrong))?;
    case.fails("/system", "UnknownIssuer")
}
