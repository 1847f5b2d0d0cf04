//! Asks name servers: those of `--dns-server`, else those of `/etc/resolv.conf`.
//!
//! Each name is asked for as it is: search lists are for people. There is no cache here, since the
//! cache keeps what it heard, and `/etc/hosts` is the node's and says nothing to pods.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::PathBuf,
    sync::{Arc, Mutex},
    time::Duration,
};

use agent_base::lock::lock;
use futures_util::{FutureExt as _, future::BoxFuture};
use hickory_resolver::{
    Resolver, TokioResolver,
    config::{
        ConnectionConfig, NameServerConfig, ProtocolConfig, ResolveHosts, ResolverConfig,
        ResolverOpts,
    },
    net::{DnsError, NetError, runtime::TokioRuntimeProvider},
    proto::{
        op::ResponseCode,
        rr::{Name, RData, RecordType},
    },
};

use super::{
    Ask,
    cache::{Heard, Reply},
};
use crate::resolvers::{self, name_servers};

/// For one try at one server.
const PATIENCE: Duration = Duration::from_secs(2);
/// As resolv.conf(5) has it, with or without a `nameserver` line.
const PORT: u16 = 53;

/// The name servers.
pub struct Servers(Arc<Inner>);

struct Inner {
    given: Vec<SocketAddr>,
    resolv_conf: PathBuf,
    /// Made again when the servers have changed.
    current: Mutex<Option<(Vec<SocketAddr>, TokioResolver)>>,
}

impl fmt::Debug for Servers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Servers").field("given", &self.0.given).finish_non_exhaustive()
    }
}

impl Servers {
    /// These, or those of `/etc/resolv.conf` where there is none.
    pub fn new(given: Vec<SocketAddr>) -> Self {
        Self::with_file(given, resolvers::OWN.into())
    }

    fn with_file(given: Vec<SocketAddr>, resolv_conf: PathBuf) -> Self {
        Self(Arc::new(Inner { given, resolv_conf, current: Mutex::default() }))
    }
}

impl Ask for Servers {
    fn ask(&self, name: Arc<str>) -> BoxFuture<'static, Reply> {
        let inner = Arc::clone(&self.0);
        async move {
            let resolver = match inner.resolver().await {
                Ok(resolver) => resolver,
                Err(why) => {
                    return Reply { v4: Heard::Failed(why.clone()), v6: Heard::Failed(why) };
                }
            };
            let (v4, v6) = tokio::join!(
                one(&resolver, &name, RecordType::A),
                one(&resolver, &name, RecordType::AAAA)
            );
            Reply { v4, v6 }
        }
        .boxed()
    }
}

impl Inner {
    async fn resolver(&self) -> Result<TokioResolver, String> {
        let servers = self.servers().await?;
        let mut current = lock(&self.current);
        if let Some((known, resolver)) = &*current
            && *known == servers
        {
            return Ok(resolver.clone());
        }
        let resolver = build(&servers).map_err(|error| error.to_string())?;
        *current = Some((servers, resolver.clone()));
        Ok(resolver)
    }

    /// The file is read for each question: nodes get other name servers while they run.
    async fn servers(&self) -> Result<Vec<SocketAddr>, String> {
        if !self.given.is_empty() {
            return Ok(self.given.clone());
        }
        let file = self.resolv_conf.display();
        let text = tokio::fs::read_to_string(&self.resolv_conf).await;
        let text = text.map_err(|error| format!("{file}: {error}; give --dns-server"))?;
        let mut servers = name_servers(&text);
        if servers.is_empty() {
            servers.push(Ipv4Addr::LOCALHOST.into());
        }
        Ok(servers.into_iter().map(|server| SocketAddr::new(server, PORT)).collect())
    }
}

fn build(servers: &[SocketAddr]) -> Result<TokioResolver, NetError> {
    let server = |addr: &SocketAddr| {
        let connections = [ProtocolConfig::Udp, ProtocolConfig::Tcp].map(|protocol| {
            let mut connection = ConnectionConfig::new(protocol);
            connection.port = addr.port();
            connection
        });
        // A name that one server does not know another one may (split horizons); but the first
        // word counts, or each name that does not exist would be asked for everywhere.
        NameServerConfig::new(addr.ip(), true, connections.into())
    };
    let config = ResolverConfig::from_name_servers(servers.iter().map(server).collect());
    let provider = TokioRuntimeProvider::default();
    let mut options = ResolverOpts::default();
    options.timeout = PATIENCE;
    options.attempts = 1;
    options.cache_size = 0;
    options.use_hosts_file = ResolveHosts::Never;
    options.try_tcp_on_error = true;
    Resolver::builder_with_config(config, provider).with_options(options).build()
}

async fn one(resolver: &TokioResolver, name: &str, kind: RecordType) -> Heard {
    let absolute = Name::from_ascii(name).map(|mut name| {
        name.set_fqdn(true);
        name
    });
    let absolute = match absolute {
        Ok(absolute) => absolute,
        Err(error) => return Heard::Failed(error.to_string()),
    };
    match resolver.lookup(absolute, kind).await {
        Ok(lookup) => {
            let records = lookup.answers();
            // A chain of names holds as long as its shortest link.
            let ttl = records.iter().map(|record| record.ttl).min().unwrap_or_default();
            heard(records.iter().filter_map(|record| address(&record.data)), ttl)
        }
        Err(error) => failed(&error),
    }
}

fn address(data: &RData) -> Option<IpAddr> {
    match data {
        RData::A(v4) => Some(v4.0.into()),
        RData::AAAA(v6) => Some(IpAddr::from(v6.0).to_canonical()),
        _ => None,
    }
}

/// Addresses that no host has are how name servers block names, or a mistake.
fn heard(found: impl Iterator<Item = IpAddr>, ttl: u32) -> Heard {
    let mut all: Vec<IpAddr> = Vec::new();
    let mut odd = None;
    for address in found {
        let broadcast = address == IpAddr::V4(Ipv4Addr::BROADCAST);
        if address.is_unspecified() || address.is_loopback() || address.is_multicast() || broadcast
        {
            odd = Some(address);
        } else if !all.contains(&address) {
            all.push(address);
        }
    }
    match (all.is_empty(), odd) {
        (false, _) => Heard::Addresses(all, Duration::from_secs(ttl.into())),
        (true, None) => Heard::Nothing,
        (true, Some(odd)) => Heard::Failed(format!("the only address is {odd}, which no host has")),
    }
}

fn failed(error: &NetError) -> Heard {
    match error {
        NetError::Dns(DnsError::NoRecordsFound(none)) => match none.response_code {
            ResponseCode::NoError => Heard::Nothing,
            ResponseCode::NXDomain => Heard::Failed("no such name (NXDOMAIN)".to_owned()),
            code => Heard::Failed(format!("the name server says {code}")),
        },
        NetError::Dns(DnsError::ResponseCode(code)) => {
            Heard::Failed(format!("the name server says {code}"))
        }
        NetError::Timeout => Heard::Failed("no name server answers".to_owned()),
        other => Heard::Failed(other.to_string()),
    }
}
