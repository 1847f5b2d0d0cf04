use agent_abi::Reason;
use prometheus_client::{encoding::text, registry::Registry};

use super::*;
use crate::observe::flow_record::test_record;

fn workload(name: &str) -> Arc<WorkloadName> {
    Arc::new(WorkloadName {
        namespace: "shop".into(),
        name: name.into(),
        app: Some("shop-app".into()),
        version: None,
        canonical_service: name.into(),
        canonical_revision: "latest".into(),
    })
}

fn direct(name: &str) -> FlowRecord {
    let rule = RuleSource {
        kind: "ServiceEntry",
        namespace: "data".into(),
        name: "db".into(),
        field: "spec".into(),
        host: Some("db.example".into()),
    };
    FlowRecord {
        workload: Some(workload(name)),
        rule: Some(Arc::new(rule)),
        ..test_record(3_306, Verdict::Direct, Reason::Rule)
    }
}

fn request(name: &str, status: u16) -> FlowRecord {
    let request = FlowRequest {
        protocol: "http2".into(),
        cluster: Some("outbound|9080|v1|reviews.books.svc.cluster.local".into()),
        path: "/secret?token=1".into(),
        status,
        flags: "-".into(),
        ..FlowRequest::default()
    };
    FlowRecord {
        layer: Layer::Proxy,
        verdict: Verdict::Proxy,
        request: Some(Box::new(request)),
        carried: Some(Carried {
            bytes_sent: 80,
            bytes_received: 300,
            duration_us: 7_000,
            rtt_us: 0,
        }),
        ..direct(name)
    }
}

fn scrape(metrics: &Arc<ServiceMetrics>) -> String {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(FromServices(Arc::clone(metrics))));
    let mut text = String::new();
    text::encode(&mut text, &registry).unwrap();
    text
}

/// The value of the one sample whose name and labels have all of these in them.
fn value(scrape: &str, wanted: &[&str]) -> Option<String> {
    let is_wanted = |line: &&str| wanted.iter().all(|part| line.contains(part));
    let mut found = scrape.lines().filter(|line| !line.starts_with('#')).filter(is_wanted);
    let one = found.next()?;
    assert_eq!(found.next(), None, "{wanted:?} is not alone in\n{scrape}");
    one.rsplit(' ').next().map(str::to_owned)
}

#[test]
fn requests_are_counted_by_service_workload_and_status() {
    let metrics = Arc::new(ServiceMetrics::default());
    for status in [200, 200, 503] {
        metrics.hear(&Arc::new(request("web", status)));
    }
    let text = scrape(&metrics);
    let ok = [
        "istio_requests_total{",
        "reporter=\"source\"",
        "source_workload=\"web\"",
        "source_workload_namespace=\"shop\"",
        "source_app=\"shop-app\"",
        "source_version=\"unknown\"",
        "destination_service=\"reviews.books.svc.cluster.local\"",
        "destination_service_name=\"reviews\"",
        "destination_service_namespace=\"books\"",
        "destination_workload=\"unknown\"",
        "request_protocol=\"http\"",
        "response_code=\"200\"",
        "response_flags=\"-\"",
        "connection_security_policy=\"unknown\"",
    ];
    assert_eq!(value(&text, &ok).as_deref(), Some("2"), "{text}");
    let failed = ["istio_requests_total{", "response_code=\"503\""];
    assert_eq!(value(&text, &failed).as_deref(), Some("1"));
    for (bound, wanted) in [("5.0", "0"), ("10.0", "2"), ("+Inf", "2")] {
        let bound = format!("le=\"{bound}\"");
        let parts = ["istio_request_duration_milliseconds_bucket{", "\"200\"", &bound];
        assert_eq!(value(&text, &parts).as_deref(), Some(wanted), "{bound} in\n{text}");
    }
    assert_eq!(value(&text, &["istio_request_bytes_sum{", "\"200\""]).as_deref(), Some("160.0"));
    assert_eq!(value(&text, &["istio_response_bytes_sum{", "\"503\""]).as_deref(), Some("300.0"));
    assert!(!text.contains("secret"), "nothing of what a client wrote: {text}");
}

