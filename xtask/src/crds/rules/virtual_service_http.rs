//! A `VirtualService`'s rules for HTTP.

use serde_json::json;

use super::{
    Alias, At, AtLeast, AtMostOne, Count, Enum, FILLED, Filled, Holds, Many, OneFilled, OneOf,
    PERCENT, PORT, PORT_OR_NONE, Pattern, Range, Required, Rule, Time,
    conditions::{all, any, implies, items, not, of, text, there, with},
    patterns::{GATEWAY_NAME, HOST, LABEL_OR_NONE, LABEL_VALUE, SECONDS},
    routes::{destination, shares},
};

/// What an answer's status may be; no client knows the last one.
const STATUS: Rule = Range(200, 600);
/// A header's name, of RFC 9110's token characters.
const HEADER: Rule = Pattern("^[-A-Za-z0-9!#$%&'*+.^_`|~]+$");
/// The host cannot be taken away, and what starts with a colon is no header that can be.
const REMOVED: Rule =
    Many(|| vec![FILLED, Rule::Also(json!({"not": {"pattern": "^(?i)(:.*|host)$"}}))]);
/// No control characters, and of a variable the beginning and the end.
const SET: Rule =
    Pattern("^([^%[:cntrl:]]|\\t|%%|%[^%([:cntrl:]]+%|%[^%([:cntrl:]]*[(].*[)] *%)*$");
/// Nothing, or a ten-thousandth of a percent at least.
const SHARE: Rule =
    Many(|| vec![PERCENT, Rule::Also(json!({"anyOf": [{"maximum": 0}, {"minimum": 0.0001}]}))]);
const TEXT: Rule = AtMostOne(&["exact", "prefix", "regex"]);
/// The longest pattern.
const PATTERN: Rule = Count(1, 1024);

/// What a retry may answer to, and statuses that have a name.
macro_rules! retry {
    () => {
        concat!(
            "(5xx|gateway-error|reset|reset-before-request|connect-failure|envoy-ratelimited|",
            "retriable-4xx|refused-stream|retriable-status-codes|retriable-headers|",
            "http3-post-connect-failure|cancelled|deadline-exceeded|internal|resource-exhausted|",
            "unavailable|0*(10[0-3]|20[0-8]|226|30[0-578]|40[0-9]|41[0-8]|42[1-689]|431|451|",
            "50[0-8]|51[01]))"
        )
    };
}

const GRPC_STATUS: Rule = Enum(&[
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "UNAUTHENTICATED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
]);

pub(super) fn rules() -> Vec<At> {
    let mut rules = vec![
        ("http[]", actions()),
        (
            "http[]",
            Holds(
                "(has(self.route) && self.route.size() > 0) || has(self.redirect) || \
                 has(self.directResponse) || has(self.delegate)",
                "give it one of route, redirect, directResponse and delegate",
            ),
        ),
        ("http[]", alone()),
        ("http[]", prefixes()),
        ("http[].timeout", Time),
    ];
    rules.extend(matches());
    rules.extend(answers());
    rules.extend(routes());
    rules.extend(copies());
    rules.extend(patience());
    rules.extend(origins());
    rules
}

/// No two; beside a delegate an answer does nothing. That there is one an expression says in words.
fn actions() -> Rule {
    Rule::Also(super::conditions::at_most_one(vec![
        items("route"),
        there("redirect"),
        all(&[there("directResponse"), not(&there("delegate"))]),
        there("delegate"),
    ]))
}

fn alone() -> Rule {
    let answers = any(&[there("redirect"), there("directResponse")]);
    let changes = any(&[there("rewrite"), there("fault")]);
    implies(&all(&[answers, not(&there("delegate"))]), &not(&changes))
}

/// What takes the place of a prefix needs one in each match.
fn prefixes() -> Rule {
    let by_prefix = json!({"items": of("uri", &there("prefix"))});
    implies(&with("redirect", &text("prefixRewrite")), &of("match", &by_prefix))
}

fn matches() -> Vec<At> {
    let mut rules = vec![
        ("http[].match[].port", PORT_OR_NONE),
        ("http[].match[].sourceLabels{}", LABEL_VALUE),
        ("http[].match[].sourceNamespace", LABEL_OR_NONE),
        ("http[].match[].gateways[]", GATEWAY_NAME),
        ("http[].match[].uri", TEXT),
        ("http[].match[].uri.regex", PATTERN),
    ];
    rules.extend([
        ("http[].match[].scheme", TEXT),
        ("http[].match[].scheme.prefix", FILLED),
        ("http[].match[].scheme.regex", PATTERN),
        ("http[].match[].method", TEXT),
        ("http[].match[].method.prefix", FILLED),
        ("http[].match[].method.regex", PATTERN),
        ("http[].match[].authority", TEXT),
        ("http[].match[].authority.prefix", FILLED),
        ("http[].match[].authority.regex", PATTERN),
    ]);
    // Beside the pattern `*` nothing else of such a match is looked at.
    let text = || {
        let several =
            super::conditions::at_most_one(["exact", "prefix", "regex"].map(there).to_vec());
        let given = all(&[several, of("prefix", &json!({"minLength": 1}))]);
        Rule::Also(any(&[super::conditions::is("regex", &["*"]), given]))
    };
    for place in [
        "http[].match[].headers{}",
        "http[].match[].withoutHeaders{}",
        "http[].match[].queryParams{}",
    ] {
        rules.push((place, text()));
    }
    rules.extend([
        ("http[].match[].headers{}.regex", PATTERN),
        ("http[].match[].withoutHeaders{}.regex", PATTERN),
        ("http[].match[].queryParams{}.regex", PATTERN),
    ]);
    rules
}

