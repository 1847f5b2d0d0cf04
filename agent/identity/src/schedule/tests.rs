use super::*;

struct World {
    schedule: Schedule,
    now: Now,
}

impl World {
    fn new() -> Self {
        let wall = "2026-01-01T00:00:00Z".parse().unwrap();
        Self { schedule: Schedule::new(7), now: Now { tick: Duration::ZERO, wall } }
    }

    fn pass(&mut self, seconds: f64) {
        self.now.tick += Duration::from_secs_f64(seconds);
        self.now.wall = later(self.now.wall, seconds);
    }

    fn want(&mut self, ids: &[SpiffeId]) {
        self.schedule.want(&ids.iter().cloned().collect(), self.now);
    }

    /// What is begun now, in order.
    fn begin(&mut self) -> Vec<(SpiffeId, Ticket)> {
        let fetch = |action| match action {
            Action::Fetch(id, ticket) => Some((id, ticket)),
            Action::Drop(_) => None,
        };
        self.schedule.due(self.now).into_iter().filter_map(fetch).collect()
    }

    fn begin_one(&mut self) -> (SpiffeId, Ticket) {
        let mut begun = self.begin();
        assert_eq!(begun.len(), 1, "{begun:?}");
        begun.remove(0)
    }

    fn succeed(&mut self, (id, ticket): &(SpiffeId, Ticket), life: f64) {
        let not_after = later(self.now.wall, life);
        assert!(self.schedule.fetched(id, *ticket, not_after, self.now));
    }

    fn fail(&mut self, (id, ticket): &(SpiffeId, Ticket)) {
        self.schedule.failed(id, *ticket, "away".to_owned(), self.now);
    }

    /// Waits until the next request begins, and says how long that took.
    fn until_next(&mut self) -> (f64, (SpiffeId, Ticket)) {
        let mut waited = 0.0;
        for _ in 0..1000 {
            if let Some(begun) = self.begin().into_iter().next() {
                return (waited, begun);
            }
            let idle = self.schedule.idle(self.now).expect("something is to come");
            // As a sleep, which never ends early.
            let pause = idle.as_secs_f64() + 0.001;
            self.pass(pause);
            waited += pause;
        }
        panic!("nothing begins");
    }
}

fn id(name: impl std::fmt::Display) -> SpiffeId {
    format!("spiffe://cluster.local/ns/shop/sa/{name}").parse().unwrap()
}

const DAY: f64 = 24.0 * 3600.0;

#[test]
fn a_certificate_is_asked_for_when_a_pod_appears_and_once() {
    let mut world = World::new();
    assert_eq!(world.begin(), []);
    world.want(&[id("web")]);
    world.want(&[id("web")]);
    let begun = world.begin_one();
    assert_eq!(begun.0, id("web"));
    world.want(&[id("web")]);
    assert_eq!(world.begin(), []);
    world.succeed(&begun, DAY);
    assert_eq!(world.begin(), []);
    assert_eq!(world.schedule.find(&id("web"), world.now), Found::Held);
}

#[test]
fn a_certificate_is_renewed_around_half_its_life_and_not_all_at_once() {
    let mut world = World::new();
    let ids: Vec<_> = (0..200).map(id).collect();
    world.want(&ids);
    loop {
        let begun = world.begin();
        if begun.is_empty() {
            break;
        }
        for one in begun {
            world.succeed(&one, DAY);
        }
    }
    let start = world.now.wall;
    let renewals: Vec<f64> = world
        .schedule
        .views(world.now)
        .map(|(_, view)| view.held.unwrap().renew.duration_since(start).as_secs_f64() / DAY)
        .collect();
    assert_eq!(renewals.len(), 200);
    assert!(renewals.iter().all(|at| (0.4..=0.6).contains(at)), "{renewals:?}");
    let (least, most) =
        renewals.iter().fold((1.0, 0.0), |(l, m): (f64, f64), at| (l.min(*at), m.max(*at)));
    assert!(least < 0.42 && most > 0.58, "from {least} to {most}");
    world.pass(0.39 * DAY);
    assert_eq!(world.begin(), []);
    let (_, renewal) = world.until_next();
    world.succeed(&renewal, DAY);
    assert_eq!(world.schedule.find(&renewal.0, world.now), Found::Held);
}

