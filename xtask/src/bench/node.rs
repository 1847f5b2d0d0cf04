//! `cargo xtask bench node`: what a node with many pods costs, and what a pod's start costs more.
//!
//! Stamps before our entry of the CNI list and after it write down the time, so that what lies between
//! them is our plugin as the runtime starts it: from its fork to its end. There are two before it, which
//! tell what a stamp itself takes.

use std::{
    cell::OnceCell,
    collections::BTreeMap,
    fs, thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};

use super::NodeOptions;
use crate::{
    command::workspace,
    e2e::cluster::{Cluster, eventually},
    image, interrupt, setup,
};

const NODE: &str = "node-1";
const SYSTEM: &str = "sekisho-system";
/// The enrolled pods' namespace.
const CROWD: &str = "sekisho-bench";
const OVERLAY: &str = "deploy/overlays/kind";
const PATIENCE: Duration = Duration::from_mins(5);
/// How often pods are looked at: each look costs both processors something.
const LOOK: Duration = Duration::from_millis(50);
/// How long the agent's processor time is counted.
const REST: Duration = Duration::from_secs(30);
/// The kernel's `USER_HZ`.
const TICKS: f64 = 100.0;

const CONF: &str = "/etc/cni/net.d/10-sekisho-test.conflist";
const STAMP: &str = "/opt/cni/bin/sekisho-bench-stamp";
/// In a directory that each node has for itself.
const STAMPS: &str = "/etc/kubernetes/sekisho-bench-stamps";
/// Passes on what came before. libcni writes the fields in the order of their names.
const STAMP_PROGRAM: &str = r#"#!/bin/sh
now=$(date +%s%N)
config=$(cat)
case $CNI_COMMAND in
VERSION) echo '{"cniVersion":"1.0.0","supportedVersions":["0.4.0","1.0.0"]}' ;;
ADD)
    printf '%s' "$config" | sed -E 's/.*"prevResult":(.*),"type":"sekisho-bench-stamp".*/\1/'
    echo "$CNI_CONTAINERID $now $(date +%s%N)" >>/etc/kubernetes/sekisho-bench-stamps
    ;;
esac
"#;

pub(super) fn run(options: &NodeOptions) -> anyhow::Result<()> {
    setup::run(&setup::Options::default())?;
    let archive = match &options.image {
        Some(archive) => archive.clone(),
        None => image::make(&image::Options::of(image::Profile::Release))?,
    };
    interrupt::watch()?;
    let bytes = fs::metadata(&archive).context("the image")?.len();
    println!("image             {:.1} MB as it is pulled (target 30)", megabytes(bytes));
    let bench = Bench { cluster: Cluster::up(1, false)?, agent: OnceCell::new() };
    bench.cluster.load(&archive)?;
    bench.set()?;
    bench.crowd(options.pods)?;
    bench.report_rest(options.pods)?;
    bench.report_single(options.single)
}

struct Bench {
    cluster: Cluster,
    /// The number of the agent's process, as the node sees it.
    agent: OnceCell<String>,
}

impl Bench {
    fn set(&self) -> anyhow::Result<()> {
        let cluster = &self.cluster;
        let kinds = workspace().join("tests/crds/minimal.yaml");
        cluster.apply(&fs::read_to_string(kinds)?)?;
        cluster.apply(&format!(
            "apiVersion: v1\nkind: Namespace\n\
             metadata: {{name: {CROWD}, labels: {{istio-injection: enabled}}}}\n"
        ))?;
        cluster.kubectl(&["apply", "-k", &workspace().join(OVERLAY).display().to_string()])?;
        let rolled = ["rollout", "status", "daemonset/sekisho", "-n", SYSTEM, "--timeout=90s"];
        cluster.kubectl(&rolled)?;
        cluster.write(NODE, STAMP, STAMP_PROGRAM)?;
        eventually(PATIENCE, || {
            let stamped = stamped(&cluster.enter(NODE, &["cat", CONF])?)?;
            cluster.write(NODE, CONF, &stamped)
        })?;
        eventually(PATIENCE, || {
            cluster.kubectl(&["get", "serviceaccount", "default", "-n", CROWD]).map(drop)
        })
        .map(drop)
    }

    fn start(&self, names: &[String]) -> anyhow::Result<()> {
        let pods: Vec<String> = names.iter().map(|name| pod(name)).collect();
        self.cluster.apply(&pods.join("---\n"))
    }

