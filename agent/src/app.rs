//! The agent, put together: what starts, in which order, and who ends it.
//!
//! ```text
//! API server
//! or directory ► Observed ──► Publisher: translate ──► Sync ──► kernel, proxy
//! name server ► Resolver ◄──────┤
//!                                │
//! kernel events, proxy records   └──► Report ──► admin ──► sekisho status, why
//!        └──► FlowLog ──────────────────────────►  └─────► sekisho flows
//! ```
//!
//! A signal ends the process and nothing else: the pinned programs judge on.

mod certificates;
mod ending;
mod observing;
mod source;

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use agent_kernel::{
    event_ring::{self, EventRing},
    found,
    lifecycle::{Kernel, Setup},
    maps::Maps,
    netns::Worker,
    plan::Planner,
};
use agent_model::translate::{self, Exclusions, NetnsAnnotation, NodeContext, UnknownPods};
use agent_pods::{
    canary::{Canaries, CanaryStatuses},
    departed::Leavers,
    enrol::Pods,
    evidence::Evidence,
    link_watch::LinkChanges,
    runtime::{self, Follower},
    sandboxes::Sandboxes,
};
use agent_proxy::{Limits, Mesh, Proxy, Seams, Tls};
use agent_source::{
    observed::Reader,
    resolve::{Ends, Known, Rates, Resolver, Servers},
};
use agent_status::{
    state::State,
    status_writer::{Reporter, StatusWriter},
};
use anyhow::Context as _;
use arc_swap::ArcSwap;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::{
    net::{TcpListener, UnixListener},
    task::JoinSet,
};

use crate::{
    admin::{Admin, rundir::RunDir, server},
    args::{AgentArgs, Http, OnRevoke, PodExclusions, PodNamespaces},
    certificates::Certificates,
    cni::{admission, install},
    handover::{self, Door, Predecessor},
    identity::Identity,
    observe::{events, status::Cni},
    proxied::{Borrowed, MeshPeers},
    publisher::Parts,
    report::{self, Report, Views},
    sync::{self, Sync},
};
use ending::{Place, Publishing, Running};
use observing::Observing;
use source::Source;

type Tasks = JoinSet<anyhow::Result<()>>;

/// What several tasks share.
struct Shared {
    kernel: Arc<Kernel>,
    worker: Arc<Worker>,
    observing: Observing,
    link_changes: Arc<LinkChanges>,
}

/// Runs the agent until a signal ends it.
pub(crate) async fn run(args: AgentArgs) -> anyhow::Result<()> {
    prepare_process();
    let (run_dir, predecessor) = handover::claim(&args.run_dir, args.take_over).await?;
    let door = Door::open(&run_dir).await?;
    let (source, reader) = Source::open(&args, &run_dir).await?;
    let socket = server::bind_socket(&run_dir).await?;
    let cni_socket = server::bind(run_dir.cni_socket()).await?;
    let sandboxes = Arc::new(Sandboxes::open(run_dir.sandboxes()));
    let port = bind_port(args.admin).await?;
    let worker = Arc::new(Worker::start()?);
    let mut kernel = Kernel::open(&setup(&args, worker.own().cookie()))?;
    let log = kernel.programs.logger.take();
    let (mut tasks, mut observers) = (Tasks::new(), Tasks::new());
    let (observing, end_of_log) = Observing::start(&args, &mut observers)?;
    let metrics = Arc::clone(&observing.metrics);
    let kernel = Arc::new(kernel);
    let shared = Shared { kernel, worker, observing, link_changes: Arc::default() };
    let (status_writer, reporter) =
        start_status_writer(&mut tasks, &args, &source, &reader).unzip();
    let (known, names) = start_resolver(&mut tasks, &args, &run_dir);
    let canaries = Arc::new(CanaryStatuses::default());
    let plugin = keep_plugin(&mut tasks, &args, &run_dir)?;
    let identity = certificates::start(&mut tasks, &args, &run_dir)?;
    let views = Views {
        source: source.progress(),
        status_writer,
        names: known,
        cni: plugin,
        identity: identity.clone(),
        canaries: Arc::clone(&canaries),
        link_changes: Arc::clone(&shared.link_changes),
    };
    let report = Arc::new(Report::new(settings(&args), Arc::clone(&shared.kernel), views));
    if let Some(log) = log {
        tasks.spawn(async move { event_ring::read_log(log).await.context("the programs' log") });
    }
    serve_admin(&mut tasks, (&report, &shared.observing), socket, port);
    let (cni, admissions) = admission::channel(Arc::clone(&sandboxes));
    tasks.spawn(async move {
        admission::serve(cni_socket, cni).await.context("the socket of the CNI plugin")
    });
    let evidence = Evidence { sandboxes, runtime: follow_runtime(&args, &mut tasks)? };
    let leavers = follow_leavers(&mut tasks, &args, &run_dir);
    let before = Before { leavers, predecessor };
    let lent = (evidence.clone(), before, identity.as_deref());
    let sync = start_sync(&mut tasks, &args, &shared, lent)?;
    let proxy = sync.proxy();
    send_canaries(&mut tasks, &args, &shared, &sync, canaries);
    tasks.spawn(source.run());
    let context = context(&args);
    let parts = Parts { context, sync, evidence, admissions, report, metrics, reporter, identity };
    let publishing = Publishing::start(parts, reader, names);
    tracing::info!(node = args.node_name, cgroup = %shared.kernel.cgroup.display(), "agent started");
    let (place, drain_time) = (Place { kernel: shared.kernel, run_dir, door }, args.drain_time);
    let ended =
        Running { tasks, observers, publishing, proxy, place, drain_time }.until_end().await;
    // A moment for what is still to be logged.
    end_of_log.wait();
    ended
}

