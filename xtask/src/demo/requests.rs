//! The steps of the demo of requests, in words. Each states what must be true and fails if it is not.

use std::{path::PathBuf, time::Instant};

use anyhow::{Context as _, ensure};

use super::{
    bookinfo::{self, Bookinfo, PORT, REVIEWS, VERSIONS},
    manifests,
    telling::{self, Telling, bars, indented},
};
use crate::{
    agent::Agent,
    command::succeeds,
    interrupt,
    place::{Place, address},
    setup,
};

/// Pages for one picture.
const PAGES: usize = 100;

struct Stage {
    // Dropped in this order: the agent enters the namespaces, and the programs live in them.
    agent: Agent,
    bookinfo: Bookinfo,
    place: Place,
    telling: Telling,
}

pub(super) fn tell(program: PathBuf, keep: bool) -> anyhow::Result<()> {
    setup::packages(&["curl"])?;
    let started = Instant::now();
    let mut stage = set(program)?;
    shift(&mut stage)?;
    lead(&mut stage)?;
    break_some(&mut stage)?;
    try_again(&mut stage)?;
    if keep {
        wait(&stage);
        return Ok(());
    }
    drop(stage);
    println!("\nAll of it is removed again. {} s.", started.elapsed().as_secs());
    Ok(())
}

fn set(program: PathBuf) -> anyhow::Result<Stage> {
    let mut place = Place::new("demo")?;
    let bookinfo = Bookinfo::start(&mut place)?;
    let agent = Agent::prepare(program, "node")?;
    let mut stage = Stage { agent, bookinfo, place, telling: Telling::default() };
    stage
        .telling
        .say("Bookinfo, each program in a network namespace of its own. No sidecar anywhere.");
    println!("     productpage {}   asks details and reviews", address(bookinfo::PRODUCTPAGE));
    for (version, number, stars) in VERSIONS {
        let stars = if stars.is_empty() { "no".to_owned() } else { stars.to_owned() };
        println!("     reviews {version}  {}  {stars} stars", address(number));
    }
    stage.agent.write("mesh.yaml", manifests::MESH)?;
    let pods = bookinfo::manifests(&stage.place.path("productpage"));
    stage.agent.write("bookinfo.yaml", &pods)?;
    stage.agent.write("subsets.yaml", bookinfo::SUBSETS)?;
    stage.agent.write("reviews.yaml", &bookinfo::routes(&bookinfo::split(90, 10)))?;
    stage.agent.start(&stage.place, None)?;
    Ok(stage)
}

fn shift(stage: &mut Stage) -> anyhow::Result<()> {
    stage.telling.say("A VirtualService splits what asks for reviews:");
    print!("{}", indented(&bookinfo::routes(&bookinfo::split(90, 10))));
    for (one, other) in [(90, 10), (60, 40), (30, 70), (0, 100)] {
        stage.route(&bookinfo::split(one, other))?;
        println!("\n     weights {one} and {other}, {PAGES} pages:");
        let shares = stage.pages(None)?;
        print!("{}", bars(&shares));
        let count = |name: &str| shares.iter().find(|(own, _)| *own == name).map_or(0, |one| one.1);
        ensure!(count("failed") == 0, "pages failed");
        // Of a right split one in ten thousand pictures is further off.
        let expected = usize::from(other) * PAGES / 100;
        ensure!(count("v2").abs_diff(expected) <= 20, "{} of v2", count("v2"));
    }
    println!("     the application was not restarted, and no page failed");
    Ok(())
}

fn lead(stage: &mut Stage) -> anyhow::Result<()> {
    stage.telling.say("Jason alone gets the version with red stars.");
    let jason = "  - match: [{headers: {end-user: {exact: jason}}}]\n    \
                 route: [{destination: {host: reviews, subset: v3}}]\n";
    stage.route(&format!("{jason}{}", bookinfo::split(100, 0)))?;
    for (user, version) in [("jason", "v3"), ("jane", "v1")] {
        let shares = stage.pages(Some(user))?;
        println!("     {user}:");
        print!("{}", bars(&shares));
        ensure!(shares.contains(&(version, PAGES)), "{user} should get {version} alone");
    }
    let host = format!("{}:{PORT}", address(REVIEWS));
    let words = [
        "why",
        "bookinfo/productpage",
        &host,
        "--path",
        "/reviews/0",
        "--header",
        "end-user:jason",
    ];
    telling::sekisho(&stage.agent, &words, Some(0))
}