    /// All pods at once.
    fn crowd(&self, count: usize) -> anyhow::Result<()> {
        let names: Vec<String> = (0..count).map(|number| format!("crowd-{number}")).collect();
        let started = Instant::now();
        self.start(&names)?;
        let enrolled = eventually(PATIENCE, || {
            let enrolled = self.enrolled()?;
            ensure!(enrolled >= count, "{enrolled} of {count} pods are enrolled");
            Ok(())
        });
        enrolled?;
        let took = started.elapsed().as_secs_f32();
        println!("{count} pods at once  all enrolled {took:.1} s after kubectl's start");
        self.report_plugin(&format!("{count} at once"), count)?;
        Ok(())
    }

    fn report_rest(&self, pods: usize) -> anyhow::Result<()> {
        let agent = self.agent()?;
        let status = self.cluster.enter(NODE, &["cat", &format!("/proc/{agent}/status")])?;
        let memory = |field: &str| -> anyhow::Result<f64> {
            let line =
                status.lines().find(|line| line.starts_with(field)).context("no such field")?;
            Ok(line.split_whitespace().nth(1).context("no value")?.parse::<f64>()? / 1024.0)
        };
        let (now, most) = (memory("VmRSS:")?, memory("VmHWM:")?);
        println!("agent's memory    {now:.1} MiB with {pods} pods, {most:.1} MiB at most");
        let before = self.ticks(agent)?;
        thread::sleep(REST);
        let share = (self.ticks(agent)? - before) / TICKS / REST.as_secs_f64();
        println!("agent's CPU       {:.2} % of a core at rest, canaries included", share * 100.0);
        Ok(())
    }

    fn ticks(&self, agent: &str) -> anyhow::Result<f64> {
        let stat = self.cluster.enter(NODE, &["cat", &format!("/proc/{agent}/stat")])?;
        let fields = stat.rsplit_once(") ").context("no stat")?.1;
        // proc_pid_stat(5): utime and stime are the 14th and 15th field, the third of all is first.
        let numbers = fields.split(' ').skip(11).take(2).map(str::parse::<f64>);
        Ok(numbers.collect::<Result<Vec<_>, _>>()?.iter().sum())
    }

    /// Pods one after the other, beside all others. Only the stamps are looked at meanwhile: to ask
    /// the agent would be a good part of its work.
    fn report_single(&self, count: usize) -> anyhow::Result<()> {
        self.cluster.enter(NODE, &["rm", STAMPS])?;
        let mut times = Vec::new();
        for number in 0..count {
            interrupt::check()?;
            self.start(&[format!("single-{number}")])?;
            let created = SystemTime::now().duration_since(UNIX_EPOCH)?;
            let since = Instant::now();
            let judged = loop {
                ensure!(since.elapsed() < PATIENCE, "single-{number} was never enrolled");
                thread::sleep(LOOK);
                // There is no file before the first stamp.
                let stamps = self.cluster.enter(NODE, &["cat", STAMPS]).unwrap_or_default();
                if let Some(stamp) = stamps.lines().nth(3 * number + 2) {
                    break stamp.split(' ').nth(1).context("half a stamp")?.parse::<f64>()?;
                }
            };
            times.push(judged / 1e6 - created.as_secs_f64() * 1e3);
        }
        self.report_plugin("one by one", count)?;
        let [p50, p99] = percentiles(&mut times);
        println!(
            "pod to enrolled   p50 {p50:.0} ms, p99 {p99:.0} ms from its creation, kubelet included"
        );
        Ok(())
    }

    fn report_plugin(&self, how: &str, count: usize) -> anyhow::Result<()> {
        let mut times = Vec::new();
        // A pod is enrolled before our plugin has returned.
        eventually(PATIENCE, || {
            times = between(&self.cluster.enter(NODE, &["cat", STAMPS])?);
            ensure!(times.len() >= count, "{} of {count} pods are made", times.len());
            Ok(())
        })?;
        let [p50, p99] = percentiles(&mut times);
        println!("CNI plugin adds   p50 {p50:.1} ms, p99 {p99:.1} ms, {how} (target p99 30)");
        Ok(())
    }

    /// How many of our pods the agent judges.
    fn enrolled(&self) -> anyhow::Result<usize> {
        let agent = self.agent()?;
        let program = format!("/proc/{agent}/root/usr/local/bin/sekisho");
        let words = [&program, "status", "-o", "json"];
        let status: Value = serde_json::from_str(&self.cluster.enter(NODE, &words)?)?;
        let pods = status["pods"].as_array().context("no pods")?;
        let ours = pods.iter().filter(|pod| pod["namespace"] == CROWD);
        Ok(ours.filter(|pod| pod["enrolment"] == "enrolled").count())
    }

