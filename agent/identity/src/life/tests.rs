use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};

use super::*;
use crate::{material::Material, request::Request, signer::Signer};

/// An authority beside the code, on a clock that tokio can stop.
#[derive(Debug)]
struct Desk {
    signer: Signer,
    since: Instant,
    life: SignedDuration,
    is_away: AtomicBool,
    /// How far its clock is behind, in seconds.
    behind: AtomicI64,
    takes: Duration,
    running: AtomicUsize,
    most_running: AtomicUsize,
    asked: Mutex<Vec<SpiffeId>>,
}

fn start() -> Timestamp {
    "2026-01-01T00:00:00Z".parse().unwrap()
}

fn wall(since: Instant) -> Timestamp {
    start() + SignedDuration::try_from(since.elapsed()).unwrap()
}

impl Desk {
    fn new(life: i64) -> Self {
        let files = Material::make(start()).unwrap();
        let life = SignedDuration::from_secs(life);
        Self {
            signer: Signer::open(&Material::find(&files).unwrap(), life, start()).unwrap(),
            since: Instant::now(),
            life,
            is_away: AtomicBool::new(false),
            behind: AtomicI64::new(0),
            takes: Duration::from_millis(10),
            running: AtomicUsize::new(0),
            most_running: AtomicUsize::new(0),
            asked: Mutex::default(),
        }
    }
}

impl Authority for Desk {
    fn sign(&self, id: SpiffeId, request: String) -> BoxFuture<'_, Result<Answer, FetchError>> {
        Box::pin(async move {
            lock(&self.asked).push(id.clone());
            let running = self.running.fetch_add(1, Ordering::Relaxed) + 1;
            self.most_running.fetch_max(running, Ordering::Relaxed);
            sleep(self.takes).await;
            self.running.fetch_sub(1, Ordering::Relaxed);
            if self.is_away.load(Ordering::Relaxed) {
                return Err(FetchError::Away("connection refused".to_owned()));
            }
            let behind = SignedDuration::from_secs(self.behind.load(Ordering::Relaxed));
            let now = wall(self.since) - behind;
            let request = Request::from_pem(&request).unwrap();
            let signed = self.signer.sign(&request, &id, self.life, now).unwrap();
            Ok(Answer { chain: signed.chain, time: Some(now) })
        })
    }
}

/// Certificates from a desk, for as long as the other value lives.
fn identities(desk: &Arc<Desk>, kept: Option<Kept>) -> (Identities, JoinSet<()>) {
    let since = desk.since;
    let identities = Identities::new(kept, Box::new(move || wall(since)), 7);
    let mut running = JoinSet::new();
    running.spawn(identities.clone().run(Arc::clone(desk) as _));
    (identities, running)
}

fn id(name: impl std::fmt::Display) -> SpiffeId {
    format!("spiffe://cluster.local/ns/shop/sa/{name}").parse().unwrap()
}

fn serial(identities: &Identities) -> String {
    let report = identities.report();
    report.identities[0].certificate.as_ref().unwrap().facts.serial.clone()
}

