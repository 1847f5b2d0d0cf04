//! Istio's rules about tokens.

use super::{Alias, At, FILLED, Holds, OneFilled, Pattern, Required, Time, target};

/// `http` or `https`, a host, and a port that is a number.
const URI: &str = "^(|[hH][tT][tT][pP][sS]?:/*([^/?#@[:cntrl:] ]*@)*\
                   ([^]:@/?#[:cntrl:] ]*(:[0-9]*)?|[^@/?#[:cntrl:] ]*[]]([^]:@/?#[:cntrl:] ][^]@/?#[:cntrl:] ]*|:[0-9]*)?)\
                   ([/?#][^[:cntrl:] ]*)?)$";

pub(super) fn rules() -> Vec<At> {
    let mut rules = target::rules();
    rules.extend([
        ("jwtRules[].jwksUri", Pattern(URI)),
        ("jwtRules[]", Alias("jwks_uri", "jwksUri")),
        ("jwtRules[]", OneFilled(&["jwksUri", "jwks_uri", "jwks"])),
        (
            "jwtRules[]",
            Holds(
                "(has(self.issuer) && self.issuer != '') || (has(self.jwksUri) && self.jwksUri != \
                 '') || (has(self.jwks_uri) && self.jwks_uri != '')",
                "give issuer or jwksUri",
            ),
        ),
        // What is in it no schema can say.
        ("jwtRules[].jwks", Pattern("^([[:space:]]*[{](.|[[:space:]])*[}][[:space:]]*)?$")),
        ("jwtRules[].audiences[]", FILLED),
        ("jwtRules[].fromParams[]", FILLED),
        ("jwtRules[].fromCookies[]", FILLED),
        ("jwtRules[].spaceDelimitedClaims[]", FILLED),
        ("jwtRules[].fromHeaders[]", Required(&["name"])),
        ("jwtRules[].fromHeaders[].name", FILLED),
        ("jwtRules[].outputClaimToHeaders[]", Required(&["header", "claim"])),
        ("jwtRules[].outputClaimToHeaders[].header", Pattern("^[-_A-Za-z0-9]+$")),
        ("jwtRules[].outputClaimToHeaders[].claim", FILLED),
        ("jwtRules[].timeout", Time),
    ]);
    rules
}
