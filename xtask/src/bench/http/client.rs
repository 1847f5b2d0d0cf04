//! The clients: wrk, h2load and curl, in a pod's namespace, and what they say.

use std::{fs, path::Path, process::Command};

use anyhow::{Context as _, ensure};

use super::stage::{Case, Stage};
use crate::command::quiet;

/// A measure.
#[derive(Debug)]
pub(super) struct Measure {
    pub(super) name: &'static str,
    pub(super) what: &'static str,
    how: How,
}

#[derive(Clone, Copy, Debug)]
enum How {
    /// As fast as possible on so many connections, with a header or a body.
    Wrk { connections: u32, header: &'static str, body: usize },
    /// So many requests a second, on 16 connections.
    Paced { rate: u32 },
    /// HTTP/2 on so many connections with so many streams each, with gRPC's head where asked.
    H2 { connections: u32, streams: u32, grpc: bool },
    /// One large answer.
    Bulk,
}

/// In the order in which they are taken.
pub(super) const MEASURES: [Measure; 10] = [
    wrk("c1", "GET, 200 bytes, 1 connection", 1),
    wrk("c16", "GET, 200 bytes, 16 connections", 16),
    wrk("c64", "GET, 200 bytes, 64 connections", 64),
    Measure {
        name: "rate",
        what: "2,000 requests a second on 16 connections",
        how: How::Paced { rate: 2_000 },
    },
    Measure {
        name: "new",
        what: "a new connection for each request, 16 at a time",
        how: How::Wrk { connections: 16, header: "Connection: close", body: 0 },
    },
    Measure {
        name: "post-10k",
        what: "POST of 10 KB, 16 connections",
        how: How::Wrk { connections: 16, header: "", body: 10 * 1024 },
    },
    Measure {
        name: "post-1m",
        what: "POST of 1 MB, 4 connections",
        how: How::Wrk { connections: 4, header: "", body: 1024 * 1024 },
    },
    Measure { name: "bulk", what: "an answer of 256 MB, in MB", how: How::Bulk },
    Measure {
        name: "h2",
        what: "HTTP/2, 16 connections of 10 streams",
        how: How::H2 { connections: 16, streams: 10, grpc: false },
    },
    Measure {
        name: "grpc",
        what: "POST of 37 bytes as gRPC's (no trailers), 16 connections of 10 streams",
        how: How::H2 { connections: 16, streams: 10, grpc: true },
    },
];

const fn wrk(name: &'static str, what: &'static str, connections: u32) -> Measure {
    Measure { name, what, how: How::Wrk { connections, header: "", body: 0 } }
}

/// What is asked of a client.
pub(super) struct Asked<'a> {
    pub(super) stage: &'a Stage,
    pub(super) case: &'a Case,
    pub(super) seconds: u32,
}

/// What a client says.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Said {
    /// Requests, or megabytes, a second.
    pub(super) rate: f64,
    /// Requests, or megabytes, in all.
    pub(super) requests: f64,
    /// The time of half of the requests at the most, in microseconds.
    pub(super) median: f64,
    /// The time of 99 of a hundred.
    pub(super) high: f64,
}

impl Measure {
    pub(super) fn index(&self) -> usize {
        MEASURES.iter().position(|one| one.name == self.name).unwrap_or_default()
    }

    /// Whether the times of single requests are known.
    pub(super) fn tells_latency(&self) -> bool {
        matches!(self.how, How::Wrk { body: 0, header: "", .. } | How::Paced { .. })
    }

    pub(super) fn run(&self, asked: &Asked<'_>) -> anyhow::Result<Said> {
        match self.how {
            How::Wrk { connections, header, body } => by_wrk(asked, connections, (header, body)),
            How::Paced { rate } => paced(asked, rate),
            How::H2 { connections, streams, grpc } => {
                by_h2load(asked, (connections, streams), grpc)
            }
            How::Bulk => bulk(asked),
        }
    }
}

fn by_wrk(
    Asked { stage, case, seconds }: &Asked<'_>,
    connections: u32,
    (header, body): (&str, usize),
) -> anyhow::Result<Said> {
    let mut command = stage.run_in(case, "wrk");
    command.args(["--latency", "--threads", "1", "--timeout", "10s"]);
    command.args(["--connections", &connections.to_string(), "--duration", &format!("{seconds}s")]);
    if !header.is_empty() {
        command.args(["--header", header]);
    }
    if body > 0 {
        let script = stage.file(&format!("post-{body}.lua"));
        fs::write(&script, format!("wrk.method = 'POST'\nwrk.body = string.rep('x', {body})\n"))?;
        command.arg("--script").arg(script);
    }
    of_wrk(&quiet(command.arg(case.url("/")))?)
}

/// The summary that wrk prints.
fn of_wrk(text: &str) -> anyhow::Result<Said> {
    ensure!(
        !text.contains("Non-2xx") && !text.contains("Socket errors"),
        "requests failed: {text}"
    );
    let after = |word: &str| {
        let line = text.lines().find_map(|line| line.trim().strip_prefix(word));
        line.map(str::trim).with_context(|| format!("{word:?} in {text}"))
    };
    let requests = text.lines().find_map(|line| line.trim().split_once(" requests in "));
    Ok(Said {
        rate: after("Requests/sec:")?.parse()?,
        requests: requests.context("wrk counts its requests")?.0.parse()?,
        median: micros(after("50%")?)?,
        high: micros(after("99%")?)?,
    })
}

