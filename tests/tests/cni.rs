//! The CNI plugin at the end of a real chain: a pod is judged before its first process runs, or it
//! is not made.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use rstest::rstest;
use sekisho_tests::{
    agent::Agent,
    attached,
    chain::{Chain, Said},
    client::Client,
    pace,
    serve::Echo,
    stage::{DENIED, DIRECT, Net, Stage},
    world::Host,
};
use serde_json::{Value, json};

/// Codes of the specification, and one of ours.
const TRY_AGAIN: u64 = 11;
const NOT_JUDGED: u64 = 100;
/// How long the plugin looks for an agent that is away, unless a test says otherwise.
const DEADLINE: Duration = Duration::from_secs(2);
/// What the plugin may take beyond its deadline, or for a question to the agent.
const LITTLE: Duration = Duration::from_millis(100);
/// How long a pod that answers may take.
const ANSWERS: Duration = Duration::from_secs(5);

/// A stage with a chain beside it, and a pod that is only a namespace.
struct Case {
    chain: Chain,
    pod: Host,
    stage: Stage,
}

impl Case {
    fn new(version: &str) -> Result<Self> {
        let stage = Stage::ready()?;
        let chain = Chain::new(version, &stage.agent.run_dir())?;
        let pod = stage.world.sandbox("new")?;
        Ok(Self { chain, pod, stage })
    }

    /// The same with the pod's manifest written.
    fn announced(version: &str) -> Result<Self> {
        let case = Self::new(version)?;
        case.stage.agent.config().bare_pod("new", "u1")?;
        Ok(case)
    }

    fn add(&self) -> Result<Said> {
        self.chain.add(&self.stage.world, &Chain::environment(&self.pod, "u1"))
    }

    fn ask(&self, verb: &str, before: &Value) -> Result<Said> {
        self.chain.ask(&self.stage.world, verb, (&Chain::environment(&self.pod, "u1"), before))
    }

    /// How long the plugin takes to start and to answer a question for which it needs no agent.
    fn start_takes(&self) -> Result<Duration> {
        let took = |_| self.ask("VERSION", &Value::Null).map(|said| said.took);
        (0..3).map(took).collect::<Result<_>>().map(pace::median)
    }

