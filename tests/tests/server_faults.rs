//! What goes wrong between an agent and a real API server. Each time the same is asked: what the
//! kernel does meanwhile, what the status says, how soon the server's word counts again, and what
//! that costs the server.

use std::{
    collections::BTreeMap,
    fs, thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use rstest::rstest;
use sekisho_tests::{
    agent::Agent,
    control_plane::{ACCOUNT, ControlPlane},
    gate::{Mode, Request},
    gated::{Gated, RETURN, url, wait_behind},
    kubernetes::is_left_out,
    scene::Scene,
    stage::Stage,
    world::{Wiring, World},
};

/// Until a connection that says nothing is given up: a ping after 10 s, and 10 s for its answer.
const NOTICED: Duration = Duration::from_secs(30);
/// Until a watch that says nothing is begun again: 100 s.
const UNHEARD: Duration = Duration::from_secs(130);
/// Until a new token is used: kube reads the file again when it is a minute old.
const REREAD: Duration = Duration::from_secs(80);
/// What is asked this soon after a first answer was under way before it.
const UNDER_WAY: Duration = Duration::from_millis(500);

/// How often each resource was listed, by its path and what of it was asked for.
fn lists(log: &[Request]) -> BTreeMap<String, usize> {
    let mut lists = BTreeMap::new();
    for request in log.iter().filter(|request| request.is_list()) {
        let mut parts = request.line.split(['?', ' ', '&']).skip(1);
        let path = parts.next().unwrap_or_default();
        let fields = parts.find(|part| part.starts_with("fieldSelector=")).unwrap_or_default();
        *lists.entry(format!("{path} {fields}").trim_end().to_owned()).or_default() += 1;
    }
    lists
}

/// While the server is away its agents look for it one request at a time each; when it is back each
/// makes one connection, and lists each kind at most once.
#[test]
fn a_killed_server_is_not_stormed_when_it_comes_back() -> Result<()> {
    if is_left_out() {
        return Ok(());
    }
    let worlds = [World::new(Wiring::Routed)?, World::new(Wiring::Routed)?];
    let Gated { gate, mut scene, .. } = Gated::sealed(&worlds)?.judging()?;
    let account = scene.plane.account_by(&scene.stage.world, ACCOUNT, &url("https"))?;
    let mut others = Vec::new();
    for world in &worlds {
        let mut agent = Agent::new(world)?.with("--node-name", world.name());
        agent.follow_server(account.clone());
        agent.start(world)?;
        others.push(agent);
    }
    // One each, and one more where the leases were asked for before the first one stood.
    let connections = gate.log().len();
    assert!(connections <= 3 * 2, "{connections} connections: {:?}", gate.log());

    gate.forget();
    scene.plane.kill_server()?;
    wait_behind(&scene, "cannot be reached", RETURN)?;
    thread::sleep(Duration::from_secs(20));
    scene.stage.check_verdicts()?;
    let tries = gate.log().len();
    // Waits of 0.25, 0.5, 1, 2, 4, 8, 10 s less up to a half of each, and once a second for the
    // node's lease; each kind for itself would be two dozen times as much.
    assert!(tries <= 3 * (15 + 25), "{tries} connections in 20 s");
    wait_behind(&scene, "cannot be reached", RETURN)?;

    gate.forget();
    scene.plane.start_server(&scene.stage.world)?;
    scene.delete_rule()?;
    let took = scene.wait_allowed(false, RETURN)?;
    thread::sleep(RETURN.saturating_sub(took));
    let made = gate.log().len();
    let metrics = scene.kubectl(&["get", "--raw", "/metrics"])?;
    let lists = streamed_lists(&metrics);
    println!("{tries} tries while it was away; then {made} connections, lists: {lists:?}");
    assert!(made <= 3 * 4, "{made} connections of 3 agents");
    ensure!(!lists.is_empty(), "no lists in the metrics: their name has changed");
    // The server's own clients list some of these too.
    let of_ours = lists.iter().filter(|(resource, _)| resource.contains("istio.io"));
    for (resource, count) in of_ours {
        assert!(*count <= 3, "{resource} was listed {count} times by 3 agents");
    }
    scene.wait_followed("services", "current")?;
    for mut agent in others {
        agent.wait_until("it is followed again", |agent| {
            let kinds = agent.status()?["source"]["kinds"].clone();
            Ok(kinds.as_array().is_some_and(|kinds| kinds.iter().all(|k| k["state"] != "behind")))
        })?;
    }
    Ok(())
}

/// Streamed lists that a server has answered, by group and resource.
fn streamed_lists(metrics: &str) -> BTreeMap<String, u64> {
    let mut lists = BTreeMap::new();
    let lines = metrics.lines();
    for line in lines.filter_map(|l| l.strip_prefix("apiserver_watch_list_duration_seconds_count"))
    {
        let label = |name: &str| line.split(name).nth(1)?.split('"').nth(1);
        let resource = format!(
            "{}.{}",
            label("resource=").unwrap_or_default(),
            label("group=").unwrap_or_default()
        );
        let count = line.rsplit(' ').next().and_then(|count| count.parse::<u64>().ok());
        *lists.entry(resource).or_default() += count.unwrap_or_default();
    }
    lists
}

/// No packet comes back, and no RST says so; or the other end is there and does nothing.
#[rstest]
#[case::no_way_back(true)]
#[case::without_a_reader(false)]
fn a_server_that_is_cut_off_is_noticed_and_heard_again(#[case] far: bool) -> Result<()> {
    if is_left_out() {
        return Ok(());
    }
    let (scene, gate) = if far {
        let mut scene = Scene::with(ControlPlane::start_far)?;
        scene.begin()?;
        scene.apply(&scene.rule()?)?;
        scene.wait_allowed(true, RETURN)?;
        scene.stage.check_verdicts()?;
        (scene, None)
    } else {
        let Gated { gate, scene, .. } = Gated::sealed(&[])?.judging()?;
        (scene, Some(gate))
    };
    let cut = |cut: bool| match &gate {
        Some(gate) => {
            gate.set(if cut { Mode::Held } else { Mode::Open });
            Ok(())
        }
        None => scene.plane.reach(&scene.stage.world, !cut),
    };
    cut(true)?;
    scene.delete_rule()?;
    let noticed = wait_behind(&scene, "", NOTICED)?;
    scene.stage.check_verdicts()?;
    cut(false)?;
    let heard = scene.wait_allowed(false, RETURN)?;
    println!("noticed after {noticed:?}, heard again after {heard:?}");
    Ok(())
}

/// What the agent has seen last is forgotten (410): by a server without a cache, whose etcd was
/// compacted. Such a server does not stream lists either.
#[test]
fn a_compacted_server_is_listed_again_once() -> Result<()> {
    if is_left_out() {
        return Ok(());
    }
    let start = |world: &World| ControlPlane::start_with(world, &["--watch-cache=false"]);
    let Gated { gate, scene, plain: _plain } = Gated::plain(start, Mode::Open)?.judging()?;
    gate.set(Mode::Shut);
    wait_behind(&scene, "", RETURN)?;
    scene.delete_rule()?;
    scene.plane.compact(&scene.stage.world)?;
    scene.stage.check_verdicts()?;
    gate.forget();
    gate.set(Mode::Open);
    let heard = scene.wait_allowed(false, RETURN)?;
    let log = gate.log();
    let lists = lists(&log);
    println!("heard again after {heard:?}; lists: {lists:?}");
    let entries = "/apis/networking.istio.io/v1/serviceentries";
    assert_eq!(lists.get(entries), Some(&1), "{log:?}");
    assert!(lists.values().all(|count| *count == 1), "{lists:?}");
    Ok(())
}

/// A server that sheds load asks for three seconds, and gets them from all kinds together.
#[test]
fn a_server_that_asks_to_be_left_alone_is_left_alone() -> Result<()> {
    if is_left_out() {
        return Ok(());
    }
    let pause = Duration::from_secs(3);
    let gated = Gated::plain(ControlPlane::start, Mode::Open)?.judging()?;
    gated.interrupt(Mode::Refusing(3));
    wait_behind(&gated.scene, "429", RETURN)?;
    gated.scene.delete_rule()?;
    thread::sleep(pause * 4);
    gated.scene.stage.check_verdicts()?;
    // The first answer comes when others are asking already.
    let mut log = gated.gate.log();
    let first = log.first().context("no request came")?.at;
    let late = |one: &Request| one.at - first > UNDER_WAY;
    println!("{} under way", log.iter().filter(|one| !late(one)).count());
    let before = log.remove(0);
    log.retain(late);
    log.insert(0, before);
    let gaps = log.windows(2).map(|pair| pair[1].at - pair[0].at);
    println!("{} requests: {:?}", log.len(), gaps.clone().collect::<Vec<_>>());
    ensure!(log.len() >= 2, "no request came again");
    for gap in gaps {
        assert!(gap >= pause, "asked again after {gap:?}: {log:?}");
    }
    gated.gate.forget();
    gated.gate.set(Mode::Open);
    let heard = gated.scene.wait_allowed(false, RETURN)?;
    let lists = gated.gate.log().iter().filter(|request| request.is_list()).count();
    println!("heard again after {heard:?}, {lists} lists");
    assert_eq!(lists, 0, "nothing was forgotten");
    Ok(())
}

/// Each thousand bytes takes half a second: all comes, late and once.
#[test]
fn a_slow_server_is_waited_for() -> Result<()> {
    if is_left_out() {
        return Ok(());
    }
    let slow = Mode::Slow(Duration::from_millis(500));
    let gated = Gated::plain(ControlPlane::start, slow)?.judging()?;
    gated.scene.delete_rule()?;
    let took = gated.scene.wait_allowed(false, Duration::from_secs(5))?;
    let log = gated.gate.log();
    let lists = lists(&log);
    println!("in force after {took:?}");
    // A definition that is quite new may end a watch while it is being established.
    let core = lists.iter().filter(|(path, _)| path.starts_with("/api/v1/"));
    // The settings of the default revision, and those of the others, are two.
    assert!(core.clone().count() == 5 && core.clone().all(|(_, count)| *count == 1), "{lists:?}");
    let (state, why) = gated.scene.followed("services")?;
    assert_eq!((state.as_str(), why.as_str()), ("current", ""));
    Ok(())
}

/// The connection lives, and what comes by it is nothing, not even that nothing has changed.
#[test]
fn a_watch_that_goes_silent_is_begun_again_where_it_was() -> Result<()> {
    if is_left_out() {
        return Ok(());
    }
    let gated = Gated::plain(ControlPlane::start, Mode::Open)?.judging()?;
    gated.gate.mute();
    gated.gate.forget();
    gated.scene.delete_rule()?;
    thread::sleep(Duration::from_secs(5));
    gated.scene.stage.check_verdicts()?;
    let took = gated.scene.wait_allowed(false, UNHEARD)?;
    let log = gated.gate.log();
    let lists = log.iter().filter(|request| request.is_list()).count();
    println!("heard again after {took:?}");
    let words = gated.scene.stage.agent.words();
    assert_eq!(lists, 0, "nothing was forgotten: {log:#?}\n{words}");
    Ok(())
}

/// A token that is of no use any more: its Secret is gone. Another one is in the file later.
#[test]
fn a_token_that_expires_is_read_again() -> Result<()> {
    if is_left_out() {
        return Ok(());
    }
    let Gated { gate, mut scene, .. } = Gated::sealed(&[])?.judging()?;
    let (namespace, name) = ACCOUNT;
    for secret in ["first", "second"] {
        scene.kubectl(&["create", "secret", "generic", secret, "-n", namespace])?;
    }
    let arguments = |secret| {
        let bound = ["--bound-object-kind", "Secret", "--bound-object-name", secret];
        [&[name, "-n", namespace], &bound[..]].concat()
    };
    let Scene { stage: Stage { world, .. }, plane } = &scene;
    let account = plane.account_in_file(world, &arguments("first"), &url("https"))?;
    scene.stage.agent.kill()?;
    scene.stage.agent.follow_server(account.kubeconfig);
    scene.stage.start()?;

    let old = fs::read_to_string(&account.token)?;
    scene.kubectl(&["delete", "secret", "first", "-n", namespace])?;
    let start = Instant::now();
    // The server remembers for ten seconds that a token is good.
    while scene.kubectl(&["get", "namespaces", "--token", &old]).is_ok() {
        ensure!(start.elapsed() < NOTICED, "the token is still good");
        thread::sleep(Duration::from_millis(500));
    }
    gate.set(Mode::Shut);
    scene.delete_rule()?;
    gate.set(Mode::Open);
    wait_behind(&scene, "401", RETURN)?;
    scene.stage.check_verdicts()?;
    let (_, why) = scene.followed("services")?;
    assert!(why.contains("token"), "{why}");

    let new = scene.plane.token(&scene.stage.world, &arguments("second"))?;
    let draft = account.token.with_extension("draft");
    fs::write(&draft, new)?;
    fs::rename(&draft, &account.token)?;
    let heard = scene.wait_allowed(false, REREAD)?;
    println!("heard again after {heard:?}");
    scene.wait_followed("services", "current")
}
