//! What a policy is bound to: pods by their labels, or other objects by their names.

use super::{At, FILLED, Holds, Many, OneFilled, Required, Rule, WHOLE_LABEL, WHOLE_LABELS};

const REFERENCE: Rule = Many(|| {
    vec![
        Required(&["kind", "name"]),
        Holds(
            "!has(self.group) || self.group in ['', 'core'] ? self.kind == 'Service' : self.group == \
             'networking.istio.io' ? self.kind == 'ServiceEntry' : self.group == \
             'gateway.networking.k8s.io' && self.kind in ['Gateway', 'GatewayClass']",
            "name a Service, a ServiceEntry of networking.istio.io, or a Gateway or GatewayClass of \
             gateway.networking.k8s.io",
        ),
    ]
});

const OWN_NAMESPACE: Rule =
    Holds("self == ''", "an object of another namespace cannot be named: remove it");

pub(super) fn rules() -> Vec<At> {
    vec![
        ("", OneFilled(&["selector", "targetRef", "targetRefs"])),
        ("selector.matchLabels", WHOLE_LABELS),
        ("selector.matchLabels{}", WHOLE_LABEL),
        ("targetRef", REFERENCE),
        ("targetRef.name", FILLED),
        ("targetRef.namespace", OWN_NAMESPACE),
        ("targetRefs[]", REFERENCE),
        ("targetRefs[].name", FILLED),
        ("targetRefs[].namespace", OWN_NAMESPACE),
    ]
}