/// Starts what only ends with the agent.
fn forever(tasks: &mut Tasks, task: impl Future<Output = ()> + Send + 'static) {
    tasks.spawn(async move {
        task.await;
        Ok(())
    });
}

/// Starts to ask what names resolve to. Says what is known, and where news of it come.
fn start_resolver(tasks: &mut Tasks, args: &AgentArgs, run_dir: &RunDir) -> (Known, Ends) {
    let servers = Arc::new(Servers::new(args.dns_server.clone()));
    let rates = Rates { least: args.dns_min_ttl, grace: args.dns_grace };
    let (resolver, names) = Resolver::new(servers, rates, run_dir.names(), &args.node_name);
    let known = resolver.known();
    forever(tasks, async move { resolver.run().await });
    (known, names)
}

/// What an agent before has left.
struct Before {
    leavers: Leavers,
    predecessor: Option<Predecessor>,
}

/// Starts what tells the authors of objects, on an API server.
fn start_status_writer(
    tasks: &mut Tasks,
    args: &AgentArgs,
    source: &Source,
    reader: &Reader,
) -> Option<(Arc<State>, Reporter)> {
    let Source::Cluster(cluster) = source else { return None };
    if !args.write_status {
        return None;
    }
    let (client, presence) = cluster.server();
    let (writer, reporter) =
        StatusWriter::new(client, presence, cluster.inventory(), &args.node_name, reader.clone());
    let state = writer.state();
    forever(tasks, async move { writer.run().await });
    Some((state, reporter))
}

/// Keeps the CNI plugin in the node's directories, where the agent is told of them.
fn keep_plugin(
    tasks: &mut Tasks,
    args: &AgentArgs,
    run_dir: &RunDir,
) -> anyhow::Result<Option<Arc<ArcSwap<Cni>>>> {
    let Some(directories) = args.cni.node.directories() else { return Ok(None) };
    let socket = std::path::absolute(run_dir.cni_socket())?;
    let entry = install::entry(&socket, args.cni.deadline(), &args.cni.exclude);
    let state: Arc<ArcSwap<Cni>> = Arc::default();
    let kept = Arc::clone(&state);
    forever(tasks, install::keep(directories, entry, kept));
    Ok(Some(state))
}

fn setup(args: &AgentArgs, host_netns: u64) -> Setup {
    Setup {
        pin_dir: args.pin_dir.clone(),
        cgroup: args.cgroup.clone(),
        host_netns,
        hold_unknown: args.holds_unknown_pods(),
        keep_revoked: args.on_revoke == OnRevoke::Keep,
        layer3: args.layer3.into(),
        log: args.kernel_log.into(),
    }
}

/// What the status says of how the agent was started.
fn settings(args: &AgentArgs) -> report::Settings {
    report::Settings {
        node: args.node_name.clone(),
        hold_unknown: args.holds_unknown_pods(),
        keep_revoked: args.on_revoke == OnRevoke::Keep,
        layer3: args.layer3.into(),
    }
}

/// What a snapshot depends on beside objects.
fn context(args: &AgentArgs) -> NodeContext {
    let mut context = NodeContext::new(&args.node_name);
    context.admin = args.admin;
    context.netns = match args.namespaces_from() {
        PodNamespaces::Annotation => NetnsAnnotation::Honour,
        PodNamespaces::Runtime => NetnsAnnotation::Ignore,
    };
    context.exclusions = match args.pod_exclusions {
        PodExclusions::Honour => Exclusions::Honour,
        PodExclusions::Ignore => Exclusions::Ignore,
    };
    context.http = match args.http {
        Http::Needed => translate::Http::Needed,
        Http::Always => translate::Http::Always,
    };
    context.mesh_tls = args.mesh_tls();
    if args.holds_unknown_pods() {
        context.unknown = UnknownPods::Hold;
    }
    context
}

/// What the kernel is to know of this process before it does anything.
fn prepare_process() {
    raise_descriptor_limit();
    certificates::keep_keys_in_memory();
}

