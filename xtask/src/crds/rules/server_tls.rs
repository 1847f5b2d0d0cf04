//! The TLS that a listener ends, of a `Gateway` and of a `Sidecar`.

use serde_json::{Value, json};

use super::{
    Enum, Rule,
    conditions::{all, any, at_most_one, implies, is, items, no_items, no_text, not, text},
};

pub(super) const MODE: Rule = Enum(&[
    "",
    "PASSTHROUGH",
    "SIMPLE",
    "MUTUAL",
    "AUTO_PASSTHROUGH",
    "ISTIO_MUTUAL",
    "OPTIONAL_MUTUAL",
]);
pub(super) const VERSION: Rule =
    Enum(&["", "TLS_AUTO", "TLSV1_0", "TLSV1_1", "TLSV1_2", "TLSV1_3"]);

fn passes_through() -> Value {
    not(&is("mode", &["SIMPLE", "MUTUAL", "ISTIO_MUTUAL", "OPTIONAL_MUTUAL"]))
}

fn by_secret() -> Value {
    any(&[text("credentialName"), items("credentialNames")])
}

fn pair() -> Value {
    all(&[text("serverCertificate"), text("privateKey")])
}

/// Whose certificates are shown, and how many there are of them.
pub(super) fn rules() -> Vec<Rule> {
    let istio = is("mode", &["ISTIO_MUTUAL"]);
    let none = [
        no_text("serverCertificate"),
        no_text("privateKey"),
        no_text("caCertificates"),
        no_text("credentialName"),
        no_items("tlsCertificates"),
        no_items("credentialNames"),
    ];
    let sources = at_most_one(vec![
        pair(),
        text("credentialName"),
        items("credentialNames"),
        items("tlsCertificates"),
    ]);
    let own = all(&[is("mode", &["SIMPLE", "MUTUAL", "OPTIONAL_MUTUAL"]), not(&by_secret())]);
    let asks = all(&[is("mode", &["MUTUAL", "OPTIONAL_MUTUAL"]), not(&by_secret())]);
    let simple = all(&[is("mode", &["SIMPLE"]), not(&by_secret())]);
    vec![
        implies(&istio, &all(&none)),
        implies(&not(&istio), &sources),
        implies(&own, &any(&[items("tlsCertificates"), pair()])),
        implies(&own, &json!({"properties": {"tlsCertificates": {"items": pair()}}})),
        implies(&asks, &text("caCertificates")),
        implies(&simple, &no_text("caCrl")),
        implies(&all(&[passes_through(), text("caCrl")]), &no_text("credentialName")),
    ]
}
