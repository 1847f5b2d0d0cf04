//! Bookinfo, the application that the documents of meshes try things on: four services that call each
//! other, one of them in three versions. `bookinfo details|ratings|reviews|productpage` listens on
//! `PORT` (9080), and is told the rest by the environment variables of the original.

mod http;
mod services;

use std::{env, process::ExitCode};

use services::Settings;

fn main() -> ExitCode {
    let settings = Settings::read(|name| env::var(name).ok());
    let result = match env::args().nth(1).as_deref() {
        Some("details") => http::serve(settings.port, services::details),
        Some("ratings") => http::serve(settings.port, services::ratings),
        Some("reviews") => {
            http::serve(settings.port, move |request| services::reviews(&settings, request))
        }
        Some("productpage") => {
            http::serve(settings.port, move |request| services::productpage(&settings, request))
        }
        _ => {
            eprintln!("bookinfo: say which service: details, ratings, reviews or productpage");
            return ExitCode::from(2);
        }
    };
    if let Err(error) = result {
        eprintln!("bookinfo: {error}");
    }
    ExitCode::FAILURE
}
