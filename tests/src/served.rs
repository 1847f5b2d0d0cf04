//! Listeners of both families in a thread inside a host's namespace, for what serves them.

use std::{
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener as StdListener},
    thread::{self, JoinHandle},
};

use anyhow::{Context as _, Result};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::{net::TcpListener, runtime::Builder, sync::oneshot, task::JoinSet};

use crate::world::Host;

/// See the module; it ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Served {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Served {
    /// Listens on a port of a host, and has each listener served.
    pub(crate) fn start<T>(
        host: &Host,
        port: u16,
        accept: impl Fn(TcpListener) -> T + Send + 'static,
    ) -> Result<Self>
    where
        T: Future<Output = ()> + Send + 'static,
    {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let listeners = host.netns().enter(|| {
            let any = [Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()];
            any.map(|any| listen(SocketAddr::new(any, port)))
                .into_iter()
                .collect::<Result<Vec<_>>>()
        })?;
        let (stop, stopped) = oneshot::channel::<()>();
        let thread = thread::spawn(move || {
            runtime.block_on(async {
                let mut tasks = JoinSet::new();
                for listener in listeners {
                    if let Ok(listener) = TcpListener::from_std(listener) {
                        tasks.spawn(accept(listener));
                    }
                }
                // The sender is only ever dropped, which is the signal.
                let _ = stopped.await;
            });
        });
        Ok(Self { stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic there has been printed; the test fails for want of answers.
            let _ = thread.join();
        }
    }
}

fn listen(address: SocketAddr) -> Result<StdListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.bind(&address.into()).with_context(|| format!("listening at {address}"))?;
    socket.listen(1_024)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}
