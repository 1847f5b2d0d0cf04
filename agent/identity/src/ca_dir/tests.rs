use std::os::unix::fs::PermissionsExt as _;

use super::*;
use crate::{
    bundle::Side,
    key::Key,
    material::{CA_CERT, ROOT_CERT},
};

const TTL: SignedDuration = SignedDuration::from_hours(24);

fn now() -> Timestamp {
    "2026-01-01T00:00:00Z".parse().unwrap()
}

fn id() -> SpiffeId {
    "spiffe://cluster.local/ns/shop/sa/web".parse().unwrap()
}

fn ask(ca: &CaDir) -> Result<Answer, CaDirError> {
    ca.sign(&id(), &Key::generate().unwrap().request(&id()).unwrap(), now())
}

#[test]
fn a_directory_is_made_for_its_owner_alone_and_then_kept() {
    let parent = tempfile::tempdir().unwrap();
    let path = parent.path().join("not/yet/ca");
    let bundle = CaDir::new(path.clone(), TTL).bundle(now()).unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&path), 0o700);
    assert_eq!(mode(&path.join(CA_KEY)), 0o600);
    let again = CaDir::new(path.clone(), TTL);
    assert_eq!(again.bundle(now()).unwrap(), bundle);
    let chain = ask(&again).unwrap().chain;
    assert_eq!(chain.len(), 1, "a root that signs by itself is not sent");
    bundle.verify(&chain, now(), Side::Server).unwrap();
    // One that is there and empty is filled, and gets the same mode.
    let empty = parent.path().join("empty");
    fs::create_dir(&empty).unwrap();
    ask(&CaDir::new(empty.clone(), TTL)).unwrap();
    assert_eq!(mode(&empty), 0o700);
}

#[test]
fn of_many_that_start_at_once_one_makes_the_root() {
    let parent = tempfile::tempdir().unwrap();
    for round in 0..20 {
        let path = parent.path().join(format!("ca{round}"));
        let start = std::sync::Barrier::new(8);
        let open = || {
            start.wait();
            CaDir::new(path.clone(), TTL).bundle(now()).unwrap().digest()
        };
        let digests: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(open)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert!(digests.iter().all(|one| *one == digests[0]), "{digests:?}");
    }
    let left: Vec<_> = fs::read_dir(parent.path()).unwrap().map(|it| it.unwrap().path()).collect();
    assert_eq!(left.len(), 20, "{left:?}");
}

#[test]
fn a_key_that_others_can_read_signs_nothing() {
    let parent = tempfile::tempdir().unwrap();
    let path = parent.path().join("ca");
    let ca = CaDir::new(path.clone(), TTL);
    ask(&ca).unwrap();
    fs::set_permissions(path.join(CA_KEY), fs::Permissions::from_mode(0o640)).unwrap();
    let error = ask(&ca).unwrap_err().to_string();
    assert!(error.contains("chmod 600"), "{error}");
}

#[test]
fn files_that_do_not_make_a_ca_are_named_and_never_replaced() {
    let parent = tempfile::tempdir().unwrap();
    let path = parent.path().join("ca");
    let ca = CaDir::new(path.clone(), TTL);
    ask(&ca).unwrap();
    let other = Material::make(now()).unwrap();
    let good = fs::read(path.join(CA_KEY)).unwrap();
    for (name, text, words) in [
        (CA_KEY, Some(&other[CA_KEY][..]), "does not fit"),
        (CA_KEY, Some(&b"nonsense"[..]), "no private key"),
        (CA_KEY, None, "ca-key.pem is missing"),
        (CA_CERT, Some(&b"nonsense"[..]), "ca-cert.pem"),
        (ROOT_CERT, Some(&other[ROOT_CERT][..]), "does not lead to a root in root-cert.pem"),
        (ROOT_CERT, Some(&b""[..]), "root-cert.pem"),
    ] {
        let before = fs::read(path.join(name)).unwrap();
        match text {
            Some(text) => fs::write(path.join(name), text).unwrap(),
            None => fs::remove_file(path.join(name)).unwrap(),
        }
        let error = ask(&ca).unwrap_err().to_string();
        assert!(error.contains(words), "{name}: {error}");
        fs::write(path.join(name), &before).unwrap();
        fs::set_permissions(path.join(name), fs::Permissions::from_mode(0o600)).unwrap();
        ask(&ca).unwrap();
    }
    assert_eq!(fs::read(path.join(CA_KEY)).unwrap(), good);
    let file = parent.path().join("file");
    fs::write(&file, "").unwrap();
    for path in [file.clone(), file.join("below")] {
        let error = ask(&CaDir::new(path, TTL)).unwrap_err().to_string();
        assert!(error.contains("file"), "{error}");
    }
}

#[test]
fn a_ca_that_ends_before_what_it_would_sign_says_so() {
    let parent = tempfile::tempdir().unwrap();
    let path = parent.path().join("ca");
    let ca = CaDir::new(path.clone(), TTL);
    ask(&ca).unwrap();
    let late = now() + SignedDuration::from_hours(10 * 365 * 24 - 23);
    let request = Key::generate().unwrap().request(&id()).unwrap();
    let error = ca.sign(&id(), &request, late).unwrap_err().to_string();
    assert!(error.contains("ends at 2035") && error.contains("--ca-ttl"), "{error}");
    let short = CaDir::new(path, SignedDuration::from_hours(1));
    short.sign(&id(), &request, late).unwrap();
}

#[test]
fn names_of_a_secret_for_tls_are_read_before_those_of_cacerts() {
    let parent = tempfile::tempdir().unwrap();
    let path = parent.path().join("ca");
    let ca = CaDir::new(path.clone(), TTL);
    let first = ca.bundle(now()).unwrap();
    let other = Material::make(now()).unwrap();
    for (name, from) in [("tls.crt", CA_CERT), ("tls.key", CA_KEY), ("ca.crt", ROOT_CERT)] {
        fs::write(path.join(name), &other[from]).unwrap();
        fs::set_permissions(path.join(name), fs::Permissions::from_mode(0o600)).unwrap();
    }
    let second = ca.bundle(now()).unwrap();
    assert_ne!(first, second);
    second.verify(&ask(&ca).unwrap().chain, now(), Side::Client).unwrap();
}
