//! A proxy with one workload, an upstream and a client.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use agent_model::{
    egress::{DefaultAction, ProxyDuty},
    endpoints::Endpoints,
    requests::{backend::Backend, outbound::Outbound},
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::mpsc,
    task::{AbortHandle, JoinSet},
};

use crate::{
    Dial, DialError, Dialling, Drain, DrainTrigger, Exchanged, Judge, Limits, Opened, Origin,
    OriginError, OriginalDst, Origins, Proxy, Received, Record, Records, Ruling, Seams, Side, Tls,
    Tracing, UpstreamAddr, Workload, WorkloadId, serve, tls::tests::InMemory,
};

pub(super) const WORKLOAD: WorkloadId = WorkloadId(7);
const PATIENCE: Duration = Duration::from_secs(20);
/// No SYN to it is answered.
pub(super) const DEAD: IpAddr = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 9));

/// One answer at each seam.
#[derive(Clone, Debug)]
pub(super) struct Answers {
    pub(super) origin: bool,
    pub(super) ruling: Option<Ruling>,
    pub(super) dial: How,
    pub(super) limits: Limits,
    pub(super) tracing: Option<Tracing>,
    /// What the workload may dial; a test may change it.
    pub(super) outbound: Arc<Mutex<Option<Arc<Outbound>>>>,
    pub(super) files: InMemory,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum How {
    Connect,
    Never,
}

impl Answers {
    pub(super) fn allow() -> Self {
        let (duty, default_action) = (ProxyDuty::AddressAllowed, DefaultAction::RegistryOnly);
        Self {
            origin: true,
            ruling: Some(Ruling {
                duty,
                default_action,
                upstream: None,
                reads_all: false,
                by_endpoint: false,
            }),
            dial: How::Connect,
            limits: Limits::default(),
            tracing: None,
            outbound: Arc::default(),
            files: InMemory::default(),
        }
    }
}

struct Fixed {
    answers: Answers,
    upstream: SocketAddr,
    records: Mutex<mpsc::UnboundedSender<Record>>,
    exchanged: mpsc::UnboundedSender<Exchanged>,
    opened: Arc<AtomicUsize>,
}

impl Origins for Fixed {
    fn origin(&self, workload: WorkloadId, _: &TcpStream) -> Result<Origin, OriginError> {
        assert_eq!(workload, WORKLOAD);
        let dst = OriginalDst(self.upstream);
        let found =
            self.answers.origin.then_some(Origin { dst, rule: 3, generation: 9, connection: 5 });
        found.ok_or(OriginError::Unknown)
    }
}

impl Judge for Fixed {
    fn version(&self) -> u64 {
        let outbound = self.answers.outbound.lock().unwrap();
        outbound.as_ref().map_or(0, |outbound| Arc::as_ptr(outbound).addr() as u64)
    }

    fn judge(&self, _: WorkloadId, origin: &Origin) -> Option<Ruling> {
        assert_eq!((origin.rule, origin.generation), (3, 9));
        self.answers.ruling.clone()
    }

    fn outbound(&self, workload: WorkloadId) -> Option<Arc<Outbound>> {
        assert_eq!(workload, WORKLOAD);
        self.answers.outbound.lock().unwrap().clone()
    }

    fn endpoints(&self, backend: &Backend) -> Endpoints {
        backend.stated_endpoints().cloned().expect("the rig's own backend")
    }
}

impl Dial for Fixed {
    fn dial(&self, from: WorkloadId, to: UpstreamAddr, after: Duration) -> Dialling<'_> {
        assert_eq!(from, WORKLOAD);
        let how = self.answers.dial;
        Box::pin(async move {
            if let How::Never = how {
                return std::future::pending().await;
            }
            if to.0.ip() == DEAD {
                tokio::time::sleep(after).await;
                return Err(DialError::TimedOut { addr: to, after });
            }
            TcpStream::connect(to.0).await.map_err(|_| DialError::Refused { addr: to })
        })
    }
}

impl Records for Fixed {
    fn opened(&self, opened: Opened) {
        assert_eq!((opened.workload, opened.origin.rule), (WORKLOAD, 3));
        self.opened.fetch_add(1, Ordering::Relaxed);
    }

