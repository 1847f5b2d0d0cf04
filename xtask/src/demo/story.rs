//! The steps of the demo, in words. Each states what must be true and fails if it is not.

use std::{net::Ipv4Addr, path::PathBuf, time::Instant};

use anyhow::{bail, ensure};

use super::{
    manifests,
    telling::{self, Telling, indented},
};
use crate::{
    agent::Agent,
    command::succeeds,
    database::{self, Database, PORT},
    interrupt,
    place::{Place, address},
};

const SHOP: u8 = 10;
const VISITOR: u8 = 20;
const ORDERS: u8 = 100;
const PAYROLL: u8 = 101;

struct Stage {
    // Dropped in this order: the agent enters the namespaces, and the database lives in one.
    agent: Agent,
    _database: Database,
    place: Place,
    telling: Telling,
}

pub(super) fn tell(program: PathBuf, keep: bool) -> anyhow::Result<()> {
    let started = Instant::now();
    let mut stage = set(program)?;
    refuse(&mut stage)?;
    explain(&mut stage)?;
    allow(&mut stage)?;
    outlive(&mut stage)?;
    if keep {
        return wait(&mut stage);
    }
    uninstall(&mut stage)?;
    drop(stage);
    println!("\nAll of it is removed again. {} s.", started.elapsed().as_secs());
    Ok(())
}

fn set(program: PathBuf) -> anyhow::Result<Stage> {
    let mut place = Place::new("demo")?;
    place.add_host("shop", &[SHOP])?;
    place.add_host("visitor", &[VISITOR])?;
    place.add_host("database", &[ORDERS, PAYROLL])?;
    let database = Database::start(place.enter("database"))?;
    let agent = Agent::prepare(program, "node")?;
    let mut stage = Stage { agent, _database: database, place, telling: Telling::default() };
    stage.telling.say("Three network namespaces on a node: two pods, and a host with PostgreSQL.");
    println!("     pod shop/checkout   {}  its namespace is enrolled in the mesh", address(SHOP));
    println!("     pod lab/visitor     {}  its namespace is not", address(VISITOR));
    println!("     orders database     {}", address(ORDERS));
    println!("     payroll database    {}", address(PAYROLL));
    Ok(stage)
}

fn refuse(stage: &mut Stage) -> anyhow::Result<()> {
    stage
        .telling
        .say("The agent starts. The mesh is REGISTRY_ONLY, and no ServiceEntry names a database.");
    let enrolled = "istio-injection: enabled";
    let pods = [("shop", enrolled, "checkout", SHOP), ("lab", "", "visitor", VISITOR)];
    stage.agent.write("mesh.yaml", manifests::MESH)?;
    for (namespace, labels, pod, number) in pods {
        let host = if namespace == "shop" { "shop" } else { "visitor" };
        let text = manifests::pod(namespace, labels, pod, address(number), &stage.place.path(host));
        stage.agent.write(&format!("{namespace}.yaml"), &text)?;
    }
    stage.agent.start(&stage.place, None)?;
    stage.refused("shop", ORDERS)?;
    stage.answered("visitor", ORDERS)
}

fn explain(stage: &mut Stage) -> anyhow::Result<()> {
    stage.telling.say("Why? And what was tried?");
    let destination = format!("{}:{PORT}", address(ORDERS));
    telling::sekisho(&stage.agent, &["why", "shop/checkout", &destination], Some(3))?;
    telling::sekisho(&stage.agent, &["flows", "--denied"], Some(0))
}

fn allow(stage: &mut Stage) -> anyhow::Result<()> {
    stage.telling.say("The ServiceEntry for the orders database is applied:");
    let entry = manifests::service_entry("shop", address(ORDERS), PORT);
    print!("{}", indented(&entry));
    let written = Instant::now();
    stage.agent.write("orders.yaml", &entry)?;
    let destination = format!("{}:{PORT}", address(ORDERS));
    stage.agent.wait_until("the entry is in force", |agent| {
        succeeds(agent.ask("why").args(["shop/checkout", &destination]))
    })?;
    println!(
        "     in force after {} ms; the application was not restarted",
        written.elapsed().as_millis()
    );
    stage.answered("shop", ORDERS)?;
    stage.refused("shop", PAYROLL)?;
    telling::sekisho(&stage.agent, &["flows"], Some(0))
}

fn outlive(stage: &mut Stage) -> anyhow::Result<()> {
    stage.telling.say("The agent is killed with -9. The kernel goes on judging.");
    stage.agent.kill();
    stage.answered("shop", ORDERS)?;
    stage.refused("shop", PAYROLL)
}

fn uninstall(stage: &mut Stage) -> anyhow::Result<()> {
    stage.telling.say("`sekisho uninstall` is the only thing that ends it.");
    stage.agent.uninstall()?;
    stage.answered("shop", PAYROLL)
}

fn wait(stage: &mut Stage) -> anyhow::Result<()> {
    stage.agent.start(&stage.place, None)?;
    println!("\nThe agent runs again. Try, until Ctrl-C removes it all:");
    println!(
        "  {} status --run-dir {}",
        stage.agent.program().display(),
        stage.agent.path("run").display()
    );
    println!(
        "  nsenter --net={} psql -h {} -U postgres",
        stage.place.path("shop").display(),
        address(ORDERS)
    );
    println!("  manifests in {}", stage.agent.path("config").display());
    interrupt::wait();
    Ok(())
}

impl Stage {
    /// The query must succeed.
    fn answered(&self, pod: &str, number: u8) -> anyhow::Result<()> {
        let said = self.query(pod, address(number))?;
        match said {
            Ok(answer) => println!("     {pod}$ psql -h {}   {answer}", address(number)),
            Err(problem) => bail!("{pod} should reach {}: {problem:#}", address(number)),
        }
        Ok(())
    }

    /// The query must fail, at once, by the errno of a refusal.
    fn refused(&self, pod: &str, number: u8) -> anyhow::Result<()> {
        let started = Instant::now();
        let said = self.query(pod, address(number))?;
        let took = started.elapsed();
        let Err(problem) = said else { bail!("{pod} reached {}", address(number)) };
        let problem = format!("{problem:#}");
        ensure!(problem.contains("Operation not permitted"), "refused otherwise: {problem}");
        let reason = problem.lines().next().unwrap_or_default();
        println!("     {pod}$ psql -h {}   refused in {} ms:", address(number), took.as_millis());
        println!("       {reason}");
        Ok(())
    }

    fn query(&self, pod: &str, address: Ipv4Addr) -> anyhow::Result<anyhow::Result<String>> {
        let said = database::query(self.place.enter(pod), &address.to_string());
        interrupt::check()?;
        Ok(said)
    }
}
