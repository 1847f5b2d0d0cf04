//! Routes for HTTP, from Istio's words, for one client on one port.

use std::sync::Arc;

use super::{
    super::retries::retries,
    Client, RequestModel, VisibleHost,
    actions::{answer, chance, changes, cors, faults, is_host, redirect_to, rewrite},
    delegate::Rule,
    matches::{RouteContext, applicable},
    named,
    reads::Read,
    virtual_service::Routes,
};
use crate::{
    requests::{
        backend::{Missing, Target, Weighted, share_out},
        change::HeaderChanges,
        policy::Balance,
        route::{Action, Fault, Forward, Match, Mirror, Route, end_at_catch_all},
    },
    resource::{
        duration::duration,
        traffic::Destination,
        virtual_service::{HttpRoute, Percent},
    },
};

impl RequestModel {
    /// The routes of an object; `None` if no rule concerns the client, which is then routed as if
    /// the object were not there.
    pub(super) fn routes_of(
        &self,
        client: &Client,
        context: RouteContext<'_>,
        routes: &Routes,
    ) -> Option<Vec<Route>> {
        let mut found = Vec::new();
        for rule in &routes.http {
            let matches = applicable(client, context, &routes.namespace, &rule.route.matches);
            for when in matches {
                found.extend(self.route(client, context, rule, when));
            }
        }
        if context.gateway == named::MESH {
            end_at_catch_all(&mut found);
        }
        (!found.is_empty()).then_some(found)
    }

    /// The way to a service that no object routes.
    pub(super) fn straight(&self, to: Target) -> Route {
        let forward = Forward {
            to: share_out(vec![weighted(to)]),
            retries: self.settings.retries.clone(),
            ..Forward::default()
        };
        Route {
            name: String::new(),
            when: Match::default(),
            then: Action::Forward(forward),
            fault: Fault::default(),
            mirrors: Vec::new(),
            cors: None,
            headers: HeaderChanges::default(),
        }
    }

    /// A rule under one of its matches; `None` if there is nothing that it says to do.
    fn route(
        &self,
        client: &Client,
        context: RouteContext<'_>,
        rule: &Rule,
        when: Match,
    ) -> Option<Route> {
        let HttpRoute { name, redirect, direct_response, fault, cors_policy, headers, .. } =
            &rule.route;
        let then = if let Some(one) = redirect {
            Action::Redirect(redirect_to(one, &when))
        } else if let Some(one) = direct_response {
            Action::Answer(answer(one))
        } else {
            Action::Forward(self.forward(client, context, rule, &when)?)
        };
        let mut headers = changes(headers.as_deref());
        // A host that is set is a host that is rewritten, and that is done already.
        headers.request.set.retain(|name, _| !is_host(name));
        let mirrors = self.mirrors(client, context, rule);
        let (fault, cors) = (faults(fault.as_deref()), cors_policy.as_deref().map(cors));
        Some(Route { name: name.clone(), when, then, fault, mirrors, cors, headers })
    }

    fn forward(
        &self,
        client: &Client,
        context: RouteContext<'_>,
        rule: &Rule,
        when: &Match,
    ) -> Option<Forward> {
        let route = &rule.route;
        let of_route = changes(route.headers.as_deref());
        let host = of_route.request.set.iter().find(|(name, _)| is_host(name));
        let mut rewrite = rewrite(route.rewrite.as_deref(), when);
        rewrite.authority = rewrite.authority.or_else(|| host.map(|(_, value)| value.clone()));
        let mut to = Vec::new();
        for one in &route.route {
            let Some(destination) = &one.destination else { continue };
            let target = self.target(client, context.port, &rule.namespace, destination);
            let mut headers = changes(one.headers.as_deref());
            if rewrite.authority.is_some() {
                headers.request.set.retain(|name, _| !is_host(name));
            }
            let weight = u32::try_from(one.weight).unwrap_or(0);
            to.push(Weighted { weight, target, headers, answer_within: None });
        }
        let mut retries = retries(route.retries.as_deref(), self.settings.retries.clone());
        if let Some(retries) = &mut retries {
            retries.elsewhere &= !to.iter().any(is_by_key);
        }
        let to = share_out(to);
        (!to.is_empty()).then(|| Forward {
            to,
            rewrite,
            timeout: route.timeout.as_deref().and_then(duration),
            idle: None,
            retries,
        })
    }

    /// A destination: on the port that it names, else the service's only one, else the one that
    /// was dialled.
    pub(super) fn target(
        &self,
        client: &Client,
        dialled: u16,
        namespace: &str,
        to: &Destination,
    ) -> Target {
        let host = named::expand(&to.host, namespace, &self.domain);
        let Some(seen) = client.reachable.get(&*host) else {
            client.note(|| Read::NoHost(host.clone()));
            return Target::Missing(Missing::Service(host));
        };
        client.note(|| Read::Host(Arc::clone(seen)));
        let subset = Some(to.subset.as_str()).filter(|name| !name.is_empty());
        let number = match (to.number(), &seen.ports[..]) {
            (Some(number), _) => u16::try_from(number).unwrap_or_default(),
            (None, [only]) => only.number(),
            (None, _) => dialled,
        };
        self.on_port(client, seen, number, subset)
    }

    pub(super) fn on_port(
        &self,
        client: &Client,
        seen: &VisibleHost,
        number: u16,
        subset: Option<&str>,
    ) -> Target {
        match seen.port(number) {
            Some(port) => self.backend(client, port, subset),
            None => Target::Missing(Missing::Port(seen.host.to_string(), number)),
        }
    }

    fn mirrors(&self, client: &Client, context: RouteContext<'_>, rule: &Rule) -> Vec<Mirror> {
        let route = &rule.route;
        let old = route.mirror_percent.map(|percent| Percent { value: Some(f64::from(percent)) });
        let single = route.mirror.iter();
        let single = single.map(|to| (Some(to), route.mirror_percentage.clone().or(old.clone())));
        let several = route.mirrors.iter();
        let several = several.map(|one| (one.destination.as_ref(), one.percentage.clone()));
        let all = single.chain(several).filter_map(|(to, percent)| {
            let chance = percent.map_or(1_000_000, |percent| chance(Some(&percent)));
            let to = self.target(client, context.port, &rule.namespace, to?);
            (chance > 0).then_some(Mirror { to, chance })
        });
        all.collect()
    }
}

pub(super) fn weighted(target: Target) -> Weighted {
    Weighted { weight: 1, target, headers: HeaderChanges::default(), answer_within: None }
}

/// Whether the same request always goes to the same endpoint.
fn is_by_key(one: &Weighted) -> bool {
    matches!(&one.target, Target::Backend(to) if matches!(to.policy.balance, Balance::Hash { .. }))
}
