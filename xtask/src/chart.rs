//! `cargo xtask chart`: the Helm chart's templates, written from `deploy/base`, so that Kustomize
//! and Helm make the same objects of one source, and copies of what the chart loads from
//! `deploy/observability`.
//!
//! A manifest becomes a template by replacing whole lines, each of which must be there: a base that
//! changes under a replacement fails here rather than in a user's cluster.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, bail, ensure};
use clap::Args;

use crate::command::workspace;

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Write nothing; fail where the chart is not what the base makes
    #[arg(long)]
    check: bool,
}

/// A line of a manifest, without its indentation, and what stands there in the template.
type Replacement = (&'static str, &'static [&'static str]);

/// Around what only the CNI plugin needs.
const CNI: &str = "{{- if .Values.cni.enabled }}";
const END: &str = "{{- end }}";

/// Around what only agents with a CA need.
const CA: &str = "{{- if .Values.ca.enabled }}";

/// How the image is named.
const IMAGE: Replacement =
    ("image: sekisho:dev", &["image: \"{{ .Values.image.repository }}:{{ .Values.image.tag }}\""]);
const PULL: Replacement =
    ("imagePullPolicy: IfNotPresent", &["imagePullPolicy: {{ .Values.image.pullPolicy }}"]);

/// A manifest of the base and what its template replaces.
const TEMPLATES: [(&str, &[Replacement]); 3] = [
    ("namespace.yaml", &[]),
    ("rbac.yaml", &[]),
    (
        "daemonset.yaml",
        &[
            IMAGE,
            PULL,
            (
                "- --admin=127.0.0.1:9415",
                &[
                    "- --admin=127.0.0.1:9415",
                    "{{- range .Values.extraArgs }}",
                    "- {{ . | quote }}",
                    "{{- end }}",
                ],
            ),
            ("- --cni-conf-dir=/etc/cni/net.d", &[CNI, "- --cni-conf-dir=/etc/cni/net.d"]),
            (
                "- --cni-bin-dir=/opt/cni/bin",
                &["- --cni-bin-dir=/opt/cni/bin", END, CA, "- --ca=own", END],
            ),
            (
                "# What libraries write while they run.",
                &[
                    CA,
                    "# A token for the CA alone, bound to the agent's pod, and the mesh's roots.",
                    "- name: ca-token",
                    "  mountPath: /var/run/secrets/sekisho-ca",
                    "  readOnly: true",
                    "- name: trust",
                    "  mountPath: /var/run/sekisho-trust",
                    "  readOnly: true",
                    END,
                    "# What libraries write while they run.",
                ],
            ),
            (
                "# Nothing in it outlives the pod.",
                &[
                    CA,
                    "- name: ca-token",
                    "  projected:",
                    "    sources:",
                    "      - serviceAccountToken:",
                    "          path: token",
                    "          audience: sekisho-ca",
                    "          expirationSeconds: 43200",
                    "- name: trust",
                    "  configMap: {name: sekisho-trust, optional: true}",
                    END,
                    "# Nothing in it outlives the pod.",
                ],
            ),
            ("- name: cni-conf", &[CNI, "- name: cni-conf"]),
            ("mountPath: /opt/cni/bin", &["mountPath: /opt/cni/bin", END]),
            (
                "hostPath: {path: /etc/cni/net.d, type: DirectoryOrCreate}",
                &["hostPath: {path: {{ .Values.cni.confDir }}, type: DirectoryOrCreate}"],
            ),
            (
                "hostPath: {path: /opt/cni/bin, type: DirectoryOrCreate}",
                &["hostPath: {path: {{ .Values.cni.binDir }}, type: DirectoryOrCreate}", END],
            ),
            (
                "readOnlyRootFilesystem: true",
                &[
                    "readOnlyRootFilesystem: true",
                    "{{- with .Values.seLinuxOptions }}",
                    "seLinuxOptions: {{ . | toJson }}",
                    "{{- end }}",
                ],
            ),
            (
                "priorityClassName: system-node-critical",
                &["priorityClassName: {{ .Values.priorityClassName }}"],
            ),
            ("cpu: 20m", &["cpu: {{ .Values.resources.requests.cpu }}"]),
            ("memory: 64Mi", &["memory: {{ .Values.resources.requests.memory }}"]),
            ("memory: 512Mi", &["memory: {{ .Values.resources.limits.memory }}"]),
        ],
    ),
];

/// What is made only where a value says so: the manifest, its template, the value, what is replaced.
const CHOSEN: [(&str, &str, &str, &[Replacement]); 2] = [
    ("overlays/gke/quota.yaml", "quota.yaml", "quota", &[]),
    ("components/ca/ca.yaml", "ca.yaml", "ca.enabled", &[IMAGE, PULL]),
];

/// What a chart can only read as a file of its own, of `deploy/observability`.
const FILES: [&str; 2] = ["dashboard.json", "alerts.yaml"];

const HEADER: &str =
    "{{- /* Written by `cargo xtask chart` from deploy/base: change it there. */ -}}\n";

pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let deploy = workspace().join("deploy");
    let mut differing = Vec::new();
    for (path, text) in templates(&deploy)? {
        let committed = fs::read_to_string(&path).unwrap_or_default();
        if committed == text {
            continue;
        }
        if !options.check {
            fs::create_dir_all(path.parent().context("it lies in a directory")?)?;
            fs::write(&path, text)?;
        }
        differing.push(path.display().to_string());
    }
    match (differing.is_empty(), options.check) {
        (true, _) => println!("chart: as the base makes it"),
        (false, false) => println!("chart: wrote {}", differing.join(", ")),
        (false, true) => {
            bail!("{} is not what deploy/base makes: `cargo xtask chart`", differing.join(", "))
        }
    }
    Ok(())
}

/// Each template's path and text.
fn templates(deploy: &Path) -> anyhow::Result<Vec<(PathBuf, String)>> {
    let to = deploy.join("helm/sekisho/templates");
    let mut written = Vec::new();
    for (name, replacements) in TEMPLATES {
        let from = deploy.join("base").join(name);
        let manifest = fs::read_to_string(&from).with_context(|| from.display().to_string())?;
        let template = template(&manifest, replacements).with_context(|| name.to_owned())?;
        written.push((to.join(name), format!("{HEADER}{template}")));
    }
    for (from, name, value, replacements) in CHOSEN {
        let manifest = fs::read_to_string(deploy.join(from)).context(from)?;
        let text = template(&manifest, replacements).context(from)?;
        let text = format!("{HEADER}{{{{- if .Values.{value} }}}}\n{text}{{{{- end }}}}\n");
        written.push((to.join(name), text));
    }
    for name in FILES {
        let text = fs::read_to_string(deploy.join("observability").join(name)).context(name)?;
        written.push((deploy.join("helm/sekisho/files").join(name), text));
    }
    Ok(written)
}

fn template(manifest: &str, replacements: &[Replacement]) -> anyhow::Result<String> {
    ensure!(!manifest.contains("{{"), "it already has braces of a template");
    let mut used = vec![false; replacements.len()];
    let mut text = String::new();
    for line in manifest.lines() {
        let bare = line.trim_start();
        let indent = &line[..line.len() - bare.len()];
        let found = replacements.iter().position(|(wanted, _)| *wanted == bare);
        let instead = match found {
            Some(at) => {
                used[at] = true;
                replacements[at].1
            }
            None => &[bare],
        };
        for line in instead {
            let indented = format!("{indent}{line}");
            text.push_str(indented.trim_end());
            text.push('\n');
        }
    }
    match used.iter().position(|used| !used) {
        Some(at) => bail!("the line `{}` is not in it", replacements[at].0),
        None => Ok(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_chart_is_what_the_base_makes() {
        run(&Options { check: true }).expect("`cargo xtask chart` writes it");
    }

    #[test]
    fn lines_are_replaced_whole_and_must_be_there() {
        let replacements: &[Replacement] = &[("b: 1", &["b: {{ .b }}", "c: 2"])];
        let made = template("a:\n  b: 1\n", replacements).expect("made");
        assert_eq!(made, "a:\n  b: {{ .b }}\n  c: 2\n");
        assert!(template("a:\n  b: 12\n", replacements).is_err());
    }
}
