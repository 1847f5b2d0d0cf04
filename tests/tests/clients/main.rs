//! Clients that people have, each with its own manners, through the node's proxy to a server that is
//! not ours: keep-alive and new connections, bodies with and without a length, `Expect`, `HEAD`, many
//! at once. A client that is not installed is left out, and that is said.

use std::{
    ffi::OsStr,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use rstest::rstest;
use sekisho_tests::{
    agent::{Agent, PATIENCE},
    manifest::{Mode, NAMESPACE},
    process::Process,
    service, skip,
    stage::Net,
    world::{Host, Wiring, World},
};

const PORT: u16 = 9_080;
const HOST: &str = "reviews:9080";
/// Debian's, which has `requests` where the package is there.
const PYTHON: &str = "/usr/bin/python3";
/// Which h2spec, where none is on the path.
const H2SPEC: &str = "SEKISHO_H2SPEC";

/// A pod, two versions of a server, and an agent.
struct Case {
    net: Net,
    agent: Agent,
    _servers: [Process; 2],
    _hosts: [Host; 2],
    pod: Host,
    world: World,
}

impl Case {
    /// `None` where the server's language is not installed.
    fn new(net: Net) -> Result<Option<Self>> {
        if !is_there(PYTHON, &["-c", "pass"]) {
            skip::say("python3, which the server is written in, is not installed");
            return Ok(None);
        }
        let world = World::new(Wiring::Routed)?;
        let (pod, v1, v2) = (world.pod("app")?, world.far("v1")?, world.far("v2")?);
        let serve = |host: &Host, version: &str| {
            let mut command = Command::new(PYTHON);
            command.arg(file("server.py")).args([version, &PORT.to_string()]);
            host.run(command)
        };
        let servers = [serve(&v1, "v1")?, serve(&v2, "v2")?];
        let agent = Agent::new(&world)?;
        agent.config().namespace(true)?;
        agent.config().mesh(Mode::RegistryOnly)?;
        agent.config().pod(&pod)?;
        let (at, ports) = (service::addresses(), [("http", PORT)]);
        let reviews = service::with_versions("reviews", (at, &ports), &[(&v1, "v1"), (&v2, "v2")]);
        agent.config().write("reviews", &reviews)?;
        agent.config().write("routes", &routes())?;
        let mut case = Self { net, agent, _servers: servers, _hosts: [v1, v2], pod, world };
        case.agent.start(&case.world)?;
        case.agent
            .wait_until("the pod is enrolled", |agent| Ok(agent.enrolment("app")? == "enrolled"))?;
        case.wait()?;
        Ok(Some(case))
    }

    /// Until the servers answer.
    fn wait(&mut self) -> Result<()> {
        let deadline = std::time::Instant::now() + PATIENCE;
        for header in ["end-user: jane", "end-user: jason"] {
            while !self.run("curl", &["-sf", "-H", header, "-H", "Host: reviews", &self.url()])?.0 {
                ensure!(std::time::Instant::now() < deadline, "{}", self.agent.words());
                std::thread::sleep(Duration::from_millis(50));
            }
        }
        Ok(())
    }

    fn url(&self) -> String {
        format!("http://{}/", service::at(self.net, PORT))
    }

    /// Runs a program in the pod, and says whether it succeeded and all that it wrote.
    fn run(&self, program: impl AsRef<OsStr>, words: &[&str]) -> Result<(bool, String)> {
        let mut command = Command::new(program.as_ref());
        command.args(words).stdin(Stdio::null());
        self.pod.place().prepare(&mut command)?;
        let output = command.output().with_context(|| format!("{command:?}"))?;
        let (out, err) = (output.stdout.as_slice(), output.stderr.as_slice());
        let text = [out, err].map(String::from_utf8_lossy).concat();
        Ok((output.status.success(), text))
    }

    /// The same for one that has to succeed.
    fn must(&self, program: impl AsRef<OsStr>, words: &[&str]) -> Result<String> {
        let program = program.as_ref();
        let (succeeds, text) = self.run(program, words)?;
        ensure!(succeeds, "{}: {text}\n{}", program.display(), self.agent.words());
        Ok(text)
    }
}

/// To v2 for jason, else to v1.
fn routes() -> String {
    let to =
        |subset: &str| format!("route: [{{destination: {{host: reviews, subset: {subset}}}}}]");
    format!(
        "apiVersion: networking.istio.io/v1\nkind: DestinationRule\n\
         metadata: {{name: reviews, namespace: {NAMESPACE}}}\n\
         spec: {{host: reviews, subsets: [{{name: v1, labels: {{version: v1}}}}, \
         {{name: v2, labels: {{version: v2}}}}]}}\n\
         ---\napiVersion: networking.istio.io/v1\nkind: VirtualService\n\
         metadata: {{name: reviews, namespace: {NAMESPACE}}}\n\
         spec: {{hosts: [reviews], http: [\
         {{match: [{{headers: {{end-user: {{exact: jason}}}}}}], {}}}, {{{}}}]}}\n",
        to("v2"),
        to("v1")
    )
}

/// A file of this suite.
fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients").join(name)
}

