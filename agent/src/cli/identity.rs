//! `sekisho identity`: the certificates of a node's pods.

use std::fmt::Write as _;

use anyhow::Context as _;

use super::{
    Answer,
    findings::findings,
    output::{Paint, Table, Tone, encode},
};
use crate::{
    admin::client::Client,
    args::{IdentityArgs, exit},
    observe::status::{Certificate, Identity, Status, spoken},
};

pub(super) async fn run(args: &IdentityArgs, paint: Paint) -> anyhow::Result<Answer> {
    let status: Status = Client::new(&args.ask.run_dir).ask("/status").await?;
    let identity = status.identity.context(
        "the agent has no certificates made: start it with --ca-dir DIR (and --config-dir)",
    )?;
    let code = if identity.is_whole() { exit::OK } else { exit::FAILURE };
    let text = match encode(args.ask.output.format, &identity)? {
        Some(text) => text,
        None => table(&identity, paint),
    };
    Ok(Answer { text, code })
}

fn table(identity: &Identity, paint: Paint) -> String {
    let Identity { ca, roots, roots_end, kept, now, .. } = identity;
    let mut text = String::new();
    let mut line = |name: &str, value: &str| {
        let _ = writeln!(text, "{name:<7}{value}");
    };
    line("ca", ca);
    let end = roots_end.map(|end| format!(", end in {}", spoken(end.duration_since(*now))));
    let shown = roots.as_deref().unwrap_or("not known yet");
    line("roots", &format!("{shown}{}", end.unwrap_or_default()));
    line("kept", if *kept { "on tmpfs, for a restart" } else { "in memory only" });
    text.push('\n');
    let heading = ["IDENTITY", "STATE", "SERIAL", "ISSUER", "AGE", "ENDS", "NEXT", "LAST ERROR"];
    let mut table = Table::new(&heading);
    for certificate in &identity.certificates {
        let tone = if certificate.state == "valid" { Tone::Good } else { Tone::Bad };
        let cells = cells(certificate, identity);
        table.row(&cells.each_ref().map(String::as_str), Some((1, tone)));
    }
    text += &table.text("", paint);
    let found = findings(&identity.findings(), paint);
    if !found.is_empty() {
        let _ = write!(text, "\n{}\n{found}", paint.word(Tone::Strong, "FINDINGS"));
    }
    text
}

fn cells(certificate: &Certificate, identity: &Identity) -> [String; 8] {
    let now = identity.now;
    let dash = || "-".to_owned();
    [
        certificate.identity.clone(),
        certificate.state.to_string(),
        certificate.serial.clone().unwrap_or_else(dash),
        certificate.issuer.clone().unwrap_or_else(dash),
        certificate.issued.map_or_else(dash, |at| spoken(now.duration_since(at))),
        certificate.expires.map_or_else(dash, |end| match end.duration_since(now) {
            left if left.is_positive() => format!("in {}", spoken(left)),
            gone => format!("{} ago", spoken(-gone)),
        }),
        certificate.next.map_or_else(
            || "now".to_owned(),
            |next| format!("in {}", spoken(next.duration_since(now))),
        ),
        certificate.last_error.clone().unwrap_or_default(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_has_a_line() {
        let now = "2026-01-01T12:00:00Z".parse().unwrap();
        let at = |text: &str| Some(text.parse().unwrap());
        let web = Certificate {
            identity: "spiffe://cluster.local/ns/shop/sa/web".to_owned(),
            state: "valid".into(),
            serial: Some("0abc".to_owned()),
            issuer: Some("O=Sekisho".to_owned()),
            issued: at("2026-01-01T11:00:00Z"),
            expires: at("2026-01-02T11:00:00Z"),
            next: at("2026-01-01T23:30:00Z"),
            ..Certificate::default()
        };
        let cart = Certificate {
            identity: "spiffe://cluster.local/ns/shop/sa/cart".to_owned(),
            state: "pending".into(),
            failures: 3,
            last_error: Some("the CA cannot be reached".to_owned()),
            ..Certificate::default()
        };
        let identity = Identity {
            ca: "directory /etc/ca".to_owned(),
            roots: Some("12ab".to_owned()),
            roots_end: at("2035-12-30T12:00:00Z"),
            kept: true,
            certificates: vec![cart, web],
            now,
            ..Identity::default()
        };
        let expected = "\
ca     directory /etc/ca
roots  12ab, end in 3650 d 0 h
kept   on tmpfs, for a restart

IDENTITY                                STATE    SERIAL  ISSUER     AGE        ENDS           NEXT            LAST ERROR
spiffe://cluster.local/ns/shop/sa/cart  pending  -       -          -          -              now             the CA cannot be reached
spiffe://cluster.local/ns/shop/sa/web   valid    0abc    O=Sekisho  1 h 0 min  in 23 h 0 min  in 11 h 30 min

FINDINGS
  error   spiffe://cluster.local/ns/shop/sa/cart has no certificate: the CA cannot be reached [SK0501]
";
        assert_eq!(table(&identity, Paint::new(false)), expected);
    }
}
