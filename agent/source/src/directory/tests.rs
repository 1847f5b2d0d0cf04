use std::{fs, io::Write, os::unix::fs::symlink};

use tokio::task::JoinSet;

use super::*;

fn service(name: &str, address: u8) -> String {
    format!(
        "---\napiVersion: v1\nkind: Service\nmetadata: {{name: {name}}}\n\
         spec: {{clusterIP: 203.0.113.{address}, ports: [{{port: 80}}]}}\n"
    )
}

struct Watched {
    root: tempfile::TempDir,
    reader: Reader,
    _task: JoinSet<()>,
}

impl Watched {
    async fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("conf")).unwrap();
        let (directory, reader) = Directory::open(&root.path().join("conf")).unwrap();
        let mut task = JoinSet::new();
        task.spawn(directory.run());
        let mut watched = Self { root, reader, _task: task };
        watched.until(|_| true).await;
        watched
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.path().join("conf").join(name)
    }

    /// Waits for a state; the bound only ends a test that fails.
    async fn until(&mut self, wanted: impl Fn(&Observed) -> bool) -> Observed {
        let mut reader = self.reader.clone();
        let found = reader.wait_for(|now| now.as_ref().is_some_and(&wanted));
        let found = time::timeout(Duration::from_secs(10), found).await;
        if let Ok(found) = found {
            return found.unwrap().clone().unwrap();
        }
        panic!("still {:?}", self.reader.borrow())
    }

    async fn until_names(&mut self, wanted: &[&str]) -> Observed {
        self.until(|now| names(now) == wanted).await
    }
}

fn names(observed: &Observed) -> Vec<String> {
    observed.objects.iter().map(|(key, _)| key.name.to_string()).collect()
}

#[tokio::test]
async fn an_empty_directory_is_ready_at_once() {
    let watched = Watched::new().await;
    let now = watched.reader.borrow().clone().unwrap();
    assert!(now.objects.is_empty() && now.notes.is_empty(), "{now:?}");
}

#[tokio::test]
async fn a_directory_that_is_not_there_is_named_with_what_to_do() {
    let root = tempfile::tempdir().unwrap();
    let error = Directory::open(&root.path().join("none")).unwrap_err().to_string();
    assert!(error.contains("none") && error.contains("--config-dir"), "{error}");
}

#[tokio::test]
async fn files_come_change_move_and_go() {
    let mut watched = Watched::new().await;
    fs::write(watched.path("a.yaml"), service("a", 1)).unwrap();
    let first = watched.until_names(&["a"]).await;
    fs::write(watched.path("a.yaml"), service("a", 2)).unwrap();
    watched.until(|now| now.objects != first.objects && names(now) == ["a"]).await;
    // As an editor and `kubectl` plug-ins do: write beside it, move over it.
    fs::write(watched.path(".tmp"), service("b", 2)).unwrap();
    fs::rename(watched.path(".tmp"), watched.path("a.yaml")).unwrap();
    watched.until_names(&["b"]).await;
    fs::remove_file(watched.path("a.yaml")).unwrap();
    watched.until_names(&[]).await;
}

#[tokio::test]
async fn a_directory_made_later_is_watched_too_also_when_it_is_made_again() {
    let mut watched = Watched::new().await;
    for round in ["one", "two"] {
        fs::create_dir(watched.path("sub")).unwrap();
        // The scan that sees the directory and the write may come in either order.
        fs::write(watched.path("sub/a.yaml"), service("a", 1)).unwrap();
        watched.until_names(&["a"]).await;
        fs::write(watched.path("sub/a.yaml"), service(round, 1)).unwrap();
        watched.until_names(&[round]).await;
        fs::remove_dir_all(watched.path("sub")).unwrap();
        watched.until_names(&[]).await;
    }
}

#[tokio::test]
async fn the_directory_itself_may_be_replaced() {
    let mut watched = Watched::new().await;
    fs::write(watched.path("a.yaml"), service("a", 1)).unwrap();
    watched.until_names(&["a"]).await;
    fs::rename(watched.path(""), watched.root.path().join("old")).unwrap();
    let away = watched.until(|now| !now.notes.is_empty()).await;
    assert_eq!(names(&away), ["a"]);
    fs::create_dir(watched.path("")).unwrap();
    fs::write(watched.path("b.yaml"), service("b", 1)).unwrap();
    watched.until_names(&["b"]).await;
    fs::write(watched.path("b.yaml"), service("c", 1)).unwrap();
    watched.until_names(&["c"]).await;
}

#[tokio::test]
async fn a_config_map_mount_changes_by_one_link() {
    let mut watched = Watched::new().await;
    for (version, name) in [("..one", "first"), ("..two", "second")] {
        fs::create_dir(watched.path(version)).unwrap();
        fs::write(watched.path(version).join("a.yaml"), service(name, 1)).unwrap();
    }
    symlink("..one", watched.path("..data")).unwrap();
    symlink("..data/a.yaml", watched.path("a.yaml")).unwrap();
    watched.until_names(&["first"]).await;
    symlink("..two", watched.path("..new")).unwrap();
    fs::rename(watched.path("..new"), watched.path("..data")).unwrap();
    watched.until_names(&["second"]).await;
}

