//! `sekisho crds`: definitions of custom resources for clusters that lack them. They are created,
//! never applied, so one that Istio or App Mesh has installed stays as it is.

use agent_source::cluster::connect;
use anyhow::{Context as _, bail};
use kube::{
    Api, Client,
    api::{DynamicObject, PostParams},
    core::ApiResource,
};
use serde::Serialize;

use super::{Answer, output::encode};
use crate::args::{CrdsArgs, CrdsInstallArgs, CrdsVerb, exit};

/// Written by `cargo xtask crds`, which a test holds against the types.
const DEFINITIONS: [&str; 19] = [
    include_str!("../../../deploy/crds/authorizationpolicies.security.istio.io.yaml"),
    include_str!("../../../deploy/crds/backendgroups.appmesh.k8s.aws.yaml"),
    include_str!("../../../deploy/crds/destinationrules.networking.istio.io.yaml"),
    include_str!("../../../deploy/crds/gatewayroutes.appmesh.k8s.aws.yaml"),
    include_str!("../../../deploy/crds/gateways.networking.istio.io.yaml"),
    include_str!("../../../deploy/crds/meshes.appmesh.k8s.aws.yaml"),
    include_str!("../../../deploy/crds/meshpolicies.authentication.istio.io.yaml"),
    include_str!("../../../deploy/crds/peerauthentications.security.istio.io.yaml"),
    include_str!("../../../deploy/crds/policies.authentication.istio.io.yaml"),
    include_str!("../../../deploy/crds/requestauthentications.security.istio.io.yaml"),
    include_str!("../../../deploy/crds/serviceentries.networking.istio.io.yaml"),
    include_str!("../../../deploy/crds/sidecars.networking.istio.io.yaml"),
    include_str!("../../../deploy/crds/virtualgateways.appmesh.k8s.aws.yaml"),
    include_str!("../../../deploy/crds/virtualnodes.appmesh.k8s.aws.yaml"),
    include_str!("../../../deploy/crds/virtualrouters.appmesh.k8s.aws.yaml"),
    include_str!("../../../deploy/crds/virtualservices.appmesh.k8s.aws.yaml"),
    include_str!("../../../deploy/crds/virtualservices.networking.istio.io.yaml"),
    include_str!("../../../deploy/crds/workloadentries.networking.istio.io.yaml"),
    include_str!("../../../deploy/crds/workloadgroups.networking.istio.io.yaml"),
];

/// Who made a definition says so in this label.
const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
const CONFLICT: u16 = 409;

/// What became of a definition.
#[derive(Debug, Serialize)]
#[serde(rename_all = "lowercase", tag = "is")]
enum Outcome {
    Installed {
        name: String,
    },
    Kept {
        name: String,
        /// Who wrote it.
        by: String,
    },
}

pub(super) async fn run(args: &CrdsArgs) -> anyhow::Result<Answer> {
    match &args.verb {
        CrdsVerb::Install(args) => install(args).await,
        CrdsVerb::Print => Ok(Answer { text: DEFINITIONS.join("---\n"), code: exit::OK }),
    }
}

async fn install(args: &CrdsInstallArgs) -> anyhow::Result<Answer> {
    let (client, server) = connect(&args.credentials.clone().into()).await?;
    let api = api(client);
    let mut outcomes = Vec::new();
    for text in DEFINITIONS {
        let definition: DynamicObject =
            serde_saphyr::from_str(text).context("a definition of our own")?;
        outcomes.push(create(&api, &definition).await.with_context(|| server.clone())?);
    }
    let text = match encode(args.output.format, &outcomes)? {
        Some(text) => text,
        None => outcomes.iter().map(line).collect(),
    };
    Ok(Answer { text, code: exit::OK })
}

fn api(client: Client) -> Api<DynamicObject> {
    let resource = ApiResource {
        group: "apiextensions.k8s.io".to_owned(),
        version: "v1".to_owned(),
        api_version: "apiextensions.k8s.io/v1".to_owned(),
        kind: "CustomResourceDefinition".to_owned(),
        plural: "customresourcedefinitions".to_owned(),
    };
    Api::all_with(client, &resource)
}

async fn create(api: &Api<DynamicObject>, definition: &DynamicObject) -> anyhow::Result<Outcome> {
    let name = definition.metadata.name.clone().context("a definition without a name")?;
    match api.create(&PostParams::default(), definition).await {
        Ok(_) => Ok(Outcome::Installed { name }),
        Err(kube::Error::Api(refused)) if refused.code == CONFLICT => {
            let by = api.get(&name).await.map(|there| maker(&there));
            Ok(Outcome::Kept { by: by.unwrap_or_else(|_| "an unknown client".to_owned()), name })
        }
        Err(error) => bail!("{name} cannot be created: {error}"),
    }
}

/// Who wrote a definition: by its label, else the first field manager.
fn maker(there: &DynamicObject) -> String {
    let labels = there.metadata.labels.as_ref();
    let label = labels.and_then(|labels| labels.get(MANAGED_BY));
    if label.is_some_and(|label| label == "sekisho") {
        return "ours".to_owned();
    }
    let fields = there.metadata.managed_fields.as_ref().and_then(|all| all.first());
    let sender = fields.and_then(|fields| fields.manager.clone());
    label.cloned().or(sender).unwrap_or_else(|| "an unknown client".to_owned())
}

fn line(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Installed { name } => format!("installed {name}\n"),
        Outcome::Kept { name, by } => format!("kept      {name} ({by})\n"),
    }
}
