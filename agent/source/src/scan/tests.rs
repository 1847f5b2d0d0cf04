use std::os::unix::fs::symlink;

use proptest::prelude::*;

use super::*;
use crate::observed::Observed;

fn service(name: &str, address: u8) -> String {
    format!(
        "---\napiVersion: v1\nkind: Service\nmetadata: {{name: {name}}}\n\
         spec: {{clusterIP: 203.0.113.{address}, ports: [{{port: 80}}]}}\n"
    )
}

struct Sample {
    root: tempfile::TempDir,
    scanner: Scanner,
    store: Store,
}

impl Sample {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let scanner = Scanner::new(root.path().to_owned());
        Self { root, scanner, store: Store::default() }
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.root.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn scan(&mut self) -> Observed {
        self.scanner.scan(&mut self.store).unwrap();
        self.store.settle()
    }

    /// What a scan without any history sees.
    fn fresh(&self) -> Observed {
        let mut store = Store::default();
        Scanner::new(self.root.path().to_owned()).scan(&mut store).unwrap();
        store.settle()
    }
}

fn names(observed: &Observed) -> Vec<String> {
    observed.objects.iter().map(|(key, _)| key.name.to_string()).collect()
}

#[test]
fn manifests_are_read_at_any_depth_and_nothing_else_is() {
    let mut sample = Sample::new();
    for (name, file) in [
        ("flat", "a.yaml"),
        ("short", "b.yml"),
        ("below", "sub/c.yaml"),
        ("deep", "sub/sub/d.yaml"),
        ("deeper", "sub/sub/s/u/b/d.yaml"),
        ("upper", "UP.YAML"),
        ("mixed", "sub/Mixed.Yml"),
        ("hidden", ".e.yaml"),
        ("concealed", ".git/f.yaml"),
        ("backup", "g.yaml~"),
        ("swap", "h.yaml.swp"),
        ("lock", "#i.yaml#"),
        ("text", "j.txt"),
    ] {
        sample.write(file, &service(name, 1));
    }
    sample.write("k.json", r#"{"apiVersion":"v1","kind":"Namespace","metadata":{"name":"json"}}"#);
    let observed = sample.scan();
    assert_eq!(
        names(&observed),
        ["json", "below", "deep", "deeper", "flat", "mixed", "short", "upper"]
    );
    assert!(observed.notes.is_empty(), "{:?}", observed.notes);
}

#[test]
fn a_file_that_goes_takes_its_objects_along() {
    let mut sample = Sample::new();
    sample.write("a.yaml", &service("a", 1));
    sample.write("sub/b.yaml", &service("b", 1));
    assert_eq!(names(&sample.scan()), ["a", "b"]);
    fs::remove_file(sample.root.path().join("a.yaml")).unwrap();
    assert_eq!(names(&sample.scan()), ["b"]);
    fs::remove_dir_all(sample.root.path().join("sub")).unwrap();
    assert_eq!(names(&sample.scan()), Vec::<String>::new());
}

#[test]
fn a_file_that_cannot_be_read_keeps_its_objects() {
    let mut sample = Sample::new();
    sample.write("a.yaml", &service("a", 1));
    sample.scan();
    fs::write(sample.root.path().join("a.yaml"), b"\xff\xfe not text").unwrap();
    let observed = sample.scan();
    assert_eq!(names(&observed), ["a"]);
    assert_eq!(observed.notes[0].place.as_deref(), Some("a.yaml"));
    // A link to nothing is no removal either.
    fs::remove_file(sample.root.path().join("a.yaml")).unwrap();
    symlink("nowhere", sample.root.path().join("a.yaml")).unwrap();
    assert_eq!(names(&sample.scan()), ["a"]);
    sample.write("target", &service("a", 2));
    fs::remove_file(sample.root.path().join("a.yaml")).unwrap();
    symlink("target", sample.root.path().join("a.yaml")).unwrap();
    let observed = sample.scan();
    assert_eq!((names(&observed), observed.notes.len()), (vec!["a".to_owned()], 0));
}

#[test]
fn a_directory_that_is_gone_is_trouble_and_no_absence() {
    let mut sample = Sample::new();
    sample.write("a.yaml", &service("a", 1));
    sample.scan();
    fs::remove_dir_all(sample.root.path()).unwrap();
    assert!(sample.scanner.scan(&mut sample.store).is_err());
    assert_eq!(names(&sample.store.settle()), ["a"]);
    fs::create_dir(sample.root.path()).unwrap();
    assert_eq!(names(&sample.scan()), Vec::<String>::new());
}

#[test]
fn a_pipe_does_not_block() {
    let mut sample = Sample::new();
    let path = sample.root.path().join("p.yaml");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &path,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR,
        0,
    )
    .unwrap();
    let observed = sample.scan();
    assert_eq!(names(&observed), Vec::<String>::new());
    assert_eq!(told(&observed), ["p.yaml info SK0006"]);
}

