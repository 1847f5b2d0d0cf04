//! What everybody tries a mesh on: Bookinfo without a sidecar, its requests split by header and weight,
//! delayed and given up on. Ends as it began.

use std::{collections::BTreeMap, thread, time::Duration};

use anyhow::{Context as _, ensure};
use sekisho_tests::pod::http::is_share;

use super::super::{
    bookinfo::{self, NAMESPACE},
    cluster::eventually,
    stage::{NODES, Stage},
};

const PATIENCE: Duration = Duration::from_secs(30);
/// A rule of before may hold for a moment.
const SETTLED: Duration = Duration::from_millis(700);
const FAMILIES: [&str; 2] = ["-4", "-6"];
/// How many requests tell a split.
const MANY: u32 = 400;

/// How many answers each version gave.
type Shares = BTreeMap<String, u32>;

impl Stage {
    /// What a client on a node is told by curl.
    fn curl(&self, node: &str, words: &[&str]) -> anyhow::Result<String> {
        let pod = format!("curl-{node}");
        let exec = ["exec", "-n", NAMESPACE, &pod, "--", "curl", "-sS", "-m", "20"];
        self.cluster.kubectl(&[&exec[..], words].concat())
    }

    /// So many requests to reviews, by who answered. One connection carries them all.
    fn reviews(&self, node: &str, words: &[&str], count: u32) -> anyhow::Result<Shares> {
        let url = format!("http://reviews:9080/reviews/[1-{count}]");
        let said = self.curl(node, &[words, &["-w", "\n%{http_code}\n", &url]].concat())?;
        let mut shares = Shares::new();
        for part in said.split("\n200\n").filter(|part| !part.trim().is_empty()) {
            let version =
                part.split("\"version\":\"").nth(1).and_then(|rest| rest.split('"').next());
            *shares.entry(version.unwrap_or(part).to_owned()).or_default() += 1;
        }
        Ok(shares)
    }

    /// Waits until all of some requests are answered by one version.
    fn only(&self, words: &[&str], version: &str) -> anyhow::Result<()> {
        for node in NODES {
            eventually(PATIENCE, || {
                let shares = self.reviews(node, words, 20)?;
                let only = Shares::from([(version.to_owned(), 20)]);
                ensure!(shares == only, "{node} {words:?}: {shares:?} instead of {version} alone");
                Ok(())
            })?;
        }
        Ok(())
    }

    fn page(&self, node: &str, words: &[&str]) -> anyhow::Result<String> {
        self.curl(node, &[words, &["http://productpage:9080/productpage"]].concat())
    }
}

/// Fails unless the shares are these, within four standard deviations.
fn is_split(shares: &Shares, wanted: &[(&str, f64)]) -> anyhow::Result<()> {
    let all: u32 = shares.values().sum();
    for (version, share) in wanted {
        let found = shares.get(*version).copied().unwrap_or_default();
        ensure!(is_share(found, all, *share), "{version} is not {share}: {shares:?}");
    }
    ensure!(shares.len() <= wanted.len(), "others answered: {shares:?}");
    Ok(())
}

pub(super) fn as_it_is(stage: &Stage) -> anyhow::Result<String> {
    stage.cluster.load(&bookinfo::image()?)?;
    stage.cluster.apply(&bookinfo::manifests(&NODES))?;
    let deployments = ["wait", "--for=condition=Available", "deployment", "--all", "-n", NAMESPACE];
    stage.cluster.kubectl(&[&deployments[..], &["--timeout=90s"]].concat())?;
    stage.ready(NAMESPACE, super::PATIENCE)?;
    for node in NODES {
        for family in FAMILIES {
            eventually(PATIENCE, || {
                let said = stage.page(node, &[family])?;
                ensure!(said.contains("<title>Simple Bookstore App</title>"), "{said}");
                ensure!(said.contains("William Shakespeare"), "no details: {said}");
                Ok(())
            })?;
        }
        let pages = stage.curl(node, &["http://productpage:9080/productpage?page=[1-60]"])?;
        for version in ["v1", "v2", "v3"] {
            let text = format!("\"version\":\"{version}\"");
            ensure!(pages.contains(&text), "{version} never answered");
        }
    }
    let containers = "jsonpath={.items[*].spec.containers[*].name}";
    let names = stage.cluster.kubectl(&["get", "pods", "-n", NAMESPACE, "-o", containers])?;
    ensure!(!names.contains("proxy"), "a sidecar: {names}");
    Ok("all three versions of reviews answer, on both nodes over both families; no sidecar".into())
}

