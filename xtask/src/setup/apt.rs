//! Debian's packages: which are missing, and their installation without a question and without
//! starting a service.

use std::{fs, io, os::unix::fs::PermissionsExt as _, path::Path, process::Command, sync::Once};

use anyhow::Context as _;

use crate::command::{quiet, succeeds};

/// Debian asks this program whether a service may start; 101 says no.
const SERVICE_POLICY: &str = "/usr/sbin/policy-rc.d";
/// Debian's package of the database makes and enables a cluster when it is installed unless this says no.
const CLUSTER_POLICY: &str = "/etc/postgresql-common/createcluster.conf";

/// Installs the packages of those programs that the machine lacks.
pub(super) fn ensure_programs(programs: &[(&str, &str)]) -> anyhow::Result<()> {
    let missing: Vec<&str> = programs
        .iter()
        .filter(|(program, _)| !on_path(program))
        .map(|(_, package)| *package)
        .collect();
    install(&missing)
}

/// Installs those packages that dpkg does not list as installed.
pub(super) fn ensure_packages(packages: &[&str]) -> anyhow::Result<()> {
    let missing: Vec<&str> = packages.iter().copied().filter(|name| !installed(name)).collect();
    install(&missing)
}

/// Whether apt could install the package.
pub(super) fn offers(package: &str) -> bool {
    refresh();
    quiet(Command::new("apt-cache").args(["show", "--no-all-versions", package]))
        .is_ok_and(|text| text.contains("Package:"))
}

fn installed(package: &str) -> bool {
    quiet(Command::new("dpkg-query").args(["--show", "--showformat=${db:Status-Status}", package]))
        .is_ok_and(|status| status == "installed")
}

fn on_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/sbin".into()])
        .any(|dir| dir.join(program).is_file())
}

/// Package lists may be days old or absent; one update a run is enough, and an old list is better
/// than none where the update fails.
fn refresh() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        println!("setup: apt-get update");
        if !succeeds(Command::new("apt-get").args(["update", "--quiet"])) {
            println!("setup: apt-get update failed, going on with the lists that are there");
        }
    });
}

fn install(packages: &[&str]) -> anyhow::Result<()> {
    if packages.is_empty() {
        return Ok(());
    }
    refresh();
    println!("setup: installing {}", packages.join(" "));
    let _guard = forbid_services().context("services could not be kept from starting")?;
    quiet(
        Command::new("apt-get")
            .args(["install", "--yes", "--quiet", "--no-install-recommends"])
            .args(["-o", "Dpkg::Options::=--force-confold"])
            .args(packages)
            .env("DEBIAN_FRONTEND", "noninteractive"),
    )?;
    Ok(())
}

/// Keeps services from starting until it is dropped.
struct ServicesForbidden {
    ours: bool,
}

fn forbid_services() -> io::Result<ServicesForbidden> {
    let clusters = Path::new(CLUSTER_POLICY);
    if !clusters.exists() {
        fs::create_dir_all(clusters.parent().expect("it has a directory"))?;
        fs::write(clusters, "create_main_cluster = false\n")?;
    }
    let policy = Path::new(SERVICE_POLICY);
    let ours = !policy.exists();
    if ours {
        fs::write(policy, "#!/bin/sh\nexit 101\n")?;
        fs::set_permissions(policy, fs::Permissions::from_mode(0o755))?;
    }
    Ok(ServicesForbidden { ours })
}

impl Drop for ServicesForbidden {
    fn drop(&mut self) {
        if self.ours
            && let Err(problem) = fs::remove_file(SERVICE_POLICY)
        {
            eprintln!("setup: {SERVICE_POLICY} is left behind: {problem}");
        }
    }
}
