//! Links that change while their pod runs: layer 3 judges what leaves by them within three seconds, or
//! the pod is failing and says by which link.

use std::thread;

use anyhow::{Context as _, Result, ensure};
use rstest::rstest;
use sekisho_tests::{
    linked::{Case, REST},
    maps,
    netns::Netns,
    spare,
    stage::Net,
};

/// A link without a hook lets frames out, which is what the others are held against.
#[rstest]
fn a_new_veth_is_judged(
    #[values("tcx", "clsact")] layer3: &str,
    #[values(Net::V4, Net::V6)] net: Net,
) -> Result<()> {
    let mut case = Case::new(layer3)?;
    let beside = case.world.far("beside")?;
    spare::add_link(&case.world, beside.netns(), "control", "net1")?;
    ensure!(case.beacon_of(beside.netns(), net, "net1").arrives()?, "a frame that may leave");

    case.add_link("spare", "net1")?;
    case.closes(net, "net1")?;
    case.within("it is proved", |case| case.is_judged("net1"))?;
    case.within("the pod is", |case| case.is_proved(2))?;
    let shown = case.link_of("app", "net1")?.context("not shown")?;
    assert_eq!(shown["host_end"], "spare", "{shown}");
    let metrics = case.agent.metrics()?;
    assert!(metrics.contains("sekisho_pods_links{coverage=\"layer-3\"} 2"), "{metrics}");

    case.on_node("link del spare\n")?;
    case.within("it has gone", |case| case.is_proved(1))?;
    assert_eq!(maps::entries(case.agent.pins())?["VETHS"], 1);
    Ok(())
}

/// Links without an end on the node. Nothing can judge what leaves by them.
#[rstest]
#[case::macvlan("macvlan mode bridge", Some("net1"))]
#[case::macvtap("macvtap mode bridge", Some("net1"))]
#[case::ipvlan("ipvlan", Some("net1"))]
#[case::vlan("vlan id 5", Some("net1"))]
#[case::third_namespace("veth", None)]
fn a_link_that_nothing_can_judge_is_told(
    #[values("tcx", "clsact")] layer3: &str,
    #[case] kind: &str,
    #[case] uplink: Option<&str>,
) -> Result<()> {
    if !spare::has_kind(kind)? {
        return Ok(());
    }
    let mut case = Case::new(layer3)?;
    let third = Netns::new(&format!("{}-third", case.world.name()))?;
    let pod = case.pod.netns().name().to_owned();
    if uplink.is_some() {
        spare::uplink(&case.world, "wan")?;
        case.on_node(&format!("link add link wan name net1 netns {pod} type {kind}\n"))?;
    } else {
        third.ip(&format!("link add far type veth peer name net1 netns {pod}\n"))?;
    }
    case.in_pod("link set net1 up\n")?;
    case.within("it is told", |case| case.is_failing_for("net1"))?;
    let shown = case.link_of("app", "net1")?.context("not shown")?;
    assert_eq!(shown["coverage"], "nothing", "{shown}");

    case.in_pod("link set net1 down\nlink set net1 name other\nlink set other up\n")?;
    case.within("it has another name", |case| case.is_failing_for("other"))?;

    // The next agent says the same.
    case.agent.kill()?;
    case.agent.launch(&case.world)?;
    case.agent.wait_until("the agent answers", |agent| {
        Ok(agent.status().is_ok_and(|status| status["pods"][0].is_object()))
    })?;
    case.within("it is told again", |case| case.is_failing_for("other"))?;

    case.in_pod("link del other\n")?;
    case.within("the pod is well again", |case| case.is_proved(1))
}

/// What leaves by links of the pod that are judged: the pod stays proved, and no frame leaves.
#[rstest]
#[case::macvlan("macvlan mode bridge")]
#[case::ipvlan("ipvlan")]
#[case::vlan("vlan id 5")]
fn a_link_on_one_that_is_judged_is_judged_with_it(
    #[values("tcx", "clsact")] layer3: &str,
    #[case] kind: &str,
) -> Result<()> {
    if !spare::has_kind(kind)? {
        return Ok(());
    }
    let mut case = Case::new(layer3)?;
    case.in_pod(&format!("link add link eth0 name net1 type {kind}\nlink set net1 up\n"))?;
    case.within("it is shown", |case| Ok(case.link_of("app", "net1")?.is_some()))?;
    let shown = case.link_of("app", "net1")?.context("not shown")?;
    assert_eq!((&shown["coverage"], &shown["below"]), (&"below".into(), &"eth0".into()));
    for net in [Net::V4, Net::V6] {
        ensure!(!case.beacon(net, "net1").arrives()?, "a frame of {net:?} leaves by {kind}");
    }
    case.within("the pod is proved", |case| case.is_proved(2))
}