pub(super) fn split(stage: &Stage) -> anyhow::Result<String> {
    stage.cluster.apply(bookinfo::SUBSETS)?;
    stage.cluster.apply(&bookinfo::split([10, 30, 60]))?;
    for words in [&[][..], &["-H", "end-user: jason"], &["-H", "end-user: Roundrobin"]] {
        stage.only(words, "v2")?;
    }
    thread::sleep(SETTLED);
    let wanted = [("v1", 0.1), ("v2", 0.3), ("v3", 0.6)];
    let mut seen = Shares::new();
    for (node, family) in NODES.into_iter().zip(FAMILIES) {
        for header in ["end-user: roundrobin", "End-User: roundrobin"] {
            let shares = stage.reviews(node, &[family, "-H", header], MANY)?;
            is_split(&shares, &wanted).with_context(|| format!("{node} {family} {header}"))?;
            for (version, count) in shares {
                *seen.entry(version).or_default() += count;
            }
        }
    }
    for host in ["reviews", "reviews.bookinfo", "reviews.bookinfo.svc", FQDN] {
        for port in ["", ":9080"] {
            let host = format!("Host: {host}{port}");
            let shares =
                stage.reviews(NODES[0], &["-H", "end-user: roundrobin", "-H", &host], 100)?;
            is_split(&shares, &wanted).with_context(|| host.clone())?;
        }
    }
    stage.cluster.apply(&bookinfo::split([1, 3, 6]))?;
    thread::sleep(SETTLED);
    let shares = stage.reviews(NODES[1], &["-H", "end-user: roundrobin"], MANY)?;
    is_split(&shares, &wanted).context("weights 1, 3, 6")?;
    stage.cluster.apply(bookinfo::SWAPPED)?;
    stage.only(&["-H", "end-user: roundrobin"], "v2").context("the first rule that matches")?;
    Ok(format!("{seen:?} of {} with the header for weights of 10, 30, 60; else v2 alone", 4 * MANY))
}

/// In full, since App Mesh has a kind of the same name.
const RULES: &str = "virtualservices.networking.istio.io,destinationrules.networking.istio.io";

const FQDN: &str = "reviews.bookinfo.svc.cluster.local";

pub(super) fn browser(stage: &Stage) -> anyhow::Result<String> {
    stage.cluster.apply(&bookinfo::split([10, 30, 60]))?;
    let (node, jar) = (NODES[0], ["-b", "/tmp/jar", "-c", "/tmp/jar"]);
    let login = ["-d", "username=roundrobin", "http://productpage:9080/login"];
    stage.curl(node, &[&jar[..], &login].concat())?;
    thread::sleep(SETTLED);
    let mut shares = Shares::new();
    let pages = "http://productpage:9080/productpage?u=[1-300]";
    let said = stage.curl(node, &[&jar[..], &[pages]].concat())?;
    for part in said.split("\"version\":\"").skip(1) {
        let version = part.split('"').next().unwrap_or_default().to_owned();
        *shares.entry(version).or_default() += 1;
    }
    ensure!(shares.values().sum::<u32>() == 300, "pages without reviews: {shares:?}");
    is_split(&shares, &[("v1", 0.1), ("v2", 0.3), ("v3", 0.6)])?;
    let said = stage.curl(node, &[pages])?;
    let others = said.matches("\"version\":").count() - said.matches("\"version\":\"v2\"").count();
    ensure!(others == 0, "who is not logged in sees {others} pages of other versions");
    Ok(format!("logged in {shares:?}; logged out v2 alone"))
}

pub(super) fn slow(stage: &Stage) -> anyhow::Result<String> {
    stage.cluster.apply(bookinfo::SLOW)?;
    let mut took = 0.0;
    for node in NODES {
        eventually(PATIENCE, || {
            let code = ["-o", "/dev/null", "-w", "%{http_code} %{time_total}"];
            let said =
                stage.curl(node, &[&code[..], &["http://reviews:9080/reviews/0"]].concat())?;
            let (status, time) = said.split_once(' ').context("two words")?;
            took = time.parse::<f64>()?;
            ensure!(status == "504" && (0.4..1.5).contains(&took), "{node}: {said}");
            Ok(())
        })?;
        let said = stage.page(node, &["-w", "%{http_code}"])?;
        ensure!(said.ends_with("200") && said.contains("Sorry, product reviews"), "{said}");
    }
    stage.cluster.kubectl(&["delete", RULES, "--all", "-n", NAMESPACE])?;
    for node in NODES {
        eventually(PATIENCE, || {
            let shares = stage.reviews(node, &[], 1)?;
            ensure!(shares.keys().all(|version| version.starts_with('v')), "{shares:?}");
            Ok(())
        })?;
    }
    stage.cluster.kubectl(&["delete", "namespace", NAMESPACE, "--wait=false"])?;
    Ok(format!(
        "504 after {took:.2} s of reviews whose ratings take 2 s; the page says so and is 200"
    ))
}
