//! The settings of each revision, and which of them govern a namespace or a pod.
//!
//! What upstream's injector does decides: `istio-injection` on a namespace means the default revision
//! and leaves no other a say; else `istio.io/rev` on the namespace counts; else that on the pod. A
//! revision may be named by a tag. What no settings and no tag have is judged by the stricter reading.

use std::{borrow::Cow, collections::BTreeMap, sync::Arc, time::Duration};

use k8s_openapi::api::core::v1::{Namespace, Pod};

use super::{
    annotation::{self, INJECTION},
    mesh_config::{self, MeshSettings},
};
use crate::{
    egress::DefaultAction,
    finding::{Finding, Severity, code},
    resource::{
        Described as _, Kind, ObjectKey, Objects,
        mesh_config::{DEFAULT_REVISION, NAMESPACE, name_of},
        tag::REVISION,
    },
};

/// See the module.
#[derive(Debug)]
pub(super) struct Revisions {
    settings: BTreeMap<String, Arc<MeshSettings>>,
    tags: BTreeMap<String, String>,
    /// Those of the default revision, or of the only one.
    main: Arc<MeshSettings>,
    /// Those of a revision that is not known.
    unknown: Arc<MeshSettings>,
}

/// The settings that apply to at least one pod.
#[derive(Debug)]
pub(super) struct Governed<'a> {
    pub(super) settings: &'a Arc<MeshSettings>,
    /// Why they are the stricter reading.
    pub(super) unknown: Option<String>,
}

impl Revisions {
    pub(super) fn read(objects: &Objects) -> (Self, Vec<Finding>) {
        let mut settings = BTreeMap::new();
        let mut findings = Vec::new();
        for config in objects.mesh_configs() {
            let key = ObjectKey::of(Kind::ConfigMap, &config.metadata);
            let refused = objects.refused(&key).map(|_| key);
            let read = MeshSettings { refused, ..MeshSettings::of(config.mesh.clone()) };
            findings.extend(mesh_config::findings(config));
            let is_refused = read.refused.is_some();
            let revision = config.revision().to_owned();
            if !is_refused || !settings.contains_key(&revision) {
                settings.insert(revision, Arc::new(read));
            }
        }
        let tags = objects.revision_tags().filter_map(|tag| tag.names());
        let tags = tags.map(|(tag, revision)| (tag.to_owned(), revision.to_owned())).collect();
        let usual = Arc::new(MeshSettings::of(crate::resource::mesh_config::MeshConfig::default()));
        let mut found = Self { settings, tags, main: Arc::clone(&usual), unknown: usual };
        let only = || found.settings.values().next().filter(|_| found.settings.len() == 1);
        if let Some(main) = found.named(DEFAULT_REVISION).or_else(only) {
            found.main = Arc::clone(main);
        }
        let outbound = DefaultAction::RegistryOnly;
        found.unknown = Arc::new(MeshSettings { outbound, ..(*found.main).clone() });
        (found, findings)
    }

    /// The settings of the default revision, or of the only one.
    pub(super) const fn main(&self) -> &Arc<MeshSettings> {
        &self.main
    }

    /// Whether there are any.
    pub(super) fn are_given(&self) -> bool {
        !self.settings.is_empty()
    }

    /// The longest time between two questions for a name: the shortest of all revisions'.
    pub(super) fn dns_refresh(&self) -> Duration {
        let all = self.settings.values().map(|one| one.dns_refresh);
        all.min().unwrap_or(self.main.dns_refresh)
    }

    /// All settings that may govern a pod, each once; those of the default revision come first.
    pub(super) fn all(&self) -> Vec<&Arc<MeshSettings>> {
        let mut all = Vec::new();
        for one in [&self.main].into_iter().chain(self.settings.values()).chain([&self.unknown]) {
            if !all.contains(&one) {
                all.push(one);
            }
        }
        all
    }

    /// The settings that govern a pod.
    pub(super) fn of(&self, pod: &Pod, namespace: Option<&Namespace>) -> Governed<'_> {
        self.of_label(pod.metadata.label(REVISION), namespace)
    }

    /// The same of something whose own label may name a revision.
    pub(super) fn of_label(
        &self,
        own: Option<&str>,
        namespace: Option<&Namespace>,
    ) -> Governed<'_> {
        let of_pod = || own;
        let wanted = namespace.map_or_else(of_pod, |one| named_by(one).or_else(of_pod));
        self.resolve(wanted.unwrap_or(DEFAULT_REVISION))
    }

    /// Namespaces that name a revision which does not exist.
    pub(super) fn unresolved(&self, objects: &Objects) -> Vec<Finding> {
        // One that says no names none for its pods; a pod that says yes by itself is told by itself.
        let is_in = |namespace: &Arc<Namespace>| {
            namespace.metadata.label(INJECTION).is_none_or(|value| value == "enabled")
        };
        let unresolved = |namespace: &Arc<Namespace>| {
            let wanted = named_by(namespace)?;
            let why = self.resolve(wanted).unknown?;
            let key = ObjectKey::of(Kind::Namespace, &namespace.metadata);
            let label =
                if namespace.metadata.label(INJECTION).is_some() { INJECTION } else { REVISION };
            let (severity, field) = (Severity::Error, annotation::label_path(label));
            Some(Finding::new(severity, code::REVISION_UNKNOWN, &key, field, why))
        };
        objects.namespaces().filter(|one| is_in(one)).filter_map(unresolved).collect()
    }

    fn resolve(&self, wanted: &str) -> Governed<'_> {
        if let Some(settings) = self.named(wanted) {
            return Governed { settings, unknown: None };
        }
        if wanted == DEFAULT_REVISION && !self.tags.contains_key(wanted) && !self.are_given() {
            return Governed { settings: &self.main, unknown: None };
        }
        let asked = match self.tags.get(wanted) {
            Some(revision) => Cow::Owned(format!("{wanted}, a tag of revision {revision},")),
            None => Cow::Borrowed(wanted),
        };
        let revision = self.tags.get(wanted).map_or(wanted, String::as_str);
        let why = format!(
            "revision {asked} is not known: the agent finds no ConfigMap {NAMESPACE}/{} with the \
             key mesh, and no MutatingWebhookConfiguration with this tag; until there is one, what no \
             rule names is denied (REGISTRY_ONLY): correct the label, or add the settings",
            name_of(revision)
        );
        Governed { settings: &self.unknown, unknown: Some(why) }
    }

    /// A tag stands before a revision of the same name, as the injector has it for `default`.
    fn named(&self, wanted: &str) -> Option<&Arc<MeshSettings>> {
        let revision = self.tags.get(wanted).map_or(wanted, String::as_str);
        self.settings.get(revision)
    }
}

/// The revision that a namespace names; `None` where its pods may.
fn named_by(namespace: &Namespace) -> Option<&str> {
    match namespace.metadata.label(INJECTION) {
        Some(_) => Some(DEFAULT_REVISION),
        None => namespace.metadata.label(REVISION),
    }
}
