//! What a pod's client sees.

use std::{thread, time::Duration};

use anyhow::{bail, ensure};

use super::{
    cluster::{Cluster, eventually},
    stage::SHOP,
};
use crate::database;

/// What the refusal of a rule looks like to `psql`.
const REFUSED: &str = "Operation not permitted";
/// What a hold looks like.
const HELD: &str = "Resource temporarily unavailable";
const PATIENCE: Duration = Duration::from_secs(10);

/// What one query ended with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Saw {
    /// The database's answer.
    Answer,
    /// EPERM.
    Refused,
    /// EAGAIN.
    Held,
    /// Something else, in the client's words.
    Other(String),
}

/// One query from a pod.
pub(super) fn query(cluster: &Cluster, (namespace, pod): (&str, &str), host: &str) -> Saw {
    let words = ["exec", "-n", namespace, pod, "--", "env", "PGCONNECT_TIMEOUT=3"];
    match database::query(cluster.kubectl_command(&words), host) {
        Ok(answer) if answer == "3 orders" => Saw::Answer,
        Ok(other) => Saw::Other(other),
        Err(problem) => {
            let said = format!("{problem:#}");
            if said.contains(REFUSED) {
                Saw::Refused
            } else if said.contains(HELD) {
                Saw::Held
            } else {
                Saw::Other(said)
            }
        }
    }
}

/// Fails unless a pod sees just that, at once.
pub(super) fn sees(cluster: &Cluster, pod: &str, host: &str, wanted: &Saw) -> anyhow::Result<()> {
    let saw = query(cluster, (SHOP, pod), host);
    ensure!(saw == *wanted, "{pod} at {host} saw {saw:?} instead of {wanted:?}");
    Ok(())
}

/// Waits until a pod sees that; nothing but what was true before may be seen meanwhile.
pub(super) fn comes_to_see(
    cluster: &Cluster,
    pod: &str,
    host: &str,
    (before, wanted): (&Saw, &Saw),
) -> anyhow::Result<Duration> {
    let mut wrong = None;
    let took = eventually(PATIENCE, || {
        let saw = query(cluster, (SHOP, pod), host);
        if saw != *wanted && saw != *before {
            wrong = Some(saw.clone());
        }
        ensure!(saw == *wanted, "{pod} at {host} sees {saw:?} instead of {wanted:?}");
        Ok(())
    })?;
    match wrong {
        Some(saw) => bail!("{pod} at {host} saw {saw:?} on the way"),
        None => Ok(took),
    }
}

/// Lets a moment pass in which nothing may change.
pub(super) fn settle() {
    thread::sleep(Duration::from_millis(500));
}