/// A proxied connection takes two descriptors, and the soft limit is often 1,024: as many as the
/// hard limit allows.
fn raise_descriptor_limit() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, ..limit };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::warn!(%error, limit = limit.current, "the limit of open files stays low");
    }
}

async fn bind_port(addr: Option<SocketAddr>) -> anyhow::Result<Option<TcpListener>> {
    match addr {
        Some(addr) => Ok(Some(server::bind_port(addr).await?)),
        None => Ok(None),
    }
}

fn serve_admin(
    tasks: &mut Tasks,
    (report, observing): (&Arc<Report>, &Observing),
    socket: UnixListener,
    port: Option<TcpListener>,
) {
    let admin = Admin {
        answers: Arc::clone(report) as _,
        flows: Arc::clone(&observing.flows),
        metrics: Arc::clone(&observing.metrics),
    };
    if let Some(port) = port {
        let admin = admin.clone();
        tasks.spawn(async move { server::serve_port(port, admin).await.context("--admin") });
    }
    tasks.spawn(async move { server::serve_socket(socket, admin).await.context("the socket") });
}

/// Starts to ask the container runtime, where it is believed.
fn follow_runtime(args: &AgentArgs, tasks: &mut Tasks) -> anyhow::Result<Option<runtime::Reader>> {
    if args.namespaces_from() == PodNamespaces::Annotation {
        return Ok(None);
    }
    let socket = args.cri_socket.clone().unwrap_or_else(runtime::default_socket);
    let (follower, reader) = Follower::new(&socket)?;
    forever(tasks, async move { follower.run().await });
    Ok(Some(reader))
}

/// Takes over what the maps hold, starts the proxy and the reader of events.
fn start_sync(
    tasks: &mut Tasks,
    args: &AgentArgs,
    shared: &Shared,
    (evidence, before, identity): (Evidence, Before, Option<&Identity>),
) -> anyhow::Result<Sync> {
    let Shared { kernel, worker, observing, link_changes } = shared;
    let Observing { members, flows, services, access_log, metrics: _ } = observing;
    let maps: &Arc<Maps> = &kernel.maps;
    let planner = Planner::new(found::found(maps)?);
    let ring = EventRing::open(&kernel.maps_directory())?;
    let sink = events::Sink {
        flows: Arc::clone(flows),
        members: Arc::clone(members),
        rules: planner.names(),
    };
    tasks.spawn(async move { events::read(ring, sink).await.context("the ring of events") });
    let borrowed = Arc::new(Borrowed {
        maps: Arc::clone(maps),
        worker: Arc::clone(worker),
        members: Arc::clone(members),
        names: planner.names(),
        flows: Arc::clone(flows),
        services: Arc::clone(services),
        access_log: Arc::clone(access_log),
        mesh_tls: identity.is_some(),
    });
    let seams = Seams {
        origins: Arc::clone(&borrowed) as _,
        judge: Arc::clone(&borrowed) as _,
        dial: Arc::clone(&borrowed) as _,
        tls: Tls::new(Box::new(Certificates::new(args.tls_dir.clone()))),
        mesh: identity.map(|identity| {
            let peers = Box::new(MeshPeers(Arc::clone(members)));
            Mesh::new(identity.identities(), peers, args.mesh_protocol.into())
        }),
        records: borrowed,
        tracing: args.otlp_endpoint.is_some().then_some(args.trace_sampling),
    };
    let proxy = Proxy::new(seams, Limits::default());
    Ok(Sync::new(sync::Parts {
        kernel: Arc::clone(kernel),
        planner,
        pods: Pods::new(
            Arc::clone(worker),
            Arc::clone(maps),
            proxy,
            evidence,
            Arc::clone(link_changes),
        ),
        members: Arc::clone(members),
        flows: Arc::clone(flows),
        keep_revoked: args.on_revoke == OnRevoke::Keep,
        leavers: before.leavers,
        predecessor: before.predecessor,
    })?)
}

/// What left lately, as an earlier agent knew it.
fn follow_leavers(tasks: &mut Tasks, args: &AgentArgs, run_dir: &RunDir) -> Leavers {
    let (leavers, writer) = Leavers::open(args.endpoint_grace, run_dir.departed(), &args.node_name);
    forever(tasks, writer);
    leavers
}

/// Proves that what is published is judged.
fn send_canaries(
    tasks: &mut Tasks,
    args: &AgentArgs,
    shared: &Shared,
    sync: &Sync,
    statuses: Arc<CanaryStatuses>,
) {
    let canaries = Canaries {
        kernel: Arc::clone(&shared.kernel),
        worker: Arc::clone(&shared.worker),
        pods: sync.in_force(),
        statuses,
        interval: args.canary_interval,
        spent: Mutex::default(),
    };
    tasks.spawn(async move { canaries.run().await.context("the canaries") });
}
