//! Starts to have certificates made for this node's pods, and keeps the process's keys to itself.

use std::sync::Arc;

use agent_ca::client::Settings;
use anyhow::Context as _;
use futures_util::future::FutureExt as _;
use jiff::SignedDuration;
use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};

use super::Tasks;
use crate::{
    admin::rundir::RunDir,
    args::{AgentArgs, Ca, CaArgs},
    identity::Identity,
};

const RUN_DIR: &str = "the certificates in --run-dir";

/// Starts it, where there is a CA.
pub(super) fn start(
    tasks: &mut Tasks,
    args: &AgentArgs,
    run_dir: &RunDir,
) -> anyhow::Result<Option<Arc<Identity>>> {
    let CaArgs { ca, ca_address, ca_token, ca_roots, ca_dir, ca_ttl } = args.ca.clone();
    let ttl = SignedDuration::try_from(ca_ttl).context("--ca-ttl")?;
    let run_dir = run_dir.path();
    let (identity, work) = match (ca_dir, ca) {
        (Some(ca_dir), _) => {
            let (identity, work) =
                Identity::with_directory(&ca_dir, ttl, run_dir).context(RUN_DIR)?;
            (identity, work.boxed())
        }
        (None, Some(Ca::Own)) => {
            let settings = Settings { address: ca_address, token: ca_token, roots: ca_roots, ttl };
            let (identity, work) = Identity::with_server(settings, run_dir).context(RUN_DIR)?;
            (identity, work.boxed())
        }
        (None, None) => return Ok(None),
    };
    tasks.spawn(async move {
        work.await;
        Ok(())
    });
    Ok(Some(identity))
}

/// The process holds keys: none of its memory is written to a disk when it crashes, and no process of
/// the same user that has no capability for it may read it.
pub(super) fn keep_keys_in_memory() {
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    if let Err(error) = setrlimit(Resource::Core, none) {
        tracing::warn!(%error, "a crash may write the memory with its keys to a core file");
    }
    if let Err(error) = set_dumpable_behavior(DumpableBehavior::NotDumpable) {
        tracing::warn!(%error, "other processes of this user can read the memory with its keys");
    }
}
