use tempfile::TempDir;
use tokio::{task::JoinSet, time::Instant};

use super::*;

const LIST: &str = r#"{
  "cniVersion": "1.0.0",
  "name": "pods",
  "plugins": [
    {"type": "ptp"}
  ]
}
"#;
const SINGLE: &str = r#"{"cniVersion": "0.3.1", "name": "one", "type": "bridge"}"#;

struct Node {
    dir: TempDir,
    directories: Directories,
}

impl Node {
    fn with(files: &[(&str, &str)]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let directories =
            Directories { conf: dir.path().join("conf"), bin: dir.path().join("bin") };
        fs::create_dir(&directories.conf).unwrap();
        let node = Self { dir, directories };
        for (name, text) in files {
            node.write(name, text);
        }
        node
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.directories.conf.join(name), text).unwrap();
    }

    fn text(&self, name: &str) -> String {
        fs::read_to_string(self.directories.conf.join(name)).unwrap()
    }

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.directories.conf).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort_unstable();
        names
    }

    /// The name of the file with our entry.
    fn install(&self) -> Result<Option<String>, InstallError> {
        let file = install(&self.directories, &ours(), None).1?;
        Ok(file.map(|file| file.file_name().unwrap().to_str().unwrap().to_owned()))
    }

    /// The types of a list's plugins.
    fn types(&self, name: &str) -> Vec<String> {
        let value: Value = serde_json::from_str(&self.text(name)).unwrap();
        let plugins = value["plugins"].as_array().unwrap();
        plugins.iter().map(|plugin| plugin["type"].as_str().unwrap().to_owned()).collect()
    }
}

fn ours() -> Value {
    let exclude = ["kube-system".to_owned()];
    entry(Path::new("/run/sekisho/cni.sock"), Duration::from_secs(5), &exclude)
}

#[test]
fn the_first_list_gets_an_entry_and_loses_it_again() {
    let node = Node::with(&[("10-a.conflist", LIST), ("20-b.conflist", LIST), ("00-note.txt", "")]);
    let path = node.directories.conf.join("10-a.conflist");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    assert_eq!(node.install().unwrap().as_deref(), Some("10-a.conflist"));
    assert_eq!(node.types("10-a.conflist"), ["ptp", NAME]);
    assert_eq!(node.text("20-b.conflist"), LIST);
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let program = node.directories.bin.join(NAME);
    assert_eq!(fs::read(&program).unwrap(), fs::read("/proc/self/exe").unwrap());
    assert_eq!(fs::metadata(&program).unwrap().permissions().mode() & 0o777, 0o755);

    // A second look writes nothing.
    let before = (seen(&path).unwrap(), seen(&program).unwrap());
    node.install().unwrap();
    assert_eq!((seen(&path).unwrap(), seen(&program).unwrap()), before);

    let removed = uninstall(&node.directories).unwrap();
    assert_eq!(removed.len(), 2, "{removed:?}");
    assert_eq!(node.text("10-a.conflist"), LIST);
    assert_eq!(node.names(), ["00-note.txt", "10-a.conflist", "20-b.conflist"]);
    assert!(!program.exists());
    assert_eq!(uninstall(&node.directories).unwrap(), [""; 0]);
}

#[test]
fn an_entry_follows_the_file_that_is_read() {
    let node = Node::with(&[("20-b.conflist", LIST)]);
    node.install().unwrap();
    node.write("10-a.conflist", LIST);
    assert_eq!(node.install().unwrap().as_deref(), Some("10-a.conflist"));
    assert_eq!(node.types("10-a.conflist"), ["ptp", NAME]);
    assert_eq!(node.text("20-b.conflist"), LIST);
    // Its owner writes it again.
    node.write("10-a.conflist", LIST);
    node.install().unwrap();
    assert_eq!(node.types("10-a.conflist"), ["ptp", NAME]);
}

