//! What is signed here, as openssl sees it, and what openssl asks to be signed.

#![expect(clippy::unwrap_used, reason = "a test that cannot make its files fails")]

use std::{fs, path::Path, process::Command};

use agent_identity::{
    bundle::{Bundle, ChainError, Side, to_pem},
    key::Key,
    material::{CA_CERT, CA_KEY, CERT_CHAIN, Files, Material, ROOT_CERT},
    request::Request,
    signer::Signer,
    spiffe::{SpiffeId, TrustDomains},
};
use jiff::{SignedDuration, Timestamp};
use rustls::pki_types::{CertificateDer, pem::PemObject as _};
use zeroize::Zeroizing;

const TTL: SignedDuration = SignedDuration::from_hours(24);
const WEB: &str = "spiffe://cluster.local/ns/shop/sa/web";

fn openssl(folder: &Path, arguments: &str) -> Result<String, String> {
    let output = Command::new("openssl")
        .args(arguments.split_whitespace())
        .current_dir(folder)
        .output()
        .expect("openssl is installed");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let all = text(&output.stdout) + &text(&output.stderr);
    if output.status.success() { Ok(all) } else { Err(all) }
}

fn web() -> SpiffeId {
    WEB.parse().unwrap()
}

fn domains() -> TrustDomains {
    TrustDomains::new("cluster.local".parse().unwrap(), Vec::new())
}

fn sign(signer: &Signer, request: &str) -> Vec<CertificateDer<'static>> {
    let request = Request::from_pem(request).unwrap();
    signer.sign(&request, &web(), TTL, Timestamp::now()).unwrap().chain
}

/// What openssl says of a chain, verified for both sides of a connection.
fn verified(folder: &Path, chain: &[CertificateDer<'static>], roots: &Bundle) -> String {
    fs::write(folder.join("leaf.pem"), to_pem(chain[..1].iter())).unwrap();
    fs::write(folder.join("between.pem"), to_pem(chain[1..].iter())).unwrap();
    fs::write(folder.join("roots.pem"), roots.to_pem()).unwrap();
    let between = if chain.len() > 1 { "-untrusted between.pem" } else { "" };
    for purpose in ["sslserver", "sslclient"] {
        let how =
            format!("verify -x509_strict -purpose {purpose} -CAfile roots.pem {between} leaf.pem");
        openssl(folder, &how).unwrap();
    }
    openssl(folder, "x509 -in leaf.pem -noout -text").unwrap()
}

fn made() -> (Files, Signer) {
    let files = Material::make(Timestamp::now()).unwrap();
    let signer = Signer::open(&Material::find(&files).unwrap(), TTL, Timestamp::now()).unwrap();
    (files, signer)
}

#[test]
fn openssl_verifies_what_a_made_root_signs() {
    let folder = tempfile::tempdir().unwrap();
    let (_, signer) = made();
    let chain = sign(&signer, &Key::generate().unwrap().request(&web()).unwrap());
    let text = verified(folder.path(), &chain, signer.roots());
    for words in [
        "Subject: \n",
        "X509v3 Subject Alternative Name: critical",
        "X509v3 Key Usage: critical\n                Digital Signature\n",
        "TLS Web Server Authentication, TLS Web Client Authentication",
        "X509v3 Authority Key Identifier",
        "NIST CURVE: P-256",
    ] {
        assert!(text.contains(words), "{words}: {text}");
    }
    assert_eq!(text.matches("URI:").count(), 1, "{text}");
    assert!(text.contains(&format!("URI:{WEB}\n")) && !text.contains("DNS:"), "{text}");
    let root = openssl(folder.path(), "x509 -in roots.pem -noout -text").unwrap();
    assert!(root.contains("CA:TRUE") && root.contains("Certificate Sign, CRL Sign"), "{root}");
    // The request is what a server of Istio's protocol takes, too.
    let request = Key::generate().unwrap().request(&web()).unwrap();
    fs::write(folder.path().join("request.pem"), request).unwrap();
    let text = openssl(folder.path(), "req -in request.pem -noout -verify -text").unwrap();
    assert!(text.contains(&format!("URI:{WEB}")), "{text}");
}

/// Requests of askers that want more than they may have.
#[test]
fn only_the_key_of_a_request_counts() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let (_, signer) = made();
    openssl(folder, "ecparam -name prime256v1 -genkey -noout -out ec.pem").unwrap();
    openssl(folder, "genrsa -out rsa.pem 2048").unwrap();
    for (key, subject, wish) in [
        (
            "ec.pem",
            "/",
            "subjectAltName=URI:spiffe://cluster.local/ns/shop/sa/web,URI:spiffe://cluster.local/ns/bank/sa/vault",
        ),
        ("ec.pem", "/", "subjectAltName=DNS:bank.example.com"),
        ("ec.pem", "/CN=admin", "basicConstraints=critical,CA:TRUE"),
        ("ec.pem", "/", "subjectAltName=URI:spiffe://other/ns/shop/sa/web"),
        ("rsa.pem", "/", "keyUsage=critical,keyCertSign"),
    ] {
        let how = format!("req -new -key {key} -subj {subject} -addext {wish} -out wish.pem");
        openssl(folder, &how).unwrap();
        let request = fs::read_to_string(folder.join("wish.pem")).unwrap();
        let chain = sign(&signer, &request);
        let text = verified(folder, &chain, signer.roots());
        assert_eq!(text.matches("URI:").count(), 1, "{wish}: {text}");
        assert!(text.contains(&format!("URI:{WEB}\n")), "{wish}: {text}");
        assert!(!text.contains("CA:TRUE") && !text.contains("DNS:"), "{wish}: {text}");
        assert!(!text.contains("Certificate Sign") && !text.contains("admin"), "{wish}: {text}");
        let now = Timestamp::now();
        let peer = signer.roots().peer(&chain, now, Side::Client, &domains()).unwrap();
        assert_eq!(peer, web());
    }
}

