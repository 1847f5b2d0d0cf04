use super::*;
use crate::dates::moment;

fn now() -> Timestamp {
    "2026-01-01T00:00:00Z".parse().unwrap()
}

fn id(name: &str) -> SpiffeId {
    format!("spiffe://cluster.local/ns/shop/sa/{name}").parse().unwrap()
}

/// A root that signs whatever a test says.
struct Root {
    key: Key,
    params: rcgen::CertificateParams,
    bundle: Bundle,
}

impl Root {
    fn new() -> Self {
        let key = Key::generate().unwrap();
        let mut params = rcgen::CertificateParams::default();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let root = params.self_signed(&key).unwrap();
        let bundle = Bundle::new([root.der().clone()]).unwrap();
        Self { key, params, bundle }
    }

    fn sign(&self, uris: &[SpiffeId], key: &Key, seconds: i64) -> Answer {
        let mut params = rcgen::CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        let uri = |id: &SpiffeId| rcgen::SanType::URI(id.to_string().try_into().unwrap());
        params.subject_alt_names = uris.iter().map(uri).collect();
        params.not_before = moment(now() - SignedDuration::from_mins(1));
        params.not_after = moment(now() + SignedDuration::from_secs(seconds));
        let issuer = rcgen::Issuer::from_params(&self.params, &self.key);
        let leaf = params.signed_by(key, &issuer).unwrap();
        Answer { chain: vec![leaf.der().clone()], time: None }
    }
}

#[test]
fn only_what_was_asked_for_is_used() {
    let (root, key) = (Root::new(), Key::generate().unwrap());
    let accept = |answer: &Answer, bundle: &Bundle| {
        Certificate::accept(&id("web"), key.clone(), answer, bundle, now()).map(|_| ())
    };
    let web = [id("web")];
    assert_eq!(accept(&root.sign(&web, &key, 60), &root.bundle), Ok(()));
    for uris in [vec![], vec![id("cart")], vec![id("web"), id("cart")], vec![id("cart"), id("web")]]
    {
        let refused = accept(&root.sign(&uris, &key, 60), &root.bundle);
        assert!(matches!(refused, Err(LeafError::Identity { .. })), "{uris:?} {refused:?}");
    }
    let other = root.sign(&web, &Key::generate().unwrap(), 60);
    assert_eq!(accept(&other, &root.bundle), Err(LeafError::Key));
    for seconds in [0, -1] {
        let refused = accept(&root.sign(&web, &key, seconds), &root.bundle);
        assert!(matches!(refused, Err(LeafError::Ended(_))), "{refused:?}");
    }
    let foreign = accept(&root.sign(&web, &key, 60), &Root::new().bundle);
    assert!(matches!(foreign, Err(LeafError::Chain(_))), "{foreign:?}");
    assert_eq!(accept(&Answer::default(), &root.bundle), Err(LeafError::Empty));
}
