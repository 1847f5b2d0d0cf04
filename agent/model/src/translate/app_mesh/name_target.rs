//! Where a name leads, as far as the cluster's own objects tell.

use std::{collections::BTreeSet, net::IpAddr};

use crate::{
    names::Answers,
    resource::{Kind, Object, ObjectKey, Objects},
    translate::endpoints::Index,
};

/// What a name's rules follow from besides itself.
#[derive(Debug)]
pub(super) struct NameInputs<'a> {
    pub(super) objects: &'a Objects,
    pub(super) endpoints: &'a Index,
    pub(super) domain: &'a str,
    pub(super) answers: &'a Answers,
}

/// Where a name leads.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum NameTarget {
    /// To these addresses.
    At(Addresses),
    /// To none: no Service has the name, or one that has no address.
    Nowhere,
    /// To what a resolver says.
    Outside(String),
}

/// Addresses, sorted, of which there is at least one.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Addresses {
    /// New connections may go to these.
    pub(super) ready: BTreeSet<IpAddr>,
    /// Open ones may go on to these too.
    pub(super) unready: BTreeSet<IpAddr>,
}

/// What a client in a namespace gets for a name: its Service's own addresses, or its endpoints'
/// where it is headless.
pub(super) fn name_target(host: &str, namespace: &str, inputs: &NameInputs<'_>) -> NameTarget {
    let host = host.trim_end_matches('.').to_ascii_lowercase();
    if let Ok(address) = host.parse::<IpAddr>() {
        let ready = BTreeSet::from([address.to_canonical()]);
        return NameTarget::At(Addresses { ready, ..Addresses::default() });
    }
    let suffix = format!(".svc.{}", inputs.domain);
    let within = host.strip_suffix(&suffix).or_else(|| host.strip_suffix(".svc"));
    let short = within.unwrap_or(&host);
    let (name, of) = match short.split_once('.') {
        None if within.is_none() => (short, namespace),
        None => return NameTarget::Nowhere,
        Some(parts) => parts,
    };
    let key = ObjectKey::new(Kind::Service, of, name);
    let Some(Object::Service(service)) = inputs.objects.get(&key) else {
        // `name.namespace` may as well be a name outside the cluster.
        return if within.is_some() { NameTarget::Nowhere } else { NameTarget::Outside(host) };
    };
    if let Some(name) = &service.external_name {
        return NameTarget::Outside(name.to_ascii_lowercase());
    }
    let mut found = Addresses::default();
    if service.headless {
        for subset in inputs.endpoints.of(of, name) {
            found.ready.extend(subset.addresses);
            found.unready.extend(subset.unready);
        }
    } else {
        found.ready.extend(service.addresses.iter());
    }
    let is_empty = found.ready.is_empty() && found.unready.is_empty();
    if is_empty { NameTarget::Nowhere } else { NameTarget::At(found) }
}