#[test]
fn a_weak_key_and_a_request_of_another_key_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    for (name, how) in [
        ("rsa", "genrsa -out rsa.pem 1024"),
        ("k1", "ecparam -name secp256k1 -genkey -noout -out k1.pem"),
        ("p521", "ecparam -name secp521r1 -genkey -noout -out p521.pem"),
    ] {
        openssl(folder, how).unwrap();
        let how = format!("req -new -key {name}.pem -subj / -out {name}.csr");
        openssl(folder, &how).unwrap();
        let request = fs::read_to_string(folder.join(format!("{name}.csr"))).unwrap();
        let error = Request::from_pem(&request).unwrap_err().to_string();
        assert!(error.contains("P-256"), "{name}: {error}");
    }
    let request = Key::generate().unwrap().request(&web()).unwrap();
    let mut der = pem::parse(&request).unwrap();
    let mut bytes = der.contents().to_vec();
    let last = bytes.len() - 3;
    bytes[last] ^= 1;
    der = pem::Pem::new(der.tag(), bytes);
    let error = Request::from_pem(&pem::encode(&der)).unwrap_err().to_string();
    assert!(error.contains("not signed with its own key"), "{error}");
    for wrong in [
        "",
        "nonsense",
        "-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n",
    ] {
        Request::from_pem(wrong).unwrap_err();
    }
}

/// As Istio's own scripts make `cacerts`: an RSA root, and an intermediate under it.
fn cacerts(folder: &Path, key: &str) -> Files {
    openssl(folder, "genrsa -out root-key.pem 2048").unwrap();
    let how = "req -x509 -new -key root-key.pem -days 30 -subj /O=Istio/CN=Root \
               -addext keyUsage=critical,keyCertSign,cRLSign -out root-cert.pem";
    openssl(folder, how).unwrap();
    openssl(folder, key).unwrap();
    openssl(folder, "req -new -key ca-key.pem -subj /O=Istio/CN=Between -out ca.csr").unwrap();
    let text = "basicConstraints=critical,CA:TRUE,pathlen:0\nkeyUsage=critical,keyCertSign,digitalSignature\n";
    fs::write(folder.join("ca.ext"), text).unwrap();
    let how = "x509 -req -in ca.csr -CA root-cert.pem -CAkey root-key.pem -days 20 \
               -extfile ca.ext -set_serial 7 -out ca-cert.pem";
    openssl(folder, how).unwrap();
    let read = |name: &str| (name.to_owned(), Zeroizing::new(fs::read(folder.join(name)).unwrap()));
    let mut files: Files = [read(CA_CERT), read(CA_KEY), read(ROOT_CERT)].into();
    let chain = [&files[CA_CERT][..], &files[ROOT_CERT][..]].concat();
    files.insert(CERT_CHAIN.to_owned(), Zeroizing::new(chain));
    files
}

#[test]
fn an_intermediate_of_cacerts_signs_whatever_the_form_of_its_key() {
    for key in [
        "genrsa -traditional -out ca-key.pem 2048",
        "genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out ca-key.pem",
        "ecparam -name prime256v1 -genkey -noout -out ca-key.pem",
        "genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-384 -out ca-key.pem",
    ] {
        let folder = tempfile::tempdir().unwrap();
        let files = cacerts(folder.path(), key);
        let signer = Signer::open(&Material::find(&files).unwrap(), TTL, Timestamp::now()).unwrap();
        let chain = sign(&signer, &Key::generate().unwrap().request(&web()).unwrap());
        assert_eq!(chain.len(), 2, "{key}");
        verified(folder.path(), &chain, signer.roots());
        let lonely = signer.roots().verify(&chain[..1], Timestamp::now(), Side::Server);
        assert!(matches!(lonely, Err(ChainError::Untrusted(_))), "{lonely:?}");
    }
}

