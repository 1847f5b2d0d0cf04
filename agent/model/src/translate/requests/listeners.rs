//! Definitions of hosts as listeners: by port and address, in order of precedence. A port of which no
//! definition changed is that of the view before.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::{
    definition::{Definition, Piece, What},
    views::{Destinations, View},
};
use crate::{
    requests::{
        outbound::{Listener, Outbound, Port},
        route::each_name_once,
    },
    resource::protocol::is_server_first,
};

impl View {
    /// What definitions come to; of the view before stays what they do not touch.
    pub(super) fn of(
        definitions: Box<[Arc<Definition>]>,
        read: Destinations,
        before: Option<&Self>,
    ) -> Self {
        let Some(before) = before else {
            let ports = listening(&definitions, |_| true).collect();
            return Self { outbound: Arc::new(Outbound { ports }), definitions, read };
        };
        let touched = touched(&before.definitions, &definitions);
        if touched.is_empty() {
            return Self { outbound: Arc::clone(&before.outbound), definitions, read };
        }
        let kept = before.outbound.ports.iter().filter(|(port, _)| !touched.contains(port));
        let mut ports: BTreeMap<u16, Arc<Port>> =
            kept.map(|(number, port)| (*number, Arc::clone(port))).collect();
        ports.extend(listening(&definitions, |port| touched.contains(&port)));
        Self { outbound: Arc::new(Outbound { ports }), definitions, read }
    }
}

/// The ports of definitions that one list has in another place than the other, or not at all.
fn touched(before: &[Arc<Definition>], now: &[Arc<Definition>]) -> BTreeSet<u16> {
    let same = |(one, other): &(&Arc<Definition>, &Arc<Definition>)| Arc::ptr_eq(one, other);
    let start = before.iter().zip(now).take_while(same).count();
    let (before, now) = (&before[start..], &now[start..]);
    let end = before.iter().rev().zip(now.iter().rev()).take_while(same).count();
    let changed = before[..before.len() - end].iter().chain(&now[..now.len() - end]);
    changed.flat_map(|one| one.pieces.iter().map(|piece| piece.port)).collect()
}

/// Some of the ports that definitions are served on.
fn listening(
    definitions: &[Arc<Definition>],
    is_wanted: impl Fn(u16) -> bool,
) -> impl Iterator<Item = (u16, Arc<Port>)> {
    let mut ports: BTreeMap<u16, Port> = BTreeMap::new();
    let pieces = definitions.iter().flat_map(|one| &one.pieces);
    for piece in pieces.filter(|piece| is_wanted(piece.port)) {
        piece.join(ports.entry(piece.port).or_default());
    }
    ports.into_iter().filter_map(|(number, mut port)| {
        for listener in port.at.values_mut().chain([&mut port.any]) {
            listener.hosts = each_name_once(&listener.hosts);
        }
        port.at.retain(|_, listener| !listener.is_empty());
        let is_served = !port.at.is_empty() || !port.any.is_empty();
        is_served.then(|| (number, Arc::new(port)))
    })
}

impl Piece {
    fn join(&self, port: &mut Port) {
        let number = self.port;
        match &self.what {
            What::ByHost(host) => self.at_each(port, |listener| {
                if may_join(listener, number, Listener::is_by_host) {
                    listener.hosts.push(Arc::clone(host));
                }
            }),
            What::AnyHost(host) => self.at_each(port, |listener| {
                if listener.is_empty() {
                    listener.hosts.push(Arc::clone(host));
                }
            }),
            What::Tls(route) => self.at_each(port, |listener| {
                if route.names.is_empty() {
                    listener.tcp.get_or_insert_with(|| Arc::clone(route));
                } else {
                    listener.tls.push(Arc::clone(route));
                }
            }),
            What::Tcp(route) => self.at_each(port, |listener| {
                let free = listener.tcp.is_none();
                if free && may_join(listener, number, Listener::is_by_bytes) {
                    listener.tcp = Some(Arc::clone(route));
                }
            }),
        }
    }

    /// Does something to the listeners at the addresses; without addresses to the one for all.
    fn at_each(&self, port: &mut Port, mut change: impl FnMut(&mut Listener)) {
        if self.nets.is_empty() {
            return change(&mut port.any);
        }
        for net in &self.nets {
            change(port.at.entry(*net).or_default());
        }
    }
}

impl Listener {
    fn is_by_host(&self) -> bool {
        self.tcp.is_none() && self.tls.is_empty()
    }

    fn is_by_bytes(&self) -> bool {
        self.hosts.is_empty()
    }
}

/// Where waiting for the client's first bytes would hang, the first to come has the port.
fn may_join(listener: &Listener, port: u16, alike: fn(&Listener) -> bool) -> bool {
    !is_server_first(port) || alike(listener)
}