#[test]
fn pauses_double_with_jitter_up_to_150_seconds() {
    let mut world = World::new();
    world.want(&[id("web")]);
    let mut begun = world.begin_one();
    let mut base = 0.5;
    for _ in 0..14 {
        world.fail(&begun);
        let (waited, next) = world.until_next();
        let (least, most) = (0.8 * base - 0.01, f64::min(1.2 * base, 150.0) + 0.01);
        assert!((least..=most).contains(&waited), "{waited} is not within {least} and {most}");
        base = f64::min(2.0 * base, 150.0);
        begun = next;
    }
    world.succeed(&begun, DAY);
    let view = world.schedule.views(world.now).next().unwrap().1;
    assert_eq!((view.failures, view.last_error), (0, None));
}

#[test]
fn a_pause_is_of_one_identity() {
    let mut world = World::new();
    world.want(&[id("one")]);
    let begun = world.begin_one();
    for _ in 0..3 {
        world.fail(&begun);
    }
    world.want(&[id("one"), id("two")]);
    assert_eq!(world.begin_one().0, id("two"));
}

#[test]
fn the_last_try_is_a_minute_before_the_end() {
    let mut world = World::new();
    world.want(&[id("web")]);
    let begun = world.begin_one();
    world.succeed(&begun, 600.0);
    let ends = later(world.now.wall, 600.0);
    let (_, mut renewal) = world.until_next();
    let mut tries = Vec::new();
    while world.now.wall < ends {
        world.fail(&renewal);
        renewal = world.until_next().1;
        tries.push(ends.duration_since(world.now.wall).as_secs_f64());
    }
    let is_last_try = |before: &f64| (59.0..=60.0).contains(before);
    assert!(tries.iter().any(is_last_try), "{tries:?}");
}

#[test]
fn at_most_eight_run_and_connections_go_first_then_pods_then_renewals() {
    let mut world = World::new();
    world.want(&[id("old")]);
    let old = world.begin_one();
    world.succeed(&old, 100.0);
    world.pass(61.0);
    let ids: Vec<_> = (10..30).map(id).chain([id("old")]).collect();
    world.want(&ids);
    // Of those that appeared together the last is one that a connection waits for.
    assert_eq!(world.schedule.find(&id(29), world.now), Found::Pending);
    let mut begun = world.begin();
    let names =
        |begun: &[(SpiffeId, Ticket)]| begun.iter().map(|(id, _)| id.clone()).collect::<Vec<_>>();
    let expected: Vec<_> = [29].into_iter().chain(10..17).map(id).collect();
    assert_eq!(names(&begun), expected);
    assert_eq!(world.begin(), [], "eight run");
    // One that is queued is raised by a connection.
    assert_eq!(world.schedule.find(&id(25), world.now), Found::Pending);
    let mut order = Vec::new();
    while let Some(one) = begun.pop() {
        world.succeed(&one, DAY);
        let next = world.begin();
        order.extend(names(&next));
        begun.extend(next);
    }
    let expected: Vec<_> = [25].into_iter().chain(17..25).chain(26..29).map(id).collect();
    assert_eq!(order, [expected, vec![id("old")]].concat());
}

#[test]
fn a_certificate_is_dropped_a_minute_after_its_last_pod_left() {
    let mut world = World::new();
    world.want(&[id("web")]);
    let begun = world.begin_one();
    world.succeed(&begun, DAY);
    world.want(&[]);
    world.pass(59.0);
    assert_eq!(world.schedule.due(world.now), []);
    assert_eq!(world.schedule.find(&id("web"), world.now), Found::Held);
    // A pod that comes back stops the clock.
    world.want(&[id("web")]);
    world.pass(59.0);
    assert_eq!(world.schedule.due(world.now), []);
    world.want(&[]);
    let idle = world.schedule.idle(world.now).unwrap();
    assert!(idle <= Duration::from_mins(1), "{idle:?}");
    world.pass(60.0);
    assert_eq!(world.schedule.due(world.now), [Action::Drop(id("web"))]);
    assert_eq!(world.schedule.find(&id("web"), world.now), Found::Unknown);
}

