//! Who may ask what: `AuthorizationPolicy`, and what peers have to show: `PeerAuthentication`.

use serde_json::json;

use super::{
    At, Count, FILLED, Filled, Holds, Pattern, Required, Rule, WHOLE_LABEL, WHOLE_LABELS,
    conditions::{any, implies, is, no_items, of},
    patterns::{NET, PORT_TEXT, net},
    target,
};

/// `NAME` or `NAMESPACE/NAME`.
const ACCOUNT: &str = "^[^/*]+(/[^/*]+)?$";
/// A text, its beginning or its end.
const PART: &str = "^([*][^*]*|[^*]+[*]?)$";
/// `{*}` is a segment, and `{**}` the rest, behind which no other may stand.
const PATH: Rule = Pattern(
    "^([^{}]+|/*(([-A-Za-z0-9._~%!$&'()+,;:@=]+|[{][*][}])/)*([{][*][*][}](/[-A-Za-z0-9._~%!$&'()+,;\
     :@=]+)*|[-A-Za-z0-9._~%!$&'()+,;:@=]+|[{][*][}])/*)$",
);
const ATTRIBUTE: Rule = Pattern(
    "^(source[.](ip|namespace|serviceAccount|principal|trustDomain)|remote[.]ip|destination[.](ip|port)\
     |request[.]auth[.](principal|audiences|presenter)|connection[.]sni|\
     (request[.]headers|request[.]auth[.]claims|experimental[.]envoy[.]filters[.])[^\\[]*\\[.+\\])$",
);
/// Attributes of who asks.
const IDENTITY: &str =
    "^(source[.](namespace|serviceAccount|trustDomain|principal)$|request[.]auth[.])";
/// What a source has of who asks, and not of where from.
const IDENTITIES: [&str; 10] = [
    "principals",
    "notPrincipals",
    "requestPrincipals",
    "notRequestPrincipals",
    "namespaces",
    "notNamespaces",
    "serviceAccounts",
    "notServiceAccounts",
    "trustDomains",
    "notTrustDomains",
];

pub(super) fn peers() -> Vec<At> {
    vec![
        (
            "",
            Holds(
                "!has(self.portLevelMtls) || self.portLevelMtls.size() == 0 || (has(self.selector) \
                 && has(self.selector.matchLabels) && self.selector.matchLabels.size() > 0)",
                "modes by port need a selector with labels",
            ),
        ),
        ("selector.matchLabels", WHOLE_LABELS),
        ("selector.matchLabels{}", WHOLE_LABEL),
        ("portLevelMtls", Count(1, 1024)),
        (
            "portLevelMtls",
            Holds(
                "self.all(port, port.matches('^[0-9]{1,5}$') && int(port) > 0 && int(port) < 65536)",
                "the keys are ports, 1 to 65535",
            ),
        ),
    ]
}

pub(super) fn rules() -> Vec<At> {
    let mut rules = target::rules();
    rules.extend([
        (
            "",
            Holds(
                "!has(self.action) || self.action != 'DENY' || (has(self.rules) && \
                 self.rules.size() > 0)",
                "DENY without rules denies nothing: use [{}] to deny all",
            ),
        ),
        (
            "",
            Holds(
                "(has(self.action) && self.action == 'CUSTOM') == has(self.provider)",
                "a provider goes with action CUSTOM, and only with it",
            ),
        ),
        (
            "",
            Holds(
                "!has(self.action) || self.action != 'CUSTOM' || (has(self.rules) && \
                 self.rules.size() > 0)",
                "CUSTOM without rules is never asked: use [{}] for every request",
            ),
        ),
        ("", of_custom()),
        ("provider", Required(&["name"])),
        ("provider.name", FILLED),
        ("rules[].from[]", Required(&["source"])),
        ("rules[].to[]", Required(&["operation"])),
    ]);
    rules.extend(sources());
    rules.extend(operations());
    rules.extend(attributes());
    rules
}

/// Who asks is the provider's to find out.
fn of_custom() -> Rule {
    let nothing: Vec<_> = IDENTITIES.iter().map(|field| no_items(field)).collect();
    let from = json!({"items": of("source", &json!({"allOf": nothing}))});
    let when = json!({"items": of("key", &json!({"not": {"pattern": IDENTITY}}))});
    let rule = json!({"properties": {"from": from, "when": when}});
    implies(&is("action", &["CUSTOM"]), &of("rules", &json!({"items": rule})))
}

