use agent_model::{
    finding::Finding,
    resource::{Kind, ObjectKey},
};

use super::*;
use crate::observe::status::Note;

#[test]
fn a_scrape_tells_what_the_status_tells() {
    let metrics = Metrics::default();
    metrics.published(Duration::from_millis(3));
    let mut laps = Laps::default();
    laps.end(agent_base::laps::Phase::Plan);
    metrics.phases(&laps);
    let key = ObjectKey::new(Kind::ServiceEntry, "shop", "db");
    let finding = Finding::new(Severity::Error, "SK0206", &key, "spec", "why");
    let status = Status {
        state: State::Ready,
        generation: 7,
        rules: 12,
        counters: [("direct".to_owned(), 5), ("events_lost".to_owned(), 2)].into(),
        objects: [("Pod".to_owned(), 3)].into(),
        findings: vec![Note::of(&finding, None)],
        ..Status::default()
    };
    let text = metrics.text(status).unwrap();
    for line in [
        "sekisho_agent_ready 1",
        "sekisho_sync_generation 7",
        "sekisho_sync_rules 12",
        "sekisho_kernel_verdicts_total{outcome=\"direct\"} 5",
        "sekisho_kernel_events_lost_total 2",
        "sekisho_source_objects{kind=\"Pod\"} 3",
        "sekisho_source_findings{severity=\"error\"} 1",
        "sekisho_source_findings{severity=\"warning\"} 0",
        "sekisho_pods_enrolment{state=\"enrolled\"} 0",
        "sekisho_sync_publish_seconds_count 1",
        "sekisho_sync_phase_seconds_count{phase=\"plan\"} 1",
        "# EOF",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
    }
    assert!(!text.contains("outcome=\"events_lost\""), "{text}");
}
