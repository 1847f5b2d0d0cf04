use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use agent_model::names::{Answer, MAX_ADDRESSES, Trouble};
use futures_util::FutureExt as _;
use tempfile::TempDir;
use tokio::time::{advance, sleep};

use super::{cache::Heard, *};

const DB: &str = "db.example.com";
const TTL: u64 = 20;
const GRACE: u64 = 30;
const RATES: Rates = Rates { least: Duration::from_secs(5), grace: Duration::from_secs(GRACE) };

/// A name server that says what it is told to.
#[derive(Default)]
struct Script {
    replies: Mutex<BTreeMap<String, Reply>>,
    asked: Mutex<Vec<Instant>>,
    at_once: Mutex<(usize, usize)>,
}

impl Ask for Arc<Script> {
    fn ask(&self, name: Arc<str>) -> BoxFuture<'static, Reply> {
        let script = Arc::clone(self);
        async move {
            script.asked.lock().unwrap().push(Instant::now());
            let mut at_once = *script.at_once.lock().unwrap();
            at_once.0 += 1;
            at_once.1 = at_once.1.max(at_once.0);
            *script.at_once.lock().unwrap() = at_once;
            sleep(Duration::from_millis(1)).await;
            script.at_once.lock().unwrap().0 -= 1;
            let replies = script.replies.lock().unwrap();
            replies.get(&*name).cloned().unwrap_or_else(|| both_fail("no such name (NXDOMAIN)"))
        }
        .boxed()
    }
}

struct Rig {
    script: Arc<Script>,
    known: Known,
    ends: Ends,
    _task: JoinSet<()>,
    dir: TempDir,
}

fn addresses(all: &[&str]) -> Vec<IpAddr> {
    all.iter().map(|one| one.parse().unwrap()).collect()
}

fn heard(all: &[&str], ttl: u64) -> Heard {
    if all.is_empty() {
        return Heard::Nothing;
    }
    Heard::Addresses(addresses(all), Duration::from_secs(ttl))
}

fn both_fail(why: &str) -> Reply {
    Reply { v4: Heard::Failed(why.into()), v6: Heard::Failed(why.into()) }
}

impl Rig {
    /// A resolver that is asked for one name and has had time for it.
    async fn of(reply: Reply) -> Self {
        let rig = Self::start(tempfile::tempdir().unwrap());
        rig.says(reply);
        rig.want(&[DB]);
        sleep(Duration::from_millis(100)).await;
        rig
    }

    fn start(dir: TempDir) -> Self {
        let script = Arc::new(Script::default());
        let ask = Arc::new(Arc::clone(&script));
        let file = (dir.path().join("names.snapshot"), "node-1");
        let (resolver, ends) = Resolver::new(ask, RATES, file.0, file.1);
        let known = resolver.known();
        let mut task = JoinSet::new();
        task.spawn(resolver.run());
        Self { script, known, ends, _task: task, dir }
    }

    fn says(&self, reply: Reply) {
        self.script.replies.lock().unwrap().insert(DB.into(), reply);
    }

    fn want(&self, names: &[&str]) {
        let names = names.iter().map(|name| Arc::from(*name)).collect();
        self.ends.want(&Wanted { names, ..Wanted::default() });
    }

    fn answer(&self) -> Option<Answer> {
        self.ends.answers.borrow().get(DB).map(|answer| (**answer).clone())
    }

    /// Current, lingering and former addresses.
    fn standing(&self) -> [Vec<IpAddr>; 3] {
        let answer = self.answer().unwrap();
        [answer.current, answer.lingering, answer.former]
    }

    /// Whole seconds from the start of each question to the next one.
    fn gaps(&self) -> Vec<u64> {
        let asked = self.script.asked.lock().unwrap();
        let half = Duration::from_millis(500);
        asked.windows(2).map(|pair| (pair[1] - pair[0] + half).as_secs()).collect()
    }
}

#[tokio::test(start_paused = true)]
async fn an_address_is_allowed_until_its_ttl_and_the_grace_have_passed() {
    let v4 = heard(&["203.0.113.1", "203.0.113.2"], TTL);
    let rig = Rig::of(Reply { v4, v6: heard(&["2001:db8::1"], TTL) }).await;
    let all = addresses(&["203.0.113.1", "203.0.113.2", "2001:db8::1"]);
    assert_eq!(rig.standing(), [all, vec![], vec![]]);

    rig.says(Reply { v4: heard(&["203.0.113.2", "203.0.113.3"], TTL), v6: Heard::Nothing });
    sleep(Duration::from_secs(TTL)).await;
    let now = addresses(&["203.0.113.2", "203.0.113.3"]);
    let left = addresses(&["203.0.113.1", "2001:db8::1"]);
    assert_eq!(rig.standing(), [now.clone(), left.clone(), vec![]]);
    sleep(Duration::from_secs(GRACE - 1)).await;
    assert_eq!(rig.standing(), [now.clone(), left.clone(), vec![]]);
    sleep(Duration::from_secs(2)).await;
    assert_eq!(rig.standing(), [now, vec![], left]);

    rig.says(Reply { v4: heard(&["203.0.113.1"], TTL), v6: Heard::Nothing });
    sleep(Duration::from_secs(TTL)).await;
    let [current, lingering, former] = rig.standing();
    assert_eq!(current, addresses(&["203.0.113.1"]), "it is back");
    assert_eq!(lingering, addresses(&["203.0.113.2", "203.0.113.3"]));
    assert_eq!(former, addresses(&["2001:db8::1"]));
}