/// A path below `source`.
macro_rules! source {
    ($($field:literal: $rule:expr),+ $(,)?) => {
        vec![$((concat!("rules[].from[].source.", $field), $rule)),+]
    };
}

fn sources() -> Vec<At> {
    const TRUST_DOMAIN: Rule = Pattern("^([*][^*/]*|[^*/]+[*]?)$");
    let mut rules = source! {
        "principals[]": FILLED,
        "notPrincipals[]": FILLED,
        "requestPrincipals[]": FILLED,
        "notRequestPrincipals[]": FILLED,
        "namespaces[]": FILLED,
        "notNamespaces[]": FILLED,
        "serviceAccounts": Count(0, 16),
        "serviceAccounts[]": Pattern(ACCOUNT),
        "serviceAccounts[]": Count(1, 320),
        "notServiceAccounts": Count(0, 16),
        "notServiceAccounts[]": Pattern(ACCOUNT),
        "notServiceAccounts[]": Count(1, 320),
        "trustDomains[]": TRUST_DOMAIN,
        "notTrustDomains[]": TRUST_DOMAIN,
        "ipBlocks[]": NET,
        "notIpBlocks[]": NET,
        "remoteIpBlocks[]": NET,
        "notRemoteIpBlocks[]": NET,
    };
    let none_of = ["serviceAccounts", "notServiceAccounts"].map(no_items);
    let others = ["principals", "notPrincipals", "namespaces", "notNamespaces"].map(no_items);
    let no_accounts = json!({"allOf": none_of});
    rules.extend([
        (
            "rules[].from[].source",
            Filled(&[
                "principals",
                "notPrincipals",
                "requestPrincipals",
                "notRequestPrincipals",
                "namespaces",
                "notNamespaces",
                "serviceAccounts",
                "notServiceAccounts",
                "trustDomains",
                "notTrustDomains",
                "ipBlocks",
                "notIpBlocks",
                "remoteIpBlocks",
                "notRemoteIpBlocks",
            ]),
        ),
        ("rules[].from[].source", Rule::Also(any(&[no_accounts, json!({"allOf": others})]))),
    ]);
    rules
}

/// A path below `operation`.
macro_rules! operation {
    ($($field:literal: $rule:expr),+ $(,)?) => {
        vec![$((concat!("rules[].to[].operation", $field), $rule)),+]
    };
}

fn operations() -> Vec<At> {
    operation! {
        "": Filled(&[
            "ports", "notPorts", "hosts", "notHosts", "methods", "notMethods", "paths", "notPaths",
        ]),
        ".ports[]": Pattern(PORT_TEXT),
        ".notPorts[]": Pattern(PORT_TEXT),
        ".hosts[]": FILLED,
        ".notHosts[]": FILLED,
        ".methods[]": FILLED,
        ".notMethods[]": FILLED,
        ".paths[]": PATH,
        ".notPaths[]": PATH,
    }
}

/// What a condition asks, and which values that has.
fn attributes() -> Vec<At> {
    let values = |of_key: &str, value: &serde_json::Value, most: u64| {
        let list = json!({"maxItems": most, "items": value});
        let both = json!({"properties": {"values": list, "notValues": list}});
        ("rules[].when[]", implies(&of_key_like(of_key), &both))
    };
    vec![
        ("rules[].when[]", Required(&["key"])),
        ("rules[].when[]", Filled(&["values", "notValues"])),
        ("rules[].when[].key", ATTRIBUTE),
        ("rules[].when[].values[]", FILLED),
        ("rules[].when[].notValues[]", FILLED),
        values("^(source|remote|destination)[.]ip$", &net(), MOST),
        values("^destination[.]port$", &json!({"pattern": PORT_TEXT}), MOST),
        values("^source[.]serviceAccount$", &json!({"pattern": ACCOUNT}), 16),
        values("^source[.]trustDomain$", &json!({"pattern": PART}), MOST),
    ]
}

/// As many as a request to the server can hold.
const MOST: u64 = 1_000_000;

fn of_key_like(pattern: &str) -> serde_json::Value {
    super::conditions::with("key", &json!({"pattern": pattern}))
}
