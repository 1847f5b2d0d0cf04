//! A database server of a verb's own: Debian's `PostgreSQL`, a cluster in a temporary directory,
//! listening in a namespace that its caller made. The machine's own clusters are not touched.

use std::{
    fs::{self, File},
    os::unix::fs::{PermissionsExt as _, chown},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use tempfile::TempDir;

use crate::{
    command::{quiet, succeeds},
    interrupt,
};

pub(crate) const PORT: u16 = 5432;
/// The server refuses to run as root; Debian's package makes this user.
pub(crate) const USER: &str = "postgres";
/// What it answers is `3 orders`.
pub(crate) const QUERY: &str = "select count(*) || ' orders' from orders";
const PATIENCE: Duration = Duration::from_secs(20);

/// A running server.
#[derive(Debug)]
pub(crate) struct Database {
    files: TempDir,
    server: Child,
}

impl Database {
    /// Makes a cluster with a table of three orders and starts its server where `enter` leads:
    /// a command that runs another one there.
    pub(crate) fn start(enter: Command) -> anyhow::Result<Self> {
        let programs = programs()?;
        let files = tempfile::Builder::new().prefix("skt-database-").tempdir()?;
        give_to_user(files.path())?;
        let cluster = files.path().join("cluster");
        let flags = ["--auth=trust", "--encoding=UTF8", "--no-sync", "--no-instructions"];
        quiet(as_user(&programs.join("initdb")).args(flags).arg("--pgdata").arg(&cluster))?;
        let any = "host all all all trust\nlocal all all trust\n";
        fs::write(cluster.join("pg_hba.conf"), any)?;
        let server = spawn(enter, &programs, files.path())?;
        let mut database = Self { files, server };
        database.wait()?;
        database.fill(&programs)?;
        Ok(database)
    }

    fn wait(&mut self) -> anyhow::Result<()> {
        let deadline = Instant::now() + PATIENCE;
        while !succeeds(Command::new("pg_isready").arg("-h").arg(self.files.path())) {
            interrupt::check()?;
            if self.server.try_wait()?.is_some() || Instant::now() > deadline {
                let log = fs::read_to_string(self.files.path().join("log")).unwrap_or_default();
                bail!("the database did not start:\n{log}");
            }
            thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }

    fn fill(&self, programs: &Path) -> anyhow::Result<()> {
        let statement = "create table orders as select generate_series(1, 3) as number";
        let mut psql = as_user(&programs.join("psql"));
        psql.arg("-h").arg(self.files.path()).args(["-q", "-c", statement]);
        quiet(&mut psql).map(drop)
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        // Killed outright it would leave its children and a segment of shared memory behind;
        // SIGQUIT is its immediate shutdown. `kill` may have nothing to do: it may have ended.
        succeeds(Command::new("kill").args(["-QUIT", &self.server.id().to_string()]));
        let _ = self.server.wait();
    }
}

/// What a pod does: one query with the database's own client, where `pod` leads.
pub(crate) fn query(mut pod: Command, host: &str) -> anyhow::Result<String> {
    pod.args(["psql", "-h", host, "-U", USER, "-At", "-c", QUERY]);
    let output = pod.env("PGCONNECT_TIMEOUT", "3").stdin(Stdio::null()).output()?;
    let said = if output.status.success() { output.stdout } else { output.stderr };
    let said = String::from_utf8_lossy(&said).trim().to_owned();
    if output.status.success() { Ok(said) } else { bail!("{said}") }
}

/// Debian keeps the server's programs off the path, a directory for each version.
fn programs() -> anyhow::Result<PathBuf> {
    let mut versions: Vec<PathBuf> = fs::read_dir("/usr/lib/postgresql")?
        .flatten()
        .map(|entry| entry.path().join("bin"))
        .filter(|programs| programs.join("initdb").exists())
        .collect();
    versions.sort();
    versions.pop().context("there is no PostgreSQL server below /usr/lib/postgresql")
}

fn give_to_user(directory: &Path) -> anyhow::Result<()> {
    let number = |flag| -> anyhow::Result<u32> {
        Ok(quiet(Command::new("id").args([flag, USER]))?.trim().parse()?)
    };
    chown(directory, Some(number("-u")?), Some(number("-g")?))?;
    Ok(fs::set_permissions(directory, fs::Permissions::from_mode(0o700))?)
}

fn as_user(program: &Path) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--reuid", USER, "--regid", USER, "--init-groups", "--"]).arg(program);
    // psql and initdb would complain that they may not enter root's directory.
    command.current_dir("/");
    command
}

fn spawn(mut command: Command, programs: &Path, files: &Path) -> anyhow::Result<Child> {
    let log = File::create(files.join("log"))?;
    // A server that loses its parent would outlive the verb.
    command.args([
        "setpriv",
        "--reuid",
        USER,
        "--regid",
        USER,
        "--init-groups",
        "--pdeathsig",
        "KILL",
        "--",
    ]);
    command.arg(programs.join("postgres")).arg("-D").arg(files.join("cluster"));
    let sockets = format!("unix_socket_directories={}", files.display());
    for setting in ["listen_addresses=*", "fsync=off", "max_connections=100", sockets.as_str()] {
        command.args(["-c", setting]);
    }
    command.current_dir("/").stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
    command.spawn().context("the database could not be started")
}
