//! Every expression of the dashboard and of the alerts, held against what an agent exports.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, ensure};
use sekisho_tests::agent::Agent;
use serde_json::Value;

use crate::scene::{Net, Scene};

/// What Prometheus itself adds to all that it scrapes.
const ADDED: [&str; 2] = ["instance", "job"];

/// Labels by the names of samples.
type Exported = BTreeMap<String, BTreeSet<String>>;

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/observability").join(name)
}

fn exported(metrics: &str) -> Exported {
    let mut found = Exported::new();
    for line in metrics.lines().filter(|line| !line.starts_with('#')) {
        let sample = line.rsplit_once(' ').map_or(line, |(sample, _)| sample);
        let (name, labels) = sample.split_once('{').unwrap_or((sample, ""));
        let labels = labels.trim_end_matches('}').split("\",");
        let labels = labels.filter_map(|label| Some(label.split_once('=')?.0.to_owned()));
        found.entry(name.to_owned()).or_default().extend(labels);
    }
    found
}

/// The expressions of a dashboard: those of its panels, and of what its variables offer.
fn of_dashboard(dashboard: &Value) -> Result<Vec<String>> {
    let mut all = Vec::new();
    for panel in dashboard["panels"].as_array().context("panels")? {
        for target in panel["targets"].as_array().into_iter().flatten() {
            all.push(target["expr"].as_str().context("an expression")?.to_owned());
        }
    }
    for variable in dashboard["templating"]["list"].as_array().context("variables")? {
        let Some(query) = variable["query"]["query"].as_str() else { continue };
        let inner = query.strip_prefix("label_values(").and_then(|rest| rest.strip_suffix(')'));
        let (selector, label) = inner.and_then(|it| it.rsplit_once(", ")).context("a query")?;
        all.push(format!("count by ({label}) ({selector})"));
    }
    Ok(all)
}

fn of_alerts(rules: &Value) -> Result<Vec<String>> {
    let groups = rules["groups"].as_array().context("groups")?.iter();
    let rules = groups.flat_map(|group| group["rules"].as_array().into_iter().flatten());
    rules.map(|rule| Ok(rule["expr"].as_str().context("an expression")?.to_owned())).collect()
}

/// Without Grafana's variables.
fn plain(expression: &str) -> String {
    expression.replace("$__rate_interval", "5m").replace('$', "any-")
}

/// What an expression asks for.
#[derive(Debug, Default, PartialEq)]
struct Asked {
    /// Metrics, each with the labels that it is held against.
    metrics: Vec<(String, Vec<String>)>,
    /// Labels that something is grouped by.
    grouped: Vec<String>,
}

/// Words that a list of labels follows.
const LISTS: [&str; 6] = ["by", "without", "on", "ignoring", "group_left", "group_right"];
/// Words between two values, and aggregations whose list of labels comes before what they are of.
const WORDS: [&str; 10] =
    ["and", "or", "unless", "bool", "offset", "sum", "count", "max", "min", "avg"];

/// Reads the words of an expression of `PromQL`, as far as metrics and labels go.
fn asked(expression: &str) -> Result<Asked> {
    let mut found = Asked::default();
    let mut rest = expression;
    let mut depth = 0_i32;
    while let Some(first) = rest.chars().next() {
        if first.is_ascii_alphabetic() || first == '_' {
            let (word, after) = rest.split_at(word_end(rest));
            rest = after.trim_start();
            if LISTS.contains(&word) {
                let (list, after) = enclosed(rest, '(', ')').context("a list of labels")?;
                found.grouped.extend(list.split(',').map(|label| label.trim().to_owned()));
                rest = after;
            } else if !WORDS.contains(&word) && !rest.starts_with('(') {
                let (matchers, after) = enclosed(rest, '{', '}').unwrap_or(("", rest));
                found.metrics.push((word.to_owned(), labels(matchers)));
                rest = after;
            }
            continue;
        }
        depth += i32::from(first == '(') - i32::from(first == ')');
        rest = match first {
            '"' => text_end(rest)?,
            '[' => enclosed(rest, '[', ']').context("a range without an end")?.1,
            // With its unit, of a duration.
            '0'..='9' => rest.trim_start_matches(|c: char| c.is_ascii_alphanumeric() || c == '.'),
            _ => &rest[first.len_utf8()..],
        };
    }
    ensure!(depth == 0 && !found.metrics.is_empty(), "it has no metric, or half a bracket");
    Ok(found)
}

fn word_end(text: &str) -> usize {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    text.find(|c| !is_word(c)).unwrap_or(text.len())
}

