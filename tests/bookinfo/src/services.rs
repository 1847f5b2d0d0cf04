//! What the four services answer.

use std::time::Duration;

use crate::http::{self, Request, Response};

/// How long productpage waits for an answer before it tries once more.
const PATIENCE: Duration = Duration::from_secs(3);
/// How long reviews waits for its stars.
const STARS: Duration = Duration::from_secs(10);
/// Headers that each service passes on, the user's name among them.
const PASSED_ON: [&str; 10] = [
    "end-user",
    "user-agent",
    "x-request-id",
    "traceparent",
    "tracestate",
    "b3",
    "x-b3-traceid",
    "x-b3-spanid",
    "x-b3-parentspanid",
    "x-b3-sampled",
];

/// What the environment says.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) port: u16,
    version: String,
    pod: String,
    has_stars: bool,
    color: String,
    details: String,
    ratings: String,
    reviews: String,
}

impl Settings {
    pub(crate) fn read(variable: impl Fn(&str) -> Option<String>) -> Self {
        let or = |name: &str, usual: &str| variable(name).unwrap_or_else(|| usual.to_owned());
        let domain = variable("SERVICES_DOMAIN").map(|domain| format!(".{domain}"));
        let domain = domain.unwrap_or_default();
        let place = |name: &str| {
            let upper = name.to_ascii_uppercase();
            let host = or(&format!("{upper}_HOSTNAME"), name);
            let port = or(&format!("{upper}_SERVICE_PORT"), "9080");
            // The kubelet gives the variable of the same name a number, and some clusters a URL.
            let port = port.parse().unwrap_or(9080_u16);
            format!("{host}{domain}:{port}")
        };
        Self {
            port: or("PORT", "9080").parse().unwrap_or(9080),
            version: or("SERVICE_VERSION", "v1"),
            pod: or("HOSTNAME", "unknown"),
            has_stars: or("ENABLE_RATINGS", "false") == "true",
            color: or("STAR_COLOR", "black"),
            details: place("details"),
            ratings: place("ratings"),
            reviews: place("reviews"),
        }
    }
}

/// `GET /details/ID`.
pub(crate) fn details(request: &Request) -> Response {
    match id_below(&request.path, "/details/") {
        _ if is_health(request) => Response::json(r#"{"status":"Details is healthy"}"#),
        Some(id) => Response::json(format!(
            "{{\"id\":{id},\"author\":\"William Shakespeare\",\"year\":1595,\"type\":\"paperback\",\
             \"pages\":200,\"publisher\":\"PublisherA\",\"language\":\"English\"}}"
        )),
        None => Response::not_found(),
    }
}

/// `GET /ratings/ID`.
pub(crate) fn ratings(request: &Request) -> Response {
    match id_below(&request.path, "/ratings/") {
        _ if is_health(request) => Response::json(r#"{"status":"Ratings is healthy"}"#),
        Some(id) => Response::json(format!(
            "{{\"id\":{id},\"ratings\":{{\"Reviewer1\":5,\"Reviewer2\":4}}}}"
        )),
        None => Response::not_found(),
    }
}

/// `GET /reviews/ID`: with stars where this version has them.
pub(crate) fn reviews(settings: &Settings, request: &Request) -> Response {
    if is_health(request) {
        return Response::json(r#"{"status": "Reviews is healthy"}"#);
    }
    let Some(id) = id_below(&request.path, "/reviews/") else { return Response::not_found() };
    let stars = settings.has_stars.then(|| {
        let path = format!("/ratings/{id}");
        match http::get(&settings.ratings, &path, &passed_on(request), STARS) {
            Ok((200, _)) => [5, 4].map(|stars| {
                format!(",\"rating\":{{\"stars\":{stars},\"color\":\"{}\"}}", settings.color)
            }),
            _ => [(); 2].map(|()| {
                ",\"rating\":{\"error\":\"Ratings service is currently unavailable\"}".to_owned()
            }),
        }
    });
    let [first, second] = stars.unwrap_or_default();
    let Settings { pod, version, .. } = settings;
    Response::json(format!(
        "{{\"id\":\"{id}\",\"podname\":\"{pod}\",\"version\":\"{version}\",\"reviews\":[\
         {{\"reviewer\":\"Reviewer1\",\"text\":\"An extremely entertaining play!\"{first}}},\
         {{\"reviewer\":\"Reviewer2\",\"text\":\"Absolutely fun and entertaining.\"{second}}}]}}"
    ))
}

/// The page, the user's login, and the catalogue.
pub(crate) fn productpage(settings: &Settings, request: &Request) -> Response {
    let path = request.path.split('?').next().unwrap_or_default();
    match (request.method.as_str(), path) {
        (_, "/health") => Response::html("Product page is healthy"),
        (_, "/productpage") => page(settings, request),
        (_, "/api/v1/products") => Response::json(r#"[{"id":0,"title":"The Comedy of Errors"}]"#),
        ("POST", "/login") => {
            let mut fields = request.body.split('&').filter_map(|field| field.split_once('='));
            let user = fields.find(|(name, _)| *name == "username").map_or("", |(_, user)| user);
            redirect(format!("session={user}; Path=/; HttpOnly"))
        }
        (_, "/logout") => redirect("session=; Path=/; Max-Age=0".to_owned()),
        _ => Response::not_found(),
    }
}

fn page(settings: &Settings, request: &Request) -> Response {
    let mut headers = passed_on(request);
    if let Some(user) = user_of(request) {
        headers.retain(|(name, _)| name != "end-user");
        headers.push(("end-user".to_owned(), user));
    }
    let details = http::get(&settings.details, "/details/0", &headers, PATIENCE);
    let details =
        answer_or(details, "Sorry, product details are currently unavailable for this book.");
    let ask = || http::get(&settings.reviews, "/reviews/0", &headers, PATIENCE);
    let first = ask();
    let reviews = if matches!(first, Ok((200, _))) { first } else { ask() };
    let reviews =
        answer_or(reviews, "Sorry, product reviews are currently unavailable for this book.");
    Response::html(format!(
        "<!DOCTYPE html>\n<html>\n<head><title>Simple Bookstore App</title></head>\n<body>\n\
         <h3>The Comedy of Errors</h3>\n<h4>Book Details</h4>\n<p>{details}</p>\n\
         <h4>Book Reviews</h4>\n<p>{reviews}</p>\n</body>\n</html>\n"
    ))
}

fn answer_or(answer: std::io::Result<(u16, String)>, otherwise: &str) -> String {
    match answer {
        Ok((200, body)) => body,
        _ => otherwise.to_owned(),
    }
}

fn redirect(cookie: String) -> Response {
    let headers = vec![("location", "/productpage".to_owned()), ("set-cookie", cookie)];
    Response { status: 302, headers, body: String::new() }
}

/// Who is logged in.
fn user_of(request: &Request) -> Option<String> {
    let mut cookies = request.headers.get("cookie")?.split(';');
    let user = cookies.find_map(|one| one.trim().strip_prefix("session="))?;
    (!user.is_empty()).then(|| user.to_owned())
}

fn passed_on(request: &Request) -> Vec<(String, String)> {
    let given = PASSED_ON.iter().filter_map(|name| request.headers.get_key_value(*name));
    given.map(|(name, value)| (name.clone(), value.clone())).collect()
}

fn is_health(request: &Request) -> bool {
    request.path == "/health"
}

fn id_below<'a>(path: &'a str, prefix: &str) -> Option<&'a str> {
    let id = path.strip_prefix(prefix)?;
    (!id.is_empty() && id.bytes().all(|byte| byte.is_ascii_digit())).then_some(id)
}
