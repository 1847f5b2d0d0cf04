//! What left the cluster's own knowledge a moment ago, by this node's clock, also across a restart: open
//! connections go on to it for a grace (`agent_model::registry::departed`).
//!
//! The clock is the machine's time since it was started, which neither stands still with it nor can be
//! set. The file is `departed.snapshot` in the run directory; what is in it when the machine starts
//! again leads to no open connection.

mod saved;
#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, path::PathBuf, sync::Arc, time::Duration};

use agent_base::{error::chain, sealed};
use agent_model::{
    egress::Rule,
    pod::PodId,
    registry::{Registry, Scope, departed::Departed},
};
use rustix::time::{ClockId, clock_gettime};
use tokio::sync::watch;

use self::saved::Line;

/// The rules that each pod's open connections may go by, sorted.
pub type Kept = BTreeMap<PodId, Arc<[Rule]>>;

/// See the module.
#[derive(Debug)]
pub struct Leavers {
    departed: Departed,
    /// The registry in force.
    registry: Arc<Registry>,
    file: watch::Sender<Vec<Line>>,
}

impl Leavers {
    /// Takes over what an earlier process saved in the file for this node. The other half writes what
    /// changes.
    pub fn open(
        grace: Duration,
        path: PathBuf,
        node: &str,
    ) -> (Self, impl Future<Output = ()> + Send + use<>) {
        let mut departed = Departed::new(grace);
        match saved::read(&path, node) {
            Ok(lines) => {
                departed.restore(lines.into_iter().filter_map(Line::left).collect(), now());
            }
            Err(error) => tracing::warn!(
                target: "config", path = %path.display(), error = %chain(&error),
                "what left lately is not known: connections to it are reset"
            ),
        }
        let (file, contents) = watch::channel(Vec::new());
        let writer = sealed::keep(path, node.into(), contents, |path, node, lines: &Vec<_>| {
            saved::write(path, node, lines)
        });
        (Self { departed, registry: Arc::default(), file }, writer)
    }

    /// Whether the grace of something has ended since the last step.
    pub fn are_due(&self) -> bool {
        self.departed.is_due(now())
    }

    /// Takes in the registry that is in force from now on.
    pub fn follow(&mut self, registry: &Arc<Registry>) {
        if Arc::ptr_eq(&self.registry, registry) {
            self.departed.expire(now());
        } else {
            self.departed.follow(&self.registry, registry, now());
            self.registry = Arc::clone(registry);
        }
        let lines: Vec<Line> = self.departed.left().iter().map(Line::of).collect();
        self.file.send_if_modified(|saved| {
            let is_new = *saved != lines;
            *saved = lines;
            is_new
        });
    }

    /// What the open connections of each enrolled pod may go by although no rule allows new ones.
    pub fn kept(&self) -> Kept {
        // Pods of one namespace mostly have one point of view.
        let mut by_scope: BTreeMap<*const Scope, Arc<[Rule]>> = BTreeMap::new();
        let mut kept = Kept::new();
        for (pod, scope) in self.registry.scopes() {
            let rules = by_scope.entry(Arc::as_ptr(scope)).or_insert_with(|| self.of_scope(scope));
            kept.insert(pod.clone(), Arc::clone(rules));
        }
        kept
    }

    fn of_scope(&self, scope: &Scope) -> Arc<[Rule]> {
        let mut rules = self.registry.outlived(scope);
        rules.extend(self.departed.rules(&self.registry, scope));
        rules.sort_unstable();
        rules.dedup();
        rules.into()
    }
}

/// The pods whose open connections have lost what they went by.
pub fn losers<'a>(before: &'a Kept, after: &'a Kept) -> impl Iterator<Item = &'a PodId> {
    let lost = |(pod, rules): &(&PodId, &Arc<[Rule]>)| {
        let after = after.get(*pod).map(|rules| &**rules).unwrap_or_default();
        rules.iter().any(|rule| after.binary_search(rule).is_err())
    };
    before.iter().filter(lost).map(|(pod, _)| pod)
}

fn now() -> Duration {
    let now = clock_gettime(ClockId::Boottime);
    Duration::new(now.tv_sec.unsigned_abs(), u32::try_from(now.tv_nsec).unwrap_or(0))
}