/// A longer TTL than the mesh's rate: caches hand the address out until it has passed.
#[tokio::test(start_paused = true)]
async fn an_address_that_is_seen_to_go_early_is_allowed_for_the_ttl_that_it_had() {
    let rig = Rig::of(Reply { v4: heard(&["203.0.113.1"], 600), v6: Heard::Nothing }).await;
    rig.says(Reply { v4: heard(&["203.0.113.2"], 600), v6: Heard::Nothing });
    sleep(Duration::from_mins(1)).await;
    assert_eq!(rig.standing()[0], addresses(&["203.0.113.2"]));
    sleep(Duration::from_secs(600 + GRACE - 61)).await;
    assert_eq!(rig.standing()[1], addresses(&["203.0.113.1"]));
    sleep(Duration::from_secs(2)).await;
    assert_eq!(rig.standing()[1], addresses(&[]));
}

#[tokio::test(start_paused = true)]
async fn questions_follow_the_ttl_between_the_least_and_the_meshs_rate() {
    for (ttl, expected) in [(0, 5), (1, 5), (20, 20), (86_400, 60)] {
        let rig = Rig::of(Reply { v4: heard(&["203.0.113.1"], ttl), v6: Heard::Nothing }).await;
        sleep(Duration::from_secs(expected * 3)).await;
        assert_eq!(rig.gaps(), [expected; 3], "a TTL of {ttl}");
    }
    let rig = Rig::of(Reply { v4: heard(&["203.0.113.1"], 600), v6: heard(&["2001:db8::1"], 7) });
    let rig = rig.await;
    sleep(Duration::from_secs(8)).await;
    assert_eq!(rig.gaps(), [7], "the shorter of the two");
    let rig = Rig::of(Reply { v4: heard(&["203.0.113.1"], 600), v6: Heard::Nothing }).await;
    sleep(Duration::from_secs(10)).await;
    let (names, refresh) = (BTreeSet::from([DB.into()]), Duration::from_secs(6));
    rig.ends.want(&Wanted { names, refresh });
    sleep(Duration::from_secs(13)).await;
    assert_eq!(rig.gaps(), [16, 6], "a new rate counts at once");
}

#[tokio::test(start_paused = true)]
async fn a_failure_keeps_the_answer_and_is_tried_again_ever_less_often() {
    let whole = Reply { v4: heard(&["203.0.113.1"], TTL), v6: heard(&["2001:db8::1"], TTL) };
    let rig = Rig::of(whole).await;
    let before = rig.answer();
    for why in ["no name server answers", "the name server says SERVFAIL", "NXDOMAIN"] {
        rig.says(both_fail(why));
        sleep(Duration::from_mins(10)).await;
        assert_eq!(rig.answer(), before, "{why}");
        assert_eq!(rig.known.view()[0].error.as_deref(), Some(why));
    }
    assert_eq!(rig.gaps()[..9], [TTL, 1, 2, 4, 8, 16, 32, 60, 60]);
    rig.says(Reply { v4: Heard::Nothing, v6: Heard::Nothing });
    sleep(Duration::from_mins(2)).await;
    assert_eq!(rig.answer(), before, "no address at all is a failure, too");

    rig.says(Reply { v4: heard(&["203.0.113.9"], TTL), v6: heard(&["2001:db8::1"], TTL) });
    sleep(Duration::from_mins(1)).await;
    assert_eq!(rig.standing()[0], addresses(&["203.0.113.9", "2001:db8::1"]));
    assert_eq!(rig.known.view()[0].error, None);
}

#[tokio::test(start_paused = true)]
async fn one_family_that_fails_keeps_what_it_had() {
    let rig =
        Rig::of(Reply { v4: heard(&["203.0.113.1"], TTL), v6: heard(&["2001:db8::1"], TTL) }).await;
    let v6 = Heard::Failed("the name server says SERVFAIL".into());
    rig.says(Reply { v4: heard(&["203.0.113.2"], TTL), v6 });
    sleep(Duration::from_secs(TTL + 1)).await;
    let [current, lingering, _] = rig.standing();
    assert_eq!(current, addresses(&["203.0.113.2", "2001:db8::1"]));
    assert_eq!(lingering, addresses(&["203.0.113.1"]));
    let error = rig.known.view()[0].error.clone().unwrap();
    assert_eq!(error, "AAAA: the name server says SERVFAIL");
}