/// A time as wrk writes it.
fn micros(text: &str) -> anyhow::Result<f64> {
    let units = [("us", 1.0), ("ms", 1e3), ("s", 1e6), ("m", 6e7)];
    let found = units.iter().find_map(|(unit, factor)| Some((text.strip_suffix(unit)?, factor)));
    let (number, factor) = found.with_context(|| format!("no time: {text}"))?;
    Ok(number.parse::<f64>()? * factor)
}

fn paced(Asked { stage, case, seconds }: &Asked<'_>, rate: u32) -> anyhow::Result<Said> {
    const CONNECTIONS: u32 = 16;
    let log = stage.file("requests.log");
    let _ = fs::remove_file(&log);
    let mut command = stage.run_in(case, "h2load");
    command.args(["--h1", "--threads=1", &format!("--clients={CONNECTIONS}")]);
    command.args([format!("--rps={}", rate / CONNECTIONS), format!("--duration={seconds}")]);
    command.arg(format!("--log-file={}", log.display()));
    let said = of_h2load(&quiet(command.arg(case.url("/")))?)?;
    let (median, high) = of_log(&log)?;
    Ok(Said { median, high, ..said })
}

/// From h2load's log: a line a request, with its start, its status and how long it took.
fn of_log(log: &Path) -> anyhow::Result<(f64, f64)> {
    let text = fs::read_to_string(log)?;
    let mut times = Vec::new();
    for line in text.lines() {
        let mut fields = line.split('\t').skip(1);
        ensure!(fields.next() == Some("200"), "a request failed: {line}");
        times.push(fields.next().context("h2load's log has times")?.parse::<f64>()?);
    }
    times.sort_by(f64::total_cmp);
    let at = |hundredths: usize| times.get((times.len() * hundredths / 100).min(times.len() - 1));
    Ok((*at(50).context("no request was sent")?, *at(99).context("no request was sent")?))
}

fn by_h2load(
    Asked { stage, case, seconds }: &Asked<'_>,
    (connections, streams): (u32, u32),
    grpc: bool,
) -> anyhow::Result<Said> {
    let mut command = stage.run_in(case, "h2load");
    command.args(["--threads=1", &format!("--clients={connections}")]);
    command.args([format!("--max-concurrent-streams={streams}"), format!("--duration={seconds}")]);
    if grpc {
        let body = stage.file("grpc");
        fs::write(&body, [0; 37])?;
        command.arg("--data").arg(body);
        command.args(["--header=content-type: application/grpc", "--header=te: trailers"]);
    }
    of_h2load(&quiet(command.arg(case.url_h2("/")))?)
}

/// The summary that h2load prints.
fn of_h2load(text: &str) -> anyhow::Result<Said> {
    let line = |word: &str| {
        let found = text.lines().find(|line| line.starts_with(word));
        found.with_context(|| format!("{word:?} in {text}"))
    };
    let codes = line("status codes:")?;
    ensure!(codes.contains(" 0 4xx, 0 5xx"), "requests failed: {text}");
    ensure!(line("requests:")?.contains(" 0 errored, 0 timeout"), "requests failed: {text}");
    let finished = line("finished in ")?;
    let rate = finished.split(", ").nth(1).and_then(|part| part.split(' ').next());
    let requests = codes.split_whitespace().nth(2);
    Ok(Said {
        rate: rate.context("h2load says a rate")?.parse()?,
        requests: requests.context("h2load counts statuses")?.parse()?,
        ..Said::default()
    })
}

fn bulk(Asked { stage, case, seconds: _ }: &Asked<'_>) -> anyhow::Result<Said> {
    let mut command: Command = stage.run_in(case, "curl");
    command.args(["--silent", "--show-error", "--fail", "--output", "/dev/null"]);
    command.args(["--write-out", "%{speed_download} %{size_download}"]);
    let said = quiet(command.arg(case.url("/bulk")))?;
    let (speed, size) = said.trim().split_once(' ').context("curl says a speed")?;
    let mega = |text: &str| text.parse::<f64>().map(|bytes| bytes / 1e6);
    Ok(Said { rate: mega(speed)?, requests: mega(size)?, ..Said::default() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn summaries_are_read_and_failures_are_none() {
        let text = "Running 3s test @ http://203.0.113.100:8080/\n  1 threads and 16 connections\n  \
                    Thread Stats   Avg      Stdev     Max   +/- Stdev\n    \
                    Latency   110.00us   50.00us   4.00ms   90.00%\n  Latency Distribution\n     \
                    50%   98.00us\n     75%  120.00us\n     90%  150.00us\n     99%    1.20ms\n  \
                    300000 requests in 3.00s, 100.00MB read\nRequests/sec: 100000.50\n";
        let said = of_wrk(text).unwrap();
        assert_eq!(
            format!("{said:?}"),
            "Said { rate: 100000.5, requests: 300000.0, median: 98.0, high: 1200.0 }"
        );
        assert!(of_wrk(&format!("{text}  Non-2xx or 3xx responses: 5\n")).is_err());
        let text = "finished in 3.00s, 1000.25 req/s, 1.00MB/s\nrequests: 3001 total, 3001 started, \
                    3001 done, 3001 succeeded, 0 failed, 0 errored, 0 timeout\n\
                    status codes: 3001 2xx, 0 3xx, 0 4xx, 0 5xx\n";
        let said = of_h2load(text).unwrap();
        assert_eq!(format!("{} {}", said.rate, said.requests), "1000.25 3001");
        assert!(of_h2load(&text.replace("0 5xx", "7 5xx")).is_err());
    }
}
