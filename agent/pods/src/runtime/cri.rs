//! The two calls of the Container Runtime Interface (version 1) that tell what runs, by hand: of
//! each message only the fields that are read. Their numbers are those of `api.proto` in
//! `k8s.io/cri-api/pkg/apis/runtime/v1`.

use std::{collections::HashMap, path::Path, time::Duration};

use http::uri::PathAndQuery;
use thiserror::Error;
use tonic::{
    Request, Status,
    client::Grpc,
    transport::{Channel, Endpoint},
};
use tonic_prost::ProstCodec;

/// The kubelet waits longer, since it also starts containers.
const PATIENCE: Duration = Duration::from_secs(5);
/// As the kubelet has it. A list of a thousand sandboxes is about 1 MiB.
const LONGEST_ANSWER: usize = 16 * 1024 * 1024;
/// `PodSandboxState`.
const SANDBOX_READY: i32 = 0;

/// Why there is no answer.
#[derive(Debug, Error)]
pub enum CriError {
    /// The socket's path is no URI.
    #[error("--cri-socket cannot be used")]
    Address(#[source] tonic::transport::Error),
    /// Nothing listens.
    #[error("cannot connect")]
    Connect(#[source] tonic::transport::Error),
    /// The call failed.
    #[error("{call} failed with {:?}: {}", status.code(), status.message())]
    Call {
        /// Which.
        call: &'static str,
        /// How.
        status: Box<Status>,
    },
}

impl CriError {
    /// True when it is about the one sandbox that was asked for.
    pub(super) fn is_not_found(&self) -> bool {
        matches!(self, Self::Call { status, .. } if status.code() == tonic::Code::NotFound)
    }
}

/// A runtime at its socket. Connects when it is asked, and again after the runtime went away.
#[derive(Clone, Debug)]
pub(super) struct Client {
    grpc: Grpc<Channel>,
}

impl Client {
    pub(super) fn new(socket: &Path) -> Result<Self, CriError> {
        let endpoint = Endpoint::from_shared(format!("unix://{}", socket.display()))
            .map_err(CriError::Address)?
            .connect_timeout(PATIENCE)
            .timeout(PATIENCE);
        let grpc = Grpc::new(endpoint.connect_lazy()).max_decoding_message_size(LONGEST_ANSWER);
        Ok(Self { grpc })
    }

    /// The sandboxes that run.
    pub(super) async fn running(&mut self) -> Result<Vec<PodSandbox>, CriError> {
        let state = Some(PodSandboxStateValue { state: SANDBOX_READY });
        let request = ListPodSandboxRequest { filter: Some(PodSandboxFilter { state }) };
        let answer: ListPodSandboxResponse = self.call("ListPodSandbox", request).await?;
        Ok(answer.items.into_iter().filter(|one| one.state == SANDBOX_READY).collect())
    }

    /// One sandbox, with what the runtime otherwise keeps to itself.
    pub(super) async fn status(&mut self, id: &str) -> Result<PodSandboxStatusResponse, CriError> {
        let request = PodSandboxStatusRequest { pod_sandbox_id: id.to_owned(), verbose: true };
        self.call("PodSandboxStatus", request).await
    }

    async fn call<Q, A>(&mut self, call: &'static str, request: Q) -> Result<A, CriError>
    where
        Q: prost::Message + 'static,
        A: prost::Message + Default + 'static,
    {
        self.grpc.ready().await.map_err(CriError::Connect)?;
        let path = PathAndQuery::try_from(format!("/runtime.v1.RuntimeService/{call}"))
            .expect("the names of calls are plain words");
        let codec = ProstCodec::<Q, A>::default();
        let answer = self.grpc.unary(Request::new(request), path, codec).await;
        let failed = |status| CriError::Call { call, status: Box::new(status) };
        answer.map(tonic::Response::into_inner).map_err(failed)
    }
}

#[derive(Clone, PartialEq, prost::Message)]
struct ListPodSandboxRequest {
    #[prost(message, optional, tag = "1")]
    filter: Option<PodSandboxFilter>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct PodSandboxFilter {
    #[prost(message, optional, tag = "2")]
    state: Option<PodSandboxStateValue>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct PodSandboxStateValue {
    #[prost(int32, tag = "1")]
    state: i32,
}

#[derive(Clone, PartialEq, prost::Message)]
struct ListPodSandboxResponse {
    #[prost(message, repeated, tag = "1")]
    items: Vec<PodSandbox>,
}

/// A sandbox in the list.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct PodSandbox {
    #[prost(string, tag = "1")]
    pub(super) id: String,
    #[prost(message, optional, tag = "2")]
    pub(super) metadata: Option<PodSandboxMetadata>,
    #[prost(int32, tag = "3")]
    pub(super) state: i32,
    /// Nanoseconds.
    #[prost(int64, tag = "4")]
    pub(super) created_at: i64,
    #[prost(map = "string, string", tag = "5")]
    pub(super) labels: HashMap<String, String>,
    #[prost(map = "string, string", tag = "6")]
    pub(super) annotations: HashMap<String, String>,
    #[prost(string, tag = "7")]
    pub(super) runtime_handler: String,
}

/// Whose it is, in the kubelet's words.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct PodSandboxMetadata {
    #[prost(string, tag = "1")]
    pub(super) name: String,
    #[prost(string, tag = "2")]
    pub(super) uid: String,
    #[prost(string, tag = "3")]
    pub(super) namespace: String,
    #[prost(uint32, tag = "4")]
    pub(super) attempt: u32,
}

#[derive(Clone, PartialEq, prost::Message)]
struct PodSandboxStatusRequest {
    #[prost(string, tag = "1")]
    pod_sandbox_id: String,
    #[prost(bool, tag = "2")]
    verbose: bool,
}

/// A sandbox by itself.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct PodSandboxStatusResponse {
    #[prost(message, optional, tag = "1")]
    pub(super) status: Option<PodSandboxStatus>,
    /// Each runtime's own; `info` is JSON in both containerd and CRI-O.
    #[prost(map = "string, string", tag = "2")]
    pub(super) info: HashMap<String, String>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct PodSandboxStatus {
    #[prost(message, optional, tag = "5")]
    pub(super) network: Option<PodSandboxNetworkStatus>,
}

/// The addresses that its network plugin gave it.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct PodSandboxNetworkStatus {
    #[prost(string, tag = "1")]
    pub(super) ip: String,
    #[prost(message, repeated, tag = "2")]
    pub(super) additional_ips: Vec<PodIp>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct PodIp {
    #[prost(string, tag = "1")]
    pub(super) ip: String,
}