fn answers() -> Vec<At> {
    vec![
        ("http[].directResponse", Required(&["status"])),
        ("http[].directResponse.status", STATUS),
        ("http[].directResponse.body", AtMostOne(&["string", "bytes"])),
        (
            "http[].directResponse.body.bytes",
            Pattern("^([-A-Za-z0-9+/_]{4})*([-A-Za-z0-9+/_]{2}==|[-A-Za-z0-9+/_]{3}=)?$"),
        ),
        (
            "http[].redirect",
            Filled(&["uri", "prefixRewrite", "authority", "port", "derivePort", "scheme"]),
        ),
        ("http[].redirect", OneFilled(&["uri", "prefixRewrite"])),
        ("http[].redirect", AtMostOne(&["port", "derivePort"])),
        ("http[].redirect.redirectCode", Range(0, 399)),
        (
            "http[].redirect.redirectCode",
            Rule::Also(json!({"anyOf": [{"maximum": 0}, {"minimum": 300}]})),
        ),
        ("http[].redirect.port", PORT_OR_NONE),
        ("http[].redirect.scheme", Enum(&["", "http", "https"])),
        ("http[].rewrite", Filled(&["uri", "authority", "uriRegexRewrite"])),
        ("http[].rewrite", OneFilled(&["uri", "uriRegexRewrite"])),
        ("http[].rewrite.uriRegexRewrite", Required(&["match", "rewrite"])),
        ("http[].rewrite.uriRegexRewrite.match", PATTERN),
        ("http[].rewrite.uriRegexRewrite.rewrite", FILLED),
    ]
}

fn routes() -> Vec<At> {
    let mut rules = vec![
        ("http[].route", shares()),
        ("http[].route[]", Required(&["destination"])),
        ("http[].route[].weight", AtLeast(0)),
        ("http[].headers.request.remove[]", REMOVED),
        ("http[].headers.response.remove[]", REMOVED),
        ("http[].route[].headers.request.remove[]", REMOVED),
        ("http[].route[].headers.response.remove[]", REMOVED),
    ];
    for place in [
        "http[].headers.request.set{}",
        "http[].headers.request.add{}",
        "http[].headers.response.set{}",
        "http[].headers.response.add{}",
        "http[].route[].headers.request.set{}",
        "http[].route[].headers.request.add{}",
        "http[].route[].headers.response.set{}",
        "http[].route[].headers.response.add{}",
    ] {
        rules.push((place, SET));
    }
    rules.extend::<Vec<At>>(destination!("http[].route[].destination"));
    rules
}

fn copies() -> Vec<At> {
    let mut rules = vec![
        ("http[]", OneFilled(&["mirror", "mirrors"])),
        ("http[].mirrorPercent", PERCENT),
        ("http[]", Alias("mirror_percent", "mirrorPercent")),
        ("http[]", AtMostOne(&["mirrorPercent", "mirror_percent"])),
        ("http[].mirrorPercentage.value", PERCENT),
        ("http[].mirrors[]", Required(&["destination"])),
        ("http[].mirrors[].percentage.value", PERCENT),
    ];
    rules.extend::<Vec<At>>(destination!("http[].mirror"));
    rules.extend::<Vec<At>>(destination!("http[].mirrors[].destination"));
    rules
}

/// What is waited for, tried again and spoilt on purpose.
fn patience() -> Vec<At> {
    let tried = with("attempts", &json!({"minimum": 1}));
    let missing = |field: &str| Rule::Also(not(&there(field)));
    vec![
        (
            "http[].retries",
            Holds(
                "(has(self.attempts) && self.attempts > 0) || !(has(self.perTryTimeout) || \
                 has(self.retryRemoteLocalities))",
                "nothing is tried again without attempts: give them",
            ),
        ),
        ("http[].retries", implies(&text("retryOn"), &tried)),
        ("http[].retries.attempts", AtLeast(0)),
        ("http[].retries.perTryTimeout", Time),
        ("http[].retries.backoff", Time),
        ("http[].retries.retryOn", Pattern(concat!("^(", retry!(), "(,", retry!(), ")*)?$"))),
        ("http[].fault", Filled(&["delay", "abort"])),
        ("http[].fault.delay", missing("exponentialDelay")),
        ("http[].fault.delay.fixedDelay", Time),
        ("http[].fault.delay.percentage.value", SHARE),
        ("http[].fault.abort", missing("http2Error")),
        ("http[].fault.abort", AtMostOne(&["httpStatus", "grpcStatus"])),
        ("http[].fault.abort.httpStatus", STATUS),
        ("http[].fault.abort.grpcStatus", GRPC_STATUS),
        ("http[].fault.abort.percentage.value", SHARE),
    ]
}

fn origins() -> Vec<At> {
    vec![
        ("http[].corsPolicy.maxAge", Time),
        ("http[].corsPolicy.maxAge", Pattern(SECONDS)),
        (
            "http[].corsPolicy.allowMethods[]",
            Enum(&[
                "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "CONNECT", "OPTIONS", "TRACE", "*",
            ]),
        ),
        ("http[].corsPolicy.allowHeaders[]", HEADER),
        ("http[].corsPolicy.exposeHeaders[]", HEADER),
        ("http[].corsPolicy.allowOrigins[]", OneOf(&["exact", "prefix", "regex"])),
        ("http[].corsPolicy.allowOrigins[].exact", FILLED),
        ("http[].corsPolicy.allowOrigins[].prefix", FILLED),
        ("http[].corsPolicy.allowOrigins[].regex", PATTERN),
    ]
}
