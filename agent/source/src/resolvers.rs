//! Name servers by `resolv.conf`. For pods on a directory that is `/etc/netns/NAME/resolv.conf`, where
//! `ip netns exec NAME` looks too (ip-netns(8)); what else the pods of a node have is in the agent's own.

use std::{
    collections::BTreeMap,
    fs,
    net::IpAddr,
    path::{Path, PathBuf},
};

use agent_model::{pod::PodId, resource::Objects};

/// Where the agent's own name servers are named.
pub(crate) const OWN: &str = "/etc/resolv.conf";
const ETC: &str = "/etc/netns";
const ANNOTATION: &str = "sekisho.dev/netns";

/// The name servers of each pod that has such a file.
pub fn of_pods(objects: &Objects) -> BTreeMap<PodId, Vec<IpAddr>> {
    let of_pod = |pod: &k8s_openapi::api::core::v1::Pod| {
        let metadata = &pod.metadata;
        let netns = Path::new(metadata.annotations.as_ref()?.get(ANNOTATION)?);
        let file: PathBuf = Path::new(ETC).join(netns.file_name()?).join("resolv.conf");
        let servers = in_file(&file)?;
        let namespace = metadata.namespace.clone().unwrap_or_else(|| "default".to_owned());
        Some((PodId { namespace, name: metadata.name.clone()? }, servers))
    };
    objects.pods().filter_map(|pod| of_pod(pod)).collect()
}

/// Those of the agent itself; none where they cannot be read.
pub fn own() -> Vec<IpAddr> {
    in_file(Path::new(OWN)).unwrap_or_default()
}

fn in_file(file: &Path) -> Option<Vec<IpAddr>> {
    Some(name_servers(&fs::read_to_string(file).ok()?))
}

/// resolv.conf(5): `nameserver ADDRESS`, the address of an IPv6 link with its scope.
pub(crate) fn name_servers(text: &str) -> Vec<IpAddr> {
    let address = |line: &str| {
        let mut words = line.split_whitespace();
        (words.next()? == "nameserver").then(|| words.next()?.split('%').next()?.parse().ok())?
    };
    text.lines().filter_map(address).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_servers_of_both_families_are_read_and_the_rest_is_passed_over() {
        let text = "# nameserver 203.0.113.1\nsearch svc\nnameserver 203.0.113.2\n\
                    nameserver fe80::1%eth0\nnameserver nonsense\noptions ndots:5\n";
        let expected: Vec<IpAddr> =
            ["203.0.113.2", "fe80::1"].iter().filter_map(|text| text.parse().ok()).collect();
        assert_eq!(name_servers(text), expected);
    }
}
