//! What operators see: metrics under Istio's names, the access log, ids and spans of requests, flows, and
//! that dashboards ask for what there is.

mod access_log;
mod dashboards;
mod flows;
mod marks;
mod scene;
mod traces;

use anyhow::{Result, ensure};
use rstest::rstest;
use scene::{Net, Scene};

#[rstest]
fn requests_are_counted_under_the_names_that_dashboards_know(
    #[values(Net::V4, Net::V6)] net: Net,
) -> Result<()> {
    let mut scene = Scene::new(net)?;
    let said = scene.send(&["GET / HTTP/1.1"], 25)?;
    ensure!(said.of("200 v1") == 25, "{said:?}");
    scene.send(&["GET /503 HTTP/1.1"], 3)?;
    scene.send(&["GET / HTTP/1.1", "Host: nobody.example.com"], 2)?;
    let from = [
        "reporter=\"source\"",
        "source_workload=\"shop-v7\"",
        "source_workload_namespace=\"shop\"",
        "source_app=\"shop\"",
        "source_version=\"v7\"",
        "request_protocol=\"http\"",
    ];
    let with = |more: &[&'static str]| [&from[..], more].concat();
    let reviews = with(&[
        "destination_service=\"reviews.shop.svc.cluster.local\"",
        "destination_service_name=\"reviews\"",
        "destination_service_namespace=\"shop\"",
        "destination_workload=\"reviews-v1\"",
        "destination_version=\"v1\"",
    ]);
    let of_reviews = |more: &[&'static str]| [&reviews[..], more].concat();
    for (parts, wanted) in [
        (
            of_reviews(&["istio_requests_total{", "response_code=\"200\"", "response_flags=\"-\""]),
            25.0,
        ),
        (of_reviews(&["istio_requests_total{", "response_code=\"503\""]), 3.0),
        (of_reviews(&["istio_request_duration_milliseconds_count{"]), 28.0),
        (of_reviews(&["istio_request_duration_milliseconds_bucket{", "le=\"+Inf\""]), 28.0),
        (of_reviews(&["istio_request_bytes_count{"]), 28.0),
        (of_reviews(&["istio_response_bytes_count{"]), 28.0),
        (
            with(&[
                "istio_requests_total{",
                "destination_service_name=\"BlackHoleCluster\"",
                "response_code=\"502\"",
            ]),
            2.0,
        ),
        // What a client says is no label.
        (vec!["nobody.example.com"], 0.0),
        // Connections whose requests are served are none of TCP.
        (vec!["istio_tcp_connections"], 0.0),
    ] {
        scene.is_counted(&parts, wanted)?;
    }
    Ok(())
}

#[rstest]
fn connections_are_counted_whether_the_kernel_or_the_proxy_carries_them(
    #[values(Net::V4, Net::V6)] net: Net,
) -> Result<()> {
    let mut scene = Scene::new(net)?;
    for after_a_restart in [false, true] {
        if after_a_restart {
            scene.agent.kill()?;
            scene.start()?;
        }
        let of = [("db.example.com", scene.database()), ("moved.example.com", scene.moved())];
        for (host, address) in of {
            scene.client.echoes(address)?;
            let service = format!("destination_service=\"{host}\"");
            let parts = |name: &'static str| {
                vec![name, "source_workload=\"shop-v7\"", "request_protocol=\"tcp\""]
            };
            let is = |scene: &mut Scene, name: &'static str, wanted: f64| {
                let mut parts = parts(name);
                parts.push(&service);
                scene.is_counted(&parts, wanted)
            };
            is(&mut scene, "istio_tcp_connections_opened_total{", 1.0)?;
            is(&mut scene, "istio_tcp_connections_closed_total{", 0.0)?;
            scene.client.must("close")?;
            is(&mut scene, "istio_tcp_connections_closed_total{", 1.0)?;
            is(&mut scene, "istio_tcp_sent_bytes_total{", 5.0)?;
            is(&mut scene, "istio_tcp_received_bytes_total{", 5.0)?;
        }
        scene.is_counted(&["istio_requests_total{"], 0.0)?;
    }
    Ok(())
}

#[test]
fn label_sets_beyond_the_bound_are_one_series() -> Result<()> {
    let mut scene = Scene::with(Net::V4, |agent| Ok(agent.with("--metric-label-sets", "4")))?;
    for status in 400..410 {
        scene.send(&[&format!("GET /{status} HTTP/1.1")], 1)?;
    }
    let overflow = ["istio_requests_total{", "source_workload=\"overflow\""];
    scene.is_counted(&overflow, 6.0)?;
    scene.is_counted(&["sekisho_observe_label_sets_overflowed_total"], 6.0)?;
    scene.is_counted(&["sekisho_observe_label_sets "], 4.0)
}

#[test]
fn top_says_once_who_asks_whom_where_there_is_no_terminal() -> Result<()> {
    let mut scene = Scene::new(Net::V4)?;
    scene.send(&["GET / HTTP/1.1"], 7)?;
    scene.send(&["GET /503 HTTP/1.1"], 3)?;
    scene.is_counted(&["istio_requests_total{"], 10.0)?;
    let said = scene.agent.ask(&["top"])?;
    let said = String::from_utf8(said.stdout)?;
    let row = said.lines().find(|line| line.starts_with("reviews.shop.svc.cluster.local"));
    let words: Vec<&str> = row.into_iter().flat_map(str::split_whitespace).collect();
    ensure!(words.get(1..6) == Some(&["shop/app", "10", "3", "30.0", "%"]), "{said}");
    let json = scene.agent.ask(&["top", "-o", "json"])?;
    let rows: serde_json::Value = serde_json::from_slice(&json.stdout)?;
    ensure!(rows[0]["requests"] == 10 && rows[0]["pod"] == "app", "{rows}");
    Ok(())
}