#[test]
fn what_comes_for_an_identity_that_has_gone_is_not_taken() {
    let mut world = World::new();
    world.want(&[id("web")]);
    let (web, ticket) = world.begin_one();
    world.want(&[]);
    world.pass(60.0);
    assert_eq!(world.schedule.due(world.now), [Action::Drop(id("web"))]);
    // It is back before the answer to the first request comes.
    world.want(&[id("web")]);
    let second = world.begin_one();
    let ends = later(world.now.wall, DAY);
    assert!(!world.schedule.fetched(&web, ticket, ends, world.now));
    assert_eq!(world.schedule.find(&web, world.now), Found::Pending);
    world.succeed(&second, DAY);
    assert_eq!(world.schedule.find(&web, world.now), Found::Held);
}

#[test]
fn a_certificate_that_ended_is_not_found_and_is_asked_for_first() {
    let mut world = World::new();
    world.want(&[id("web")]);
    let begun = world.begin_one();
    world.succeed(&begun, 60.0);
    let (_, mut renewal) = world.until_next();
    while world.schedule.find(&id("web"), world.now) == Found::Held {
        world.fail(&renewal);
        renewal = world.until_next().1;
    }
    assert_eq!(world.schedule.find(&id("web"), world.now), Found::Expired);
    world.succeed(&renewal, 60.0);
    assert_eq!(world.schedule.find(&id("web"), world.now), Found::Held);
}

#[test]
fn the_authority_comes_back_and_is_asked_within_150_seconds() {
    let mut world = World::new();
    world.want(&[id("web")]);
    let mut begun = world.begin_one();
    for _ in 0..40 {
        world.fail(&begun);
        let (waited, next) = world.until_next();
        assert!(waited <= 150.01, "{waited}");
        begun = next;
    }
}

#[test]
fn what_is_overdue_after_a_start_is_renewed_within_ten_minutes_but_before_it_ends() {
    let mut world = World::new();
    let received = later(world.now.wall, -0.9 * DAY);
    let ids: Vec<_> = (0..50).map(id).collect();
    for id in &ids {
        world.schedule.restore(id.clone(), later(world.now.wall, 0.1 * DAY), received, world.now);
    }
    let short = id("short");
    world.schedule.restore(short.clone(), later(world.now.wall, 100.0), received, world.now);
    let young = id("young");
    world.schedule.restore(young.clone(), later(world.now.wall, DAY), world.now.wall, world.now);
    world.want(&[ids.clone(), vec![short.clone(), young.clone()]].concat());
    assert!(world.begin().len() <= 2, "not all at once");
    let renewals: BTreeMap<_, _> = world
        .schedule
        .views(world.now)
        .map(|(id, view)| {
            (id.clone(), view.held.unwrap().renew.duration_since(world.now.wall).as_secs_f64())
        })
        .collect();
    assert!(ids.iter().all(|id| (0.0..=600.0).contains(&renewals[id])), "{renewals:?}");
    assert!(renewals[&short] <= 40.0 && renewals[&young] > 0.39 * DAY, "{renewals:?}");
    assert_eq!(world.schedule.find(&short, world.now), Found::Held);
}

#[test]
fn the_time_of_day_may_jump() {
    let mut world = World::new();
    world.want(&[id("web")]);
    let begun = world.begin_one();
    world.succeed(&begun, DAY);
    // Set forward by two days: what is held has ended, and is renewed at once.
    world.now.wall = later(world.now.wall, 2.0 * DAY);
    assert_eq!(world.schedule.find(&id("web"), world.now), Found::Expired);
    let renewal = world.begin_one();
    world.succeed(&renewal, DAY);
    // Set back: pauses and partings go by the clock that only goes forward.
    world.now.wall = later(world.now.wall, -2.0 * DAY);
    world.want(&[]);
    world.pass(60.0);
    assert_eq!(world.schedule.due(world.now), [Action::Drop(id("web"))]);
}

#[test]
fn age_is_counted_from_the_receipt() {
    let received: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
    let held = Held { received, not_after: later(received, 100.0), renew: received };
    assert!((held.age(later(received, 75.0)) - 0.75).abs() < 1e-9);
    assert!(held.age(later(received, -10.0)).abs() < 1e-9);
    assert!(held.age(later(received, 200.0)) >= 1.0);
}