#[test]
fn connections_are_counted_when_they_open_and_close_whoever_carries_them() {
    let metrics = Arc::new(ServiceMetrics::default());
    let carried = Carried { bytes_sent: 5, bytes_received: 70, duration_us: 1, rtt_us: 0 };
    metrics.hear(&Arc::new(direct("web")));
    metrics.hear(&Arc::new(direct("web")));
    metrics.hear(&Arc::new(FlowRecord { carried: Some(carried), ..direct("web") }));
    let upstream = Some("198.51.100.4:3306".parse().unwrap());
    let proxied = || FlowRecord {
        layer: Layer::Proxy,
        carried: Some(carried),
        verdict: Verdict::Proxy,
        ..direct("web")
    };
    let opened = Opened {
        workload: Some(workload("web")),
        rule: direct("web").rule,
        upstream: "198.51.100.4".parse().unwrap(),
    };
    metrics.opened(opened);
    metrics.hear(&Arc::new(FlowRecord { upstream, ..proxied() }));
    // The connection of requests that were served.
    metrics.hear(&Arc::new(proxied()));
    // What is no connection, or was never let out.
    metrics.hear(&Arc::new(FlowRecord { protocol: Protocol(17), ..direct("web") }));
    metrics.hear(&Arc::new(FlowRecord { verdict: Verdict::Deny, ..direct("web") }));
    let text = scrape(&metrics);
    for (name, wanted) in [
        ("istio_tcp_connections_opened_total", "3"),
        ("istio_tcp_connections_closed_total", "2"),
        // To the client, as Istio says it.
        ("istio_tcp_sent_bytes_total", "140"),
        ("istio_tcp_received_bytes_total", "10"),
    ] {
        let found =
            value(&text, &[name, "\"db.example\"", "destination_service_namespace=\"data\""]);
        assert_eq!(found.as_deref(), Some(wanted), "{name} in\n{text}");
    }
    assert!(!text.contains("istio_requests_total{"), "{text}");
}

#[test]
fn label_sets_have_an_end_and_what_is_beyond_it_is_one_series() {
    let metrics = Arc::new(ServiceMetrics::new(Arc::default(), 3));
    for status in 200..210 {
        metrics.hear(&Arc::new(request("web", status)));
    }
    let text = scrape(&metrics);
    let series = text.lines().filter(|line| line.starts_with("istio_requests_total{")).count();
    assert_eq!(series, 4, "{text}");
    let rest =
        ["istio_requests_total{", "source_workload=\"overflow\"", "response_code=\"overflow\""];
    assert_eq!(value(&text, &rest).as_deref(), Some("7"), "{text}");
    assert_eq!(value(&text, &["sekisho_observe_label_sets "]).as_deref(), Some("3"));
    let overflowed = ["sekisho_observe_label_sets_overflowed_total"];
    assert_eq!(value(&text, &overflowed).as_deref(), Some("7"));
}

#[tokio::test(start_paused = true)]
async fn series_of_a_workload_that_left_the_node_go_after_some_scrapes() {
    let metrics = Arc::new(ServiceMetrics::default());
    metrics.hear(&Arc::new(request("web", 200)));
    metrics.hear(&Arc::new(direct("web")));
    let shown = |metrics| scrape(metrics).matches("source_workload=\"web\"").count() > 0;
    assert!(shown(&metrics));
    let mut tasks = tokio::task::JoinSet::new();
    let counting = Arc::clone(&metrics);
    tasks.spawn(async move { counting.run().await });
    tokio::time::sleep(GRACE).await;
    assert!(shown(&metrics), "a scrape may be still to come");
    tokio::time::sleep(SWEEP * 3).await;
    assert!(!shown(&metrics));
}

#[test]
fn a_full_queue_is_emptied_by_who_finds_it_full() {
    let metrics = Arc::new(ServiceMetrics::default());
    let record = Arc::new(request("web", 200));
    let count = QUEUE * 2 + 5;
    (0..count).for_each(|_| metrics.hear(&record));
    let text = scrape(&metrics);
    assert_eq!(value(&text, &["istio_requests_total{"]), Some(count.to_string()));
    // While it is being emptied no one waits for that.
    let counted = lock(&metrics.counted);
    (0..count).for_each(|_| metrics.hear(&record));
    drop(counted);
    let lost = value(&scrape(&metrics), &["sekisho_observe_flows_lost_total"]);
    assert_eq!(lost, Some((count - QUEUE).to_string()));
}