    fn record(&self, record: Record) {
        // A test that has ended listens no more.
        let _ = self.records.lock().unwrap().send(record);
    }

    fn received(&self, _: Received) {}

    fn exchanged(&self, exchanged: Exchanged) {
        let _ = self.exchanged.send(exchanged);
    }
}

/// What a test holds. The proxy ends with it.
pub(super) struct Rig {
    pub(super) proxy: Arc<Proxy>,
    pub(super) workload: Arc<Workload>,
    pub(super) upstream: TcpListener,
    pub(super) addr: SocketAddr,
    pub(super) trigger: DrainTrigger,
    pub(super) serving: AbortHandle,
    pub(super) tasks: JoinSet<()>,
    records: mpsc::UnboundedReceiver<Record>,
    exchanged: mpsc::UnboundedReceiver<Exchanged>,
    opened: Arc<AtomicUsize>,
}

impl Rig {
    pub(super) async fn new(answers: Answers) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (mut rig, drain) = Self::idle(answers, listener.local_addr().unwrap()).await;
        let serving = serve(
            Arc::clone(&rig.proxy),
            Arc::clone(&rig.workload),
            (listener, Side::Outbound),
            drain,
        );
        rig.serving = rig.tasks.spawn(serving);
        rig
    }

    /// Without any server.
    pub(super) async fn idle(answers: Answers, addr: SocketAddr) -> (Self, Drain) {
        let upstream = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (sender, records) = mpsc::unbounded_channel();
        let (told, exchanged) = mpsc::unbounded_channel();
        let opened = Arc::<AtomicUsize>::default();
        let fixed = Arc::new(Fixed {
            upstream: upstream.local_addr().unwrap(),
            records: Mutex::new(sender),
            exchanged: told,
            opened: Arc::clone(&opened),
            answers: answers.clone(),
        });
        let seams = Seams {
            origins: Arc::clone(&fixed) as Arc<dyn Origins>,
            judge: Arc::clone(&fixed) as Arc<dyn Judge>,
            dial: Arc::clone(&fixed) as Arc<dyn Dial>,
            tls: Tls::new(Box::new(answers.files.clone())),
            mesh: None,
            records: fixed,
            tracing: answers.tracing,
        };
        let proxy = Proxy::new(seams, answers.limits);
        let workload = Workload::new(WORKLOAD, &proxy);
        let trigger = DrainTrigger::new();
        let drain = proxy.drain_with(&trigger);
        let mut tasks = JoinSet::new();
        let serving = tasks.spawn(async {});
        (
            Self {
                proxy,
                workload,
                upstream,
                addr,
                trigger,
                serving,
                tasks,
                records,
                exchanged,
                opened,
            },
            drain,
        )
    }

    pub(super) async fn dial(&self) -> TcpStream {
        TcpStream::connect(self.addr).await.unwrap()
    }

    /// A client and what its upstream sees of it.
    pub(super) async fn pair(&self) -> (TcpStream, TcpStream) {
        let client = self.dial().await;
        let (server, _) = soon(self.upstream.accept()).await.unwrap();
        (client, server)
    }

    pub(super) async fn record(&mut self) -> Record {
        soon(self.records.recv()).await.unwrap()
    }

    /// How many connections were carried as they are.
    pub(super) fn opened(&self) -> usize {
        self.opened.load(Ordering::Relaxed)
    }

    /// What became of the next request.
    pub(super) async fn exchanged(&mut self) -> Exchanged {
        soon(self.exchanged.recv()).await.unwrap()
    }

    /// The cause of the next record's failure; `None` for a good end.
    pub(super) async fn cause(&mut self) -> Option<&'static str> {
        self.record().await.failure.map(|failure| failure.cause())
    }
}

/// A test that would hang fails instead.
pub(crate) async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.expect("nothing happened")
}

/// The error that a read ends in, after whatever came before.
pub(super) async fn end_of(stream: &mut TcpStream) -> (usize, Option<std::io::ErrorKind>) {
    use tokio::io::AsyncReadExt;
    let mut bytes = Vec::new();
    let ended = soon(stream.read_to_end(&mut bytes)).await;
    (bytes.len(), ended.err().map(|error| error.kind()))
}

/// The peer will see a reset.
pub(crate) fn reset(stream: TcpStream) {
    socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
    drop(stream);
}