/// A link that leads nowhere, and later joins the way out.
#[rstest]
#[case::dummy("dummy")]
#[case::ifb("ifb")]
#[case::pair("veth peer name net2")]
fn a_link_that_leads_nowhere_may_be_bridged(#[case] kind: &str) -> Result<()> {
    if !spare::has_kind(kind)? {
        return Ok(());
    }
    let mut case = Case::new("tcx")?;
    let links = if kind.starts_with("veth") { 3 } else { 2 };
    case.in_pod(&format!("link add net1 type {kind}\nlink set net1 up\n"))?;
    case.within("it is shown", |case| Ok(case.link_of("app", "net1")?.is_some()))?;
    case.within("the pod is proved", |case| case.is_proved(links))?;

    case.in_pod(
        "link add br1 type bridge stp_state 0 mcast_snooping 0\n\
         link set br1 up\n\
         link set net1 master br1\n\
         link set eth0 master br1\n",
    )?;
    case.within("so is the bridge", |case| Ok(case.link_of("app", "br1")?.is_some()))?;
    for link in ["net1", "br1"] {
        for net in [Net::V4, Net::V6] {
            ensure!(!case.beacon(net, link).arrives()?, "a frame of {net:?} leaves by {link}");
        }
    }
    case.within("the pod is still proved", |case| case.is_proved(links + 1))
}

/// One end of a pair inside the pod is moved to the node: what led nowhere leads out.
#[rstest]
fn a_pair_whose_other_end_leaves_the_pod_is_judged(
    #[values("tcx", "clsact")] layer3: &str,
) -> Result<()> {
    let mut case = Case::new(layer3)?;
    let node = case.world.node().path().display().to_string();
    case.in_pod("link add net1 type veth peer name net2\nlink set net1 up\n")?;
    case.within("it is shown", |case| case.is_proved(3))?;
    case.in_pod(&format!("link set net2 netns {node}\n"))?;
    case.on_node("link set net2 master br0\nlink set net2 up\n")?;
    case.closes(Net::V4, "net1")?;
    case.within("it is judged", |case| case.is_judged("net1"))
}

/// The pod's own namespace says nothing of it: only the node's does.
#[rstest]
fn an_end_that_comes_from_a_third_namespace_is_found(
    #[values("tcx", "clsact")] layer3: &str,
) -> Result<()> {
    let mut case = Case::new(layer3)?;
    let third = Netns::new(&format!("{}-third", case.world.name()))?;
    let node = case.world.node().path().display().to_string();
    third.ip(&format!(
        "link add far type veth peer name net1 netns {}\n",
        case.pod.netns().name()
    ))?;
    case.in_pod("link set net1 up\n")?;
    case.within("it is told", |case| case.is_failing_for("net1"))?;
    third.ip(&format!("link set far netns {node}\n"))?;
    case.on_node("link set far master br0\nlink set far up\n")?;
    case.closes(Net::V6, "net1")?;
    case.within("it is judged", |case| case.is_judged("net1"))?;
    case.within("the pod is well", |case| case.is_proved(2))?;

    // And away again, by the same way.
    case.on_node(&format!("link set far netns {}\n", third.path().display()))?;
    case.within("it is told again", |case| case.is_failing_for("net1"))
}

#[rstest]
fn a_link_with_another_name_is_the_same_link(
    #[values("tcx", "clsact")] layer3: &str,
    #[values(Net::V4, Net::V6)] net: Net,
) -> Result<()> {
    let mut case = Case::new(layer3)?;
    case.add_link("spare", "net1")?;
    case.within("it is proved", |case| case.is_judged("net1"))?;
    case.in_pod("link set net1 down\nlink set net1 name data\nlink set data up\n")?;
    case.within("it has another name inside", |case| case.is_judged("data"))?;
    ensure!(!case.beacon(net, "data").arrives()?);
    case.on_node("link set spare down\nlink set spare name moved\nlink set moved up\n")?;
    case.within("and outside", |case| {
        let shown = case.link_of("app", "data")?;
        Ok(case.is_judged("data")? && shown.is_some_and(|it| it["host_end"] == "moved"))
    })?;
    ensure!(!case.beacon(net, "data").arrives()?);
    assert_eq!(case.agent.status()?["mended"]["count"], 0, "nothing was taken away");
    Ok(())
}