/// What follows a text in quotes.
fn text_end(text: &str) -> Result<&str> {
    let end = text[1..].find('"').context("a text without an end")?;
    Ok(&text[end + 2..])
}

/// What is between two brackets, and what follows; brackets in quotes do not count.
fn enclosed(text: &str, open: char, close: char) -> Option<(&str, &str)> {
    let inner = text.strip_prefix(open)?;
    let mut quoted = false;
    let end = inner.find(|c| {
        quoted ^= c == '"';
        c == close && !quoted
    })?;
    Some((&inner[..end], &inner[end + 1..]))
}

/// The labels of `a="x", b=~"y,z"`.
fn labels(matchers: &str) -> Vec<String> {
    let mut parts = matchers.split('"');
    let mut names = Vec::new();
    // Every other part is a value.
    while let Some(before) = parts.next() {
        let name = before.trim_matches([',', ' ', '=', '~', '!']);
        names.extend((!name.is_empty()).then(|| name.to_owned()));
        parts.next();
    }
    names
}

fn checked(text: &str, exported: &Exported) -> Result<()> {
    let Asked { metrics, grouped } = asked(&plain(text)).with_context(|| text.to_owned())?;
    let mut known: BTreeSet<&str> = ADDED.into();
    for (name, labels) in &metrics {
        let own = exported.get(name).with_context(|| format!("no metric {name}: {text}"))?;
        for label in labels {
            let has = own.contains(label) || ADDED.contains(&label.as_str());
            ensure!(has, "{name} has no label {label}: {text}");
        }
        known.extend(own.iter().map(String::as_str));
    }
    for label in &grouped {
        ensure!(known.contains(label.as_str()), "no metric has the label {label}: {text}");
    }
    Ok(())
}

#[test]
fn an_expression_is_read_as_far_as_metrics_and_labels_go() -> Result<()> {
    let text = "histogram_quantile(0.99, sum by (le, a) (rate(x_bucket{b=~\"c{,}|d\", e!=\"f\"}[5m]))) \
                / max(y) > 1e3 or absent(z{g=\"h\"} offset 5m)";
    let metric = |name: &str, labels: &[&str]| {
        (name.to_owned(), labels.iter().map(|label| (*label).to_owned()).collect::<Vec<_>>())
    };
    let metrics = vec![metric("x_bucket", &["b", "e"]), metric("y", &[]), metric("z", &["g"])];
    ensure!(asked(text)? == Asked { metrics, grouped: vec!["le".into(), "a".into()] }, "{text}");
    Ok(())
}

#[test]
fn what_dashboard_and_alerts_ask_for_is_what_an_agent_exports() -> Result<()> {
    let dashboard: Value = serde_json::from_str(&fs::read_to_string(file("dashboard.json"))?)?;
    let text = fs::read_to_string(file("alerts.yaml"))?;
    let documents = agent_model::resource::documents(&text);
    let alerts = documents.into_iter().next().context("a document")?.value?;
    // Only an agent with a CA has metrics of certificates.
    let with_ca = |agent: Agent| {
        let directory = agent.run_dir().with_file_name("ca");
        Ok(agent.with("--ca-dir", &directory.display().to_string()))
    };
    let mut scene = Scene::with(Net::V4, with_ca)?;
    scene.send(&["GET / HTTP/1.1"], 2)?;
    let database = scene.database();
    scene.client.echoes(database)?;
    scene.client.must("close")?;
    scene.is_counted(&["istio_requests_total{"], 2.0)?;
    scene.is_counted(&["istio_tcp_connections_closed_total{"], 1.0)?;
    scene.agent.wait_until("a canary", |agent| {
        Ok(agent.metrics()?.contains("sekisho_pods_canary_failing{"))
    })?;
    scene.agent.wait_until("a certificate", |agent| {
        Ok(agent.metrics()?.contains("sekisho_identity_fetches_total{result=\"ok\"}"))
    })?;
    let exported = exported(&scene.agent.metrics()?);
    let mut asked = of_dashboard(&dashboard)?;
    asked.extend(of_alerts(&alerts)?);
    ensure!(asked.len() > 40, "only {} expressions were found", asked.len());
    for expression in &asked {
        checked(expression, &exported)?;
    }
    // The check is one: what no agent exports is found.
    for wrong in [
        "sum(rate(istio_request_total[5m]))",
        "istio_requests_total{destination=\"a\"}",
        "sum by (pod) (rate(istio_requests_total[5m]))",
        "histogram_quantile(0.5, sum by (le) (rate(istio_requests_total[5m])))",
        "sum(",
    ] {
        ensure!(checked(wrong, &exported).is_err(), "{wrong} passes");
    }
    Ok(())
}
