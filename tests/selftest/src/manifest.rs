//! The agent's configuration as a person would write it: one file an object, renamed into place.

use std::{
    fmt::{self, Write as _},
    fs,
    net::IpAddr,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};

use crate::world::Host;

/// The Kubernetes namespace of every pod here.
pub const NAMESPACE: &str = "shop";
/// The node of every pod here, unless a test says otherwise.
pub const NODE: &str = "node-1";

/// What happens where no rule matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// It passes.
    AllowAny,
    /// It is refused.
    RegistryOnly,
}

/// A port of a `ServiceEntry`: its number and its protocol, which may be empty (detected).
pub type Port<'a> = (u16, &'a str);

/// A second place for the same objects as the directory's, such as an API server.
pub trait Mirror: fmt::Debug + Send + Sync {
    /// Takes what was written; with the name and the status of a pod, which come apart.
    fn apply(&self, manifests: &str, status: Option<(&str, &str)>) -> Result<()>;

    /// Deletes what was removed.
    fn delete(&self, manifests: &str) -> Result<()>;
}

/// A directory of manifests, which may have a mirror.
#[derive(Debug)]
pub struct Config {
    directory: PathBuf,
    mirror: Option<Box<dyn Mirror>>,
}

impl Config {
    /// An empty directory.
    pub fn new(directory: PathBuf) -> Result<Self> {
        fs::create_dir_all(&directory)?;
        Ok(Self { directory, mirror: None })
    }

    /// Where it lies.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// From here on what is written is applied to a mirror too, and what is removed is deleted there.
    pub fn set_mirror(&mut self, mirror: Box<dyn Mirror>) {
        self.mirror = Some(mirror);
    }

    /// Writes a file whole, beside, and renames it into place; unless it says so already. A file that
    /// has a mirror keeps its objects.
    pub fn write(&self, name: &str, text: &str) -> Result<()> {
        self.put(name, text, None)
    }

    fn put(&self, name: &str, text: &str, status: Option<(&str, &str)>) -> Result<()> {
        if fs::read(self.path(name)).is_ok_and(|old| old == text.as_bytes()) {
            return Ok(());
        }
        let draft = self.directory.join(format!(".{name}.draft"));
        fs::write(&draft, text).with_context(|| format!("writing {}", draft.display()))?;
        fs::rename(&draft, self.path(name))
            .with_context(|| format!("renaming {name} into place"))?;
        self.mirror.as_ref().map_or(Ok(()), |mirror| mirror.apply(text, status))
    }

    /// Removes a file.
    pub fn remove(&self, name: &str) -> Result<()> {
        if let Some(mirror) = &self.mirror {
            mirror.delete(&fs::read_to_string(self.path(name))?)?;
        }
        fs::remove_file(self.path(name)).with_context(|| format!("removing {name}"))
    }

    /// The file of an object.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.join(format!("{name}.yaml"))
    }

    /// The mesh's own configuration.
    pub fn mesh(&self, mode: Mode) -> Result<()> {
        let mode = match mode {
            Mode::AllowAny => "ALLOW_ANY",
            Mode::RegistryOnly => "REGISTRY_ONLY",
        };
        self.write(
            "mesh",
            &format!(
                "apiVersion: v1\n\
                 kind: ConfigMap\n\
                 metadata: {{name: istio, namespace: istio-system}}\n\
                 data:\n  mesh: |\n    outboundTrafficPolicy:\n      mode: {mode}\n"
            ),
        )
    }

    /// The namespace of the pods, in the mesh or not.
    pub fn namespace(&self, enrolled: bool) -> Result<()> {
        let labels = if enrolled { "{istio-injection: enabled}" } else { "{}" };
        self.write(
            "namespace",
            &format!(
                "apiVersion: v1\nkind: Namespace\nmetadata: {{name: {NAMESPACE}, labels: {labels}}}\n"
            ),
        )
    }

    /// A pod of the world.
    pub fn pod(&self, host: &Host) -> Result<()> {
        self.annotated_pod(host, NODE, &[])
    }

    /// A pod as it is before its first process runs: nothing says where it is.
    pub fn bare_pod(&self, name: &str, uid: &str) -> Result<()> {
        self.write(
            &format!("pod-{name}"),
            &format!(
                "apiVersion: v1\nkind: Pod\n\
                 metadata: {{name: {name}, namespace: {NAMESPACE}, uid: {uid}}}\n\
                 spec: {{nodeName: {NODE}}}\n"
            ),
        )
    }

    /// A pod of the world on some node, with annotations of its own.
    pub fn annotated_pod(&self, host: &Host, node: &str, more: &[(&str, &str)]) -> Result<()> {
        let mut annotations = String::new();
        for (key, value) in more {
            writeln!(annotations, "    {key}: {value:?}")?;
        }
        let [v4, v6] = host.addresses();
        let (name, netns) = (host.name(), host.netns().path());
        let status = format!(
            "{{\"status\":{{\"podIP\":\"{v4}\",\"podIPs\":[{{\"ip\":\"{v4}\"}},{{\"ip\":\"{v6}\"}}]}}}}"
        );
        self.put(
            &format!("pod-{name}"),
            &format!(
                "apiVersion: v1\nkind: Pod\nmetadata:\n  name: {name}\n  namespace: {NAMESPACE}\n  \
                 annotations:\n    sekisho.dev/netns: {}\n{annotations}\
                 spec: {{nodeName: {node}, containers: [{{name: app, image: none}}]}}\n\
                 status: {{podIP: {v4}, podIPs: [{{ip: {v4}}}, {{ip: \"{v6}\"}}]}}\n",
                netns.display()
            ),
            Some((name, &status)),
        )
    }

    /// Addresses or prefixes and ports, as `ServiceEntry` objects in one file: one for each
    /// protocol, since the ports of an entry have different numbers.
    pub fn service_entry(
        &self,
        name: &str,
        addresses: &[String],
        ports: &[Port<'_>],
    ) -> Result<()> {
        let mut documents = Vec::new();
        for udp in [false, true] {
            let own: Vec<_> =
                ports.iter().copied().filter(|port| (port.1 == "UDP") == udp).collect();
            if !own.is_empty() {
                let name = format!("{name}-{}", if udp { "udp" } else { "tcp" });
                let host = format!("{name}.example.com");
                documents.push(service_entry(&name, &host, addresses, &own)?);
            }
        }
        self.write(name, &documents.join("---\n"))
    }
}

/// A `ServiceEntry` as text, for tests that say which host it is for.
pub fn service_entry(
    name: &str,
    host: &str,
    addresses: &[String],
    ports: &[Port<'_>],
) -> Result<String> {
    let mut text = format!(
        "apiVersion: networking.istio.io/v1alpha3\nkind: ServiceEntry\n\
         metadata: {{name: {name}, namespace: {NAMESPACE}}}\n\
         spec:\n  hosts: [{host}]\n  location: MESH_EXTERNAL\n  ports:\n"
    );
    for (number, protocol) in ports {
        if protocol.is_empty() {
            writeln!(text, "  - {{number: {number}, name: any-{number}}}")?;
            continue;
        }
        let port_name = format!("{}-{number}", protocol.to_lowercase());
        writeln!(text, "  - {{number: {number}, name: {port_name}, protocol: {protocol}}}")?;
    }
    if !addresses.is_empty() {
        text.push_str("  addresses:\n");
    }
    for address in addresses {
        writeln!(text, "  - {address:?}")?;
    }
    Ok(text)
}

/// Addresses as a `ServiceEntry` lists them.
pub fn listed(addresses: &[IpAddr]) -> Vec<String> {
    addresses.iter().map(ToString::to_string).collect()
}
