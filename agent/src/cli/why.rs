//! `sekisho why`.

use std::fmt::Write as _;

use agent_abi::{Reason, Verdict};
use agent_model::explain::{AnswerAge, Decision, Explanation, NearMiss, RuleText};

use serde::Serialize;

use super::{
    Answer, config,
    output::{Paint, Tone, encode},
};
use crate::{
    admin::{
        client::Client,
        question::{Destination, Target},
        request::{RequestAnswer, RequestQuery},
        why::{self, Live, NamedAnswer, WhyAnswer},
    },
    args::{WhyArgs, exit},
};

/// What is said of the connection and, where it was asked for, of the request.
#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Told {
    Connection(About),
    Request { connection: About, request: RequestAnswer },
}

/// An address, or a name with each of its addresses.
#[derive(Debug, Serialize)]
#[serde(untagged)]
enum About {
    Address(Box<WhyAnswer>),
    Name(NamedAnswer),
}

impl About {
    fn answers(&self) -> &[WhyAnswer] {
        match self {
            Self::Address(answer) => std::slice::from_ref(answer),
            Self::Name(named) => &named.answers,
        }
    }
}

pub(super) async fn run(args: &WhyArgs, paint: Paint) -> anyhow::Result<Answer> {
    let path = why::path(&args.pod, &args.destination);
    let client = Client::new(&args.ask.run_dir);
    let about = match args.destination {
        Target::Name { .. } => About::Name(client.ask(&path).await?),
        Target::Address(_) => About::Address(Box::new(client.ask(&path).await?)),
    };
    let allowed = about.answers().iter().all(|one| one.allowed);
    let mut text: String =
        about.answers().iter().map(|one| words(one, paint)).collect::<Vec<_>>().join("\n");
    let told = match question(args) {
        None => Told::Connection(about),
        Some(question) => {
            let request: RequestAnswer = client.tell("/route", &question).await?;
            text.push_str(&request_words(&question, &request, paint));
            Told::Request { connection: about, request }
        }
    };
    let text = encode(args.ask.output.format, &told)?.unwrap_or(text);
    Ok(Answer { text, code: if allowed { exit::OK } else { exit::DENIED } })
}

/// What is asked of the request, where one is described.
fn question(args: &WhyArgs) -> Option<RequestQuery> {
    let (host, port) = match &args.destination {
        Target::Address(Destination { addr, port, .. }) => (addr.to_string(), *port),
        Target::Name { name, port, .. } => (name.clone(), *port),
    };
    Some(RequestQuery {
        pod: args.pod.to_string(),
        host,
        port: port.get(),
        method: args.method.clone(),
        path: args.path.clone()?,
        headers: args.headers.clone(),
    })
}

fn request_words(question: &RequestQuery, answer: &RequestAnswer, paint: Paint) -> String {
    let title = paint.word(Tone::Strong, "REQUEST");
    let mut text = format!("\n{title}\n  {} {}: ", question.method, question.path);
    match answer {
        RequestAnswer::NotRouted => {
            text.push_str("nothing routes requests for this host at this port and address\n");
        }
        RequestAnswer::NoRoute { host } => {
            let _ = writeln!(text, "404, since no route of {host} takes it");
        }
        RequestAnswer::Route { route, path } => {
            let _ = writeln!(text, "{}", route.action);
            let mut line = |name: &str, value: &str| {
                if !value.is_empty() {
                    text += &paint.beside(&format!("  {name:13}"), value);
                }
            };
            line("route", &route.name);
            line("matches", &route.matches);
            line("destinations", &config::shares(&route.destinations));
            line("path sent", if *path == question.path { "" } else { path });
            line("listener", &format!("port {}, address {}", route.port, route.address));
        }
    }
    text
}

fn words(answer: &WhyAnswer, paint: Paint) -> String {
    let WhyAnswer { pod, destination, live, explanation, difference, .. } = answer;
    let mut text = format!("{pod} to {destination}: {}\n", verdict(answer, paint));
    match live {
        Some(Live { verdict, reason, generation }) => {
            let (verdict, reason) = (verdict.name(), reason.name());
            let said = format!("{verdict}, reason {reason}, generation {generation}");
            text += &paint.beside("kernel         ", &said);
        }
        None => {
            text += &paint.beside("kernel         ", "the pod's network namespace is not known");
        }
    }
    text += &paint.beside("configuration  ", &outcome(&explanation.decision));
    for name in &explanation.names {
        let how = match name.age {
            AnswerAge::Current => "one of its addresses",
            AnswerAge::Lingering => {
                "an address that it has left, allowed until its time has passed"
            }
            AnswerAge::Former => {
                "an address that it has left: open connections stay, new ones do not"
            }
        };
        text += &paint.beside("name           ", &format!("{}: {how}", name.name));
    }
    if let Some(difference) = difference {
        let name = format!("{}  ", paint.word(Tone::Bad, "difference   "));
        text += &paint.beside(&name, difference);
    }
    text + &missing(explanation, paint)
}

