//! The policies from before `PeerAuthentication`.

use super::{At, Count, Holds, Nullable, ObjectHolds, OneOf, PORT, Required, patterns::LABEL};

pub(super) fn mesh_policy() -> Vec<At> {
    vec![
        ("", ObjectHolds("self.metadata.name == 'default'", "a MeshPolicy is named default")),
        ("peers[].mtls", Nullable),
        (
            "",
            Holds(
                "!has(self.targets) || self.targets.size() == 0",
                "a MeshPolicy is for the whole mesh: use a Policy for targets",
            ),
        ),
    ]
}

pub(super) fn policy() -> Vec<At> {
    vec![
        (
            "",
            ObjectHolds(
                "self.metadata.name == 'default' || (has(self.spec) && has(self.spec.targets) && \
                 self.spec.targets.size() > 0)",
                "a Policy without targets is named default",
            ),
        ),
        ("peers[].mtls", Nullable),
        ("targets[]", Required(&["name"])),
        ("targets[].name", Count(1, 63)),
        ("targets[].name", LABEL),
        ("targets[].ports[]", OneOf(&["number", "name"])),
        ("targets[].ports[].number", PORT),
    ]
}
