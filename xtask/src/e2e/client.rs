//! The image of the pods: the database's own client and a shell, with the libraries that they load,
//! as they are on this machine.

use std::{collections::BTreeSet, fs, path::PathBuf, process::Command};

use anyhow::Context as _;

use crate::{
    command::{quiet, target_dir},
    image::{
        Arch,
        archive::{self, Entry},
    },
};

/// The image's name.
pub(super) const NAME: &str = "localhost/sekisho-e2e-client:test";
/// A static busybox, which goes first: the image starts it.
const SHELL: &str = "/bin/busybox";
const TOOLS: [&str; 7] = ["cat", "date", "echo", "env", "nc", "sh", "sleep"];
/// A link to a script of Debian's that chooses a version; the programs lie below.
const SERVERS: &str = "/usr/lib/postgresql";

/// Makes the image and says where its archive is.
pub(super) fn image() -> anyhow::Result<PathBuf> {
    let shell = fs::read(SHELL).context(SHELL)?;
    let mut entries: Vec<Entry> = std::iter::once("busybox")
        .chain(TOOLS)
        .map(|tool| Entry { path: format!("bin/{tool}"), bytes: shell.clone() })
        .collect();
    let psql = psql()?;
    entries.push(Entry { path: "bin/psql".to_owned(), bytes: fs::read(&psql)? });
    for library in libraries(&psql)? {
        let path = library.trim_start_matches('/').to_owned();
        entries.push(Entry { path, bytes: fs::read(&library).context(library)? });
    }
    let users = b"root:x:0:0:root:/:/bin/sh\n".to_vec();
    entries.push(Entry { path: "etc/passwd".to_owned(), bytes: users });
    let image = archive::pack(NAME, Arch::of_this_machine().name(), &entries, &["tmp", "root"])?;
    let folder = target_dir().join("image");
    let place = folder.join("e2e-client.tar");
    fs::create_dir_all(&folder)
        .and_then(|()| fs::write(&place, image.bytes))
        .with_context(|| place.display().to_string())?;
    Ok(place)
}

fn psql() -> anyhow::Result<String> {
    let versions = fs::read_dir(SERVERS).context(SERVERS)?;
    let programs = versions.flatten().map(|entry| entry.path().join("bin/psql"));
    let newest = programs.filter(|program| program.exists()).max();
    let newest = newest.context("there is no psql below /usr/lib/postgresql")?;
    Ok(newest.display().to_string())
}

/// The dynamic linker's own list, with itself.
pub(super) fn libraries(program: &str) -> anyhow::Result<BTreeSet<String>> {
    let list = quiet(Command::new("ldd").arg(program))?;
    Ok(list.split_whitespace().filter(|word| word.starts_with('/')).map(str::to_owned).collect())
}