fn break_some(stage: &mut Stage) -> anyhow::Result<()> {
    stage
        .telling
        .say("A fault: half of the requests are answered with 503, and none reaches reviews.");
    let fault = "  - fault: {abort: {httpStatus: 503, percentage: {value: 50}}}\n    \
                 route: [{destination: {host: reviews, subset: v1}}]\n";
    stage.route(fault)?;
    let shares = stage.pages(None)?;
    print!("{}", bars(&shares));
    println!("     productpage asks twice: a quarter of the pages has no reviews");
    let failed = shares.iter().find(|(name, _)| *name == "failed").map_or(0, |one| one.1);
    ensure!(failed > 0 && failed < PAGES, "{failed} pages failed");
    telling::sekisho(&stage.agent, &["flows", "--status", "503", "-n", "3"], Some(0))
}

fn try_again(stage: &mut Stage) -> anyhow::Result<()> {
    stage
        .telling
        .say("reviews v3 breaks: it answers 404. What fails there is tried again elsewhere.");
    stage.bookinfo.break_one(&stage.place)?;
    let retries = "  - retries: {attempts: 3, retryOn: 'connect-failure,404'}\n    \
                   route: [{destination: {host: reviews}}]\n";
    stage.route(retries)?;
    let shares = stage.pages(None)?;
    print!("{}", bars(&shares));
    ensure!(shares.iter().all(|(name, count)| *name != "failed" || *count == 0), "pages failed");
    let output = stage.agent.ask("flows").args(["--protocol", "http", "-n", "40"]).output()?;
    let text = String::from_utf8(output.stdout)?;
    let again: Vec<&str> = text.lines().filter(|line| line.contains(" tries ")).take(3).collect();
    ensure!(!again.is_empty(), "no request was tried again:\n{text}");
    println!("     $ sekisho flows --protocol http | grep tries");
    print!("{}", indented(&again.join("\n")));
    Ok(())
}

fn wait(stage: &Stage) {
    println!("\nTry, until Ctrl-C removes it all:");
    let run = stage.agent.path("run");
    println!(
        "  {} config routes productpage --run-dir {}",
        stage.agent.program().display(),
        run.display()
    );
    println!(
        "  nsenter --net={} curl -i http://127.0.0.1:{PORT}/productpage",
        stage.place.path("productpage").display()
    );
    println!("  manifests in {}", stage.agent.path("config").display());
    interrupt::wait();
}

impl Stage {
    /// Writes the routes, and waits until they are in force.
    fn route(&mut self, http: &str) -> anyhow::Result<()> {
        let before = routes(&self.agent);
        let text = bookinfo::routes(http);
        if std::fs::read_to_string(self.agent.path("config/reviews.yaml"))? != text {
            self.agent.write("reviews.yaml", &text)?;
            self.agent.wait_until("the routes are in force", |agent| routes(agent) != before)?;
        }
        let host = format!("{}:{PORT}", address(REVIEWS));
        self.agent.wait_until("the pod is enrolled", |agent| {
            succeeds(agent.ask("why").args(["bookinfo/productpage", &host]))
        })
    }

    /// How many pages have reviews of which version, and how many have none.
    fn pages(&self, user: Option<&str>) -> anyhow::Result<Vec<(&'static str, usize)>> {
        let mut command = self.place.run("productpage", "curl");
        command.args(["--silent", "--show-error", "--retry-connrefused", "--retry", "5"]);
        command.arg(format!("http://127.0.0.1:{PORT}/productpage?[1-{PAGES}]"));
        if let Some(user) = user {
            command.args(["--cookie", &format!("session={user}")]);
        }
        let said = String::from_utf8(command.output().context("curl")?.stdout)?;
        interrupt::check()?;
        let count = |part: &str| said.matches(part).count();
        let mut shares: Vec<(&str, usize)> = VERSIONS
            .iter()
            .map(|(version, ..)| (*version, count(&format!("\"version\":\"{version}\""))))
            .collect();
        shares.push(("failed", count("product reviews are currently unavailable")));
        ensure!(shares.iter().map(|(_, count)| count).sum::<usize>() == PAGES, "{said}");
        Ok(shares)
    }
}

/// The routes in force; none where the agent cannot be asked.
fn routes(agent: &Agent) -> Vec<u8> {
    let asked = agent.ask("config").args(["routes", "productpage", "-o", "json"]).output();
    asked.map(|output| output.stdout).unwrap_or_default()
}
