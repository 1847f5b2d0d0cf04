//! Every rule of policies about access, tokens and peers. A policy that is taken and misread would
//! let through what it was to deny.

#[path = "support/rows.rs"]
mod rows;

use rows::{Row, found, hold};

const API: &str = "security.istio.io/v1";

const ACCESS: &[Row] = &[
    (
        "all that may be said",
        "rules: [{from: [{source: {principals: [a], notPrincipals: [b], requestPrincipals: ['*'], notRequestPrincipals: [c], namespaces: [d], notNamespaces: [e], trustDomains: ['cluster.*', '*'], notTrustDomains: ['*.local'], ipBlocks: [10.0.0.0/8], notIpBlocks: [10.0.0.1], remoteIpBlocks: ['2001:db8::/32'], notRemoteIpBlocks: ['::1']}}, {source: {serviceAccounts: [a, b/c], notServiceAccounts: [d]}}], to: [{operation: {hosts: [a], notHosts: [b], ports: ['80'], notPorts: ['81'], methods: [GET], notMethods: [POST], paths: [/a*, '/b/{*}/c/{**}'], notPaths: [/d]}}], when: [{key: 'request.headers[a]', values: [b], notValues: [c]}]}]",
        &[],
    ),
    (
        "trust domains alone are a source",
        "rules: [{from: [{source: {trustDomains: [cluster.local]}}]}]",
        &[],
    ),
    (
        "a trust domain has no slash",
        "rules: [{from: [{source: {trustDomains: [a/b]}}]}]",
        &["error SK0232 spec.rules[0].from[0].source.trustDomains[0]"],
    ),
    (
        "one wildcard, at an end",
        "rules: [{from: [{source: {notTrustDomains: ['*a*', 'a*b', 'a*']}}]}]",
        &[
            "error SK0232 spec.rules[0].from[0].source.notTrustDomains[0]",
            "error SK0232 spec.rules[0].from[0].source.notTrustDomains[1]",
        ],
    ),
    (
        "an empty text is no value",
        "rules: [{from: [{source: {principals: ['']}}], to: [{operation: {paths: ['']}}, {operation: {methods: [GET, '']}}]}]",
        &[
            "error SK0226 spec.rules[0].from[0].source.principals[0]",
            "error SK0226 spec.rules[0].to[0].operation.paths[0]",
            "error SK0226 spec.rules[0].to[1].operation.methods[1]",
        ],
    ),
    (
        "a service account is NAME or NAMESPACE/NAME",
        "rules: [{from: [{source: {serviceAccounts: ['', 'a/b/c', '/a', 'a/', 'a*']}}]}]",
        &[
            "error SK0233 spec.rules[0].from[0].source.serviceAccounts[0]",
            "error SK0233 spec.rules[0].from[0].source.serviceAccounts[1]",
            "error SK0233 spec.rules[0].from[0].source.serviceAccounts[2]",
            "error SK0233 spec.rules[0].from[0].source.serviceAccounts[3]",
            "error SK0233 spec.rules[0].from[0].source.serviceAccounts[4]",
        ],
    ),
    (
        "up to 16 service accounts",
        "rules: [{from: [{source: {serviceAccounts: [a, a, a, a, a, a, a, a, a, a, a, a, a, a, a, a, a]}}]}]",
        &["error SK0201 spec.rules[0].from[0].source.serviceAccounts"],
    ),
    (
        "service accounts without namespaces and principals",
        "rules: [{from: [{source: {serviceAccounts: [a], notNamespaces: [b]}}]}]",
        &["error SK0227 spec.rules[0].from[0].source"],
    ),
    (
        "blocks are addresses",
        "rules: [{from: [{source: {notRemoteIpBlocks: [10.0.0.0/33, '']}}]}]",
        &[
            "error SK0204 spec.rules[0].from[0].source.notRemoteIpBlocks[0]",
            "error SK0204 spec.rules[0].from[0].source.notRemoteIpBlocks[1]",
        ],
    ),
    (
        "ports are numbers",
        "rules: [{to: [{operation: {ports: ['0', '65535', '65536', '+80', http]}}]}]",
        &[
            "warning SK0206 spec.rules[0].to[0].operation.ports[0]",
            "error SK0206 spec.rules[0].to[0].operation.ports[2]",
            "error SK0206 spec.rules[0].to[0].operation.ports[3]",
            "error SK0206 spec.rules[0].to[0].operation.ports[4]",
        ],
    ),
    (
        "a template's braces are for whole segments",
        "rules: [{to: [{operation: {paths: ['/{a}', '/{**}/{*}', '/{*}/a b', '/x{*}', '/{*}/*']}}]}]",
        &[
            "error SK0232 spec.rules[0].to[0].operation.paths[0]",
            "error SK0232 spec.rules[0].to[0].operation.paths[1]",
            "error SK0232 spec.rules[0].to[0].operation.paths[2]",
            "error SK0232 spec.rules[0].to[0].operation.paths[3]",
            "error SK0232 spec.rules[0].to[0].operation.paths[4]",
        ],
    ),
    (
        "an attribute that exists",
        "rules: [{when: [{key: source.name, values: [a]}]}]",
        &["error SK0233 spec.rules[0].when[0].key"],
    ),
    (
        "attributes of the first version are gone",
        "rules: [{when: [{key: destination.namespace, values: [a]}, {key: 'destination.labels[a]', values: [a]}, {key: destination.user, values: [a]}, {key: destination.name, values: [a]}]}]",
        &[
            "error SK0233 spec.rules[0].when[0].key",
            "error SK0233 spec.rules[0].when[1].key",
            "error SK0233 spec.rules[0].when[2].key",
            "error SK0233 spec.rules[0].when[3].key",
        ],
    ),
    (
        "a name in brackets",
        "rules: [{when: [{key: request.headers, values: [a]}, {key: 'request.headers[]', values: [a]}, {key: 'request.auth.claims[a]', values: [b]}]}]",
        &["error SK0233 spec.rules[0].when[0].key", "error SK0233 spec.rules[0].when[1].key"],
    ),
    (
        "an address's values",
        "rules: [{when: [{key: source.ip, values: [a]}, {key: remote.ip, notValues: [10.0.0.0/40]}, {key: destination.ip, values: [10.0.0.1]}]}]",
        &[
            "error SK0204 spec.rules[0].when[0].values[0]",
            "error SK0204 spec.rules[0].when[1].notValues[0]",
        ],
    ),
    (
        "a port's values",
        "rules: [{when: [{key: destination.port, values: [http]}]}]",
        &["error SK0206 spec.rules[0].when[0].values[0]"],
    ),
    (
        "an account's and a domain's values",
        "rules: [{when: [{key: source.serviceAccount, values: ['a*']}, {key: source.trustDomain, values: ['a*b']}]}]",
        &[
            "error SK0233 spec.rules[0].when[0].values[0]",
            "error SK0232 spec.rules[0].when[1].values[0]",
        ],
    ),
    (
        "an empty value",
        "rules: [{when: [{key: connection.sni, values: ['']}]}]",
        &["error SK0226 spec.rules[0].when[0].values[0]"],
    ),
    ("CUSTOM needs rules", "action: CUSTOM, provider: {name: a}", &["error SK0226 spec.rules"]),
    (
        "CUSTOM needs a provider's name",
        "action: CUSTOM, provider: {}, rules: [{}]",
        &["error SK0226 spec.provider.name"],
    ),
    (
        "CUSTOM asks for no identity",
        "action: CUSTOM, provider: {name: a}, rules: [{from: [{source: {namespaces: [a], ipBlocks: [10.0.0.1]}}, {source: {trustDomains: [a]}}], when: [{key: source.principal, values: [a]}, {key: request.auth.principal, values: [a]}, {key: remote.ip, values: [10.0.0.1]}]}]",
        &[
            "error SK0231 spec.rules[0].from[0].source.namespaces",
            "error SK0231 spec.rules[0].from[1].source.trustDomains",
            "error SK0231 spec.rules[0].when[0].key",
            "error SK0231 spec.rules[0].when[1].key",
        ],
    ),
    (
        "a provider with CUSTOM only",
        "action: DENY, rules: [{}], provider: {name: a}",
        &["error SK0231 spec.provider"],
    ),
    (
        "a deny rule about requests denies TCP",
        "action: DENY, rules: [{to: [{operation: {paths: [/a]}}]}, {from: [{source: {requestPrincipals: [a]}}]}, {from: [{source: {namespaces: [a]}}]}, {to: [{operation: {paths: [/a], ports: ['80']}}]}]",
        &["warning SK0235 spec.rules[0]", "warning SK0235 spec.rules[1]"],
    ),
    (
        "one target",
        "targetRef: {kind: Service, name: a}, targetRefs: [{kind: Service, name: b}]",
        &["error SK0227 spec"],
    ),
    (
        "a target of a known kind, named, in the same namespace",
        "targetRefs: [{kind: Gateway, group: gateway.networking.k8s.io, name: a}, {kind: Service, group: core, name: a}, {kind: ServiceEntry, group: networking.istio.io, name: a}, {kind: Pod, name: a}, {kind: Service, namespace: b}]",
        &[
            "error SK0233 spec.targetRefs[3]",
            "error SK0226 spec.targetRefs[4].name",
            "error SK0233 spec.targetRefs[4].namespace",
        ],
    ),
    (
        "a selector without wildcards",
        "selector: {matchLabels: {a: 'b*', '': c}}",
        &["error SK0213 spec.selector.matchLabels", "error SK0213 spec.selector.matchLabels"],
    ),
];