/// How soon a change is seen at the latest that the kernel tells of. It takes a tenth of a second, and a
/// busy machine takes longer; the slow look comes after half a minute.
const SOON: Duration = Duration::from_secs(5);

impl Watched {
    /// Whether each of these files is read soon after a change, over and over.
    async fn check_seen_soon(&mut self, paths: &[PathBuf]) {
        for (round, path) in paths.iter().cycle().take(paths.len() * 2).enumerate() {
            let name = format!("n{round}");
            let start = std::time::Instant::now();
            fs::write(path, service(&name, 1)).unwrap();
            self.until(|now| names(now).contains(&name)).await;
            assert!(start.elapsed() < SOON, "{} after {:?}", path.display(), start.elapsed());
        }
    }
}

#[tokio::test]
async fn a_link_that_goes_takes_no_other_way_along() {
    let mut watched = Watched::new().await;
    let outside = watched.root.path().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::create_dir(watched.path("own")).unwrap();
    fs::write(watched.path("a.yaml"), service("a", 1)).unwrap();
    fs::write(watched.path("own/b.yaml"), service("b", 1)).unwrap();
    fs::write(outside.join("c.yaml"), service("c", 1)).unwrap();
    let links = [("again", "."), ("one", "../outside"), ("two", "../outside"), ("three", "own")];
    for (name, target) in links {
        symlink(target, watched.path(name)).unwrap();
    }
    watched.until_names(&["a", "b", "c"]).await;
    let files = [watched.path("a.yaml"), watched.path("own/b.yaml"), outside.join("c.yaml")];
    for gone in ["again", "one", "three"] {
        watched.check_seen_soon(&files).await;
        fs::remove_file(watched.path(gone)).unwrap();
        time::sleep(Duration::from_millis(300)).await;
    }
    watched.check_seen_soon(&files).await;
    fs::rename(watched.path("two"), watched.path("four")).unwrap();
    watched.check_seen_soon(&files).await;
    // The last way goes, and with it what it led to.
    fs::remove_file(watched.path("four")).unwrap();
    watched.until(|now| names(now).len() == 2).await;
}

#[tokio::test]
async fn what_a_link_leads_to_is_watched_wherever_it_is() {
    let mut watched = Watched::new().await;
    let outside = watched.root.path().join("outside");
    for version in ["v1", "v2"] {
        fs::create_dir_all(outside.join(version)).unwrap();
    }
    fs::write(outside.join("v1/a.yaml"), service("first", 1)).unwrap();
    fs::write(outside.join("v2/a.yaml"), service("second", 1)).unwrap();
    symlink("v1", outside.join("now")).unwrap();
    symlink("../outside/now/a.yaml", watched.path("a.yaml")).unwrap();
    watched.until_names(&["first"]).await;
    watched.check_seen_soon(&[outside.join("v1/a.yaml")]).await;
    // Another link on the way is replaced, as deployments by folders do.
    symlink("v2", outside.join("next")).unwrap();
    let start = std::time::Instant::now();
    fs::rename(outside.join("next"), outside.join("now")).unwrap();
    watched.until_names(&["second"]).await;
    assert!(start.elapsed() < SOON, "{:?}", start.elapsed());
    // The file is replaced by a rename.
    fs::write(outside.join("v2/draft"), service("third", 1)).unwrap();
    let start = std::time::Instant::now();
    fs::rename(outside.join("v2/draft"), outside.join("v2/a.yaml")).unwrap();
    watched.until_names(&["third"]).await;
    assert!(start.elapsed() < SOON, "{:?}", start.elapsed());
    watched.check_seen_soon(&[outside.join("v2/a.yaml")]).await;
}

#[tokio::test]
async fn folders_inside_a_folder_that_is_made_again_are_watched() {
    let mut watched = Watched::new().await;
    for _ in 0..3 {
        let file = watched.path("s/t/u/a.yaml");
        fs::create_dir_all(watched.path("s/t/u")).unwrap();
        fs::write(&file, service("a", 1)).unwrap();
        watched.until_names(&["a"]).await;
        watched.check_seen_soon(&[file]).await;
        fs::rename(watched.path("s"), watched.path(".s")).unwrap();
        watched.until_names(&[]).await;
        fs::rename(watched.path(".s"), watched.path("s")).unwrap();
        watched.check_seen_soon(&[watched.path("s/t/u/a.yaml")]).await;
        fs::remove_dir_all(watched.path("s")).unwrap();
        watched.until_names(&[]).await;
    }
}

#[tokio::test]
async fn the_directory_itself_may_be_a_link() {
    let mut watched = Watched::new().await;
    fs::write(watched.path("a.yaml"), service("a", 1)).unwrap();
    watched.until_names(&["a"]).await;
    let (real, other) = (watched.root.path().join("v1"), watched.root.path().join("v2"));
    fs::create_dir(&other).unwrap();
    fs::write(other.join("a.yaml"), service("other", 1)).unwrap();
    fs::rename(watched.path(""), &real).unwrap();
    symlink("v1", watched.root.path().join("conf")).unwrap();
    watched.check_seen_soon(&[real.join("a.yaml")]).await;
    symlink("v2", watched.root.path().join("next")).unwrap();
    let start = std::time::Instant::now();
    fs::rename(watched.root.path().join("next"), watched.root.path().join("conf")).unwrap();
    watched.until_names(&["other"]).await;
    assert!(start.elapsed() < SOON, "{:?}", start.elapsed());
}

