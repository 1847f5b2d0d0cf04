//! An image of one layer as a tar archive, in two forms at once: the OCI image layout
//! (<https://github.com/opencontainers/image-spec/blob/main/image-layout.md>) that containerd, kind
//! and Docker's containerd image store read, and the `manifest.json` of `docker save` without which
//! Docker's older image store takes no archive (seen with 20.10 and 26.1), and by which Podman knows
//! the name.

use std::{collections::BTreeSet, fmt::Write as _, io::Write as _, path::Path};

use flate2::{Compression, GzBuilder};
use ring::digest::{SHA256, digest};
use serde_json::{Value, json};
use tar::{EntryType, Header};

/// A file of an image.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    /// From the root, without a leading slash.
    pub(crate) path: String,
    pub(crate) bytes: Vec<u8>,
}

/// A packed image.
pub(crate) struct Image {
    /// The archive.
    pub(crate) bytes: Vec<u8>,
    /// The digest of its manifest, by which a registry would know it.
    pub(crate) digest: String,
}

/// A blob of the layout.
struct Blob {
    bytes: Vec<u8>,
    digest: String,
}

impl Blob {
    fn new(bytes: Vec<u8>) -> Self {
        let digest = sha256(&bytes);
        Self { bytes, digest }
    }

    fn path(&self) -> String {
        format!("blobs/sha256/{}", self.digest)
    }

    /// As a manifest or an index refers to it.
    fn descriptor(&self, media_type: &str) -> Value {
        json!({
            "mediaType": format!("application/vnd.oci.image.{media_type}"),
            "digest": format!("sha256:{}", self.digest),
            "size": self.bytes.len(),
        })
    }
}

/// Packs programs and the files that they load into an image called `name`, which starts the first
/// of them. Directories are made where a path needs them, and those of `directories` besides.
pub(crate) fn pack(
    name: &str,
    arch: &str,
    entries: &[Entry],
    directories: &[&str],
) -> anyhow::Result<Image> {
    let files = layer(entries, directories)?;
    let diff_id = format!("sha256:{}", sha256(&files));
    let layer = Blob::new(gzip(&files)?);
    let config = Blob::new(serde_json::to_vec(&configuration(arch, &entries[0].path, &diff_id))?);
    let manifest = Blob::new(serde_json::to_vec(&json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": config.descriptor("config.v1+json"),
        "layers": [layer.descriptor("layer.v1.tar+gzip")],
    }))?);
    let index = serde_json::to_vec(&index(name, arch, &manifest))?;
    let saved = json!([{ "Config": config.path(), "RepoTags": [name], "Layers": [layer.path()] }]);

    let mut archive = tar::Builder::new(Vec::new());
    put(&mut archive, "oci-layout", &serde_json::to_vec(&json!({"imageLayoutVersion": "1.0.0"}))?)?;
    put(&mut archive, "index.json", &index)?;
    put(&mut archive, "manifest.json", &serde_json::to_vec(&saved)?)?;
    for blob in [&config, &manifest, &layer] {
        put(&mut archive, &blob.path(), &blob.bytes)?;
    }
    Ok(Image { bytes: archive.into_inner()?, digest: format!("sha256:{}", manifest.digest) })
}

fn configuration(arch: &str, program: &str, diff_id: &str) -> Value {
    json!({
        "architecture": arch,
        "os": "linux",
        "config": {
            "Entrypoint": [format!("/{program}")],
            "Env": ["PATH=/usr/local/bin:/usr/bin:/bin"],
            "Labels": {
                "org.opencontainers.image.title": "sekisho",
                "org.opencontainers.image.version": env!("CARGO_PKG_VERSION"),
                "org.opencontainers.image.licenses": "Apache-2.0",
            },
        },
        "rootfs": { "type": "layers", "diff_ids": [diff_id] },
    })
}

/// The names are those by which `ctr` and Docker look an image up; a name without a host is one of
/// Docker's library to both.
fn index(name: &str, arch: &str, manifest: &Blob) -> Value {
    let mut descriptor = manifest.descriptor("manifest.v1+json");
    let tag = name.rsplit_once(':').map_or("latest", |(_, tag)| tag);
    descriptor["platform"] = json!({ "architecture": arch, "os": "linux" });
    descriptor["annotations"] = json!({
        "io.containerd.image.name": full_name(name),
        "org.opencontainers.image.ref.name": tag,
    });
    json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [descriptor],
    })
}

/// The name as the kubelet asks containerd for it.
fn full_name(name: &str) -> String {
    let host = name.split_once('/').map_or("", |(host, _)| host);
    match name.contains('/') {
        false => format!("docker.io/library/{name}"),
        true if host.contains(['.', ':']) || host == "localhost" => name.to_owned(),
        true => format!("docker.io/{name}"),
    }
}

