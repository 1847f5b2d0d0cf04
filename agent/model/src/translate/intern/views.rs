//! What each point of view shows, kept from one translation to the next: where no name that changed
//! is claimed twice, a view changes by what changed and by nothing else.

use std::{collections::BTreeMap, sync::Arc};

use hashbrown::HashMap;

use super::services::Delta;
use crate::{
    registry::{Exposure, Registry, Scope, Selected, Service, precedence},
    resource::ObjectKey,
};

/// More changes than this at once are not worth following one by one.
const FEW: usize = 1_000;

/// What tells one view from another.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(in crate::translate) struct ViewKey {
    pub(in crate::translate) namespace: String,
    /// The object that narrows the view.
    pub(in crate::translate) by: Option<ObjectKey>,
    /// Who sees services that do not say, where that differs from what is usual in the mesh.
    pub(in crate::translate) unsaid: Option<Exposure>,
}

/// What a point of view shows.
#[derive(Clone, Debug)]
pub(in crate::translate) struct View {
    pub(in crate::translate) scope: Arc<Scope>,
    /// Services with a rule, in order of precedence.
    pub(in crate::translate) selected: Arc<[Selected]>,
    /// The names that what is seen follows from, and how many services want each.
    pub(in crate::translate) names: Arc<BTreeMap<Arc<str>, usize>>,
}

/// How a selection follows from one of the translation before.
#[derive(Debug)]
pub(super) struct Step {
    pub(super) from: Arc<[Selected]>,
    pub(super) removed: Vec<Selected>,
    pub(super) added: Vec<Selected>,
    pub(super) to: Arc<[Selected]>,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Views {
    kept: HashMap<ViewKey, (View, u64)>,
    exposure: Option<Exposure>,
    steps: Vec<Step>,
}

impl Views {
    /// Starts a translation.
    pub(super) fn begin(&mut self, default_exposure: &Exposure) {
        self.steps.clear();
        if self.exposure.as_ref() != Some(default_exposure) {
            self.kept.clear();
            self.exposure = Some(default_exposure.clone());
        }
    }

    /// Forgets views that no pod had in this translation.
    pub(super) fn end(&mut self, round: u64) {
        self.kept.retain(|_, (_, seen)| *seen == round);
    }

    /// What is seen from a scope.
    pub(super) fn view(
        &mut self,
        key: ViewKey,
        scope: Scope,
        (registry, delta): (&Registry, &Delta),
        round: u64,
    ) -> View {
        match self.kept.get(&key) {
            Some((view, seen)) if *seen == round => return view.clone(),
            Some((view, seen))
                if *seen + 1 == round
                    && *view.scope == scope
                    && scope.list().is_none()
                    && !delta.contested
                    && delta.gone.len() + delta.fresh.len() <= FEW =>
            {
                let view = self.follow(&view.clone(), (registry, delta));
                self.kept.insert(key, (view.clone(), round));
                return view;
            }
            _ => {}
        }
        let seen = registry.select(&scope);
        let mut names = BTreeMap::new();
        for name in seen.iter().flat_map(|one| &one.service.names) {
            *names.entry(Arc::clone(name)).or_default() += 1;
        }
        let view = View {
            scope: Arc::new(scope),
            selected: seen.into_iter().filter(has_rules).collect(),
            names: Arc::new(names),
        };
        self.kept.insert(key, (view.clone(), round));
        view
    }

    /// The step that led to a selection.
    pub(super) fn step_to(&self, selected: &Arc<[Selected]>) -> Option<&Step> {
        self.steps.iter().find(|step| Arc::ptr_eq(&step.to, selected))
    }

    fn follow(&mut self, view: &View, (registry, delta): (&Registry, &Delta)) -> View {
        let seen = |all: &[Arc<Service>]| -> Vec<Selected> {
            let one = |one: &Arc<Service>| registry.select_one(one, &view.scope);
            all.iter().filter_map(one).collect()
        };
        let (mut removed, mut added) = (seen(&delta.gone), seen(&delta.fresh));
        let mut names = Arc::clone(&view.names);
        count_names(&mut names, &removed, &added);
        removed.retain(has_rules);
        added.retain(has_rules);
        let selected = self.step(&view.selected, removed, added);
        View { scope: Arc::clone(&view.scope), selected, names }
    }

    /// Views that show the same go on doing so.
    fn step(
        &mut self,
        from: &Arc<[Selected]>,
        removed: Vec<Selected>,
        added: Vec<Selected>,
    ) -> Arc<[Selected]> {
        if removed.is_empty() && added.is_empty() {
            return Arc::clone(from);
        }
        let same = |step: &&Step| {
            Arc::ptr_eq(&step.from, from)
                && super::same_selection(&step.removed, &removed)
                && super::same_selection(&step.added, &added)
        };
        if let Some(step) = self.steps.iter().find(same) {
            return Arc::clone(&step.to);
        }
        let is_removed =
            |one: &Selected| removed.iter().any(|gone| Arc::ptr_eq(&gone.service, &one.service));
        let mut all: Vec<Selected> = Vec::with_capacity(from.len() + added.len());
        all.extend(from.iter().filter(|one| !is_removed(one)).cloned());
        for one in &added {
            let place = precedence(&one.service);
            let at = all.partition_point(|other| precedence(&other.service) <= place);
            all.insert(at, one.clone());
        }
        let to: Arc<[Selected]> = all.into();
        self.steps.push(Step { from: Arc::clone(from), removed, added, to: Arc::clone(&to) });
        to
    }
}

fn count_names(
    names: &mut Arc<BTreeMap<Arc<str>, usize>>,
    removed: &[Selected],
    added: &[Selected],
) {
    let of = |all: &[Selected]| -> Vec<Arc<str>> {
        all.iter().flat_map(|one| one.service.names.iter().cloned()).collect()
    };
    let (removed, added) = (of(removed), of(added));
    if removed.is_empty() && added.is_empty() {
        return;
    }
    let names = Arc::make_mut(names);
    for name in added {
        *names.entry(name).or_default() += 1;
    }
    for name in removed {
        if let Some(count) = names.get_mut(&name) {
            *count -= 1;
            if *count == 0 {
                names.remove(&name);
            }
        }
    }
}

/// A service without a rule would keep two views from sharing a set.
fn has_rules(one: &Selected) -> bool {
    one.ports().any(|port| !port.rules.is_empty())
}
