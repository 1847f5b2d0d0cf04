//! Follows the mesh's roots where another process keeps them, by looking again and again.

use std::time::Duration;

use tokio::time::sleep;

use super::Identities;
use crate::bundle::Bundle;

/// How often they are looked at.
const LOOK: Duration = Duration::from_secs(5);

/// Has agents trust what is read, as long as the future lives. A failure that stays the same is told once.
pub async fn follow<F>(identities: Identities, read: impl Fn() -> F, failed: impl Fn(&str))
where
    F: Future<Output = Result<Bundle, String>>,
{
    let mut told = None;
    loop {
        match read().await {
            Ok(bundle) => {
                identities.trust(bundle);
                told = None;
            }
            Err(error) => {
                if told.as_ref() != Some(&error) {
                    failed(&error);
                }
                told = Some(error);
            }
        }
        sleep(LOOK).await;
    }
}
