//! Istio's rules about tokens.

use super::{At, AtMostOne, Count, Holds, MANY, Pattern, Required, Time, WHOLE_LABELS};

pub(super) fn request_authentication() -> Vec<At> {
    vec![
        ("", AtMostOne(&["selector", "targetRef", "targetRefs"])),
        ("selector.matchLabels", Count(0, 4096)),
        ("selector.matchLabels{}", Count(0, 63)),
        ("selector.matchLabels", WHOLE_LABELS),
        ("targetRef", Required(&["kind", "name"])),
        ("targetRefs[]", Required(&["kind", "name"])),
        ("jwtRules", Count(0, 4096)),
        ("jwtRules[]", AtMostOne(&["jwksUri", "jwks"])),
        ("jwtRules[]", Holds("has(self.issuer) || has(self.jwksUri)", "give issuer or jwksUri")),
        ("jwtRules[].issuer", Count(1, MANY)),
        ("jwtRules[].jwksUri", Pattern("^[hH][tT][tT][pP][sS]?:")),
        ("jwtRules[].jwksUri", Count(1, 2048)),
        ("jwtRules[].audiences[]", Count(1, MANY)),
        ("jwtRules[].fromParams[]", Count(1, MANY)),
        ("jwtRules[].fromCookies[]", Count(1, MANY)),
        ("jwtRules[].spaceDelimitedClaims[]", Count(1, MANY)),
        ("jwtRules[].fromHeaders[]", Required(&["name"])),
        ("jwtRules[].fromHeaders[].name", Count(1, MANY)),
        ("jwtRules[].outputClaimToHeaders[]", Required(&["header", "claim"])),
        ("jwtRules[].outputClaimToHeaders[].header", Pattern("^[-_A-Za-z0-9]+$")),
        ("jwtRules[].outputClaimToHeaders[].claim", Count(1, MANY)),
        ("jwtRules[].timeout", Time),
    ]
}