fn verdict(answer: &WhyAnswer, paint: Paint) -> String {
    let would = answer.live.as_ref().is_some_and(|live| live.reason == Reason::WouldDeny);
    let held = match &answer.live {
        Some(live) => live.verdict == Verdict::Hold,
        None => matches!(answer.explanation.decision, Decision::Held { .. }),
    };
    match (answer.allowed, would, held) {
        (true, true, _) => paint.word(Tone::Doubtful, "allowed, and registry-only would deny it"),
        (true, ..) => paint.word(Tone::Good, "allowed"),
        (false, _, true) => paint.word(Tone::Bad, "held"),
        (false, ..) => paint.word(Tone::Bad, "denied"),
    }
}

fn outcome(outcome: &Decision) -> String {
    match outcome {
        Decision::NotEnrolled { why } => format!("the pod is not judged: {why}"),
        Decision::Held { why } => format!("the pod is pending: {why}"),
        Decision::Local => "the destination is the pod itself".to_owned(),
        Decision::Rule { rule: found, reason, .. } => {
            let way = match found.action.as_str() {
                "direct" => "lets it out directly",
                "proxy" => "sends it to the node's proxy",
                _ => "sends it to the node's proxy, which decides",
            };
            let reason = reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
            format!("{} {way}{reason}", rule(found))
        }
        Decision::Default { default, source: None } => {
            format!("no rule matches, and the default is {default}")
        }
        Decision::Default { default, source: Some(source) } => {
            format!("no rule matches, and the default of {source} is {default}")
        }
    }
}

fn rule(rule: &RuleText) -> String {
    let RuleText { protocol, cidr, port, source, host, .. } = rule;
    let port = port.map_or_else(|| "any port".to_owned(), |port| format!("port {port}"));
    let host = host.as_ref().map(|host| format!(" ({host})")).unwrap_or_default();
    format!("{source}{host}: {cidr} {port}/{protocol}")
}

fn missing(explanation: &Explanation, paint: Paint) -> String {
    let mut text = String::new();
    if !explanation.near.is_empty() {
        let _ = writeln!(text, "\n{}", paint.word(Tone::Strong, "NEAREST RULES"));
    }
    for NearMiss { rule: near, mismatch } in &explanation.near {
        text += &paint.beside("  ", &format!("{}: {mismatch}", rule(near)));
    }
    if let Some(remedy) = &explanation.remedy {
        let title = paint.word(Tone::Strong, "WHAT WOULD ALLOW IT");
        let _ = writeln!(text, "\n{title}\n{}", remedy.trim_end());
    }
    text
}

#[cfg(test)]
mod tests {
    use agent_abi::{Reason, Verdict};
    use agent_model::explain::Mismatch;

    use super::*;

    fn near() -> RuleText {
        RuleText {
            action: "direct".into(),
            protocol: "tcp".into(),
            cidr: "203.0.113.7/32".into(),
            port: Some(3_306),
            source: "ServiceEntry shop/db spec.ports[0]".into(),
            host: Some("db.example.com".into()),
            exempt: false,
        }
    }

    fn answer(verdict: Verdict, reason: Reason, outcome: Decision) -> WhyAnswer {
        let live = Live { verdict, reason, generation: 7 };
        WhyAnswer {
            pod: "shop/web-0".into(),
            destination: "203.0.113.7:3307/tcp".into(),
            allowed: matches!(verdict, Verdict::Direct | Verdict::Proxy),
            live: Some(live),
            explanation: Explanation::of(outcome),
            difference: None,
        }
    }

    #[test]
    fn a_denial_names_the_nearest_rule_and_what_would_allow_it() {
        let mut denied = answer(
            Verdict::Deny,
            Reason::NoRule,
            Decision::Default { default: "registry-only".into(), source: None },
        );
        denied.explanation.near = vec![NearMiss { rule: near(), mismatch: Mismatch::Port }];
        denied.explanation.remedy = Some("apiVersion: networking.istio.io/v1\n".into());
        assert_eq!(
            words(&denied, Paint::new(false)),
            "\
shop/web-0 to 203.0.113.7:3307/tcp: denied
kernel         deny, reason no-rule, generation 7
configuration  no rule matches, and the default is registry-only

NEAREST RULES
  ServiceEntry shop/db spec.ports[0] (db.example.com): 203.0.113.7/32 port 3306/tcp: \
is for another port

WHAT WOULD ALLOW IT
apiVersion: networking.istio.io/v1
"
        );
    }

    #[test]
    fn an_allowed_connection_names_its_rule() {
        let outcome =
            Decision::Rule { rule: near(), default: "registry-only".into(), reason: None };
        assert_eq!(
            words(&answer(Verdict::Direct, Reason::Rule, outcome), Paint::new(false)),
            "\
shop/web-0 to 203.0.113.7:3307/tcp: allowed
kernel         direct, reason rule, generation 7
configuration  ServiceEntry shop/db spec.ports[0] (db.example.com): 203.0.113.7/32 \
port 3306/tcp lets it out directly
"
        );
    }

    #[test]
    fn an_audit_and_a_difference_are_said() {
        let mut audited = answer(
            Verdict::Direct,
            Reason::WouldDeny,
            Decision::Default { default: "audit".into(), source: None },
        );
        audited.difference = Some("they differ".into());
        let words = words(&audited, Paint::new(false));
        assert!(words.contains("allowed, and registry-only would deny it"), "{words}");
        assert!(words.contains("difference     they differ"), "{words}");
    }
}
