//! A container runtime that lists the sandboxes which a test tells it of: the two calls of the CRI
//! that an agent makes, over HTTP/2 on a socket, with their messages by hand.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    thread::{self, JoinHandle},
};

use anyhow::{Context as _, Result};
use h2::server::SendResponse;
use http::{HeaderMap, Request, Response};
use tokio::{net::UnixListener, runtime::Builder, sync::oneshot, task::JoinSet};

use crate::{manifest::NAMESPACE, name, world::Host};

/// A sandbox as the runtime knows it.
#[derive(Clone, Debug)]
pub struct Sandbox {
    /// The pod's name; its namespace is that of all pods here.
    pub pod: String,
    /// The pod's UID.
    pub uid: String,
    /// How often a sandbox was made for it before.
    pub attempt: u8,
    /// Its labels.
    pub labels: Vec<(String, String)>,
    /// The path of its network namespace.
    pub netns: PathBuf,
    /// Its addresses.
    pub addresses: [String; 2],
}

impl Sandbox {
    /// A pod whose namespace is a host's.
    pub fn new(pod: &str, uid: &str, host: &Host) -> Self {
        Self {
            pod: pod.to_owned(),
            uid: uid.to_owned(),
            attempt: 0,
            labels: Vec::new(),
            netns: host.netns().path(),
            addresses: host.addresses().map(|one| one.to_string()),
        }
    }

    fn id(&self) -> String {
        format!("{}-{}-{}", self.pod, self.uid, self.attempt)
    }

    /// `PodSandbox`.
    fn listed(&self) -> Vec<u8> {
        let metadata =
            [text(1, &self.pod), text(2, &self.uid), text(3, NAMESPACE), number(4, self.attempt)];
        let labels = self.labels.iter().map(|(key, value)| pair(5, key, value));
        let made = number(4, 1 + self.attempt);
        [text(1, &self.id()), bytes(2, &metadata.concat()), made]
            .into_iter()
            .chain(labels)
            .flatten()
            .collect()
    }

    /// `PodSandboxStatusResponse`.
    fn status(&self) -> Vec<u8> {
        let [first, second] = &self.addresses;
        let network = [text(1, first), bytes(2, &text(1, second))].concat();
        let info = format!(
            r#"{{"runtimeType": "io.containerd.runc.v2", "runtimeSpec": {{"linux": {{"namespaces":
                [{{"type": "network", "path": "{}"}}]}}}}}}"#,
            self.netns.display()
        );
        [bytes(1, &bytes(5, &network)), pair(2, "info", &info)].concat()
    }
}

type Listed = Arc<Mutex<Vec<Sandbox>>>;

/// The runtime at its socket; it ends when this is dropped.
#[derive(Debug)]
pub struct Runtime {
    socket: PathBuf,
    listed: Listed,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Runtime {
    /// Starts one that lists nothing.
    pub fn start() -> Result<Self> {
        let socket = std::env::temp_dir().join(format!("{}.sock", name::unique()));
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let listener = {
            let _inside = runtime.enter();
            UnixListener::bind(&socket).with_context(|| format!("{}", socket.display()))?
        };
        let listed = Listed::default();
        let (stop, stopped) = oneshot::channel();
        let told = Arc::clone(&listed);
        let thread = thread::spawn(move || {
            runtime.block_on(async {
                let mut tasks = JoinSet::new();
                tasks.spawn(serve(listener, told));
                // The sender is only ever dropped, which is the signal.
                let _ = stopped.await;
            });
        });
        Ok(Self { socket, listed, stop: Some(stop), thread: Some(thread) })
    }

    /// Where it listens.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// What it lists from here on.
    pub fn list(&self, sandboxes: &[&Sandbox]) {
        let now = sandboxes.iter().map(|one| (*one).clone()).collect();
        *self.listed.lock().unwrap_or_else(PoisonError::into_inner) = now;
    }
}

impl Drop for Runtime {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic there has been printed; the test fails for want of answers.
            let _ = thread.join();
        }
        if let Err(error) = fs::remove_file(&self.socket) {
            eprintln!("could not remove {}: {error}", self.socket.display());
        }
    }
}

async fn serve(listener: UnixListener, listed: Listed) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let listed = Arc::clone(&listed);
        connections.spawn(async move {
            let Ok(mut connection) = h2::server::Builder::new().handshake(stream).await else {
                return;
            };
            let mut calls = JoinSet::new();
            while let Some(Ok((request, respond))) = connection.accept().await {
                calls.spawn(answer(request, respond, Arc::clone(&listed)));
                while calls.try_join_next().is_some() {}
            }
        });
    }
}

async fn answer(request: Request<h2::RecvStream>, respond: SendResponse<Message>, listed: Listed) {
    let (head, mut body) = request.into_parts();
    let mut asked = Vec::new();
    while let Some(Ok(part)) = body.data().await {
        asked.extend(part);
    }
    let listed = listed.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let (status, message) = match head.uri.path() {
        "/runtime.v1.RuntimeService/ListPodSandbox" => {
            ("0", listed.iter().flat_map(|one| bytes(1, &one.listed())).collect())
        }
        "/runtime.v1.RuntimeService/PodSandboxStatus" => {
            // Five bytes of the frame's head, the field's number and its length.
            let id = String::from_utf8_lossy(asked.get(7..).unwrap_or_default()).into_owned();
            match listed.iter().find(|one| id.starts_with(&one.id())) {
                Some(one) => ("0", one.status()),
                None => ("5", Vec::new()),
            }
        }
        _ => ("12", Vec::new()),
    };
    // The client may have gone.
    let _ = send(respond, status, &message);
}

/// A message with its head, on its way out.
type Message = std::io::Cursor<Vec<u8>>;

fn send(mut respond: SendResponse<Message>, status: &'static str, message: &[u8]) -> Result<()> {
    let head = Response::builder().header("content-type", "application/grpc").body(())?;
    let mut stream = respond.send_response(head, false)?;
    let length = u32::try_from(message.len())?.to_be_bytes();
    stream.send_data(Message::new([&[0], &length[..], message].concat()), false)?;
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", status.parse()?);
    stream.send_trailers(trailers)?;
    Ok(())
}

/// A field of a message: its number, its wire type and its value (protobuf.dev, "Encoding").
fn bytes(field: u8, value: &[u8]) -> Vec<u8> {
    let mut out = vec![field << 3 | 2];
    let mut left = value.len();
    while left >= 0x80 {
        out.push(low_bits(left) | 0x80);
        left >>= 7;
    }
    out.push(low_bits(left));
    out.extend(value);
    out
}

fn low_bits(number: usize) -> u8 {
    u8::try_from(number & 0x7f).expect("seven bits fit")
}

fn text(field: u8, value: &str) -> Vec<u8> {
    bytes(field, value.as_bytes())
}

/// A number below 128.
fn number(field: u8, value: u8) -> Vec<u8> {
    vec![field << 3, value]
}

/// An entry of a map.
fn pair(field: u8, key: &str, value: &str) -> Vec<u8> {
    bytes(field, &[text(1, key), text(2, value)].concat())
}
