use std::{fs, path::Path, time::Instant};

use agent_abi::{Reason, Verdict};

use super::*;
use crate::observe::flow_record::{Carried, test_record};

fn record(status: u16, flags: &str) -> Arc<FlowRecord> {
    let request = FlowRequest {
        protocol: "http".into(),
        method: "GET".into(),
        host: "reviews:9080".into(),
        path: "/a \"b\"\u{1b}".into(),
        route: "all".into(),
        cluster: Some("outbound|9080||reviews.shop.svc.cluster.local".into()),
        status,
        flags: flags.to_owned().into(),
        tries: 1,
        request_id: "0f0e".into(),
        user_agent: Some("curl/8".into()),
        ..FlowRequest::default()
    };
    let carried =
        Carried { bytes_sent: 80, bytes_received: 300, duration_us: 2_345_678, rtt_us: 0 };
    let mut record = test_record(9_080, Verdict::Proxy, Reason::Rule);
    record.time = "2026-11-30T12:00:02.345678Z".parse().unwrap();
    record.upstream = Some("198.51.100.4:9080".parse().unwrap());
    record.carried = Some(carried);
    record.request = Some(Box::new(request));
    Arc::new(record)
}

#[test]
fn a_line_is_envoys_and_none_of_a_clients_text_ends_it() {
    let mut text = Vec::new();
    Format::Text.write(&record(503, "UF,URX"), &mut text);
    assert_eq!(
        String::from_utf8(text).unwrap(),
        "[2026-11-30T12:00:00.000Z] \"GET /a \\\"b\\\"\\x1b HTTP/1.1\" 503 UF,URX 80 300 2345 - \
         \"-\" \"curl/8\" \"0f0e\" \"reviews:9080\" \"198.51.100.4:9080\"\n"
    );
    let mut json = Vec::new();
    Format::Json.write(&record(200, "-"), &mut json);
    assert!(json.ends_with(b"}\n"));
    let line: serde_json::Value = serde_json::from_slice(&json).unwrap();
    for (key, wanted) in [
        ("start_time", "2026-11-30T12:00:00.000Z"),
        ("path", "/a \"b\"\u{1b}"),
        ("protocol", "HTTP/1.1"),
        ("user_agent", "curl/8"),
        ("upstream_host", "198.51.100.4:9080"),
        ("upstream_cluster", "outbound|9080||reviews.shop.svc.cluster.local"),
        ("downstream_local_address", "203.0.113.9:9080"),
        ("source_pod", "web-0"),
    ] {
        assert_eq!(line[key], wanted, "{key} in {line}");
    }
    assert_eq!(line["x_forwarded_for"], serde_json::Value::Null);
    assert_eq!((&line["response_code"], &line["duration"]), (&200.into(), &2_345.into()));
}

#[test]
fn errors_are_statuses_flags_and_requests_without_an_answer() {
    for (status, flags, wanted) in [
        (200, "-", false),
        (302, "-", false),
        (404, "-", true),
        (503, "UF", true),
        (0, "DC", true),
        (0, "-", true),
        (200, "DI", true),
    ] {
        let request = &*record(status, flags).request.clone().unwrap();
        assert_eq!(is_wanted(Wanted::Errors, request), wanted, "{status} {flags}");
        assert!(is_wanted(Wanted::On, request) && !is_wanted(Wanted::Off, request));
        assert!(is_wanted(Wanted::Sampled(pod::ALL), request));
    }
    let request = &*record(200, "-").request.clone().unwrap();
    let found = (0..100_000).filter(|_| is_wanted(Wanted::Sampled(100_000), request)).count();
    assert!((9_600..10_400).contains(&found), "{found} of 100,000, and not about 10,000");
}

fn start(path: &Path) -> (AccessLog, End) {
    let file = Some(path.to_owned());
    AccessLog::start(Settings { default: Wanted::On, format: Format::Text, file }).unwrap()
}

fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < Duration::from_secs(30), "{what}");
        thread::sleep(Duration::from_millis(5));
    }
}

fn lost(log: &AccessLog) -> u64 {
    log.lost().load(Ordering::Relaxed)
}

fn lines(path: &Path) -> usize {
    fs::read_to_string(path).map_or(0, |text| text.lines().count())
}

#[test]
fn a_file_that_was_moved_away_is_made_anew() {
    let directory = tempfile::tempdir().unwrap();
    let (path, old) = (directory.path().join("access.log"), directory.path().join("old"));
    let (log, end) = start(&path);
    log.take(&record(200, "-"), None);
    log.take(&record(200, "-"), Some(Wanted::Off));
    until("a first line", || lines(&path) == 1);
    fs::rename(&path, &old).unwrap();
    until("a new file, without a request", || path.exists());
    log.take(&record(200, "-"), None);
    until("a line in it", || lines(&path) == 1);
    fs::remove_file(&path).unwrap();
    log.reopen();
    until("another one", || path.exists());
    end.wait();
    assert_eq!(lines(&old), 1);
}

#[test]
fn what_was_logged_is_written_before_the_end() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("access.log");
    let (log, end) = start(&path);
    (0..QUEUE).for_each(|_| log.take(&record(200, "-"), None));
    let lost = lost(&log);
    end.wait();
    assert_eq!((lines(&path), lost), (QUEUE, 0));
}

#[test]
fn a_reader_that_does_not_read_costs_lines_and_holds_up_no_request() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("fifo");
    rustix::fs::mkfifoat(rustix::fs::CWD, &path, rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR)
        .unwrap();
    // Open for both: the opening of neither end waits, and nothing is read.
    let _reader = fs::OpenOptions::new().read(true).write(true).open(&path).unwrap();
    let (log, _end) = start(&path);
    let one = record(200, "-");
    let began = Instant::now();
    let count = QUEUE as u64 * 3;
    (0..count).for_each(|_| log.take(&one, None));
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    // A pipe holds 64 KiB.
    assert!(lost(&log) > count / 3, "{} of {count}", lost(&log));
}

#[test]
fn a_full_disk_costs_lines_and_they_are_counted() {
    let (log, end) = start(Path::new("/dev/full"));
    (0..10).for_each(|_| log.take(&record(200, "-"), None));
    until("ten lines are lost", || lost(&log) == 10);
    end.wait();
}

#[test]
fn a_file_that_cannot_be_opened_is_named_with_its_option() {
    let file = Some("/nowhere/access.log".into());
    let settings = Settings { default: Wanted::On, format: Format::Text, file };
    let error = AccessLog::start(settings).unwrap_err().to_string();
    assert!(error.contains("--access-log-file /nowhere/access.log"), "{error}");
}