fn layer(entries: &[Entry], directories: &[&str]) -> std::io::Result<Vec<u8>> {
    let mut files = tar::Builder::new(Vec::new());
    let above = entries.iter().flat_map(|entry| Path::new(&entry.path).ancestors().skip(1));
    let named = directories.iter().map(Path::new);
    let made: BTreeSet<&Path> = above.chain(named).filter(|path| *path != Path::new("")).collect();
    for path in made {
        files.append_data(&mut header(EntryType::Directory, 0, 0o755), path, [].as_slice())?;
    }
    for Entry { path, bytes } in entries {
        let mut entry = header(EntryType::Regular, bytes.len(), 0o755);
        files.append_data(&mut entry, path, bytes.as_slice())?;
    }
    files.into_inner()
}

fn put(archive: &mut tar::Builder<Vec<u8>>, path: &str, bytes: &[u8]) -> std::io::Result<()> {
    archive.append_data(&mut header(EntryType::Regular, bytes.len(), 0o644), path, bytes)
}

/// Without a time or an owner, which differ from build to build.
fn header(kind: EntryType, size: usize, mode: u32) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_size(size as u64);
    header.set_mode(mode);
    header.set_mtime(0);
    header.set_uid(0);
    header.set_gid(0);
    header
}

fn gzip(bytes: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut encoder = GzBuilder::new().mtime(0).write(Vec::new(), Compression::best());
    encoder.write_all(bytes)?;
    encoder.finish()
}

fn sha256(bytes: &[u8]) -> String {
    let digest = digest(&SHA256, bytes);
    digest.as_ref().iter().fold(String::new(), |mut text, byte| {
        // Writing to a String never fails.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, io::Read as _};

    use super::*;

    fn unpack(bytes: &[u8]) -> BTreeMap<String, Vec<u8>> {
        let mut archive = tar::Archive::new(bytes);
        let read = archive.entries().expect("an archive").map(|entry| {
            let mut entry = entry.expect("an entry");
            let path = entry.path().expect("a path").display().to_string();
            let mut content = Vec::new();
            entry.read_to_end(&mut content).expect("its content");
            (path, content)
        });
        read.collect()
    }

    fn place(descriptor: &Value) -> String {
        let digest = descriptor["digest"].as_str().expect("a digest");
        format!("blobs/{}", digest.replace(':', "/"))
    }

    fn blob<'a>(files: &'a BTreeMap<String, Vec<u8>>, descriptor: &Value) -> &'a [u8] {
        let bytes = &files[&place(descriptor)];
        assert_eq!(descriptor["digest"], format!("sha256:{}", sha256(bytes)));
        assert_eq!(descriptor["size"], bytes.len());
        bytes
    }

    fn sample(arch: &str) -> Image {
        let entries = [Entry { path: "usr/bin/program".to_owned(), bytes: b"program".to_vec() }];
        pack("sekisho:dev", arch, &entries, &["run"]).expect("packed")
    }

    /// What an archive says, read by following the references of its layout.
    struct Told {
        files: BTreeMap<String, Vec<u8>>,
        index: Value,
        manifest: Value,
        config: Value,
    }

    fn told(image: &Image) -> Told {
        let files = unpack(&image.bytes);
        let index: Value = serde_json::from_slice(&files["index.json"]).expect("an index");
        let manifest: Value =
            serde_json::from_slice(blob(&files, &index["manifests"][0])).expect("a manifest");
        let config = serde_json::from_slice(blob(&files, &manifest["config"])).expect("JSON");
        Told { files, index, manifest, config }
    }

    #[test]
    fn every_reference_leads_to_its_blob() {
        let told = told(&sample("amd64"));
        let mut layer = Vec::new();
        let packed = blob(&told.files, &told.manifest["layers"][0]);
        flate2::read::GzDecoder::new(packed).read_to_end(&mut layer).expect("a layer");
        assert_eq!(told.config["rootfs"]["diff_ids"][0], format!("sha256:{}", sha256(&layer)));
        let layer = unpack(&layer);
        assert_eq!(layer["usr/bin/program"], b"program");
        let paths: Vec<&str> = layer.keys().map(String::as_str).collect();
        assert_eq!(paths, ["run", "usr", "usr/bin", "usr/bin/program"]);
    }

    #[test]
    fn both_forms_name_the_same_blobs() {
        let told = told(&sample("amd64"));
        let saved: Value = serde_json::from_slice(&told.files["manifest.json"]).expect("a list");
        let expected = json!([{
            "Config": place(&told.manifest["config"]),
            "RepoTags": ["sekisho:dev"],
            "Layers": [place(&told.manifest["layers"][0])],
        }]);
        assert_eq!(saved, expected);
    }

    #[test]
    fn an_image_says_which_machines_it_is_for() {
        let told = told(&sample("arm64"));
        for platform in [&told.index["manifests"][0]["platform"], &told.config] {
            assert_eq!(platform["architecture"], "arm64");
            assert_eq!(platform["os"], "linux");
        }
    }

    #[test]
    fn equal_programs_give_equal_archives() {
        assert_eq!(sample("amd64").bytes, sample("amd64").bytes);
    }

    #[test]
    fn names_are_those_that_the_kubelet_asks_for() {
        assert_eq!(full_name("sekisho:dev"), "docker.io/library/sekisho:dev");
        assert_eq!(full_name("team/sekisho:1"), "docker.io/team/sekisho:1");
        assert_eq!(full_name("registry.example.com/sekisho:1"), "registry.example.com/sekisho:1");
    }
}