#[test]
fn an_authorization_policy_is_held_against_each_rule() {
    hold(API, "AuthorizationPolicy", ACCESS);
}

const TOKENS: &[Row] = &[
    (
        "all that may be said",
        "selector: {matchLabels: {a: b}}, jwtRules: [{issuer: a, jwksUri: 'https://a.example.com:8443/keys', audiences: [a], fromHeaders: [{name: a, prefix: b}], fromParams: [a], fromCookies: [b], outputPayloadToHeader: a, outputClaimToHeaders: [{header: a-b_c, claim: d}], forwardOriginalToken: true, timeout: 5s, presence: REQUIRED, spaceDelimitedClaims: [a]}]",
        &[],
    ),
    ("the old name of jwksUri", "jwtRules: [{jwks_uri: 'http://a'}]", &[]),
    (
        "an issuer or where its keys are",
        "jwtRules: [{}]",
        &["error SK0226 spec.jwtRules[0].issuer"],
    ),
    (
        "keys by URI or here",
        "jwtRules: [{issuer: a, jwksUri: 'http://a', jwks: '{\"keys\": []}'}]",
        &["error SK0227 spec.jwtRules[0]"],
    ),
    (
        "a URI of http or https",
        "jwtRules: [{jwksUri: 'ftp://a'}, {jwksUri: a}, {jwksUri: 'http://a:b'}]",
        &[
            "error SK0233 spec.jwtRules[0].jwksUri",
            "error SK0233 spec.jwtRules[1].jwksUri",
            "error SK0233 spec.jwtRules[2].jwksUri",
        ],
    ),
    (
        "keys are JSON of RFC 7517",
        "jwtRules: [{issuer: a, jwks: x}, {issuer: a, jwks: '{\"keys\": 1}'}, {issuer: a, jwks: '{\"keys\": [{\"kty\": \"RSA\"}]}'}]",
        &[
            "error SK0232 spec.jwtRules[0].jwks",
            "error SK0232 spec.jwtRules[1].jwks",
            "error SK0232 spec.jwtRules[2].jwks",
        ],
    ),
    (
        "a private key has no place in a policy",
        "jwtRules: [{issuer: a, jwks: '{\"keys\": [{\"kty\": \"RSA\", \"n\": \"AQ\", \"e\": \"AQAB\", \"d\": \"AQ\"}]}'}]",
        &["warning SK0231 spec.jwtRules[0].jwks"],
    ),
    (
        "no empty audience, parameter and cookie",
        "jwtRules: [{issuer: a, audiences: [''], fromParams: [''], fromCookies: ['']}]",
        &[
            "error SK0226 spec.jwtRules[0].audiences[0]",
            "error SK0226 spec.jwtRules[0].fromParams[0]",
            "error SK0226 spec.jwtRules[0].fromCookies[0]",
        ],
    ),
    (
        "a header has a name",
        "jwtRules: [{issuer: a, fromHeaders: [{prefix: b}]}]",
        &["error SK0226 spec.jwtRules[0].fromHeaders[0].name"],
    ),
    (
        "a claim and a header of letters, digits and dashes",
        "jwtRules: [{issuer: a, outputClaimToHeaders: [{header: 'a b', claim: c}, {}]}]",
        &[
            "error SK0232 spec.jwtRules[0].outputClaimToHeaders[0].header",
            "error SK0226 spec.jwtRules[0].outputClaimToHeaders[1].claim",
            "error SK0226 spec.jwtRules[0].outputClaimToHeaders[1].header",
        ],
    ),
    (
        "a time of a millisecond at least",
        "jwtRules: [{issuer: a, timeout: 0s}]",
        &["error SK0229 spec.jwtRules[0].timeout"],
    ),
    (
        "one target",
        "selector: {matchLabels: {a: b}}, targetRefs: [{kind: Service, name: a}]",
        &["error SK0227 spec"],
    ),
    ("a selector with labels", "selector: {}", &["warning SK0225 spec.selector.matchLabels"]),
];