/// Away and back, at leisure or at once.
#[rstest]
fn a_link_that_comes_back_is_judged_again(
    #[values("tcx", "clsact")] layer3: &str,
    #[values(false, true)] at_once: bool,
) -> Result<()> {
    let mut case = Case::new(layer3)?;
    case.add_link("spare", "net1")?;
    case.within("it is proved", |case| case.is_judged("net1"))?;
    let third = Netns::new(&format!("{}-third", case.world.name()))?;
    let (away, back) = (third.path(), case.pod.netns().path());
    for _ in 0..2 {
        case.in_pod(&format!("link set net1 netns {}\n", away.display()))?;
        if !at_once {
            case.within("it is away", |case| case.is_proved(1))?;
        }
        third.ip(&format!("link set net1 netns {}\n", back.display()))?;
        case.in_pod("link set net1 up\n")?;
        case.closes(Net::V4, "net1")?;
        case.within("it is proved again", |case| case.is_judged("net1"))?;
    }
    // The other end, too: a queueing discipline does not survive that.
    let node = case.world.node().path();
    for _ in 0..2 {
        case.on_node(&format!("link set spare netns {}\n", away.display()))?;
        if !at_once {
            case.within("its end is away", |case| case.is_failing_for("net1"))?;
        }
        third.ip(&format!("link set spare netns {}\n", node.display()))?;
        case.on_node("link set spare master br0\nlink set spare up\n")?;
        case.closes(Net::V6, "net1")?;
        case.within("its end is back", |case| case.is_judged("net1"))?;
    }
    case.within("the pod is well", |case| case.is_proved(2))?;
    assert_eq!(maps::entries(case.agent.pins())?["VETHS"], 2);
    Ok(())
}

/// The same names, with another number or the same one.
#[rstest]
fn a_link_that_takes_anothers_place_is_judged(
    #[values("tcx", "clsact")] layer3: &str,
    #[values(Net::V4, Net::V6)] net: Net,
    #[values(None, Some(700))] number: Option<u32>,
) -> Result<()> {
    let mut case = Case::new(layer3)?;
    let number = number.map(|number| format!("index {number}")).unwrap_or_default();
    let pod = case.pod.netns().name().to_owned();
    let make = format!(
        "link add spare {number} type veth peer name net1 {number} netns {pod}\n\
         link set spare master br0\n\
         link set spare up\n"
    );
    case.on_node(&make)?;
    case.in_pod("link set net1 up\n")?;
    case.within("it is proved", |case| case.is_judged("net1"))?;
    for _ in 0..3 {
        case.on_node(&format!("link del spare\n{make}"))?;
        case.in_pod("link set net1 up\n")?;
        case.closes(net, "net1")?;
        case.within("its successor is", |case| case.is_judged("net1"))?;
        assert_eq!(maps::entries(case.agent.pins())?["VETHS"], 2);
    }
    Ok(())
}

#[rstest]
fn a_link_that_is_brought_up_later_is_proved_then(
    #[values("tcx", "clsact")] layer3: &str,
) -> Result<()> {
    let mut case = Case::new(layer3)?;
    spare::wire_down(&case.world, case.pod.netns(), "spare", "net1")?;
    case.within("it is shown as down", |case| {
        Ok(case.link_of("app", "net1")?.is_some_and(|it| it["proof"] == "down"))
    })?;
    case.within("which is no fault", |case| case.is_proved(2))?;
    thread::sleep(REST);
    case.in_pod("link set net1 up\n")?;
    ensure!(!case.beacon(Net::V4, "net1").arrives()?, "it was judged before it was up");
    case.within("it is proved", |case| case.is_judged("net1"))
}

/// A link that goes from one pod to another is judged by the rules of the pod that it is in.
#[rstest]
fn a_link_of_another_pod_is_judged_as_this_pods(
    #[values("tcx", "clsact")] layer3: &str,
) -> Result<()> {
    let mut case = Case::new(layer3)?;
    let other = case.world.pod("other")?;
    case.agent.config().pod(&other)?;
    case.add_link("spare", "net1")?;
    case.within("it is proved", |case| case.is_judged("net1"))?;
    case.within("so is the other pod", |case| case.is_judged_of("other", "eth0"))?;
    let paths = [case.pod.netns().path(), other.netns().path()];
    for _ in 0..2 {
        case.in_pod(&format!("link set net1 netns {}\n", paths[1].display()))?;
        other.netns().ip("link set net1 up\n")?;
        case.within("it is the other's", |case| case.is_judged_of("other", "net1"))?;
        case.within("and not this one's", |case| case.is_proved(1))?;
        ensure!(!case.beacon_of(other.netns(), Net::V4, "net1").arrives()?);
        other.netns().ip(&format!("link set net1 netns {}\n", paths[0].display()))?;
        case.in_pod("link set net1 up\n")?;
        case.within("it is this one's", |case| case.is_judged("net1"))?;
        ensure!(!case.beacon(Net::V6, "net1").arrives()?);
    }
    Ok(())
}
