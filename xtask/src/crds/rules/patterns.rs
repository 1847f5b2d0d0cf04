//! What names, hosts, addresses, ports and times look like, as regular expressions and formats. They
//! cost the server nothing of its budget for expressions, and so they go wherever a field stands.
//!
//! Hardly any backslashes: a definition is read by people too. What a last label may not be stands by
//! itself, since the server's expressions cannot look ahead.

use serde_json::{Value, json};

use super::{
    Rule::{self, Also, Count, Many, Pattern},
    conditions::{all, any},
};

/// A pattern for a whole text.
macro_rules! whole {
    ($($part:expr),+ $(,)?) => { concat!("^(", $($part),+, ")$") };
}

macro_rules! label {
    () => {
        "[a-zA-Z0-9]([-a-zA-Z0-9]{0,61}[a-zA-Z0-9])?"
    };
}

macro_rules! domain {
    () => {
        concat!(label!(), "([.]", label!(), ")*[.]?")
    };
}

/// A name whose first label may be, or start with, an asterisk.
macro_rules! wildcard {
    () => {
        concat!(
            domain!(),
            "|[*](-?[a-zA-Z0-9]([-a-zA-Z0-9]{0,59}[a-zA-Z0-9])?)?(([.]",
            label!(),
            ")+[.]?)?"
        )
    };
}

/// A name in full, or an asterisk for whole labels.
macro_rules! whole_host {
    () => {
        concat!(
            "[*]|[*]([.]",
            label!(),
            ")+[.]?|",
            label!(),
            "([.]",
            label!(),
            ")*[.](",
            label!(),
            ")?"
        )
    };
}

macro_rules! ipv4 {
    () => {
        "((25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])[.]){3}(25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
    };
}

/// A file's absolute path, or an abstract name.
macro_rules! socket {
    () => {
        "unix://(@.*|/.*[^/])"
    };
}

/// What a TLS gateway calls what it passes through.
macro_rules! passed_through {
    () => {
        "outbound_[^_]*[0-9][^_]*_[^_]*_[^_]*[a-zA-Z][^_]*(_.*)?"
    };
}

/// A label of a DNS name.
pub(super) const LABEL: Rule = Pattern(whole!(label!()));
pub(super) const LABEL_OR_NONE: Rule = Pattern(whole!("|", label!()));
/// The last label of a name is no number, else it is an IP gone wrong.
pub(super) const LAST_LABEL: &str = "[-a-zA-Z][^.]*[.]?$";
/// The same, where a single label may be anything.
const LAST_OF_SEVERAL: &str = "^[^.]+$|[-a-zA-Z][^.]*[.]?$";

/// A DNS name.
pub(super) const DOMAIN: Rule =
    Many(|| vec![Pattern(whole!(domain!())), Pattern(LAST_LABEL), Count(1, 255)]);
/// A DNS name, or one with an asterisk at its beginning.
pub(super) const WILDCARD: Rule =
    Many(|| vec![Pattern(whole!(wildcard!())), Pattern(LAST_OF_SEVERAL), Count(1, 255)]);
/// The same, but for the asterisk by itself.
pub(super) const HOST: Rule = Many(|| {
    vec![Pattern(whole!(wildcard!())), Pattern(LAST_OF_SEVERAL), Pattern("[^*]"), Count(1, 255)]
});
pub(super) const IP_OR_DOMAIN: Rule = Many(|| vec![Also(any(&[ip(), domain()]))]);
pub(super) const IP_OR_NONE: Rule = Many(|| vec![Also(ip_or_none())]);
/// An IP or a CIDR.
pub(super) const NET: Rule = Many(|| vec![Also(net())]);

/// The server reads a number with a zero before it.
const LEADING_ZERO: &str = "(^|[.:])0[0-9]+[.]|[.]0[0-9]+(/|$)";

fn address(formats: &[&str]) -> Value {
    let formats: Vec<Value> = formats.iter().map(|format| json!({"format": format})).collect();
    all(&[any(&formats), json!({"not": {"pattern": LEADING_ZERO}})])
}

