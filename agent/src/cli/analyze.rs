//! `sekisho analyze`: what an agent would say of manifests, or of what a cluster has, without one.

use std::{
    fs,
    io::{self, Read},
    path::Path,
    sync::Arc,
};

use agent_model::{analyze::analyze, finding::Severity};
use agent_source::{
    cluster::{self, Credentials, LeftOut, Listing},
    code, manifest,
    note::Note,
    scan::Scanner,
    store::Store,
};
use anyhow::Context as _;
use serde::Serialize;

use super::{
    Answer,
    findings::findings,
    output::{Paint, Tone, encode},
};
use crate::{
    args::{AnalyzeArgs, exit},
    observe::status,
};

/// What was found.
#[derive(Debug, Serialize)]
struct Report {
    /// The API server that was asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    server: Option<String>,
    objects: usize,
    errors: usize,
    warnings: usize,
    findings: Vec<status::Note>,
}

pub(super) async fn run(args: &AnalyzeArgs, paint: Paint) -> anyhow::Result<Answer> {
    let listing = match args.cluster() {
        None => None,
        Some(credentials) => Some(listed(&credentials).await?),
    };
    let report = report(&args.files, &mut io::stdin(), listing)?;
    let text = match encode(args.output.format, &report)? {
        Some(text) => text,
        None => table(&report, paint),
    };
    let code = if report.errors > 0 { exit::REFUSED } else { exit::OK };
    Ok(Answer { text, code })
}

/// What the cluster has. A server that says nothing of any kind was not looked at.
async fn listed(credentials: &Credentials) -> anyhow::Result<Listing> {
    let listing = cluster::list(credentials).await?;
    let failed = listing.left_out.iter().find(|one| !one.forbidden);
    if let Some(LeftOut { resource, why, .. }) = failed {
        anyhow::bail!("{resource} of {}: {why}", listing.server);
    }
    Ok(listing)
}

fn report<P: AsRef<Path>>(
    files: &[P],
    stdin: &mut impl Read,
    listing: Option<Listing>,
) -> anyhow::Result<Report> {
    let mut store = Store::default();
    for path in files {
        read(&mut store, path.as_ref(), stdin)?;
    }
    let (mut server, mut left_out) = (None, Vec::new());
    if let Some(listing) = listing {
        server = Some(listing.server);
        left_out = listing.left_out;
        let given = store.named();
        for (place, mut statement) in listing.objects {
            statement.claims.retain(|claim| !given.contains(&claim.key));
            store.say(place, statement);
        }
    }
    let observed = store.settle();
    let spots = store.spots();
    let mut findings = observed.notes.to_vec();
    let left_out = left_out.into_iter().map(|one| Note {
        place: server.clone(),
        ..Note::loose(Severity::Warning, code::LEFT_OUT, one.why).about(one.resource)
    });
    findings.extend(left_out.map(Arc::new));
    let objects = analyze(&observed.objects);
    let analysed = objects.iter().map(|finding| Note::new(finding, spots.of(finding)));
    findings.extend(analysed.map(Arc::new));
    // Each object is checked by itself when it is read and again among the others.
    let mut seen = std::collections::BTreeSet::new();
    findings.retain(|note| seen.insert(format!("{note:?}")));
    let severity = |note: &Note| note.finding.severity;
    findings.sort_by(|one, other| {
        severity(other).cmp(&severity(one)).then_with(|| one.place.cmp(&other.place))
    });
    let count = |wanted| findings.iter().filter(|note| severity(note) == wanted).count();
    let (errors, warnings) = (count(Severity::Error), count(Severity::Warning));
    let findings = findings.iter().map(|note| note.as_ref().into()).collect();
    Ok(Report { server, objects: observed.objects.len(), errors, warnings, findings })
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
    use agent_source::object;

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
        report(files, &mut stdin.as_bytes(), None).unwrap()
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
        let error =
            report(&[Path::new("/nonexistent/a.yaml")], &mut io::empty(), None).unwrap_err();
        assert!(error.to_string().contains("/nonexistent/a.yaml"), "{error}");
    }

    #[test]
    fn an_object_of_a_file_takes_the_place_of_the_clusters() {
        let statement = |text: &str| {
            let value = serde_saphyr::from_str(text).unwrap();
            object::read_object("the server", "generation 1", value)
        };
        let listing = Listing {
            server: "https://203.0.113.9:6443/".into(),
            objects: vec![
                ("namespaces/shop".into(), statement(GOOD)),
                ("serviceentries.networking.istio.io/shop/db".into(), statement(BAD)),
            ],
            left_out: vec![LeftOut {
                resource: "pods".into(),
                why: "not for you".into(),
                forbidden: true,
            }],
        };
        let files = [Path::new("-")];
        let mended = BAD.replace("70000", "3306");
        let found = report(&files, &mut mended.as_bytes(), Some(listing)).unwrap();
        assert_eq!((found.objects, found.errors), (2, 0), "{:?}", found.findings);
        let left_out = found.findings.iter().find(|note| note.code == code::LEFT_OUT).unwrap();
        assert_eq!((left_out.severity, left_out.field.as_str()), (Severity::Warning, "pods"));
    }

    #[test]
    fn a_report_counts_what_it_lists() {
        let found = of(&[Path::new("-")], BAD);
        let errors = found.findings.iter().filter(|note| note.severity == Severity::Error).count();
        assert_eq!(found.errors, errors);
        assert_eq!(found.objects, 0);
    }
}