#[test]
fn a_single_plugins_file_stays_and_a_list_comes_before_it() {
    let node = Node::with(&[("10-one.conf", SINGLE), ("20-b.conflist", LIST)]);
    assert_eq!(node.install().unwrap().as_deref(), Some("10-one-sekisho.conflist"));
    assert_eq!(node.types("10-one-sekisho.conflist"), ["bridge", NAME]);
    assert_eq!(names(&node.directories.conf).unwrap()[0], "10-one-sekisho.conflist");
    assert_eq!(
        (node.text("10-one.conf"), node.text("20-b.conflist")),
        (SINGLE.into(), LIST.into())
    );
    // It follows what it was made of.
    node.write("10-one.conf", &SINGLE.replace("bridge", "macvlan"));
    node.install().unwrap();
    assert_eq!(node.types("10-one-sekisho.conflist"), ["macvlan", NAME]);
    uninstall(&node.directories).unwrap();
    assert_eq!(node.names(), ["10-one.conf", "20-b.conflist"]);
    // Nor does it outlive it.
    node.install().unwrap();
    fs::remove_file(node.directories.conf.join("10-one.conf")).unwrap();
    assert_eq!(node.install().unwrap().as_deref(), Some("20-b.conflist"));
    assert_eq!(node.names(), ["20-b.conflist"]);
}

#[test]
fn a_link_stays_a_link() {
    let node = Node::with(&[]);
    let target = node.dir.path().join("elsewhere");
    fs::write(&target, LIST).unwrap();
    let link = node.directories.conf.join("10-a.conflist");
    std::os::unix::fs::symlink(&target, &link).unwrap();
    node.install().unwrap();
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    assert_eq!(node.types("10-a.conflist"), ["ptp", NAME]);
    uninstall(&node.directories).unwrap();
    assert_eq!(fs::read_to_string(&target).unwrap(), LIST);
}

#[test]
fn what_is_missing_or_broken_is_said_and_left_alone() {
    let node = Node::with(&[]);
    assert_eq!(node.install().unwrap(), None);
    node.write("10-a.conflist", "{\"plugins\":");
    let error = node.install().unwrap_err();
    assert!(error.to_string().contains("10-a.conflist"), "{error}");
    assert_eq!(node.text("10-a.conflist"), "{\"plugins\":");
    uninstall(&node.directories).unwrap();
    let nowhere = Directories { conf: "/proc/1/nowhere".into(), bin: "/proc/1/nowhere".into() };
    let error = install(&nowhere, &ours(), None).1.unwrap_err();
    assert!(error.to_string().contains("/proc/1/nowhere"), "{error}");
}

#[test]
fn what_another_process_has_just_written_is_not_overwritten() {
    let node = Node::with(&[("10-a.conflist", LIST)]);
    let path = node.directories.conf.join("10-a.conflist");
    let (_, before) = read(&path).unwrap();
    node.write("10-a.conflist", SINGLE);
    assert!(replace(&path, b"ours", before).is_err());
    assert_eq!(node.text("10-a.conflist"), SINGLE);
    assert_eq!(node.names(), ["10-a.conflist"], "a draft is left");
}

/// What holds at some moment within the time that a look takes twice.
async fn comes(what: &str, holds: impl Fn() -> bool) -> Duration {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < LOOK * 2, "{what}");
        sleep(Duration::from_millis(5)).await;
    }
    start.elapsed()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_is_written_again_gets_its_entry_back_at_once() {
    let node = Node::with(&[]);
    let state: Arc<ArcSwap<Cni>> = Arc::default();
    let mut keeping = JoinSet::new();
    keeping.spawn(keep(node.directories.clone(), ours(), Arc::clone(&state)));
    comes("it says that there is none", || state.load().problem.is_some()).await;
    let mut slowest = Duration::ZERO;
    for _ in 0..3 {
        node.write("10-a.conflist", LIST);
        let took = comes("the entry is there", || node.text("10-a.conflist").contains(NAME)).await;
        slowest = slowest.max(took);
    }
    comes("it is said", || state.load().problem.is_none()).await;
    assert!(slowest < LOOK / 2, "found by a look and not by the watch: {slowest:?}");
}
