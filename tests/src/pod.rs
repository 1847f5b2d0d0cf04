//! What else runs inside a pod's namespace and group, for the suites alone.
//!
//! ```text
//! skt-probe talk           a TCP client that does as its input says
//! skt-probe load LOAD      many connections at once
//! skt-probe http           requests, a line of its input at a time
//! skt-probe steady CLIENTS requests at a steady rate, until its input ends
//! skt-probe serve P PORT   an echo server in the pod; P is tcp, tcp4, udp or as in `serve`
//! skt-probe strangers CGROUP LINK...   programs of another owner on the hooks of a node
//! skt-probe ...            what the probe does
//! ```

pub mod http;
pub mod load;
mod serve;
pub mod steady;
mod strangers;
pub mod talk;

use anyhow::Result;

use crate::probe;

/// Does what its arguments say.
pub fn run(arguments: impl Iterator<Item = String>) -> Result<()> {
    let words: Vec<String> = arguments.collect();
    match &words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["talk"] => talk::run(),
        ["http"] => http::talk(),
        ["strangers", cgroup, links @ ..] => strangers::run(cgroup, links),
        ["load", load] => load::run(&serde_json::from_str(load)?),
        ["steady", clients] => steady::run(&serde_json::from_str::<Vec<_>>(clients)?),
        ["serve", protocol, port] => serve::run(protocol, port.parse()?),
        _ => probe::run(words.into_iter()),
    }
}
