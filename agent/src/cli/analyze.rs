//! `sekisho analyze`: what an agent would say of manifests, without one.

use std::{
    collections::BTreeMap,
    fs,
    io::{self, Read},
    path::Path,
};

use agent_model::analyze::analyze;
use anyhow::Context as _;
use serde::Serialize;

use super::{
    Answer,
    output::{Paint, Tone, encode},
    status::findings,
};
use crate::{
    args::{AnalyzeArgs, exit},
    observe::status::Note,
    source::{manifest, scan::Scanner, store::Store},
};

/// What was found.
#[derive(Debug, Serialize)]
struct Report {
    objects: usize,
    errors: usize,
    warnings: usize,
    findings: Vec<Note>,
}

pub(super) fn run(args: &AnalyzeArgs, paint: Paint) -> anyhow::Result<Answer> {
    let report = report(&args.files, &mut io::stdin())?;
    let text = match encode(args.output.format, &report)? {
        Some(text) => text,
        None => table(&report, paint),
    };
    let code = if report.errors > 0 { exit::REFUSED } else { exit::OK };
    Ok(Answer { text, code })
}

fn report<P: AsRef<Path>>(files: &[P], stdin: &mut impl Read) -> anyhow::Result<Report> {
    let mut store = Store::default();
    for path in files {
        read(&mut store, path.as_ref(), stdin)?;
    }
    let observed = store.settle();
    let spots: BTreeMap<_, _> = store.spots().collect();
    let mut findings = observed.notes.to_vec();
    findings.extend(analyze(&observed.objects).iter().map(|finding| {
        let object = (finding.kind.as_str(), finding.namespace.as_str(), finding.name.as_str());
        Note::new(finding, spots.get(&object).cloned())
    }));
    // Each object is checked by itself when it is read and again among the others.
    let mut seen = std::collections::BTreeSet::new();
    findings.retain(|note| seen.insert(format!("{note:?}")));
    let rank = |note: &Note| match note.severity.as_ref() {
        "error" => 0,
        "warning" => 1,
        _ => 2,
    };
    findings.sort_by(|one, other| (rank(one), &one.place).cmp(&(rank(other), &other.place)));
    let count = |wanted| findings.iter().filter(|note| rank(note) == wanted).count();
    Ok(Report { objects: observed.objects.len(), errors: count(0), warnings: count(1), findings })
}

/// A file that cannot be read is an error of the command and no finding: what was asked about was
/// not looked at.
fn read(store: &mut Store, path: &Path, stdin: &mut impl Read) -> anyhow::Result<()> {
    let name = path.display().to_string();
    if path.is_dir() {
        let mut inner = Store::default();
        Scanner::new(path.to_owned())
            .scan(&mut inner)
            .with_context(|| format!("cannot list {name}"))?;
        store.adopt(&name, inner);
        return Ok(());
    }
    let (name, text) = if path == Path::new("-") {
        (
            "standard input".to_owned(),
            io::read_to_string(stdin).context("cannot read the standard input")?,
        )
    } else {
        let text = fs::read_to_string(path).with_context(|| format!("cannot read {name}"))?;
        (name, text)
    };
    let statement = manifest::read(&name, &text);
    store.say(name.into(), statement);
    Ok(())
}

fn table(report: &Report, paint: Paint) -> String {
    let Report { objects, errors, warnings, .. } = report;
    let counts = format!("{}, {}", count(*errors, "error"), count(*warnings, "warning"));
    let tone = match (errors, warnings) {
        (0, 0) => Tone::Good,
        (0, _) => Tone::Doubtful,
        _ => Tone::Bad,
    };
    let objects = count(*objects, "object");
    format!("{}{objects}: {}\n", findings(&report.findings, paint), paint.word(tone, &counts))
}

fn count(count: usize, noun: &str) -> String {
    match count {
        1 => format!("1 {noun}"),
        _ => format!("{count} {noun}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "\
apiVersion: v1
kind: Namespace
metadata: {name: shop, labels: {istio-injection: enabled}}
";
    const BAD: &str = "\
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: db, namespace: shop}
spec: {hosts: [db.example.com], ports: [{number: 70000, name: tcp, protocol: TCP}]}
";

    fn of(files: &[&Path], stdin: &str) -> Report {
        report(files, &mut stdin.as_bytes()).unwrap()
    }

    #[test]
    fn files_directories_and_the_standard_input_are_read_as_one() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("a.yaml"), GOOD).unwrap();
        let file = dir.path().join("other.txt");
        fs::write(&file, GOOD.replace("shop", "mail")).unwrap();
        let found = of(&[dir.path(), &file, Path::new("-")], &GOOD.replace("shop", "bank"));
        assert_eq!((found.objects, found.errors), (3, 0), "{:?}", found.findings);
    }

    #[test]
    fn an_error_names_file_document_object_and_field() {
        let found = of(&[Path::new("-")], &format!("{GOOD}---\n{BAD}"));
        assert!(found.errors > 0);
        let text = table(&found, Paint::new(false));
        let first = text.lines().next().unwrap();
        assert!(first.starts_with("  error   standard input, document 2 (line 4): "), "{text}");
        assert!(first.contains("ServiceEntry shop/db spec.ports[0].number: "), "{text}");
        assert!(text.ends_with("1 object: 1 error, 1 warning\n"), "{text}");
    }

    #[test]
    fn a_directory_in_a_report_goes_by_the_name_it_was_given() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("a.yaml"), BAD).unwrap();
        let found = of(&[dir.path()], "");
        let place = found.findings[0].place.clone().unwrap();
        assert!(place.starts_with(&format!("{}/a.yaml, ", dir.path().display())), "{place}");
    }

    #[test]
    fn a_file_that_is_not_there_is_named() {
        let error = report(&[Path::new("/nonexistent/a.yaml")], &mut io::empty()).unwrap_err();
        assert!(error.to_string().contains("/nonexistent/a.yaml"), "{error}");
    }

    #[test]
    fn a_report_counts_what_it_lists() {
        let found = of(&[Path::new("-")], BAD);
        let errors = found.findings.iter().filter(|note| note.severity == "error").count();
        assert_eq!(found.errors, errors);
        assert_eq!(found.objects, 0);
    }
}
