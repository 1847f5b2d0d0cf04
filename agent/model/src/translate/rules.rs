//! The rules of one port.

use std::{num::NonZeroU16, sync::Arc};

use ipnet::IpNet;

use crate::{
    address::everywhere,
    egress::{Action, Class, Protocol, ProxyDuty, Rule, RuleSource},
    names::Answer,
    registry::DefinedPort,
    resource::ObjectKey,
    snapshot::Upstream,
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
    /// See [`crate::registry::DefinedPort::outlived`].
    pub(super) outlived: Vec<Rule>,
}

impl PortRules {
    pub(super) fn new(
        key: &ObjectKey,
        field: String,
        host: Option<&String>,
        age: u32,
        port: NonZeroU16,
    ) -> Self {
        let source = RuleSource {
            kind: key.kind.shown(),
            namespace: key.namespace.clone(),
            name: key.name.clone(),
            field: field.into(),
            host: host.cloned(),
        };
        Self { source: Arc::new(source), age, port, rules: Vec::new(), outlived: Vec::new() }
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
            let rule = self.rule(protocol, IpNet::from(*address), self.port, action);
            self.outlived.push(rule);
        }
    }

    /// The port with these rules, for as long as its object stays as it is: there are tens of
    /// thousands of such, so they keep no room.
    pub(super) fn defined(mut self, upstream: Option<Upstream>) -> DefinedPort {
        self.rules.shrink_to_fit();
        self.outlived.shrink_to_fit();
        let Self { source, port, rules, outlived, .. } = self;
        DefinedPort { number: port.get(), source, rules, outlived, upstream }
    }

    fn rule(&self, protocol: Protocol, cidr: IpNet, port: NonZeroU16, action: Action) -> Rule {
        let (class, age, source) = (Class::Registered, self.age, self.source.clone());
        Rule { class, protocol, cidr, port: Some(port), action, age, source }
    }
}
