//! A request's answer, or what is in its way.

use std::{future::Future, time::Duration};

use agent_source::cluster::{Presence, Trouble};
use kube::core::Status;
use tokio::time::timeout;

/// What we call ourselves towards the API server.
pub(super) const MANAGER: &str = "sekisho";
/// How long the API server may take to answer.
pub(super) const ANSWER: Duration = Duration::from_secs(5);

/// Why there is no good answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// The server refuses.
    #[error("the API server answers {} {}", .0.code, .0.message)]
    Refused(Box<Status>),
    /// It cannot be reached, or answers something else.
    #[error("the API server cannot be reached")]
    Request(#[source] Box<kube::Error>),
    /// It says nothing.
    #[error("the API server said nothing for {} s", .0.as_secs())]
    Silent(Duration),
    /// A watch broke.
    #[error(transparent)]
    Watch(Box<Trouble>),
}

impl From<Trouble> for Failure {
    fn from(trouble: Trouble) -> Self {
        match trouble {
            Trouble::Refused { status, .. } | Trouble::Broken { status } => Self::Refused(status),
            Trouble::Request(error) => Self::Request(error),
            other => Self::Watch(Box::new(other)),
        }
    }
}

impl From<kube::Error> for Failure {
    fn from(error: kube::Error) -> Self {
        match error {
            kube::Error::Api(status) => Self::Refused(status),
            other => Self::Request(Box::new(other)),
        }
    }
}

/// Sends a request when the server may be asked, and waits for its answer, but not for ever.
pub(super) async fn answer<T>(
    presence: &Presence,
    request: impl Future<Output = Result<T, kube::Error>>,
) -> Result<T, Failure> {
    presence.ready().await;
    let answer = timeout(ANSWER, request).await.map_err(|_| Failure::Silent(ANSWER))?;
    if let Err(kube::Error::Api(status)) = &answer {
        presence.heed(status);
    }
    Ok(answer?)
}

impl Failure {
    /// The code of a refusal.
    pub(super) fn code(&self) -> Option<u16> {
        match self {
            Self::Refused(status) => Some(status.code),
            _ => None,
        }
    }

    /// Another client wrote first, or what is to be made is there.
    pub(super) fn is_conflict(&self) -> bool {
        self.code() == Some(409)
    }

    /// The object is not there; a path that is not there names none.
    pub(super) fn is_missing_object(&self) -> bool {
        self.code() == Some(404) && !self.is_missing_path()
    }

    /// There is no such path: the kind, or its status, cannot be written at all.
    pub(super) fn is_missing_path(&self) -> bool {
        let Self::Refused(status) = self else { return false };
        let named = status.details.as_ref().is_some_and(|details| !details.name.is_empty());
        status.code == 404 && !named
    }

    /// The namespace is on its way out, so nothing new can be made in it.
    pub(super) fn is_about_the_end(&self) -> bool {
        let Self::Refused(status) = self else { return false };
        let details = status.details.as_ref();
        let mut causes = details.into_iter().flat_map(|details| &details.causes);
        status.code == 403 && causes.any(|cause| cause.reason == "NamespaceTerminating")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> Failure {
        Failure::Refused(Box::new(serde_json::from_str(text).unwrap()))
    }

    /// The answers are a kube-apiserver's own.
    #[test]
    fn an_object_that_is_gone_is_told_from_a_status_that_is_not_there() {
        let gone = refused(
            r#"{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":
            "serviceentries.networking.istio.io \"x\" not found","reason":"NotFound","details":
            {"name":"x","group":"networking.istio.io","kind":"serviceentries"},"code":404}"#,
        );
        assert!(gone.is_missing_object() && !gone.is_missing_path());
        let path = refused(
            r#"{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":
            "the server could not find the requested resource","reason":"NotFound","details":{},
            "code":404}"#,
        );
        assert!(path.is_missing_path() && !path.is_missing_object());
        assert!(!gone.is_about_the_end() && !gone.is_conflict());
    }
}