/// An IP.
pub(super) fn ip() -> Value {
    address(&["ipv4", "ipv6"])
}

pub(super) fn ip_or_none() -> Value {
    any(&[ip(), json!({"maxLength": 0})])
}

pub(super) fn net() -> Value {
    address(&["cidr", "ipv4", "ipv6"])
}

/// A DNS name.
pub(super) fn domain() -> Value {
    let whole = json!({"pattern": whole!(domain!()), "minLength": 1, "maxLength": 255});
    all(&[whole, json!({"pattern": LAST_LABEL})])
}

/// A DNS name, or one with an asterisk at its beginning.
pub(super) fn wildcard() -> Value {
    let whole = json!({"pattern": whole!(wildcard!()), "minLength": 1, "maxLength": 255});
    all(&[whole, json!({"pattern": LAST_OF_SEVERAL})])
}

/// Whom something is exported to.
pub(super) const EXPORT: Rule = Pattern(whole!("[*]|[.]|", label!()));
/// The same for a service, which `~` exports to no namespace.
pub(super) const EXPORT_OF_SERVICE: Rule = Pattern(whole!("[*]|[.]|~|", label!()));

/// The protocol of a port.
pub(super) const PROTOCOL: Rule =
    Pattern("^(?i)(tcp|udp|tls|http|https|http2|http_proxy|grpc|grpc-web|mongo|redis|mysql)$");
pub(super) const PROTOCOL_OR_NONE: Rule =
    Pattern("^(?i)(|tcp|udp|tls|http|https|http2|http_proxy|grpc|grpc-web|mongo|redis|mysql)$");
/// Those on which TLS is ended.
pub(super) const TLS_PROTOCOL: &str = "^(?i)(tls|https)$";

/// A port in a text.
pub(super) const PORT_TEXT: &str =
    "^0*(6553[0-5]|655[0-2][0-9]|65[0-4][0-9]{2}|6[0-4][0-9]{3}|[1-5][0-9]{4}|[0-9]{1,4})$";

/// A label's value.
pub(super) const LABEL_VALUE: Rule = Pattern("^([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?$");

/// A gateway's name: `mesh`, `name` or `namespace/name`.
pub(super) const GATEWAY_NAME: Rule = Many(|| {
    vec![Pattern(whole!(label!(), "/", label!(), "|", domain!())), Pattern("/|[-a-zA-Z][^.]*[.]?$")]
});

/// A time of whole milliseconds. Of several numbers with units only the form is looked at.
macro_rules! time {
    () => {
        concat!(
            "[0-9]*[1-9][0-9]*([.]0*)?(h|m|s|ms)|",
            "([0-9]*[1-9][0-9]*[.][0-9]*|[0-9]+[.][0-9]*[1-9][0-9]*)(h|m)|",
            "([0-9]*[1-9][0-9]*[.][0-9]{0,3}|[0-9]+[.]([1-9][0-9]{0,2}|0[1-9][0-9]?|00[1-9]))0*s|",
            "[0-9]*[1-9][0-9]*000([.]0*)?(us|µs)|[0-9]*[1-9][0-9]*000000([.]0*)?ns|",
            "([0-9]+([.][0-9]*)?(h|m|s|ms|us|µs|ns)){2,}"
        )
    };
}

/// No time at all.
macro_rules! zero {
    () => {
        "0|0+([.]0*)?(h|m|s|ms|us|µs|ns)"
    };
}

pub(super) const TIME: &str = whole!(time!());
pub(super) const TIME_OR_ZERO: &str = whole!(time!(), "|", zero!());
/// A time of whole seconds.
pub(super) const SECONDS: &str = concat!(
    "^([0-9]*[1-9][0-9]*([.]0*)?(h|m|s)|[0-9]*[1-9][0-9]*000([.]0*)?ms|",
    "([0-9]+([.][0-9]*)?(h|m|s|ms|us|µs|ns)){2,}|[0-9]+[.][0-9]*(h|m))$"
);
