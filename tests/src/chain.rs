//! A list of CNI plugins, run as a container runtime runs it (libcni): each is a program that is
//! asked by its environment and its standard input, and the answer of one goes on to the next.

use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use crate::{
    manifest::NAMESPACE,
    name,
    process::{Place, built},
    world::{Host, World},
};

/// Where Debian's package containernetworking-plugins puts them.
const PLUGINS: &str = "/usr/lib/cni";
/// The only configuration.
const LIST: &str = "10-pods.conflist";
/// The node's end of every pod's link has this address, and the pods have others of its network.
const NETWORKS: [&str; 2] = ["203.0.113.128/26", "2001:db8:0:80::/64"];

/// A node's CNI directories, with a list of Debian's `ptp` and of our plugin.
#[derive(Debug)]
pub struct Chain {
    files: PathBuf,
    bin: PathBuf,
    /// The list, as the runtime reads it.
    pub list: Value,
}

/// What came of a call of one plugin.
#[derive(Clone, Debug)]
pub struct Said {
    /// What it wrote to its standard output; null when that was nothing.
    pub answer: Value,
    /// Whether it ended well.
    pub ok: bool,
    /// How long it ran.
    pub took: Duration,
}

impl Chain {
    /// The list in a version, with our entry last and the agent's socket in it.
    pub fn new(version: &str, run_dir: &Path) -> Result<Self> {
        let files = std::env::temp_dir().join(name::unique());
        let bin = files.join("bin");
        fs::create_dir_all(&bin)?;
        std::os::unix::fs::symlink(built("sekisho")?, bin.join("sekisho-cni"))?;
        let ranges = NETWORKS.map(|subnet| json!([{"subnet": subnet}]));
        let list = json!({
            "cniVersion": version,
            "name": "pods",
            "plugins": [
                {
                    "type": "ptp",
                    "ipam": {
                        "type": "host-local",
                        "dataDir": files.join("ipam"),
                        "ranges": ranges,
                        "routes": [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}],
                    },
                },
                {
                    "type": "sekisho-cni",
                    "socket": run_dir.join("cni.sock"),
                    "deadlineSeconds": 2,
                    "excludeNamespaces": ["kube-system"],
                },
            ],
        });
        Ok(Self { files, bin, list })
    }

    /// Where a node would have its configurations and its programs.
    pub fn directories(&self) -> [PathBuf; 2] {
        ["net.d", "programs"].map(|name| self.files.join(name))
    }

    /// Writes the list without our entry, as the owner of the network would.
    pub fn write_plain(&self) -> Result<Value> {
        let mut plain = self.list.clone();
        let plugins = plain["plugins"].as_array_mut().context("no plugins")?;
        plugins.retain(|plugin| plugin["type"] != "sekisho-cni");
        let [conf, _] = self.directories();
        fs::create_dir_all(&conf)?;
        fs::write(conf.join(LIST), plain.to_string())?;
        Ok(plain)
    }

    /// Reads the list and finds the programs in the node's directories from here on.
    pub fn read(&mut self) -> Result<()> {
        let [conf, bin] = self.directories();
        self.list = serde_json::from_slice(&fs::read(conf.join(LIST))?)?;
        self.bin = bin;
        Ok(())
    }

    /// Our entry.
    pub fn ours(&mut self) -> &mut Value {
        &mut self.list["plugins"][1]
    }

    /// What the environment of a call for a pod is.
    pub fn environment(pod: &Host, uid: &str) -> Vec<(&'static str, String)> {
        let arguments = format!(
            "IgnoreUnknown=1;K8S_POD_NAMESPACE={NAMESPACE};K8S_POD_NAME={};K8S_POD_UID={uid}",
            pod.name()
        );
        vec![
            ("CNI_CONTAINERID", format!("sandbox-{uid}")),
            ("CNI_NETNS", pod.netns().path().display().to_string()),
            ("CNI_IFNAME", "eth0".into()),
            ("CNI_ARGS", arguments),
        ]
    }

    /// Adds a pod to the network: the answer of the last plugin, or of the one that failed.
    pub fn add(&self, world: &World, environment: &[(&'static str, String)]) -> Result<Said> {
        let mut said = Said { answer: Value::Null, ok: true, took: Duration::ZERO };
        for plugin in self.plugins() {
            said = self.call(world, "ADD", plugin, (environment, &said.answer))?;
            if !said.ok {
                break;
            }
        }
        Ok(said)
    }

    /// Removes a pod from it, the last plugin first.
    pub fn del(&self, world: &World, environment: &[(&'static str, String)]) -> Result<()> {
        for plugin in self.plugins().iter().rev() {
            let said = self.call(world, "DEL", plugin, (environment, &Value::Null))?;
            ensure!(said.ok, "DEL: {said:?}");
        }
        Ok(())
    }

    fn plugins(&self) -> &[Value] {
        self.list["plugins"].as_array().map(Vec::as_slice).unwrap_or_default()
    }

    /// Asks our plugin alone.
    pub fn ask(
        &self,
        world: &World,
        verb: &str,
        given: (&[(&'static str, String)], &Value),
    ) -> Result<Said> {
        self.call(world, verb, &self.list["plugins"][1], given)
    }

    fn call(
        &self,
        world: &World,
        verb: &str,
        plugin: &Value,
        (environment, before): (&[(&'static str, String)], &Value),
    ) -> Result<Said> {
        let mut config = plugin.clone();
        config["cniVersion"] = self.list["cniVersion"].clone();
        config["name"] = self.list["name"].clone();
        if !before.is_null() {
            config["prevResult"] = before.clone();
        }
        let kind = plugin["type"].as_str().context("a plugin without a type")?;
        let own = self.bin.join(kind);
        let program = if own.exists() { own } else { Path::new(PLUGINS).join(kind) };
        let mut command = Command::new(&program);
        command.envs(environment.iter().map(|(name, value)| (*name, value)));
        command.env("CNI_COMMAND", verb).env("CNI_PATH", PLUGINS);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit());
        Place { netns: Some(world.node()), cgroup: None }.prepare(&mut command)?;
        let start = Instant::now();
        let mut child = command.spawn().with_context(|| {
            format!("running {} (Debian: containernetworking-plugins)", program.display())
        })?;
        child.stdin.take().context("no pipe")?.write_all(config.to_string().as_bytes())?;
        let output = child.wait_with_output()?;
        let answer = match output.stdout.as_slice() {
            [] => Value::Null,
            text => serde_json::from_slice(text)
                .with_context(|| format!("{kind}: {}", String::from_utf8_lossy(text)))?,
        };
        Ok(Said { answer, ok: output.status.success(), took: start.elapsed() })
    }
}

impl Drop for Chain {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.files) {
            eprintln!("{error}");
        }
    }
}