#[test]
fn an_authority_that_cannot_sign_says_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let files = cacerts(folder, "ecparam -name prime256v1 -genkey -noout -out ca-key.pem");
    let open = |files: &Files, ttl| {
        Signer::open(&Material::find(files).unwrap(), ttl, Timestamp::now())
            .unwrap_err()
            .to_string()
    };
    // The intermediate lives for 20 days, its root for 30.
    let error = open(&files, SignedDuration::from_hours(21 * 24));
    assert!(error.contains("ca-cert.pem ends at") && error.contains("--ca-ttl"), "{error}");
    let mut other = files.clone();
    other.insert(CA_KEY.to_owned(), Material::make(Timestamp::now()).unwrap()[CA_KEY].clone());
    assert!(open(&other, TTL).contains("ca-key.pem does not fit ca-cert.pem"));
    let mut other = files.clone();
    other
        .insert(ROOT_CERT.to_owned(), Material::make(Timestamp::now()).unwrap()[ROOT_CERT].clone());
    assert!(open(&other, TTL).contains("does not lead to a root in root-cert.pem"));
    // A leaf as issuer.
    openssl(folder, "req -x509 -new -key ca-key.pem -days 30 -subj /CN=leaf -addext basicConstraints=CA:FALSE -out leaf.pem").unwrap();
    let mut other = files.clone();
    other.insert(CA_CERT.to_owned(), Zeroizing::new(fs::read(folder.join("leaf.pem")).unwrap()));
    assert!(open(&other, TTL).contains("ca-cert.pem is no CA"), "{}", open(&other, TTL));
}

#[test]
fn a_peer_shows_exactly_one_identity_of_the_mesh() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let (files, signer) = made();
    for name in [CA_CERT, CA_KEY] {
        fs::write(folder.join(name), &files[name]).unwrap();
    }
    openssl(folder, "ecparam -name prime256v1 -genkey -noout -out key.pem").unwrap();
    openssl(folder, "req -new -key key.pem -subj /CN=peer -out peer.csr").unwrap();
    let peer = |names: &str, days: &str| {
        let text = format!("{names}extendedKeyUsage=serverAuth,clientAuth\n");
        fs::write(folder.join("peer.ext"), text).unwrap();
        let how = format!(
            "x509 -req -in peer.csr -CA {CA_CERT} -CAkey {CA_KEY} -days {days} -set_serial 9 \
             -extfile peer.ext -out peer.pem"
        );
        openssl(folder, &how).unwrap();
        let chain = [CertificateDer::from_pem_file(folder.join("peer.pem")).unwrap()];
        signer.roots().peer(&chain, Timestamp::now(), Side::Client, &domains())
    };
    assert_eq!(peer(&format!("subjectAltName=URI:{WEB}\n"), "1"), Ok(web()));
    // A DNS name beside it is no identity, and no harm.
    assert_eq!(peer(&format!("subjectAltName=URI:{WEB},DNS:x.example\n"), "1"), Ok(web()));
    let two = format!("subjectAltName=URI:{WEB},URI:spiffe://cluster.local/ns/bank/sa/vault\n");
    assert_eq!(peer(&two, "1"), Err(ChainError::Names(2)));
    assert_eq!(peer("", "1"), Err(ChainError::Names(0)));
    assert_eq!(peer("subjectAltName=DNS:x.example\n", "1"), Err(ChainError::Names(0)));
    let foreign = peer("subjectAltName=URI:spiffe://other/ns/shop/sa/web\n", "1");
    assert!(matches!(foreign, Err(ChainError::Foreign(_))), "{foreign:?}");
    let wrong = peer("subjectAltName=URI:https://shop.example/web\n", "1");
    assert!(matches!(wrong, Err(ChainError::Identity(_))), "{wrong:?}");
    let ended = peer(&format!("subjectAltName=URI:{WEB}\n"), "-1");
    assert!(matches!(ended, Err(ChainError::Untrusted(_))), "{ended:?}");
}

/// webpki never asks whether a root has ended; here it must.
#[test]
fn a_root_that_has_ended_is_trusted_no_more() {
    let (_, signer) = made();
    let chain = sign(&signer, &Key::generate().unwrap().request(&web()).unwrap());
    let later = Timestamp::now() + SignedDuration::from_hours(11 * 365 * 24);
    let error = signer.roots().verify(&chain, later, Side::Server).unwrap_err().to_string();
    assert!(error.contains("no root is valid"), "{error}");
}