#[tokio::test]
async fn a_file_written_in_pieces_is_read_whole() {
    let mut watched = Watched::new().await;
    fs::write(watched.path("a.yaml"), service("a", 1) + &service("b", 1)).unwrap();
    watched.until_names(&["a", "b"]).await;
    watched.reader.mark_unchanged();
    // Emptied, half written, then finished, in less than the bound but with pauses longer than the
    // quiet time: only the writer's close ends the burst.
    let mut file = fs::File::create(watched.path("a.yaml")).unwrap();
    time::sleep(Duration::from_millis(40)).await;
    file.write_all(service("a", 2).as_bytes()).unwrap();
    time::sleep(Duration::from_millis(40)).await;
    file.write_all(service("b", 2).as_bytes()).unwrap();
    drop(file);
    let changed = time::timeout(Duration::from_secs(10), watched.reader.changed()).await;
    changed.unwrap().unwrap();
    assert_eq!(names(&watched.reader.borrow_and_update().clone().unwrap()), ["a", "b"]);
}

#[tokio::test]
async fn a_broken_file_is_reported_and_its_objects_stay() {
    let mut watched = Watched::new().await;
    fs::write(watched.path("a.yaml"), service("a", 1)).unwrap();
    watched.until_names(&["a"]).await;
    fs::write(watched.path("a.yaml"), "---\nkind: [\n").unwrap();
    let broken = watched.until(|now| !now.notes.is_empty()).await;
    assert_eq!(names(&broken), ["a"]);
    assert_eq!(broken.notes[0].place.as_deref(), Some("a.yaml, document 1 (line 1)"));
    fs::write(watched.path("a.yaml"), service("a", 1)).unwrap();
    watched.until(|now| now.notes.is_empty()).await;
}

#[tokio::test]
async fn many_quick_edits_end_as_a_fresh_look_would() {
    let mut watched = Watched::new().await;
    let mut seed = 1_u32;
    let mut random = |below: u32| {
        // Numerical Recipes' generator: the same edits in each run.
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (seed >> 16) % below
    };
    fs::create_dir(watched.path("s")).unwrap();
    for _ in 0..300 {
        let file = watched.path(["a.yaml", "b.yaml", "s/c.yaml"][random(3) as usize]);
        match random(5) {
            0 => drop(fs::remove_file(file)),
            1 => drop(fs::rename(&file, watched.path("s/d.yaml"))),
            _ => {
                let address = u8::try_from(random(200)).unwrap();
                fs::write(file, service(&format!("n{}", random(4)), address)).unwrap();
            }
        }
        if random(10) == 0 {
            time::sleep(Duration::from_millis(30)).await;
        }
    }
    let mut store = Store::default();
    Scanner::new(watched.path("")).scan(&mut store).unwrap();
    let fresh = store.settle();
    watched.until(|now| now.objects == fresh.objects && now.notes == fresh.notes).await;
}

#[tokio::test(start_paused = true)]
async fn without_the_kernels_help_it_looks_by_itself_and_says_so() {
    let root = tempfile::tempdir().unwrap();
    let (mut directory, reader) = Directory::open(root.path()).unwrap();
    directory.state.watcher = Err("too many open files".to_owned());
    directory.watch = None;
    let mut task = JoinSet::new();
    task.spawn(directory.run());
    let mut watched = Watched { root, reader, _task: task };
    let first = watched.until(|_| true).await;
    assert!(first.notes[0].finding.message.contains("too many open files"), "{:?}", first.notes);
    fs::write(watched.root.path().join("a.yaml"), service("a", 1)).unwrap();
    watched.until_names(&["a"]).await;
}

#[tokio::test(start_paused = true)]
async fn a_change_without_a_notice_is_found_by_the_slow_look() {
    let root = tempfile::tempdir().unwrap();
    let (mut directory, reader) = Directory::open(root.path()).unwrap();
    // The watches are there, and what they say goes nowhere.
    let (sender, silent) = tokio::sync::mpsc::unbounded_channel();
    directory.watch = Some(silent);
    let mut task = JoinSet::new();
    task.spawn(directory.run());
    let mut watched = Watched { root, reader, _task: task };
    watched.until(|_| true).await;
    let before = time::Instant::now();
    fs::write(watched.root.path().join("a.yaml"), service("a", 1)).unwrap();
    let found = watched.reader.wait_for(|now| now.as_ref().is_some_and(|now| names(now) == ["a"]));
    time::timeout(RESCAN * 2, found).await.unwrap().unwrap();
    // The first look may lie a little before.
    assert!(before.elapsed() + Duration::from_secs(1) >= RESCAN, "{:?}", before.elapsed());
    drop(sender);
}
