//! The files that `DestinationRule`s name for TLS. What speaks for a pod is in the folder of the pod's
//! namespace, as it would be in the pod's own sidecar: a rule may name no other, or a person who may
//! write one could have pods speak with any certificate that the agent can read.

use std::{
    fs::{self, Metadata},
    io::{self, Read as _},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::OnceLock,
};

use agent_proxy::{Files, Stamp};
use rustls::pki_types::CertificateDer;

/// The most of a file: the system's own bundles have a quarter of it.
const MOST: u64 = 1024 * 1024;

/// See the module.
#[derive(Debug)]
pub(crate) struct Certificates {
    directory: PathBuf,
    roots: OnceLock<Vec<CertificateDer<'static>>>,
}

impl Certificates {
    /// Of the namespaces' folders in a directory.
    pub(crate) fn new(directory: PathBuf) -> Self {
        Self { directory, roots: OnceLock::new() }
    }

    /// Where a file really is, whatever links lead to it.
    fn find(&self, namespace: &str, path: &str) -> io::Result<(PathBuf, Metadata)> {
        let own = self.directory.join(namespace);
        let outside = || {
            io::Error::other(format!(
                "it is not below {}, where the files of namespace {namespace} are (--tls-dir)",
                own.display()
            ))
        };
        let is_folder = !namespace.is_empty() && !namespace.contains(['/', '.']);
        if !is_folder || !Path::new(path).starts_with(&own) {
            return Err(outside());
        }
        let found = fs::canonicalize(path)?;
        if !found.starts_with(fs::canonicalize(&own)?) {
            return Err(outside());
        }
        let metadata = fs::metadata(&found)?;
        if !metadata.is_file() {
            return Err(io::Error::other("it is no file"));
        }
        Ok((found, metadata))
    }
}

impl Files for Certificates {
    fn stamp(&self, namespace: &str, path: &str) -> io::Result<Stamp> {
        let (_, metadata) = self.find(namespace, path)?;
        let changed = i128::from(metadata.mtime()) * 1_000_000_000;
        Ok(Stamp {
            changed: changed + i128::from(metadata.mtime_nsec()),
            length: metadata.len(),
            number: metadata.ino(),
        })
    }

    fn read(&self, namespace: &str, path: &str) -> io::Result<Vec<u8>> {
        let (found, metadata) = self.find(namespace, path)?;
        if metadata.len() > MOST {
            return Err(io::Error::other(format!("it is longer than {MOST} bytes")));
        }
        let mut content = Vec::new();
        fs::File::open(found)?.take(MOST).read_to_end(&mut content)?;
        Ok(content)
    }

    fn roots(&self) -> Vec<CertificateDer<'static>> {
        let read = || {
            let found = rustls_native_certs::load_native_certs();
            for error in found.errors {
                tracing::warn!(%error, "some of the system's certificates cannot be read");
            }
            found.certs
        };
        self.roots.get_or_init(read).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_has_the_files_of_its_own_folder_and_no_others() {
        let root = tempfile::tempdir().unwrap();
        let at = |path: &str| root.path().join("tls").join(path);
        let text = |path: &str| at(path).display().to_string();
        for folder in ["shop/..2026", "shop-2", "other"] {
            fs::create_dir_all(at(folder)).unwrap();
        }
        for file in ["shop/..2026/ca.pem", "shop-2/key.pem", "other/key.pem"] {
            fs::write(at(file), "content").unwrap();
        }
        // As the kubelet mounts a Secret: by links, inside and outside.
        std::os::unix::fs::symlink("..2026", at("shop/..data")).unwrap();
        std::os::unix::fs::symlink("..data/ca.pem", at("shop/ca.pem")).unwrap();
        std::os::unix::fs::symlink(at("other/key.pem"), at("shop/stolen.pem")).unwrap();
        let files = Certificates::new(at(""));
        assert_eq!(files.read("shop", &text("shop/ca.pem")).unwrap(), b"content");
        for (namespace, path) in [
            ("shop", text("other/key.pem")),
            ("shop", text("shop-2/key.pem")),
            ("shop", text("shop/../other/key.pem")),
            ("shop", text("shop/stolen.pem")),
            ("shop", text("shop/none.pem")),
            ("shop", text("shop")),
            ("shop", "/etc/hostname".to_owned()),
            ("shop", "ca.pem".to_owned()),
            ("", text("shop/ca.pem")),
            ("..", text("shop/ca.pem")),
            ("none", text("none/ca.pem")),
        ] {
            assert!(files.read(namespace, &path).is_err(), "{namespace} {path}");
            assert!(files.stamp(namespace, &path).is_err(), "{namespace} {path}");
        }
    }

    #[test]
    fn a_file_that_changes_has_another_stamp() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("shop");
        fs::create_dir_all(&folder).unwrap();
        let path = folder.join("ca.pem");
        let files = Certificates::new(root.path().to_owned());
        let stamp = || files.stamp("shop", &path.display().to_string()).unwrap();
        fs::write(&path, "one").unwrap();
        let before = stamp();
        assert_eq!(stamp(), before);
        fs::write(folder.join("next"), "two").unwrap();
        fs::rename(folder.join("next"), &path).unwrap();
        assert_ne!(stamp(), before);
    }
}
