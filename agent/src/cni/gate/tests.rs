use std::sync::Arc;

use agent_model::egress::{DefaultAction, EgressPolicy};

use super::*;

fn plan(uid: &str, enrolment: Enrolment) -> PodPlan {
    PodPlan { uid: uid.into(), addresses: Vec::new(), netns: None, enrolment }
}

fn enrolled() -> Enrolment {
    Enrolment::Enrolled(Arc::new(EgressPolicy {
        default_action: DefaultAction::RegistryOnly,
        rules: Arc::default(),
    }))
}

#[test]
fn a_pod_is_judged_by_the_plan_for_its_own_uid() {
    let is_not_yet = |stand: Stand| matches!(stand, Stand::NotYet(_));
    assert!(is_not_yet(planned(None, "u1")));
    assert!(is_not_yet(planned(Some(&plan("u0", enrolled())), "u1")), "an older pod");
    let left = plan("u0", Enrolment::NotEnrolled("no label".into()));
    assert!(is_not_yet(planned(Some(&left), "u1")), "an older pod that was let be");
    for (planned_uid, uid) in [("u1", "u1"), ("", "u1"), ("u1", "")] {
        assert_eq!(planned(Some(&plan(planned_uid, enrolled())), uid), Stand::Judged);
    }
    let outside = planned(Some(&plan("u1", Enrolment::NotEnrolled("no label".into()))), "u1");
    assert_eq!(outside, Stand::Outside("no label".into()));
}

#[test]
fn only_what_the_live_tables_know_is_judged() {
    let pod = |enrolment, netns| status::Pod {
        namespace: "shop".into(),
        name: "web-0".into(),
        enrolment,
        addresses: Vec::new(),
        netns,
        default_action: None,
        rules: 0,
        proxy_port: None,
        hooks: Vec::new(),
        canary: None,
    };
    let enrolled = |netns| pod(status::Enrolment::Enrolled, netns);
    let known = |netns| netns == 7;
    assert_eq!(standing_of(&enrolled(Some(7)), known), Stand::Judged);
    for unknown in [enrolled(Some(8)), enrolled(None)] {
        assert!(matches!(standing_of(&unknown, known), Stand::NotYet(_)));
    }
    let failing = pod(status::Enrolment::Failing { why: "no link".into() }, Some(7));
    assert_eq!(standing_of(&failing, known), Stand::NotYet("no link".into()));
}