/// The notes, each with its place and severity.
fn told(observed: &Observed) -> Vec<String> {
    let told = observed.notes.iter().map(|note| {
        let place = note.place.as_deref().unwrap_or_default();
        format!("{place} {} {}", note.finding.severity.name(), note.finding.code)
    });
    told.collect()
}

#[test]
fn a_folder_that_is_inside_itself_is_read_once() {
    let mut sample = Sample::new();
    sample.write("a.yaml", &service("a", 1));
    sample.write("sub/b.yaml", &service("b", 1));
    symlink(".", sample.root.path().join("again")).unwrap();
    symlink("..", sample.root.path().join("sub/up")).unwrap();
    let observed = sample.scan();
    assert_eq!(names(&observed), ["a", "b"]);
    assert_eq!(told(&observed), ["again info SK0006", "sub/up info SK0006"]);
    fs::remove_file(sample.root.path().join("again")).unwrap();
    fs::remove_file(sample.root.path().join("sub/up")).unwrap();
    assert_eq!(told(&sample.scan()), Vec::<String>::new());
}

#[test]
fn folders_without_end_are_told() {
    let mut sample = Sample::new();
    let deep = "s/".repeat(40);
    sample.write(&format!("{deep}a.yaml"), &service("a", 1));
    sample.write(&format!("{}b.yaml", "s/".repeat(16)), &service("b", 1));
    let observed = sample.scan();
    assert_eq!(names(&observed), ["b"]);
    let place = ["s"; 17].join("/");
    assert_eq!(told(&observed), [format!("{place} warning SK0006")]);
}

#[test]
fn a_link_to_a_folder_that_is_being_replaced_keeps_its_objects() {
    let mut sample = Sample::new();
    sample.write(".v1/a.yaml", &service("a", 1));
    let link = sample.root.path().join("now");
    symlink(".v2", &link).unwrap();
    assert_eq!(told(&sample.scan()), ["now info SK0006"]);
    fs::remove_file(&link).unwrap();
    symlink(".v1", &link).unwrap();
    assert_eq!(names(&sample.scan()), ["a"]);
    fs::remove_file(&link).unwrap();
    symlink(".v2", &link).unwrap();
    let observed = sample.scan();
    assert_eq!(names(&observed), ["a"]);
    assert!(told(&observed).contains(&"now error SK0002".to_owned()), "{:?}", observed.notes);
    sample.write(".v2/b.yaml", &service("b", 1));
    let observed = sample.scan();
    assert_eq!((names(&observed), told(&observed)), (vec!["b".to_owned()], Vec::new()));
    // One that is taken away is no trouble.
    fs::remove_file(&link).unwrap();
    assert_eq!(names(&sample.scan()), Vec::<String>::new());
}

/// What a user does to a directory.
#[derive(Clone, Debug)]
enum Edit {
    Write { file: usize, objects: Vec<(u8, u8)> },
    Break { file: usize },
    Remove { file: usize },
    Move { from: usize, to: usize },
    Scan,
}

const FILES: [&str; 4] = ["a.yaml", "b.yaml", "s/a.yaml", "s/c.yaml"];

fn edit() -> impl Strategy<Value = Edit> {
    let file = 0..FILES.len();
    prop_oneof![
        4 => (file.clone(), prop::collection::vec((0..4_u8, 1..9_u8), 0..3))
            .prop_map(|(file, objects)| Edit::Write { file, objects }),
        1 => file.clone().prop_map(|file| Edit::Break { file }),
        1 => file.clone().prop_map(|file| Edit::Remove { file }),
        1 => (file.clone(), file).prop_map(|(from, to)| Edit::Move { from, to }),
        3 => Just(Edit::Scan),
    ]
}

impl Sample {
    fn apply(&mut self, edit: &Edit) {
        let path = |file: &usize| self.root.path().join(FILES[*file]);
        match edit {
            Edit::Write { file, objects } => {
                let text: String =
                    objects.iter().map(|(name, at)| service(&format!("n{name}"), *at)).collect();
                self.write(FILES[*file], &text);
            }
            Edit::Break { file } => self.write(FILES[*file], "---\nkind: [\n"),
            Edit::Remove { file } => drop(fs::remove_file(path(file))),
            Edit::Move { from, to } => drop(fs::rename(path(from), path(to))),
            Edit::Scan => drop(self.scan()),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn after_any_edits_a_whole_directory_reads_as_if_for_the_first_time(
        edits in prop::collection::vec(edit(), 0..40),
    ) {
        let mut sample = Sample::new();
        for edit in &edits {
            sample.apply(edit);
        }
        for (number, file) in FILES.iter().enumerate() {
            // What is broken in the end keeps older objects, which a first scan does not see.
            let text = fs::read_to_string(sample.root.path().join(file)).unwrap_or_default();
            if text.contains("kind: [") {
                sample.apply(&Edit::Remove { file: number });
            }
        }
        let (incremental, fresh) = (sample.scan(), sample.fresh());
        prop_assert_eq!(&incremental.objects, &fresh.objects);
        prop_assert_eq!(&incremental.notes, &fresh.notes);
    }
}