    /// Whether the plugin lets a pod pass as fast as it can.
    fn check_passes_at_once(
        &self,
        environment: &[(&'static str, String)],
        before: &Value,
    ) -> Result<()> {
        let ask = |verb| {
            let said = self.chain.ask(&self.stage.world, verb, (environment, before))?;
            ensure!(said.ok, "{said:?}");
            Ok(said.took)
        };
        let took = pace::by_turns(|| ask("ADD"), || ask("VERSION"))?;
        println!("{took:?} for a question without the agent");
        ensure!(took.subject < took.control * 3 + LITTLE, "{took:?}");
        Ok(())
    }

    /// Whether the pod is held to its rules, at once.
    fn check_judged(&self) -> Result<()> {
        let mut client = Client::start(&self.pod)?;
        for net in [Net::V4, Net::V6] {
            let said = client.dial(self.stage.at(net, DENIED))?;
            ensure!(said.is_refused(), "{net:?}: {said:?}");
            client.echoes(self.stage.at(net, DIRECT))?;
        }
        Ok(())
    }
}

fn new_pod(status: &Value) -> Value {
    let mut pods = status["pods"].as_array().into_iter().flatten();
    pods.find(|pod| pod["name"] == "new").cloned().unwrap_or_default()
}

/// Whether the node is answered at the addresses that the pod was given.
fn check_answers(case: &Case, answer: &Value) -> Result<()> {
    let _echo = Echo::start(&case.pod, DIRECT, &[])?;
    for ip in answer["ips"].as_array().context("no addresses")? {
        let ip = ip["address"].as_str().and_then(|text| text.split('/').next());
        let to = SocketAddr::new(ip.context("no address")?.parse()?, DIRECT);
        case.stage.world.node().enter(|| {
            let mut stream = TcpStream::connect_timeout(&to, ANSWERS)?;
            stream.set_read_timeout(Some(ANSWERS))?;
            stream.write_all(b"hello")?;
            let mut echo = [0; 5];
            stream.read_exact(&mut echo).with_context(|| format!("{to} does not answer"))?;
            ensure!(&echo == b"hello", "{to} echoed {echo:?}");
            Ok(())
        })?;
    }
    Ok(())
}

fn check_failure(said: &Said, code: u64, word: &str) {
    assert!(!said.ok, "{said:?}");
    assert_eq!(said.answer["code"], code, "{said:?}");
    let message = said.answer["msg"].as_str().unwrap_or_default();
    assert!(message.contains(word), "{message}");
}

#[rstest]
fn a_pod_is_judged_before_its_first_process(
    #[values("0.4.0", "1.0.0")] version: &str,
) -> Result<()> {
    let mut case = Case::announced(version)?;
    let said = case.add()?;
    assert!(said.ok, "{said:?}");
    case.check_judged()?;
    println!("{version}: our plugin took {:?}", said.took);
    assert_eq!(said.answer["cniVersion"], version);
    assert_eq!(said.answer["ips"].as_array().map(Vec::len), Some(2), "{said:?}");
    let status = case.stage.agent.status()?;
    assert_eq!(status["state"]["state"], "ready", "{status}");
    assert_eq!(new_pod(&status)["enrolment"], "enrolled");
    check_answers(&case, &said.answer)?;
    case.stage.agent.wait_until("every hook is attached", |agent| {
        let hooks = new_pod(&agent.status()?)["hooks"].to_string();
        Ok(hooks.contains("true") && !hooks.contains("false"))
    })?;

    assert!(case.ask("CHECK", &said.answer)?.ok);
    case.chain.del(&case.stage.world, &Chain::environment(&case.pod, "u1"))?;
    Ok(())
}

/// Debian's plugins do not speak 1.1 yet, so ours is asked alone, with their answer.
#[rstest]
fn the_newest_version_is_spoken() -> Result<()> {
    let mut case = Case::announced("1.0.0")?;
    let said = case.add()?;
    assert!(said.ok, "{said:?}");
    case.chain.list["cniVersion"] = "1.1.0".into();
    let before = said.answer;
    let said = case.ask("ADD", &before)?;
    assert!(said.ok, "{said:?}");
    assert_eq!(
        (&said.answer["cniVersion"], &said.answer["ips"]),
        (&"1.1.0".into(), &before["ips"])
    );
    assert!(case.ask("STATUS", &Value::Null)?.ok);
    let versions = case.ask("VERSION", &Value::Null)?;
    assert!(versions.answer["supportedVersions"].to_string().contains("1.1.0"), "{versions:?}");

    // Everything that is named stays, everything else is forgotten.
    let alive = |ids: &[&str]| -> Value {
        ids.iter().map(|id| json!({"containerID": id, "ifname": "eth0"})).collect()
    };
    case.chain.ours()["cni.dev/valid-attachments"] = alive(&["sandbox-u1", "sandbox-u9"]);
    assert!(case.ask("GC", &Value::Null)?.ok);
    assert!(case.ask("CHECK", &before)?.ok);
    case.chain.ours()["cni.dev/valid-attachments"] = alive(&["sandbox-u9"]);
    assert!(case.ask("GC", &Value::Null)?.ok);
    let said = case.ask("CHECK", &before)?;
    assert!(!said.ok && said.answer["code"] == NOT_JUDGED, "{said:?}");
    Ok(())
}

#[rstest]
fn without_an_agent_a_pod_is_for_another_time() -> Result<()> {
    let mut case = Case::announced("1.0.0")?;
    case.stage.agent.kill()?;
    let said = case.add()?;
    check_failure(&said, TRY_AGAIN, "the agent is away");
    assert!(said.took < DEADLINE + case.start_takes()? * 3 + LITTLE, "{:?}", said.took);
    case.chain.list["cniVersion"] = "1.1.0".into();
    // A failure would make the whole node NotReady, and its pods would be evicted.
    assert!(case.ask("STATUS", &Value::Null)?.ok);
    // A sandbox's end is not held up.
    case.chain.list["cniVersion"] = "1.0.0".into();
    case.chain.del(&case.stage.world, &Chain::environment(&case.pod, "u1"))?;

    // An agent that is back within the deadline is not missed, however busy the machine is.
    *case.chain.ours() = {
        let mut ours = case.chain.ours().clone();
        ours["deadlineSeconds"] = 60.into();
        ours
    };
    let said = thread::scope(|scope| {
        let (chain, pod) = (&case.chain, &case.pod);
        let (world, agent) = (&case.stage.world, &mut case.stage.agent);
        let adding = scope.spawn(|| chain.add(world, &Chain::environment(pod, "u1")));
        thread::sleep(Duration::from_millis(500));
        agent.start(world)?;
        adding.join().expect("the chain does not panic")
    })?;
    assert!(said.ok, "{said:?}");
    case.check_judged()
}

#[rstest]
fn a_pod_that_the_agent_hears_of_late_is_waited_for() -> Result<()> {
    let case = Case::new("1.0.0")?;
    let said = case.add()?;
    check_failure(&said, TRY_AGAIN, "has not heard of it");
    case.chain.del(&case.stage.world, &Chain::environment(&case.pod, "u1"))?;
    // One that was of the same name before is another pod.
    case.stage.agent.config().bare_pod("new", "u0")?;
    check_failure(&case.add()?, TRY_AGAIN, "older pod");
    case.chain.del(&case.stage.world, &Chain::environment(&case.pod, "u1"))?;
    let said = thread::scope(|scope| {
        let (chain, world, pod) = (&case.chain, &case.stage.world, &case.pod);
        let adding = scope.spawn(|| chain.add(world, &Chain::environment(pod, "u1")));
        thread::sleep(Duration::from_millis(300));
        case.stage.agent.config().bare_pod("new", "u1")?;
        adding.join().expect("the chain does not panic")
    })?;
    assert!(said.ok, "{said:?}");
    case.check_judged()
}

#[rstest]
fn what_is_not_to_be_judged_passes_at_once() -> Result<()> {
    let mut case = Case::announced("1.0.0")?;
    let mut environment = Chain::environment(&case.pod, "u1");
    // No pod at all.
    environment[3].1.clear();
    let said = case.chain.add(&case.stage.world, &environment)?;
    assert!(said.ok, "{said:?}");
    let before = said.answer;
    case.check_passes_at_once(&environment, &before)?;
    // A pod that the agent does not enrol.
    case.stage.change(|stage| stage.agent.config().namespace(false))?;
    case.check_passes_at_once(&Chain::environment(&case.pod, "u1"), &before)?;
    // A pod that it is not asked about, even when it is away.
    case.stage.agent.kill()?;
    environment[3].1 = "K8S_POD_NAMESPACE=kube-system;K8S_POD_NAME=dns".into();
    case.check_passes_at_once(&environment, &before)
}

/// A node that has booted: no process and no pin is left, and the configuration of the time before is.
/// No pod is made before the agent runs.
#[rstest]
fn after_a_reboot_no_pod_is_made_before_the_agent() -> Result<()> {
    let mut stage = Stage::set()?;
    let mut chain = Chain::new("1.0.0", &stage.agent.run_dir())?;
    chain.write_plain()?;
    let [conf, bin] = chain.directories().map(|directory| directory.display().to_string());
    stage.agent.set("--cni-conf-dir", &conf);
    stage.agent.set("--cni-bin-dir", &bin);
    stage.agent.set("--cni-deadline", "2");
    stage.start()?;
    let in_place =
        |agent: &Agent| Ok(agent.status()?["cni"]["file"].to_string().contains("10-pods"));
    stage.agent.wait_until("the plugin is in place", in_place)?;
    chain.read()?;

    stage.agent.kill()?;
    stage.agent.uninstall()?;
    std::fs::remove_dir_all(stage.agent.run_dir())?;
    std::fs::create_dir(stage.agent.run_dir())?;
    for (hook, count) in attached::count_at(stage.world.cgroup().path())? {
        ensure!(count == 0, "{hook} is still there");
    }
    let pod = stage.world.sandbox("new")?;
    let mut case = Case { chain, pod, stage };
    for _ in 0..2 {
        let said = case.add()?;
        check_failure(&said, TRY_AGAIN, "the agent is away");
        assert!(said.took < DEADLINE + case.start_takes()? * 3 + LITTLE, "{:?}", said.took);
        case.chain.del(&case.stage.world, &Chain::environment(&case.pod, "u1"))?;
    }
    case.stage.start()?;
    case.stage.agent.config().bare_pod("new", "u1")?;
    let said = case.add()?;
    assert!(said.ok, "{said:?}");
    case.check_judged()
}

/// What the runtime said is known to the next agent, too.
#[rstest]
fn a_restarted_agent_knows_the_pod() -> Result<()> {
    let mut case = Case::announced("1.0.0")?;
    assert!(case.add()?.ok);
    case.stage.agent.kill()?;
    case.check_judged()?;
    case.stage.start()?;
    case.stage
        .agent
        .wait_until("the pod is enrolled", |a| Ok(a.enrolment("new")? == "enrolled"))?;
    case.check_judged()
}

/// A namespace that is another one to the agent than to the runtime is no pod's.
#[rstest]
fn another_namespace_under_the_same_name_is_refused() -> Result<()> {
    let case = Case::announced("1.0.0")?;
    assert!(case.add()?.ok);
    let other = case.stage.world.sandbox("other")?;
    let mut environment = Chain::environment(&case.pod, "u1");
    environment[1].1 = other.netns().path().display().to_string();
    let before = json!({"ips": []});
    let said = case.chain.ask(&case.stage.world, "CHECK", (&environment, &before))?;
    check_failure(&said, NOT_JUDGED, "another namespace");
    case.check_judged()
}

/// The agent puts itself into the node's directories, keeps its entry there, and takes it out.
#[rstest]
fn the_plugin_is_installed_kept_and_removed() -> Result<()> {
    let mut stage = Stage::set()?;
    let mut chain = Chain::new("1.0.0", &stage.agent.run_dir())?;
    let plain = chain.write_plain()?;
    let [conf, bin] = chain.directories().map(|directory| directory.display().to_string());
    let options = [("--cni-conf-dir", conf.as_str()), ("--cni-bin-dir", bin.as_str())];
    for (option, value) in options {
        stage.agent.set(option, value);
    }
    stage.agent.set("--cni-deadline", "3");
    stage.start()?;
    let in_place =
        |agent: &Agent| Ok(agent.status()?["cni"]["file"].to_string().contains("10-pods"));
    stage.agent.wait_until("the plugin is in place", in_place)?;

    // Its owner writes the list again.
    chain.write_plain()?;
    stage.agent.wait_until("the plugin is back in place", |_| {
        chain.read()?;
        Ok(chain.list["plugins"][1]["type"] == "sekisho-cni")
    })?;
    assert_eq!(chain.ours()["deadlineSeconds"], 3);
    let pod = stage.world.sandbox("new")?;
    stage.agent.config().bare_pod("new", "u1")?;
    let case = Case { chain, pod, stage };
    let said = case.add()?;
    assert!(said.ok, "{said:?}");
    case.check_judged()?;

    let Case { mut chain, pod, mut stage } = case;
    stage.agent.kill()?;
    let pins = stage.agent.pins().display().to_string();
    let mut command = vec!["uninstall", "--pin-dir", &pins];
    command.extend(options.iter().flat_map(|(option, value)| [*option, *value]));
    let output = stage.agent.ask(&command)?;
    let told = String::from_utf8(output.stdout)?;
    assert!(output.status.success() && told.contains("10-pods.conflist"), "{told}");
    chain.read()?;
    assert_eq!(chain.list, plain);
    assert_eq!(std::fs::read_dir(&bin)?.count(), 0, "a program is left");
    // The next pod is made as before us.
    let environment = Chain::environment(&pod, "u1");
    chain.del(&stage.world, &environment)?;
    assert!(chain.add(&stage.world, &environment)?.ok);
    Client::start(&pod)?.echoes(stage.at(Net::V4, DENIED))
}
