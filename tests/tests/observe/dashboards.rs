//! Every expression of the dashboard and of the alerts, held against what an agent exports.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, anyhow, ensure};
use promql_parser::parser::{Expr, VectorSelector, parse};
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

/// Looks at each metric of an expression, and returns the labels that all of them together have.
fn check(expression: &Expr, exported: &Exported) -> Result<BTreeSet<String>> {
    let both = |one: &Expr, other: &Expr| -> Result<BTreeSet<String>> {
        Ok(check(one, exported)?.into_iter().chain(check(other, exported)?).collect())
    };
    match expression {
        Expr::VectorSelector(selector) => check_selector(selector, exported),
        Expr::MatrixSelector(matrix) => check_selector(&matrix.vs, exported),
        Expr::Aggregate(aggregate) => {
            let has = check(&aggregate.expr, exported)?;
            let named = aggregate.modifier.iter().flat_map(|by| &by.labels().labels);
            for label in named {
                ensure!(has.contains(label), "the label {label} is of no metric of it");
            }
            Ok(has)
        }
        Expr::Binary(binary) => both(&binary.lhs, &binary.rhs),
        Expr::Paren(paren) => check(&paren.expr, exported),
        Expr::Unary(unary) => check(&unary.expr, exported),
        Expr::Subquery(subquery) => check(&subquery.expr, exported),
        Expr::Call(call) => {
            let mut has = BTreeSet::new();
            for argument in &call.args.args {
                has.extend(check(argument, exported)?);
            }
            Ok(has)
        }
        Expr::NumberLiteral(_) | Expr::StringLiteral(_) | Expr::Extension(_) => Ok(BTreeSet::new()),
    }
}

fn check_selector(selector: &VectorSelector, exported: &Exported) -> Result<BTreeSet<String>> {
    let name = selector.name.as_ref().context("a selector without a name")?;
    let own = exported.get(name).with_context(|| format!("no metric {name}"))?;
    let mut has = own.clone();
    has.extend(ADDED.map(str::to_owned));
    for matcher in &selector.matchers.matchers {
        ensure!(has.contains(&matcher.name), "{name} has no label {}", matcher.name);
    }
    Ok(has)
}

fn checked(text: &str, exported: &Exported) -> Result<BTreeSet<String>> {
    let parsed = parse(&plain(text)).map_err(|error| anyhow!("{error}"));
    parsed.and_then(|parsed| check(&parsed, exported)).with_context(|| text.to_owned())
}

#[test]
fn what_dashboard_and_alerts_ask_for_is_what_an_agent_exports() -> Result<()> {
    let dashboard: Value = serde_json::from_str(&fs::read_to_string(file("dashboard.json"))?)?;
    let text = fs::read_to_string(file("alerts.yaml"))?;
    let mut documents = agent_model::resource::documents(&text);
    let alerts = documents.next().context("a document")?.value?;
    let mut scene = Scene::new(Net::V4)?;
    scene.send(&["GET / HTTP/1.1"], 2)?;
    let database = scene.database();
    scene.client.echoes(database)?;
    scene.client.must("close")?;
    scene.is_counted(&["istio_requests_total{"], 2.0)?;
    scene.is_counted(&["istio_tcp_connections_closed_total{"], 1.0)?;
    scene.agent.wait_until("a canary", |agent| {
        Ok(agent.metrics()?.contains("sekisho_pods_canary_failing{"))
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
