//! Dialling several endpoints: another one beside each that does not answer soon (as RFC 8305 has it for
//! addresses of one host), and at once in the place of each that fails. The first that answers is taken.

use std::{
    future::poll_fn,
    pin::{Pin, pin},
    task::Poll,
    time::Duration,
};

use tokio::time::{Instant, sleep};

use crate::UpstreamAddr;

/// How long an endpoint has before another one is dialled beside it.
pub(crate) const STAGGER: Duration = Duration::from_millis(250);
/// How many are dialled in all.
pub(crate) const MOST: usize = 3;

/// What a race is about.
pub(crate) struct Race<D, N, L> {
    /// Dials an endpoint.
    pub(crate) dial: D,
    /// Names another endpoint, where there is one that was not dialled.
    pub(crate) another: N,
    /// Takes note of an endpoint that did not answer, or not in time.
    pub(crate) lost: L,
}

impl<D, N, L> Race<D, N, L> {
    /// Dials. An error that `is_final` is the end of it; else it is the last one's.
    pub(crate) async fn run<F, T, E>(
        mut self,
        first: UpstreamAddr,
        is_final: fn(&E) -> bool,
    ) -> (UpstreamAddr, Result<T, E>)
    where
        D: Fn(UpstreamAddr) -> F,
        N: FnMut() -> Option<UpstreamAddr>,
        L: Fn(UpstreamAddr),
        F: Future<Output = Result<T, E>>,
    {
        // On its own: mostly it is the only one, and costs nothing more than itself.
        let mut dialling = pin!((self.dial)(first));
        let mut runs = true;
        let mut others: Vec<(UpstreamAddr, Pin<Box<F>>)> = Vec::new();
        let mut pause = pin!(sleep(STAGGER));
        let mut left = MOST - 1;
        loop {
            let ended = tokio::select! {
                biased;
                outcome = dialling.as_mut(), if runs => {
                    runs = false;
                    Some((first, outcome))
                }
                ended = next(&mut others), if !others.is_empty() => Some(ended),
                () = pause.as_mut(), if left > 0 => None,
            };
            match ended {
                None => {}
                Some((at, Ok(dialled))) => {
                    for (other, _) in &others {
                        (self.lost)(*other);
                    }
                    if runs {
                        (self.lost)(first);
                    }
                    return (at, Ok(dialled));
                }
                Some((at, Err(error))) if is_final(&error) => return (at, Err(error)),
                Some((at, Err(error))) => {
                    (self.lost)(at);
                    if !self.begin(&mut left, &mut others) && !runs && others.is_empty() {
                        return (at, Err(error));
                    }
                    pause.as_mut().reset(Instant::now() + STAGGER);
                    continue;
                }
            }
            self.begin(&mut left, &mut others);
            pause.as_mut().reset(Instant::now() + STAGGER);
        }
    }

    /// Dials another one. Says whether there is one.
    fn begin<F>(&mut self, left: &mut usize, others: &mut Vec<(UpstreamAddr, Pin<Box<F>>)>) -> bool
    where
        D: Fn(UpstreamAddr) -> F,
        N: FnMut() -> Option<UpstreamAddr>,
    {
        let Some(to) = Some(()).filter(|()| *left > 0).and_then(|()| (self.another)()) else {
            *left = 0;
            return false;
        };
        *left -= 1;
        others.push((to, Box::pin((self.dial)(to))));
        true
    }
}

/// The next of several to end, which is taken out.
async fn next<F: Future>(all: &mut Vec<(UpstreamAddr, Pin<Box<F>>)>) -> (UpstreamAddr, F::Output) {
    poll_fn(|context| {
        for at in 0..all.len() {
            if let Poll::Ready(output) = all[at].1.as_mut().poll(context) {
                let (to, _) = all.swap_remove(at);
                return Poll::Ready((to, output));
            }
        }
        Poll::Pending
    })
    .await
}

#[cfg(test)]
mod tests {
    use std::{
        cell::{Cell, RefCell},
        rc::Rc,
    };

    use super::*;

    fn endpoint(number: u16) -> UpstreamAddr {
        UpstreamAddr(([203, 0, 113, 1], number).into())
    }

    /// Endpoints by how they answer: after so many milliseconds, with an error below zero.
    async fn race(all: &'static [i64]) -> (u16, Result<u16, &'static str>, Vec<u16>, Duration) {
        let begun = Instant::now();
        let lost = Rc::new(RefCell::new(Vec::new()));
        let at = Cell::new(1);
        let of = |to: UpstreamAddr| all[usize::from(to.0.port())];
        let race = Race {
            dial: |to: UpstreamAddr| async move {
                sleep(Duration::from_millis(of(to).unsigned_abs())).await;
                if of(to) < 0 { Err("no answer") } else { Ok(to.0.port()) }
            },
            another: || {
                let next = at.replace(at.get() + 1);
                (usize::from(next) < all.len()).then(|| endpoint(next))
            },
            lost: |to: UpstreamAddr| lost.borrow_mut().push(to.0.port()),
        };
        let (to, outcome) = race.run(endpoint(0), |_| false).await;
        let lost = lost.borrow().clone();
        (to.0.port(), outcome, lost, begun.elapsed())
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_answers_soon_is_the_only_one() {
        let (to, outcome, lost, took) = race(&[200, 0]).await;
        assert_eq!((to, outcome, lost), (0, Ok(0), vec![]));
        assert_eq!(took, Duration::from_millis(200));
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_hangs_costs_a_quarter_of_a_second() {
        let (to, outcome, lost, took) = race(&[-10_000, 20]).await;
        assert_eq!((to, outcome, lost), (1, Ok(1), vec![0]));
        assert_eq!(took.as_millis(), 270);
        // Two of them cost twice as much.
        let (to, .., took) = race(&[-10_000, -10_000, 20]).await;
        assert_eq!((to, took.as_millis()), (2, 520));
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_fails_makes_way_at_once() {
        let (to, outcome, lost, took) = race(&[-10, 20]).await;
        assert_eq!((to, outcome, lost), (1, Ok(1), vec![0]));
        assert_eq!(took.as_millis(), 30);
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_one_may_still_be_the_first() {
        let (to, outcome, ..) = race(&[300, -10_000]).await;
        assert_eq!((to, outcome), (0, Ok(0)));
    }

    #[tokio::test(start_paused = true)]
    async fn of_many_dead_ones_three_are_dialled_side_by_side() {
        let (_, outcome, lost, took) = race(&[-10_000, -10_000, -10_000, 0]).await;
        assert_eq!((outcome, lost), (Err("no answer"), vec![0, 1, 2]));
        assert_eq!(took.as_millis(), 10_500);
    }

    #[tokio::test(start_paused = true)]
    async fn the_only_one_has_all_its_time() {
        let (_, outcome, lost, took) = race(&[-10_000]).await;
        assert_eq!((outcome, lost), (Err("no answer"), vec![0]));
        assert_eq!(took.as_millis(), 10_000);
    }
}