#[tokio::test(start_paused = true)]
async fn a_connection_has_a_certificate_as_soon_as_there_is_one() {
    let desk = Arc::new(Desk::new(3600));
    let (identities, _running) = identities(&desk, None);
    assert_eq!(identities.certified(&id("web")).await.unwrap_err(), NoCertificate::Unknown);
    identities.trust(desk.signer.roots().clone());
    identities.want(&[id("web")].into());
    let before = Instant::now();
    let certified = identities.certified(&id("web")).await.unwrap();
    assert!(before.elapsed() < Duration::from_secs(1));
    let roots = identities.bundle().borrow().clone();
    roots.verify(&certified.cert, wall(desk.since), Side::Client).unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_connection_waits_five_seconds_and_is_refused_by_name() {
    let desk = Arc::new(Desk::new(3600));
    desk.is_away.store(true, Ordering::Relaxed);
    let (identities, _running) = identities(&desk, None);
    identities.trust(desk.signer.roots().clone());
    identities.want(&[id("web")].into());
    let before = Instant::now();
    let refused = identities.certified(&id("web")).await.unwrap_err();
    assert_eq!(refused.to_string(), "no-certificate");
    let waited = before.elapsed().as_secs_f64();
    assert!((4.9..5.1).contains(&waited), "{waited}");
    let report = identities.report();
    let turn = &report.identities[0].turn;
    assert!(turn.last_error.as_ref().unwrap().contains("connection refused"), "{turn:?}");
    assert!(report.outcomes["unreachable"] >= 3, "{:?}", report.outcomes);
}

#[tokio::test(start_paused = true)]
async fn while_the_authority_is_away_the_old_certificate_is_used_until_it_ends() {
    let desk = Arc::new(Desk::new(60));
    let (identities, _running) = identities(&desk, None);
    identities.trust(desk.signer.roots().clone());
    identities.want(&[id("web")].into());
    identities.certified(&id("web")).await.unwrap();
    let (first, since) = (serial(&identities), Instant::now());
    desk.is_away.store(true, Ordering::Relaxed);
    while since.elapsed() < Duration::from_secs(59) {
        identities.certified(&id("web")).await.unwrap();
        sleep(Duration::from_millis(500)).await;
    }
    assert_eq!(serial(&identities), first);
    sleep(Duration::from_secs(3)).await;
    let refused = identities.certified(&id("web")).await.unwrap_err();
    assert_eq!(refused.to_string(), "certificate-expired");
    desk.is_away.store(false, Ordering::Relaxed);
    sleep(Duration::from_secs(151)).await;
    identities.certified(&id("web")).await.unwrap();
    assert_ne!(serial(&identities), first);
}

#[tokio::test(start_paused = true)]
async fn a_certificate_is_renewed_before_it_ends_for_as_long_as_its_pod_is_here() {
    let desk = Arc::new(Desk::new(3600));
    let (identities, _running) = identities(&desk, None);
    identities.trust(desk.signer.roots().clone());
    identities.want(&[id("web")].into());
    let mut seen = BTreeSet::new();
    for _ in 0..48 {
        identities.certified(&id("web")).await.unwrap();
        seen.insert(serial(&identities));
        sleep(Duration::from_mins(10)).await;
    }
    assert!((12..=22).contains(&seen.len()), "{} in 8 hours", seen.len());
    identities.want(&BTreeSet::new());
    sleep(Duration::from_secs(61)).await;
    assert_eq!(identities.certified(&id("web")).await.unwrap_err(), NoCertificate::Unknown);
    assert!(identities.report().identities.is_empty());
}

#[tokio::test(start_paused = true)]
async fn many_pods_ask_eight_at_a_time_and_a_connection_goes_first() {
    let desk = Arc::new(Desk { takes: Duration::from_secs(1), ..Desk::new(3600) });
    let (identities, _running) = identities(&desk, None);
    identities.trust(desk.signer.roots().clone());
    identities.want(&(100..200).map(id).collect());
    sleep(Duration::from_millis(500)).await;
    let before = Instant::now();
    identities.certified(&id(199)).await.unwrap();
    assert!(before.elapsed() < Duration::from_secs(2), "{:?}", before.elapsed());
    sleep(Duration::from_secs(20)).await;
    assert_eq!(desk.most_running.load(Ordering::Relaxed), 8);
    assert_eq!(lock(&desk.asked).len(), 100);
    assert_eq!(lock(&desk.asked)[8], id(199));
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_is_off_is_told_and_one_that_is_far_off_gets_no_certificate() {
    let desk = Arc::new(Desk::new(3600));
    desk.behind.store(31, Ordering::Relaxed);
    let (identities, _running) = identities(&desk, None);
    identities.trust(desk.signer.roots().clone());
    identities.want(&[id("web")].into());
    identities.certified(&id("web")).await.unwrap();
    assert_eq!(identities.report().skew, Some(SignedDuration::from_secs(31)));
    for behind in [600, -600] {
        desk.behind.store(behind, Ordering::Relaxed);
        let other = id(format!("other{}", behind + 1000));
        identities.want(&[other.clone()].into());
        assert!(identities.certified(&other).await.is_err());
        let report = identities.report();
        let view = report.identities.iter().find(|view| view.id == other).unwrap();
        let error = view.turn.last_error.clone().unwrap();
        let side = if behind > 0 { "600 s ahead of the CA's" } else { "600 s behind the CA's" };
        assert!(error.contains(side), "{error}");
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_is_believed_before_roots_are_known_or_under_others() {
    let desk = Arc::new(Desk::new(3600));
    let (identities, _running) = identities(&desk, None);
    identities.want(&[id("web")].into());
    assert_eq!(identities.certified(&id("web")).await.unwrap_err(), NoCertificate::Missing);
    assert!(identities.report().outcomes["no-roots"] >= 1);
    identities.trust(Desk::new(3600).signer.roots().clone());
    assert_eq!(identities.certified(&id("web")).await.unwrap_err(), NoCertificate::Missing);
    assert!(identities.report().outcomes["unusable"] >= 1);
    identities.trust(desk.signer.roots().clone());
    sleep(Duration::from_secs(20)).await;
    identities.certified(&id("web")).await.unwrap();
    // Under other roots what is held is renewed at once.
    let (first, asked) = (serial(&identities), lock(&desk.asked).len());
    let other = Desk::new(3600);
    identities.trust(other.signer.roots().clone().with(desk.signer.roots()));
    sleep(Duration::from_secs(5)).await;
    assert_eq!((serial(&identities), lock(&desk.asked).len()), (first, asked));
    identities.trust(other.signer.roots().clone());
    sleep(Duration::from_secs(1)).await;
    assert!(lock(&desk.asked).len() > asked);
}

/// `/dev/shm` is a tmpfs on every Linux.
fn tmpfs() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_restart_needs_no_authority() {
    use std::os::unix::fs::PermissionsExt as _;

    let run_dir = tmpfs();
    let desk = Arc::new(Desk::new(3600));
    let (first, _running) = identities(&desk, Kept::open(run_dir.path()).unwrap());
    first.trust(desk.signer.roots().clone());
    first.want(&[id("web"), id("gone")].into());
    first.certified(&id("web")).await.unwrap();
    first.certified(&id("gone")).await.unwrap();
    let certificate = first.report().identities[1].certificate.clone().unwrap();
    assert!(first.report().is_kept && first.report().not_kept.is_none());
    let folder = run_dir.path().join("identity");
    let mode =
        |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&folder), 0o700);
    let files: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|it| it.unwrap().path()).collect();
    assert_eq!(files.len(), 3);
    assert!(files.iter().all(|file| mode(file) == 0o600), "{files:?}");

    desk.is_away.store(true, Ordering::Relaxed);
    let asked = lock(&desk.asked).len();
    let (second, _running) = identities(&desk, Kept::open(run_dir.path()).unwrap());
    second.want(&[id("web")].into());
    let certified = second.certified(&id("web")).await.unwrap();
    assert_eq!(certified.cert, certificate.chain);
    assert_eq!(lock(&desk.asked).len(), asked);
    sleep(Duration::from_secs(61)).await;
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 2);
    // An hour later it has ended, and is not taken.
    sleep(Duration::from_hours(1)).await;
    let (third, _running) = identities(&desk, Kept::open(run_dir.path()).unwrap());
    third.want(&[id("web")].into());
    assert_eq!(third.certified(&id("web")).await.unwrap_err(), NoCertificate::Missing);
}

#[tokio::test(start_paused = true)]
async fn a_kept_file_that_was_changed_is_not_used() {
    let run_dir = tmpfs();
    let desk = Arc::new(Desk::new(3600));
    let (first, _running) = identities(&desk, Kept::open(run_dir.path()).unwrap());
    first.trust(desk.signer.roots().clone());
    first.want(&[id("web"), id("cart")].into());
    first.certified(&id("web")).await.unwrap();
    first.certified(&id("cart")).await.unwrap();
    let folder = run_dir.path().join("identity");
    let mut files: Vec<_> =
        std::fs::read_dir(&folder).unwrap().map(|it| it.unwrap().path()).collect();
    files.retain(|file| !file.ends_with("trust.pem"));
    // One under the other's name; the other cut off.
    let text = std::fs::read(&files[0]).unwrap();
    std::fs::write(&files[1], &text).unwrap();
    std::fs::write(&files[0], &text[..text.len() / 2]).unwrap();
    desk.is_away.store(true, Ordering::Relaxed);
    let (second, _running) = identities(&desk, Kept::open(run_dir.path()).unwrap());
    second.want(&[id("web"), id("cart")].into());
    assert!(second.report().identities.iter().all(|view| view.certificate.is_none()));
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 1);
}
