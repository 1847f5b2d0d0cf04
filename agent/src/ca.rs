//! `sekisho ca`, put together: what starts, and who ends it.

use std::{
    fmt::Write as _,
    sync::{Arc, Mutex},
};

use agent_base::lock::lock;
use agent_ca::{
    desk::Desk,
    keys::{Keys, Places},
    known_pods::KnownPods,
    reviews::Reviews,
    server,
};
use agent_identity::authorise::Rules;
use agent_source::cluster::connect;
use anyhow::Context as _;
use axum::{Router, extract::State, http::StatusCode, routing::get};
use jiff::{SignedDuration, Timestamp};
use tokio::{net::TcpListener, task::JoinSet};

use crate::{
    args::{Account, ServeCaArgs},
    signals::until_signal,
};

/// Runs the CA until a signal ends it.
pub(crate) async fn run(args: ServeCaArgs) -> anyhow::Result<()> {
    let (client, address) = connect(&args.credentials.clone().into()).await?;
    let most = SignedDuration::try_from(args.ca_ttl).context("--ca-ttl")?;
    let places = Places { own: args.namespace, trust: args.trust_namespace, most };
    let keys = Arc::new(Keys::new(client.clone(), places));
    let pods = Arc::new(KnownPods::default());
    let agents =
        args.trusted_agents.into_iter().map(|Account { namespace, name }| (namespace, name));
    let desk = Arc::new(Desk {
        rules: Rules {
            audience: args.audience.clone(),
            trust_domain: args.trust_domain.parse().context("--trust-domain")?,
            agents: agents.collect(),
        },
        reviews: Reviews::new(client.clone(), args.audience),
        pods: Arc::clone(&pods),
        keys: Arc::clone(&keys),
        outcomes: Mutex::default(),
        shares: Mutex::default(),
    });
    let listener = TcpListener::bind(args.listen).await;
    let listener = listener.with_context(|| format!("--listen {}", args.listen))?;
    let mut tasks = JoinSet::<anyhow::Result<()>>::new();
    tasks.spawn(async move {
        keys.follow().await;
        Ok(())
    });
    tasks.spawn(async move {
        pods.follow(client).await;
        Ok(())
    });
    if let Some(admin) = args.admin {
        let listener =
            TcpListener::bind(admin).await.with_context(|| format!("--admin {admin}"))?;
        let app = probes(Arc::clone(&desk));
        tasks.spawn(async move { axum::serve(listener, app).await.context("--admin") });
    }
    let (name, listen) = (args.server_name, listener.local_addr()?);
    tasks.spawn(async move { server::serve(listener, name, desk).await.context("--listen") });
    tracing::info!(server = address, %listen, "CA started");
    tokio::select! {
        ended = until_signal() => Ok(ended?),
        Some(ended) = tasks.join_next() => {
            ended.context("a task of the CA panicked")??;
            anyhow::bail!("a task of the CA ended");
        }
    }
}

fn probes(desk: Arc<Desk>) -> Router {
    Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .with_state(desk)
}

async fn readyz(State(desk): State<Arc<Desk>>) -> (StatusCode, String) {
    match desk.ready() {
        Ok(()) => (StatusCode::OK, "ok\n".to_owned()),
        Err(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")),
    }
}

/// In Prometheus's text format.
async fn metrics(State(desk): State<Arc<Desk>>) -> String {
    let mut text = String::from("# TYPE sekisho_ca_requests_total counter\n");
    for (result, count) in &*lock(&desk.outcomes) {
        let _ = writeln!(text, "sekisho_ca_requests_total{{result=\"{result}\"}} {count}");
    }
    if let Ok(signer) = desk.keys.current() {
        let left = signer.ends().duration_since(Timestamp::now()).as_secs();
        let _ = write!(
            text,
            "# TYPE sekisho_ca_expiry_seconds gauge\nsekisho_ca_expiry_seconds {left}\n"
        );
    }
    text
}
