//! Certificates for the next agent, so that a restart needs no authority. On a tmpfs only: a key must
//! not reach a disk that lasts.
//!
//! What is read back is checked as if it came from an authority; a file that does not pass is removed.

use std::{
    fs::{self, DirBuilder, File},
    io::{self, Read as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use agent_base::file::Draft;
use jiff::Timestamp;
use ring::digest::{SHA256, digest};
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer, pem::PemObject as _};
use zeroize::Zeroizing;

use crate::{
    bundle::{Bundle, certificates, identity, to_pem},
    facts::{Facts, hex},
    key::Key,
    leaf::Certificate,
    spiffe::SpiffeId,
};

/// `f_type` of a tmpfs (statfs(2)).
const TMPFS: i64 = 0x0102_1994;
/// The folder in the run directory.
const FOLDER: &str = "identity";
/// The roots in it.
const TRUST: &str = "trust.pem";
/// The most of a file: a chain of ten RSA certificates has 20,000 bytes.
const MOST: u64 = 256 * 1024;
/// What the line with the time of receipt begins with.
const RECEIVED: &str = "received ";

/// See the module.
#[derive(Debug)]
pub struct Kept {
    folder: PathBuf,
}

impl Kept {
    /// The folder in a run directory; none, and nothing written, where that is not on a tmpfs.
    pub fn open(run_dir: &Path) -> io::Result<Option<Self>> {
        let folder = run_dir.join(FOLDER);
        if !is_tmpfs(run_dir)? {
            return Ok(None);
        }
        DirBuilder::new().recursive(true).mode(0o700).create(&folder)?;
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o700))?;
        // It may be a mount of its own.
        Ok(is_tmpfs(&folder)?.then_some(Self { folder }))
    }

    /// What an earlier agent trusted.
    pub fn trust(&self) -> Option<Bundle> {
        Bundle::from_pem(&read(&self.folder.join(TRUST)).ok()?).ok()
    }

    /// Keeps the roots.
    pub fn keep_trust(&self, bundle: &Bundle) -> io::Result<()> {
        write(&self.folder.join(TRUST), &[bundle.to_pem().as_bytes()])
    }

    /// What an earlier agent held and may still be used.
    pub fn certificates(&self, bundle: &Bundle, now: Timestamp) -> Vec<Certificate> {
        let Ok(entries) = fs::read_dir(&self.folder) else { return Vec::new() };
        let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
        let mut all = Vec::new();
        for path in paths.filter(|path| !path.ends_with(TRUST)) {
            match restore(&path, bundle, now) {
                Ok(certificate) => all.push(certificate),
                Err(why) => {
                    tracing::info!(file = %path.display(), why, "a kept certificate is not used");
                    // It is looked at again at the next start if it stays.
                    let _ = fs::remove_file(&path);
                }
            }
        }
        all
    }

    /// Keeps a certificate with its key.
    pub fn keep(&self, certificate: &Certificate) -> io::Result<()> {
        let Some(key) = certificate.key.pkcs8() else { return Ok(()) };
        let key = Zeroizing::new(pem::encode(&pem::Pem::new("PRIVATE KEY", key)));
        let received = format!("{RECEIVED}{}\n", certificate.received);
        let chain = to_pem(certificate.chain.iter());
        let parts = [received.as_bytes(), chain.as_bytes(), key.as_bytes()];
        write(&self.path(&certificate.id), &parts)
    }

    /// Forgets one.
    pub fn drop(&self, id: &SpiffeId) {
        match fs::remove_file(self.path(id)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(identity = %id, %error, "a certificate that is over stays on the tmpfs");
            }
            _ => {}
        }
    }

    fn path(&self, id: &SpiffeId) -> PathBuf {
        self.folder.join(name(id))
    }
}

fn write(path: &Path, parts: &[&[u8]]) -> io::Result<()> {
    let mut draft = Draft::new(path, 0o600)?;
    for part in parts {
        draft.file().write_all(part)?;
    }
    draft.commit()
}

/// The name of the file of an identity.
fn name(id: &SpiffeId) -> String {
    hex(&digest(&SHA256, id.to_string().as_bytes()).as_ref()[..16])
}

fn is_tmpfs(path: &Path) -> io::Result<bool> {
    Ok(rustix::fs::statfs(path)?.f_type == TMPFS)
}

fn read(path: &Path) -> io::Result<Zeroizing<Vec<u8>>> {
    // Grown once: what a vector leaves behind as it grows is not zeroised.
    let mut content = Zeroizing::new(Vec::with_capacity(16 * 1024));
    File::open(path)?.take(MOST).read_to_end(&mut content)?;
    Ok(content)
}

fn restore(path: &Path, bundle: &Bundle, now: Timestamp) -> Result<Certificate, String> {
    let content = read(path).map_err(|error| error.to_string())?;
    let received = content.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let received = str::from_utf8(received).ok().and_then(|line| line.strip_prefix(RECEIVED));
    let received = received.and_then(|at| at.parse().ok()).ok_or("no time of receipt")?;
    let chain = certificates(&content).map_err(|error| error.to_string())?;
    let key = PrivatePkcs8KeyDer::from_pem_slice(&content).map_err(|_| "no key")?;
    let key = Zeroizing::new(key.secret_pkcs8_der().to_vec());
    let key = Key::from_pkcs8(key).map_err(|error| error.to_string())?;
    let id = named(&chain)?;
    if path.file_name() != Some(name(&id).as_ref()) {
        return Err(format!("it is of {id}, for which another file is"));
    }
    Certificate::restore(&id, key, chain, bundle, (received, now)).map_err(|it| it.to_string())
}

fn named(chain: &[CertificateDer<'_>]) -> Result<SpiffeId, String> {
    let leaf = chain.first().ok_or("no certificate")?;
    let facts = Facts::of(leaf).map_err(|error| error.to_string())?;
    identity(&facts).map_err(|error| error.to_string())
}
