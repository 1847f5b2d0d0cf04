//! The machine that `bench` builds: a server, and a pod for every case.
//!
//! All cases stand side by side, so that they can be measured in turn within the same second: the
//! pods with an agent are in a group of their own, where that agent's hooks are attached, and the
//! pods without one are outside all of these. Two pods without an agent show what the run's own
//! noise is.

use std::{
    io::{BufRead as _, BufReader, Lines, Write as _},
    net::IpAddr,
    path::Path,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

use anyhow::Context as _;

use super::{load::PROXIED_OFFSET, manifests};
use crate::{
    agent::Agent,
    cgroup::Cgroup,
    interrupt,
    place::{Place, address},
};

pub(super) const SERVER: u8 = 100;
/// Another address of the server, for the rule that comes and goes.
pub(super) const CHANGING: u8 = 102;

/// How a case's connections are judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    NoAgent,
    /// Straight, by one rule among this many CIDRs.
    Direct(u32),
    Proxied,
}

/// A pod that is measured.
pub(super) struct Case {
    pub(super) name: &'static str,
    pub(super) way: Way,
    pub(super) client: Process,
    pub(super) agent: Option<Agent>,
    // Dropped last: it cannot go while a process or a hook is in it.
    pub(super) cgroup: Cgroup,
}

/// Everything, in the order in which it is taken down.
pub(super) struct Stage {
    pub(super) cases: Vec<Case>,
    _server: Process,
    _place: Place,
}

const CASES: [(&str, Way); 6] = [
    ("none", Way::NoAgent),
    ("none-again", Way::NoAgent),
    ("direct-1", Way::Direct(1)),
    ("direct-1k", Way::Direct(1000)),
    ("direct-100k", Way::Direct(100_000)),
    ("proxied", Way::Proxied),
];

impl Stage {
    pub(super) fn set(program: &Path, load: &Path) -> anyhow::Result<Self> {
        let mut place = Place::new("bench")?;
        place.add_host("server", &[SERVER, CHANGING])?;
        let mut server = place.run("server", load);
        let server = Process::start(server.args(["load", "server"]))?;
        let mut cases = Vec::new();
        for (number, (name, way)) in (10..).zip(CASES) {
            interrupt::check()?;
            println!("bench: setting up {name}");
            place.add_host(name, &[number])?;
            cases.push(Case::set(&place, (name, way), number, (program, load))?);
        }
        Ok(Self { cases, _server: server, _place: place })
    }
}

impl Case {
    fn set(
        place: &Place,
        (name, way): (&'static str, Way),
        number: u8,
        (program, load): (&Path, &Path),
    ) -> anyhow::Result<Self> {
        let cgroup = Cgroup::new(&format!("bench-{name}"))?;
        let agent = match way {
            Way::NoAgent => None,
            Way::Direct(_) | Way::Proxied => {
                let mut agent = Agent::prepare(program.to_owned(), name)?;
                configure(&agent, place, name, way, number)?;
                agent.start(place, Some(cgroup.path()))?;
                Some(agent)
            }
        };
        let mut client = place.run(name, load);
        client.args(["load", "client", &address(SERVER).to_string()]);
        if way == Way::Proxied {
            client.args(["--offset", &PROXIED_OFFSET.to_string()]);
        }
        let client = Process::start(&mut client)?;
        cgroup.take(client.id())?;
        Ok(Self { name, way, client, agent, cgroup })
    }
}

fn configure(agent: &Agent, place: &Place, name: &str, way: Way, number: u8) -> anyhow::Result<()> {
    let server = IpAddr::from(address(SERVER));
    let entries = match way {
        Way::Proxied => manifests::proxied("server", server),
        Way::Direct(count) => {
            let filling = manifests::filling(count - 1);
            format!("{}{filling}", manifests::direct("server", &[server]))
        }
        Way::NoAgent => String::new(),
    };
    let pod = manifests::pod(name, name, address(number).into(), &place.path(name));
    agent.write("mesh.yaml", manifests::MESH)?;
    agent.write("pod.yaml", &pod)?;
    agent.write("entries.yaml", &entries).map(drop)
}

/// A side of the load; it ends when its standard input closes.
pub(super) struct Process {
    child: Child,
    orders: Option<ChildStdin>,
    answers: Lines<BufReader<ChildStdout>>,
}

impl Process {
    pub(super) fn start(command: &mut Command) -> anyhow::Result<Self> {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let orders = child.stdin.take();
        let answers = BufReader::new(child.stdout.take().expect("it is piped")).lines();
        let mut process = Self { child, orders, answers };
        process.answer()?;
        Ok(process)
    }

    /// The process's number.
    pub(super) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Gives an order and waits for its number.
    pub(super) fn order(&mut self, order: &str) -> anyhow::Result<f64> {
        self.give(order)?;
        Ok(self.answer()?.parse()?)
    }

    /// Gives an order whose answer is fetched later.
    pub(super) fn give(&mut self, order: &str) -> anyhow::Result<()> {
        interrupt::check()?;
        let orders = self.orders.as_mut().expect("it is open until the end");
        Ok(writeln!(orders, "{order}")?)
    }

    pub(super) fn answer(&mut self) -> anyhow::Result<String> {
        self.answers.next().context("a side of the load has ended")?.map_err(Into::into)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.orders = None;
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