/// Whether a program runs.
fn is_there(program: impl AsRef<OsStr>, words: &[&str]) -> bool {
    let mut command = Command::new(program);
    command.args(words).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

#[rstest]
#[case::python(PYTHON, &["-c", "import requests"], &["client.py"])]
#[case::node("node", &["--version"], &["client.js"])]
#[case::java("java", &["--version"], &["Client.java"])]
#[case::go("go", &["version"], &["run", "client.go"])]
fn a_client_of_a_language_is_served_as_without_a_proxy(
    #[case] program: &str,
    #[case] probe: &[&str],
    #[case] words: &[&str],
    #[values(Net::V4, Net::V6)] net: Net,
) -> Result<()> {
    if !is_there(program, probe) {
        skip::say(&format!("{program} {} does not run here", probe.join(" ")));
        return Ok(());
    }
    let Some(case) = Case::new(net)? else { return Ok(()) };
    let (last, first) = words.split_last().context("a script")?;
    let script = file(last).display().to_string();
    let said = case.must(program, &[first, &[&script, &case.url(), HOST]].concat())?;
    ensure!(said.trim().ends_with("ok"), "{said}");
    Ok(())
}

#[rstest]
fn curl_is_served_by_each_version_of_http(#[values(Net::V4, Net::V6)] net: Net) -> Result<()> {
    let Some(case) = Case::new(net)? else { return Ok(()) };
    let body = case.agent.run_dir().join("body").display().to_string();
    std::fs::write(&body, "x".repeat(3_000_000))?;
    let (url, at) = (case.url(), format!("@{body}"));
    let host = ["-sS", "-H", "Host: reviews:9080"];
    for version in ["--http1.0", "--http1.1", "--http2-prior-knowledge", "--http2"] {
        let ask = |words: &[&str]| case.must("curl", &[&host, &[version][..], words].concat());
        // Debian's curl fails at its second request of a connection, with nginx as well.
        let is_odd = version == "--http2-prior-knowledge";
        let (urls, said) = if is_odd { (1, "v1") } else { (3, "v1v1v1") };
        ensure!(ask(&vec![&*url; urls])? == said, "{version}");
        ensure!(ask(&["-H", "end-user: jason", &url])? == "v2", "{version}");
        ensure!(case.must("curl", &["-sS", version, &url])? == "v1", "{version}, by its address");
        // It waits for 100 before a body of this size.
        let said = ask(&["--data-binary", &at, &url])?;
        ensure!(said.starts_with("v1 3000000 "), "{version}: {said}");
        let chunked = ["-H", "Transfer-Encoding: chunked"];
        let chunked = if version == "--http1.1" { &chunked[..] } else { &[] };
        let said = ask(&[chunked, &["-T", &body, &url]].concat())?;
        ensure!(said.starts_with("v1 3000000 "), "{version}: {said}");
        ensure!(ask(&["-I", &url])?.contains(" 200"), "{version}");
    }
    Ok(())
}

#[rstest]
fn h2load_is_served_without_a_failure(#[values(Net::V4, Net::V6)] net: Net) -> Result<()> {
    if !is_there("h2load", &["--version"]) {
        skip::say("h2load (package nghttp2-client) is not installed");
        return Ok(());
    }
    let Some(case) = Case::new(net)? else { return Ok(()) };
    let url = case.url();
    let authority = format!("--header=:authority: {HOST}");
    for words in [&["-n2000", "-c8", "-m10"][..], &["-n500", "-c8", "--h1"]] {
        // For HTTP/1.1 it names the address as its host: that of IPv6 without brackets, which is
        // refused, and adds any other.
        let is_h1 = words.contains(&"--h1");
        if is_h1 && matches!(net, Net::V6) {
            continue;
        }
        let host = if is_h1 { &[][..] } else { &[&*authority] };
        let said = case.must("h2load", &[words, host, &[&url]].concat())?;
        let all = words[0].trim_start_matches("-n");
        ensure!(said.contains(&format!("{all} succeeded, 0 failed")), "{said}");
        ensure!(said.contains(&format!("status codes: {all} 2xx")), "{said}");
    }
    Ok(())
}

/// `go install github.com/summerwind/h2spec/cmd/h2spec@latest` makes it. It expects that a connection
/// without HTTP/2's preface just ends: here it is one of HTTP/1, whose first line is refused with 400.
#[rstest]
fn h2spec_finds_nothing_but_that_http1_is_spoken_too(
    #[values(Net::V4, Net::V6)] net: Net,
) -> Result<()> {
    let h2spec = std::env::var_os(H2SPEC).unwrap_or_else(|| "h2spec".into());
    if !is_there(&h2spec, &["--version"]) {
        skip::say(&format!("no h2spec is on the path, nor named by {H2SPEC}"));
        return Ok(());
    }
    let Some(case) = Case::new(net)? else { return Ok(()) };
    let service = service::at(case.net, PORT);
    let (address, port) = (service.ip().to_string(), service.port().to_string());
    let address = if service.is_ipv6() { format!("[{address}]") } else { address };
    let (_, said) = case.run(&h2spec, &["-h", &address, "-p", &port, "--strict"])?;
    let failures: Vec<&str> = said.lines().filter(|line| line.contains('\u{d7}')).collect();
    let is_known = |line: &str| line.contains("Sends invalid connection preface");
    ensure!(said.contains(" tests, ") && failures.iter().all(|line| is_known(line)), "{said}");
    Ok(())
}
