//! `sekisho flows` with filters.

use anyhow::{Result, ensure};
use serde_json::Value;

use crate::scene::{DB_PORT, Net, Scene};

/// The flows that some words find.
fn found(scene: &Scene, words: &[&str]) -> Result<Vec<Value>> {
    let said = scene.agent.ask(&[&["flows", "-o", "json"], words].concat())?;
    ensure!(said.status.success(), "{words:?}: {}", String::from_utf8_lossy(&said.stderr));
    let text = String::from_utf8(said.stdout)?;
    text.lines().map(|line| Ok(serde_json::from_str(line)?)).collect()
}

#[test]
fn flows_are_found_by_what_is_asked_of_them() -> Result<()> {
    let mut scene = Scene::new(Net::V4)?;
    scene.send(&["GET /503 HTTP/1.1"], 3)?;
    scene.send(&["GET /fine HTTP/1.1"], 4)?;
    let database = scene.database();
    scene.client.echoes(database)?;
    scene.client.must("close")?;
    scene.is_counted(&["istio_tcp_connections_closed_total{"], 1.0)?;
    scene.is_counted(&["istio_requests_total{"], 7.0)?;
    for (words, wanted) in [
        (&["--protocol", "http"][..], 7),
        (&["--status", "5xx"], 3),
        (&["--status", "5xx", "-n", "2"], 2),
        (&["--to", "reviews", "--status", "200"], 4),
        (&["--to", "reviews.shop.svc.cluster.local", "--status", "200-299"], 4),
        (&["--pod", "shop/app", "--protocol", "http", "--verdict", "proxy"], 7),
        (&["--pod", "other/"], 0),
        (&["--verdict", "deny"], 0),
        (&["--to", &format!("db.example.com:{DB_PORT}"), "--protocol", "tcp"], 2),
        (&["--to", &database.to_string(), "--verdict", "direct"], 2),
    ] {
        let flows = found(&scene, words)?;
        ensure!(flows.len() == wanted, "{words:?}: {wanted}, and not {flows:#?}");
    }
    let last = found(&scene, &["--protocol", "http", "-n", "1"])?;
    ensure!(last[0]["request"]["path"] == "/fine", "{last:?}");
    let table = scene.agent.ask(&["flows", "--status", "503", "-n", "1"])?;
    let table = String::from_utf8(table.stdout)?;
    let upstream = scene.upstream();
    for part in ["GET reviews:9080/503 503 -, route all", &format!("by {upstream}"), " after "] {
        ensure!(table.contains(part), "{part:?} in {table}");
    }
    let bad = scene.agent.ask(&["flows", "--status", "6xx"])?;
    let words = String::from_utf8(bad.stderr)?;
    ensure!(!bad.status.success() && words.contains("503, 5xx or 400-499"), "{words}");
    Ok(())
}