    fn agent(&self) -> anyhow::Result<&str> {
        const FIND: &str = "for p in /proc/[0-9]*; do tr '\\0' ' ' <$p/cmdline | \
            grep -q '^[^ ]*sekisho agent ' && echo ${p#/proc/}; done 2>/dev/null; true";
        if let Some(agent) = self.agent.get() {
            return Ok(agent);
        }
        let found = self.cluster.enter(NODE, &["sh", "-c", FIND])?;
        let agent = found.lines().next().context("no agent runs")?.to_owned();
        Ok(self.agent.get_or_init(|| agent))
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        // A cluster that was there before stays; what is left over shows in the next run.
        let _ = self.cluster.kubectl(&["delete", "namespace", CROWD, "--wait=false"]);
    }
}

fn pod(name: &str) -> String {
    format!(
        "\
apiVersion: v1
kind: Pod
metadata: {{name: {name}, namespace: {CROWD}}}
spec:
  nodeName: {NODE}
  terminationGracePeriodSeconds: 0
  containers: [{{name: pause, image: 'localhost/pause:test', imagePullPolicy: Never}}]
"
    )
}

/// A list of plugins with a stamp before ours and one after it.
fn stamped(list: &str) -> anyhow::Result<String> {
    let mut list: Value = serde_json::from_str(list).context(CONF)?;
    let plugins = list["plugins"].as_array_mut().context("no plugins")?;
    plugins.retain(|plugin| plugin["type"] != "sekisho-bench-stamp");
    let ours = plugins.iter().position(|plugin| plugin["type"] == "sekisho-cni");
    let ours = ours.context("our plugin is not in it")?;
    let stamp = json!({"type": "sekisho-bench-stamp"});
    plugins.insert(ours + 1, stamp.clone());
    plugins.insert(ours, stamp.clone());
    plugins.insert(ours, stamp);
    Ok(list.to_string())
}

/// Milliseconds that our plugin took, of every sandbox that has all stamps: from the second to the
/// third, less what lies between the first and the second, where nothing is.
fn between(stamps: &str) -> Vec<f64> {
    let mut sandboxes: BTreeMap<&str, Vec<(f64, f64)>> = BTreeMap::new();
    for line in stamps.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        let [id, began, ended] = words[..] else { continue };
        // Nanoseconds of a clock of years: what a float loses of them is less than a microsecond.
        if let (Ok(began), Ok(ended)) = (began.parse::<f64>(), ended.parse::<f64>()) {
            sandboxes.entry(id).or_default().push((began / 1e6, ended / 1e6));
        }
    }
    let whole = sandboxes.into_values().filter_map(|stamps| <[_; 3]>::try_from(stamps).ok());
    whole.map(|[one, two, three]| (three.0 - two.1) - (two.0 - one.1)).collect()
}

/// The middle, and what one of a hundred is above of.
fn percentiles(numbers: &mut [f64]) -> [f64; 2] {
    numbers.sort_by(f64::total_cmp);
    [50, 99].map(|percent| numbers[(numbers.len() * percent).div_ceil(100).max(1) - 1])
}

#[expect(clippy::cast_precision_loss, reason = "it is for a person")]
fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamps_stand_around_our_plugin() {
        let list = r#"{"plugins":[{"type":"bridge"},{"type":"sekisho-cni"}]}"#;
        let once = stamped(list).expect("a list");
        assert_eq!(stamped(&once).expect("a list"), once);
        let list: Value = serde_json::from_str(&once).expect("JSON");
        let types = list["plugins"].as_array().expect("plugins").iter();
        let types: Vec<_> = types.filter_map(|plugin| plugin["type"].as_str()).collect();
        let stamp = "sekisho-bench-stamp";
        assert_eq!(types, ["bridge", stamp, stamp, "sekisho-cni", stamp]);
    }

    #[test]
    fn a_time_lies_between_two_stamps_of_one_sandbox() {
        // Each stamp takes a millisecond, and so does the way from one to the next.
        let stamps = "a 0 1000000\nb 0 1000000\na 2000000 3000000\nb 2000000 3000000\n\
                      c 0 1000000\nb 6000000 7000000\na 14000000 15000000\n";
        assert_eq!(between(stamps), [10.0, 2.0]);
        let [p50, p99] = percentiles(&mut [3.0, 1.0, 2.0]);
        assert!((p50 - 2.0).abs() < 1e-9 && (p99 - 3.0).abs() < 1e-9);
    }
}