#[tokio::test(start_paused = true)]
async fn a_name_that_was_never_heard_of_is_in_trouble() {
    let rig = Rig::of(both_fail("no such name (NXDOMAIN)")).await;
    let expected = Answer { trouble: Some(Trouble::Unresolved), ..Answer::default() };
    assert_eq!(rig.answer(), Some(expected));
    rig.says(Reply { v4: heard(&["203.0.113.1"], TTL), v6: Heard::Nothing });
    sleep(Duration::from_secs(2)).await;
    assert_eq!(rig.answer().unwrap().trouble, None);
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_does_not_fit_is_not_taken_in_part() {
    let rig = Rig::of(Reply { v4: heard(&["203.0.113.1"], TTL), v6: Heard::Nothing }).await;
    let many: Vec<String> = (0..=MAX_ADDRESSES).map(|at| format!("2001:db8::{at:x}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    rig.says(Reply { v4: Heard::Nothing, v6: heard(&many, TTL) });
    sleep(Duration::from_secs(TTL + 1)).await;
    let answer = rig.answer().unwrap();
    assert_eq!(answer.current, addresses(&["203.0.113.1"]));
    assert_eq!(answer.trouble, Some(Trouble::TooMany { found: MAX_ADDRESSES + 1 }));
    rig.says(Reply { v4: Heard::Nothing, v6: heard(&many[1..], TTL) });
    sleep(Duration::from_mins(1)).await;
    let answer = rig.answer().unwrap();
    assert_eq!((answer.current.len(), answer.trouble), (MAX_ADDRESSES, None));
    assert!(answer.lingering.is_empty(), "there is no room for what it has left");
    assert_eq!(answer.former, addresses(&["203.0.113.1"]));
}

#[tokio::test(start_paused = true)]
async fn an_answer_in_another_order_changes_nothing() {
    let mut rig =
        Rig::of(Reply { v4: heard(&["203.0.113.1", "203.0.113.2"], TTL), v6: Heard::Nothing })
            .await;
    rig.ends.answers.mark_unchanged();
    rig.says(Reply { v4: heard(&["203.0.113.2", "203.0.113.1"], TTL), v6: Heard::Nothing });
    sleep(Duration::from_secs(TTL * 3)).await;
    assert!(!rig.ends.answers.has_changed().unwrap());
}

#[tokio::test(start_paused = true)]
async fn a_successor_knows_what_its_predecessor_knew_before_it_has_asked() {
    let v4 = heard(&["203.0.113.1", "203.0.113.2", "203.0.113.3"], TTL);
    let rig = Rig::of(Reply { v4, v6: heard(&["2001:db8::1"], TTL) }).await;
    rig.says(Reply { v4: heard(&["203.0.113.1", "203.0.113.2"], TTL), v6: Heard::Nothing });
    sleep(Duration::from_secs(TTL + GRACE + 1)).await;
    rig.says(Reply { v4: heard(&["203.0.113.1"], TTL), v6: Heard::Nothing });
    sleep(Duration::from_secs(TTL)).await;
    let before = rig.standing();
    assert!(before.iter().all(|part| !part.is_empty()), "{before:?}");
    sleep(Duration::from_secs(2)).await;
    let Rig { dir, .. } = rig;

    let rig = Rig::start(dir);
    assert_eq!(rig.standing(), before);
    rig.want(&[DB]);
    sleep(Duration::from_secs(1)).await;
    assert_eq!(rig.standing(), before, "the name server does not know it");
    assert!(rig.known.view()[0].error.is_some());
    // The clock on the wall did not stand still with the paused one, so no more than a grace.
    sleep(Duration::from_secs(GRACE + TTL)).await;
    let [current, lingering, former] = rig.standing();
    assert_eq!((&current, lingering.len()), (&before[0], 0));
    assert_eq!(former.len(), before[1].len() + before[2].len());
}

#[tokio::test(start_paused = true)]
async fn a_name_that_is_not_wanted_any_more_is_forgotten() {
    let rig = Rig::of(Reply { v4: heard(&["203.0.113.1"], TTL), v6: Heard::Nothing }).await;
    rig.want(&[]);
    sleep(Duration::from_secs(1)).await;
    assert_eq!((rig.answer(), rig.known.view().len()), (None, 0));
    let asked = rig.gaps().len();
    sleep(Duration::from_mins(5)).await;
    assert_eq!(rig.gaps().len(), asked);
}

#[tokio::test(start_paused = true)]
async fn many_names_are_asked_for_a_few_at_a_time_and_published_in_batches() {
    let mut rig = Rig::start(tempfile::tempdir().unwrap());
    let names: Vec<String> = (0..500).map(|at| format!("n{at}.example.com")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    rig.want(&names);
    let mut publications = 0;
    while rig.ends.answers.borrow_and_update().iter().count() < names.len() {
        rig.ends.answers.changed().await.unwrap();
        publications += 1;
    }
    assert!(publications <= 2, "{publications}");
    assert_eq!(*rig.script.at_once.lock().unwrap(), (0, MOST_QUESTIONS));
    advance(Duration::from_millis(1)).await;
}

#[tokio::test]
async fn a_broken_file_is_not_used_and_a_missing_one_is_no_trouble() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("names.snapshot"), "nonsense\n").unwrap();
    assert_eq!(Rig::start(dir).answer(), None);
}
