//! `sekisho config`.

use super::{
    Answer,
    output::{Paint, Table, encode},
};
use crate::{
    admin::{
        client::Client,
        config::{
            ClusterRow, EndpointRow, InboundRow, ListenerRow, RouteRow, Rows, Share, StreamRow,
        },
    },
    args::{ConfigArgs, ConfigView, exit},
};

pub(super) async fn run(args: &ConfigArgs, paint: Paint) -> anyhow::Result<Answer> {
    let view = match args.view {
        ConfigView::Listeners => "listeners",
        ConfigView::Routes => "routes",
        ConfigView::Clusters => "clusters",
        ConfigView::Endpoints => "endpoints",
        ConfigView::Inbound => "inbound",
    };
    let path = format!("/config?pod={}&view={view}", args.pod);
    let client = Client::new(&args.ask.run_dir);
    // Rows of different views may look alike once there are none.
    let rows = match args.view {
        ConfigView::Listeners => Rows::Listeners(client.ask(&path).await?),
        ConfigView::Routes => Rows::Routes(client.ask(&path).await?),
        ConfigView::Clusters => Rows::Clusters(client.ask(&path).await?),
        ConfigView::Endpoints => Rows::Endpoints(client.ask(&path).await?),
        ConfigView::Inbound => Rows::Inbound(client.ask(&path).await?),
    };
    let text = match encode(args.ask.output.format, &rows)? {
        Some(text) => text,
        None => table(&rows).text("", paint),
    };
    Ok(Answer { text, code: exit::OK })
}

fn table(rows: &Rows) -> Table {
    match rows {
        Rows::Listeners(rows) => listeners(rows),
        Rows::Routes(rows) => routes(rows),
        Rows::Clusters(rows) => clusters(rows),
        Rows::Endpoints(rows) => endpoints(rows),
        Rows::Inbound(rows) => inbound(rows),
    }
}

fn listeners(rows: &[ListenerRow]) -> Table {
    let mut table = Table::new(&[
        "DIRECTION",
        "PORT",
        "ADDRESS",
        "PATH",
        "PROTOCOLS",
        "HTTP HOSTS",
        "TLS AND TCP",
        "WHY",
    ]);
    for ListenerRow { direction, port, address, path, reason, protocols, hosts, streams } in rows {
        let streams: Vec<String> = streams.iter().map(stream).collect();
        let port = if *port == 0 { "any".to_owned() } else { port.to_string() };
        let hosts = if *hosts == 0 { String::new() } else { hosts.to_string() };
        let (protocols, streams) = (protocols.join(","), streams.join("; "));
        table.row(&[direction, &port, address, path, &protocols, &hosts, &streams, reason], None);
    }
    table
}

fn stream(StreamRow { server_names, destinations }: &StreamRow) -> String {
    let to = shares(destinations);
    if server_names.is_empty() { to } else { format!("{}: {to}", server_names.join(" ")) }
}

fn routes(rows: &[RouteRow]) -> Table {
    let mut table =
        Table::new(&["PORT", "ADDRESS", "HOST", "MATCHES", "ACTION", "DESTINATIONS", "ROUTE"]);
    for row in rows {
        let RouteRow { port, address, hosts, matches, action, destinations, name, .. } = row;
        let (port, to) = (port.to_string(), shares(destinations));
        table.row(&[&port, address, &names(hosts), matches, action, &to, name], None);
    }
    table
}

/// The first of a host's names is the longest word for it; the others are told as a number.
fn names(hosts: &[String]) -> String {
    let longest = hosts.iter().max_by_key(|host| host.len());
    match (longest, hosts.len()) {
        (None, _) => String::new(),
        (Some(one), 1) => one.clone(),
        (Some(one), count) => format!("{one} +{}", count - 1),
    }
}

/// Shares in per cent, where there are several.
pub(super) fn shares(all: &[Share]) -> String {
    let total: u64 = all.iter().map(|one| u64::from(one.weight)).sum();
    let share = |one: &Share| {
        let per_cent = (u64::from(one.weight) * 100 + total / 2).checked_div(total);
        format!("{}% {}", per_cent.unwrap_or_default(), one.cluster)
    };
    match all {
        [] => String::new(),
        [one] => one.cluster.clone(),
        _ => all.iter().map(share).collect::<Vec<_>>().join(", "),
    }
}

fn clusters(rows: &[ClusterRow]) -> Table {
    let mut table = Table::new(&["CLUSTER", "PROTOCOL", "BALANCE", "TLS", "ENDPOINTS"]);
    for ClusterRow { cluster, protocol, balance, tls, endpoints, .. } in rows {
        table.row(&[cluster, protocol, balance, tls, endpoints], None);
    }
    table
}

fn endpoints(rows: &[EndpointRow]) -> Table {
    let mut table = Table::new(&["CLUSTER", "ENDPOINT", "WEIGHT", "LOCALITY", "MUTUAL TLS"]);
    for EndpointRow { cluster, endpoint, weight, locality, mutual_tls } in rows {
        let mutual = if *mutual_tls { "yes" } else { "no" };
        table.row(&[cluster, endpoint, &weight.to_string(), locality, mutual], None);
    }
    table
}

fn inbound(rows: &[InboundRow]) -> Table {
    let mut table = Table::new(&["PORT", "MODE", "PLAINTEXT", "PROBED"]);
    for InboundRow { port, mode, plaintext, is_probed } in rows {
        let port = if *port == 0 { "others".to_owned() } else { port.to_string() };
        table.row(&[&port, mode, plaintext, if *is_probed { "yes" } else { "no" }], None);
    }
    table
}
