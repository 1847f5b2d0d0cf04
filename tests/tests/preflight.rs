//! Machines that lack something: each a message that says what and what to do, and nothing half
//! done is left in the kernel.

use std::{io, process::Command};

use anyhow::{Result, ensure};
use nix::{
    mount::{MntFlags, MsFlags, mount, umount2},
    sched::{CloneFlags, unshare},
};
use rstest::rstest;
use sekisho_tests::{
    agent::Agent,
    attached, cgroup,
    manifest::Mode,
    raw, sys,
    world::{Host, Wiring, World},
};

struct Case {
    agent: Agent,
    _pod: Host,
    world: World,
}

impl Case {
    fn new() -> Result<Self> {
        let world = World::new(Wiring::Routed)?;
        let pod = world.pod("app")?;
        let agent = Agent::new(&world)?;
        agent.config().namespace(true)?;
        agent.config().mesh(Mode::RegistryOnly)?;
        agent.config().pod(&pod)?;
        Ok(Self { agent, _pod: pod, world })
    }

    /// Starts the agent where it cannot run, and returns its words.
    fn fails(&self, mut command: Command) -> Result<String> {
        self.world.agent_place().prepare(&mut command)?;
        let output = command.output()?;
        let said = String::from_utf8(output.stderr)?;
        ensure!(!output.status.success(), "it runs: {said}");
        ensure!(!said.contains("panicked"), "{said}");
        for (hook, count) in attached::count_at(self.world.cgroup().path())? {
            ensure!(count == 0, "{count} programs at {hook}");
        }
        Ok(said)
    }
}

/// A mount namespace of its own in which `change` is made, before the agent starts.
fn with_mounts(
    command: &mut Command,
    change: impl Fn() -> nix::Result<()> + Send + Sync + 'static,
) {
    sys::before_exec(command, move || {
        unshare(CloneFlags::CLONE_NEWNS)?;
        let private = MsFlags::MS_PRIVATE | MsFlags::MS_REC;
        mount(None::<&str>, "/", None::<&str>, private, None::<&str>)?;
        change().map_err(io::Error::from)
    });
}

#[rstest]
fn no_bpf_file_system() -> Result<()> {
    let case = Case::new()?;
    let mut command = case.agent.command();
    with_mounts(&mut command, || umount2("/sys/fs/bpf", MntFlags::MNT_DETACH));
    let said = case.fails(command)?;
    assert!(said.contains("mount -t bpf"), "{said}");
    Ok(())
}

#[rstest]
#[case::bpf(39, "CAP_BPF")]
#[case::net_admin(12, "CAP_NET_ADMIN")]
#[case::net_raw(13, "CAP_NET_RAW")]
#[case::sys_admin(21, "CAP_SYS_ADMIN")]
fn a_capability_is_missing(#[case] number: u32, #[case] name: &str) -> Result<()> {
    let case = Case::new()?;
    let mut command = case.agent.command();
    // Prepared first, since what is prepared last is done last: entering the node needs it.
    case.world.agent_place().prepare(&mut command)?;
    sys::before_exec(&mut command, move || raw::drop_capability(number));
    let output = command.output()?;
    let said = String::from_utf8(output.stderr)?;
    assert!(!output.status.success(), "{said}");
    assert!(said.contains(name), "{said}");
    Ok(())
}

#[rstest]
fn no_cgroup_v2_hierarchy() -> Result<()> {
    let case = Case::new()?;
    let root = cgroup::root()?;
    let mut command = case.agent.command();
    let arguments: Vec<_> = command.get_args().map(ToOwned::to_owned).collect();
    let place = arguments.iter().position(|argument| argument == "--cgroup");
    let mut bare = Command::new(command.get_program());
    for (index, argument) in arguments.iter().enumerate() {
        if place.is_none_or(|place| index != place && index != place + 1) {
            bare.arg(argument);
        }
    }
    command = bare;
    with_mounts(&mut command, move || umount2(&root, MntFlags::MNT_DETACH));
    let said = case.fails(command)?;
    assert!(said.contains("cgroup v2"), "{said}");
    Ok(())
}

#[rstest]
fn a_group_that_is_none() -> Result<()> {
    let mut case = Case::new()?;
    case.agent = case.agent.with("--cgroup", "/tmp");
    let said = case.fails(case.agent.command())?;
    assert!(said.contains("/tmp") && said.contains("cgroup v2"), "{said}");
    Ok(())
}

#[rstest]
fn a_run_directory_that_cannot_be_written() -> Result<()> {
    let case = Case::new()?;
    let directory = case.agent.run_dir();
    let mut command = case.agent.command();
    let shown = directory.display().to_string();
    with_mounts(&mut command, move || {
        let read_only = MsFlags::MS_RDONLY;
        mount(Some("none"), &directory, Some("tmpfs"), read_only, None::<&str>)
    });
    let said = case.fails(command)?;
    assert!(said.contains(&shown) && said.contains("--run-dir"), "{said}");
    Ok(())
}

#[rstest]
fn a_configuration_that_is_not_there() -> Result<()> {
    let case = Case::new()?;
    std::fs::remove_dir_all(case.agent.config().directory())?;
    let said = case.fails(case.agent.command())?;
    assert!(said.contains(&case.agent.config().directory().display().to_string()), "{said}");
    Ok(())
}
