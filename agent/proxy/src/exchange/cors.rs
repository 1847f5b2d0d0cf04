//! What a browser is told about other origins, as Envoy's CORS filter tells it.

use agent_model::requests::route::Cors;

use super::{asked::AskedFor, failed::Local};

/// What becomes of a request.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Across {
    /// It goes on, and its answer has these fields besides.
    On(Vec<(String, String)>),
    /// It is answered here.
    Answer(Local),
}

/// Looks at a request's origin.
pub(super) fn across(cors: &Cors, request: &AskedFor<'_>) -> Across {
    let Some(origin) = request.header("origin").filter(|origin| !origin.is_empty()) else {
        return Across::On(Vec::new());
    };
    let is_preflight =
        request.method() == "OPTIONS" && request.header("access-control-request-method").is_some();
    if !cors.origins.iter().any(|text| text.matches(&origin)) {
        return if is_preflight && !cors.forward_others {
            Across::Answer(Local { status: 200, headers: Vec::new(), body: Vec::new() })
        } else {
            Across::On(Vec::new())
        };
    }
    let mut lines = vec![("access-control-allow-origin", origin)];
    if cors.credentials == Some(true) {
        lines.push(("access-control-allow-credentials", "true".to_owned()));
    }
    let list = |name, all: &[String]| (!all.is_empty()).then(|| (name, all.join(",")));
    if is_preflight {
        lines.extend(list("access-control-allow-methods", &cors.methods));
        lines.extend(list("access-control-allow-headers", &cors.headers));
        let age = cors.max_age.map(|age| ("access-control-max-age", age.as_secs().to_string()));
        lines.extend(age);
        return Across::Answer(Local { status: 200, headers: lines, body: Vec::new() });
    }
    lines.extend(list("access-control-expose-headers", &cors.expose));
    Across::On(lines.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use agent_model::requests::text::Text;

    use super::*;
    use crate::http1::{head::Limits, request};

    fn cors() -> Cors {
        Cors {
            origins: vec![Text::Exact("https://shop.example.com".into())],
            methods: vec!["GET".into(), "PUT".into()],
            headers: vec!["x-one".into()],
            expose: vec!["x-sum".into()],
            max_age: Some(Duration::from_hours(1)),
            credentials: Some(true),
            forward_others: true,
        }
    }

    fn seen(cors: &Cors, lines: &str) -> Across {
        let head = format!("{lines}\r\nHost: a\r\n\r\n");
        let request = request::read(head.as_bytes(), &Limits::default()).unwrap().unwrap();
        across(cors, &AskedFor::of_http1(head.as_bytes(), &request, None))
    }

    const PREFLIGHT: &str = "OPTIONS / HTTP/1.1\r\nAccess-Control-Request-Method: PUT\r\nOrigin: ";

    #[test]
    fn a_preflight_of_a_known_origin_is_answered_here() {
        let Across::Answer(local) = seen(&cors(), &format!("{PREFLIGHT}https://shop.example.com"))
        else {
            panic!("not answered");
        };
        let lines: Vec<String> =
            local.headers.iter().map(|(name, value)| format!("{name}: {value}")).collect();
        assert_eq!(
            lines,
            [
                "access-control-allow-origin: https://shop.example.com",
                "access-control-allow-credentials: true",
                "access-control-allow-methods: GET,PUT",
                "access-control-allow-headers: x-one",
                "access-control-max-age: 3600",
            ]
        );
        assert_eq!((local.status, local.body.len()), (200, 0));
    }

    #[test]
    fn other_origins_get_nothing_and_their_preflights_go_on_unless_ignored() {
        let other = format!("{PREFLIGHT}https://evil.example.com");
        assert_eq!(seen(&cors(), &other), Across::On(Vec::new()));
        let ignoring = Cors { forward_others: false, ..cors() };
        let Across::Answer(local) = seen(&ignoring, &other) else { panic!("not answered") };
        assert!(local.headers.is_empty());
        let get = "GET / HTTP/1.1\r\nOrigin: https://evil.example.com";
        assert_eq!(seen(&ignoring, get), Across::On(Vec::new()));
        assert_eq!(seen(&cors(), "GET / HTTP/1.1"), Across::On(Vec::new()));
    }

    #[test]
    fn an_answer_says_what_scripts_may_read() {
        let get = "GET / HTTP/1.1\r\nOrigin: https://shop.example.com";
        let Across::On(lines) = seen(&cors(), get) else { panic!("answered") };
        let names: Vec<&str> = lines.iter().map(|(name, _)| &**name).collect();
        assert_eq!(
            names,
            [
                "access-control-allow-origin",
                "access-control-allow-credentials",
                "access-control-expose-headers"
            ]
        );
    }
}