#[test]
fn a_request_authentication_is_held_against_each_rule() {
    hold(API, "RequestAuthentication", TOKENS);
}

const PEERS: &[Row] = &[
    (
        "a selector without wildcards",
        "selector: {matchLabels: {'a*': b}}",
        &["error SK0213 spec.selector.matchLabels"],
    ),
    (
        "a selector with labels",
        "selector: {matchLabels: {}}",
        &["warning SK0225 spec.selector.matchLabels"],
    ),
    (
        "modes by port name a port",
        "selector: {matchLabels: {a: b}}, portLevelMtls: {}",
        &["error SK0226 spec.portLevelMtls"],
    ),
    ("a mode that exists", "mtls: {mode: strict}", &["unreadable spec.mtls.mode"]),
];

#[test]
fn a_peer_authentication_is_held_against_each_rule() {
    hold(API, "PeerAuthentication", PEERS);
}

#[test]
fn annotations_that_change_the_meaning_are_held_against_theirs() {
    let object = |kind: &str, annotation: &str, spec: &str| {
        let api = if kind.ends_with("Policy") { API } else { "networking.istio.io/v1" };
        format!(
            "apiVersion: {api}\nkind: {kind}\nmetadata: {{name: x, namespace: shop, annotations: \
             {{{annotation}}}}}\nspec: {{{spec}}}\n"
        )
    };
    let dry = "istio.io/dry-run: ";
    let field = "error IST0108 metadata.annotations[istio.io/dry-run]";
    let entry = "hosts: [a.b], ports: [{number: 443, name: a, protocol: TLS}]";
    for (kind, annotation, spec, expected) in [
        ("AuthorizationPolicy", format!("{dry}'true'"), "action: DENY, rules: [{}]", None),
        ("AuthorizationPolicy", format!("{dry}'maybe'"), "", Some(field)),
        ("AuthorizationPolicy", format!("{dry}'true'"), "action: AUDIT", Some(field)),
        ("ServiceEntry", format!("{dry}'true'"), entry, Some(field)),
        (
            "ServiceEntry",
            "internal.istio.io/parents: a".to_owned(),
            entry,
            Some("error IST0108 metadata.annotations[internal.istio.io/parents]"),
        ),
    ] {
        let told = found(&object(kind, &annotation, spec));
        assert_eq!(told, Vec::from_iter(expected), "{kind} {annotation}");
    }
}
