//! What the CA signs with, in a Secret, and its roots, in a `ConfigMap` that every agent reads.
//!
//! The Secret is read again and again: a signer that missed the update of its Secret once signed with an
//! issuer that had ended.

use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};

use agent_base::error::chain;
use agent_identity::{
    bundle::Bundle,
    material::{Files, Material, NAMES},
    signer::Signer,
};
use arc_swap::ArcSwap;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::{
    ByteString,
    api::core::v1::{ConfigMap, Secret},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use kube::{Api, Client, api::PostParams};
use tokio::time::sleep;
use zeroize::Zeroizing;

/// The Secret.
pub const SECRET: &str = "sekisho-ca-key";
/// The `ConfigMap`, and the key in it.
pub const TRUST: &str = "sekisho-trust";
/// See [`TRUST`].
pub const ROOTS: &str = "root-cert.pem";
/// How often both are looked at, and how soon after a failure.
const LOOK: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_secs(2);
/// The API server's word for an object that exists already.
const CONFLICT: u16 = 409;

/// Where both are, and how long what is signed lives.
#[derive(Clone, Debug)]
pub struct Places {
    /// The namespace of the Secret.
    pub own: String,
    /// That of the `ConfigMap`.
    pub trust: String,
    /// The longest life of a certificate.
    pub most: SignedDuration,
}

/// Who signs now, or why no one does.
pub type Current = Result<Arc<Signer>, String>;

/// See the module.
pub struct Keys {
    secrets: Api<Secret>,
    trust: Api<ConfigMap>,
    places: Places,
    current: ArcSwap<Current>,
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keys").field("places", &self.places).finish_non_exhaustive()
    }
}

impl Keys {
    /// Nothing is read yet.
    pub fn new(client: Client, places: Places) -> Self {
        let secrets = Api::namespaced(client.clone(), &places.own);
        let trust = Api::namespaced(client, &places.trust);
        let current = ArcSwap::from_pointee(Err("the CA's key is not read yet".to_owned()));
        Self { secrets, trust, places, current }
    }

    /// Who signs now.
    pub fn current(&self) -> Current {
        (**self.current.load()).clone()
    }

    /// Keeps both up to date, as long as the future lives.
    pub async fn follow(&self) {
        let mut latest: Option<Files> = None;
        loop {
            let looked = self.look(&mut latest).await;
            let pause = if looked.is_ok() { LOOK } else { PAUSE };
            if let Err(why) = looked {
                if self.current().err().as_ref() != Some(&why) {
                    tracing::error!(error = why, "the CA signs nothing");
                }
                self.current.store(Arc::new(Err(why)));
            }
            sleep(pause).await;
        }
    }

    async fn look(&self, latest: &mut Option<Files>) -> Result<(), String> {
        let Places { own, trust, most } = &self.places;
        let now = Timestamp::now();
        let secret = format!("Secret {own}/{SECRET}");
        let files = match self.files(now).await {
            Ok(files) => files,
            // What was read before counts on while the server is away.
            Err(error) if self.current().is_ok() => {
                tracing::warn!(error = chain(&error), "the CA's key cannot be read again");
                return Ok(());
            }
            Err(error) => return Err(format!("{secret}: {}", chain(&error))),
        };
        let material = Material::find(&files).map_err(|error| format!("{secret}: {error}"))?;
        let signer = Signer::open(&material, *most, now);
        let signer = Arc::new(signer.map_err(|error| format!("{secret}: {error}"))?);
        // Nothing is signed under a root that agents cannot know of.
        self.publish(signer.roots())
            .await
            .map_err(|error| format!("ConfigMap {trust}/{TRUST}: {}", chain(&error)))?;
        if latest.as_ref() == Some(&files) && self.current().is_ok() {
            // It has only been proved again.
            return Ok(());
        }
        tracing::info!(roots = signer.roots().digest(), ends = %signer.ends(), "the CA signs");
        *latest = Some(files);
        self.current.store(Arc::new(Ok(signer)));
        Ok(())
    }

    /// What the Secret has. Where there is none, one is made; of several that make one at once, the
    /// server takes the first, and the others read it.
    async fn files(&self, now: Timestamp) -> kube::Result<Files> {
        if let Some(secret) = self.secrets.get_opt(SECRET).await? {
            return Ok(files(secret));
        }
        let made = Material::make(now).map_err(|error| kube::Error::Service(Box::new(error)))?;
        let data = made.iter().map(|(name, text)| (name.clone(), ByteString(text.to_vec())));
        let secret =
            Secret { metadata: named(SECRET), data: Some(data.collect()), ..Secret::default() };
        match self.secrets.create(&PostParams::default(), &secret).await {
            Ok(secret) => Ok(files(secret)),
            Err(kube::Error::Api(status)) if status.code == CONFLICT => {
                self.secrets.get(SECRET).await.map(files)
            }
            Err(error) => Err(error),
        }
    }

    async fn publish(&self, roots: &Bundle) -> kube::Result<()> {
        let text = roots.to_pem();
        let old = self.trust.get_opt(TRUST).await?;
        let said = old.as_ref().and_then(|map| map.data.as_ref()?.get(ROOTS));
        if said == Some(&text) {
            return Ok(());
        }
        let data = Some(BTreeMap::from([(ROOTS.to_owned(), text)]));
        if let Some(old) = old {
            let map = ConfigMap { data, ..old };
            self.trust.replace(TRUST, &PostParams::default(), &map).await?;
        } else {
            let map = ConfigMap { metadata: named(TRUST), data, ..ConfigMap::default() };
            self.trust.create(&PostParams::default(), &map).await?;
        }
        Ok(())
    }
}

fn named(name: &str) -> ObjectMeta {
    let labels = [("app.kubernetes.io/managed-by".to_owned(), "sekisho-ca".to_owned())];
    ObjectMeta { name: Some(name.to_owned()), labels: Some(labels.into()), ..ObjectMeta::default() }
}

fn files(secret: Secret) -> Files {
    let data = secret.data.unwrap_or_default();
    let known = data.into_iter().filter(|(name, _)| NAMES.contains(&name.as_str()));
    known.map(|(name, text)| (name, Zeroizing::new(text.0))).collect()
}
