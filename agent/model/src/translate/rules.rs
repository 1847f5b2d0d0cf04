//! The rules of one port.

use std::{num::NonZeroU16, sync::Arc};

use ipnet::IpNet;

use crate::{
    address::everywhere,
    egress::{Action, Class, Protocol, ProxyDuty, Rule, RuleSource},
    names::Answer,
    resource::ObjectKey,
};

pub(super) const ALLOWED: Action = Action::Proxy(ProxyDuty::AddressAllowed);
pub(super) const BY_NAME: Action = Action::Proxy(ProxyDuty::NameRequired);

/// Rules for one port, all from one field of one object.
#[derive(Debug)]
pub(super) struct PortRules {
    pub(super) source: Arc<RuleSource>,
    age: u32,
    port: NonZeroU16,
    pub(super) rules: Vec<Rule>,
    /// See [`crate::registry::ServicePort::outlived`].
    pub(super) outlived: Vec<Rule>,
}

impl PortRules {
    pub(super) fn new(source: Arc<RuleSource>, age: u32, port: NonZeroU16) -> Self {
        Self { source, age, port, rules: Vec::new(), outlived: Vec::new() }
    }

    pub(super) fn number(&self) -> NonZeroU16 {
        self.port
    }

    pub(super) fn tcp(&mut self, cidr: IpNet, action: Action) {
        self.push(Protocol::Tcp, cidr, self.port, action);
    }

    pub(super) fn tcp_everywhere(&mut self, action: Action) {
        for cidr in everywhere() {
            self.tcp(cidr, action);
        }
    }

    /// Datagrams are never redirected.
    pub(super) fn udp(&mut self, cidr: IpNet) {
        self.push(Protocol::Udp, cidr, self.port, Action::Direct);
    }

    pub(super) fn push(
        &mut self,
        protocol: Protocol,
        cidr: IpNet,
        port: NonZeroU16,
        action: Action,
    ) {
        let rule = self.rule(protocol, cidr, port, action);
        self.rules.push(rule);
    }

    /// What a name resolves to is allowed; what it resolved to before is kept where it is open.
    pub(super) fn answer(&mut self, protocol: Protocol, answer: &Answer, action: Action) {
        for address in answer.allowed() {
            self.push(protocol, IpNet::from(address), self.port, action);
        }
        for address in &answer.former {
            self.keep(protocol, IpNet::from(*address), self.port, action);
        }
    }

    /// What gets no new connections, and keeps the open ones.
    pub(super) fn keep(
        &mut self,
        protocol: Protocol,
        cidr: IpNet,
        port: NonZeroU16,
        action: Action,
    ) {
        let rule = self.rule(protocol, cidr, port, action);
        self.outlived.push(rule);
    }

    /// The rules, and those for open connections, for as long as their object stays as it is: there
    /// are tens of thousands of such ports, so they keep no room.
    pub(super) fn finish(self) -> (Box<[Rule]>, Box<[Rule]>) {
        (self.rules.into(), self.outlived.into())
    }

    fn rule(&self, protocol: Protocol, cidr: IpNet, port: NonZeroU16, action: Action) -> Rule {
        let (class, age, source) = (Class::Registered, self.age, self.source.clone());
        Rule { class, protocol, cidr, port: Some(port), action, age, source }
    }
}

/// Where the rules of a field of an object come from.
pub(super) fn source(key: &ObjectKey, field: &str, host: Option<&str>) -> Arc<RuleSource> {
    Arc::new(RuleSource {
        kind: key.kind.shown(),
        namespace: key.namespace.clone(),
        name: key.name.clone(),
        field: field.into(),
        host: host.map(str::to_owned),
    })
}
