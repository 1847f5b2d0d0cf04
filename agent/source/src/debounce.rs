//! Waits for a burst of changes to end, but not for ever: work starts once things have been quiet
//! for a while, and no later than a bound after the first change.

use std::time::Duration;

use tokio::{sync::mpsc::UnboundedReceiver, time};

/// How long a burst may last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Debounce {
    /// The burst is over when nothing came for this long.
    pub(crate) quiet: Duration,
    /// Work starts this long after the first change, whatever still comes.
    pub(crate) most: Duration,
}

impl Debounce {
    /// For changes of configuration. Twenty milliseconds are more than a writer takes between two
    /// system calls and less than a person notices; a quarter of a second bounds how stale the
    /// rules may be while files keep changing.
    pub(crate) const CHANGES: Self =
        Self { quiet: Duration::from_millis(20), most: Duration::from_millis(250) };

    /// Collects what comes after `first` until the burst is over. `busy` looks at everything
    /// collected so far and says whether more is known to come; then only the bound ends it.
    /// A closed channel ends the burst too.
    pub(crate) async fn collect<T>(
        self,
        first: T,
        changes: &mut UnboundedReceiver<T>,
        busy: impl Fn(&[T]) -> bool,
    ) -> Vec<T> {
        let bound = time::Instant::now() + self.most;
        let mut collected = vec![first];
        loop {
            let quiet = time::Instant::now() + self.quiet;
            let end = if busy(&collected) { bound } else { quiet.min(bound) };
            match time::timeout_at(end, changes.recv()).await {
                Ok(Some(change)) => collected.push(change),
                Ok(None) | Err(_) => return collected,
            }
            if time::Instant::now() >= bound {
                return collected;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tokio::sync::mpsc;

    use super::*;

    /// Runs one burst on a paused clock: changes come at the given milliseconds after the first.
    /// Returns when the burst ended and how many changes it took.
    async fn burst(arrivals: &[u64], busy: bool) -> (u64, usize) {
        let (sender, mut receiver) = mpsc::unbounded_channel();
        let start = time::Instant::now();
        let arrivals = arrivals.to_vec();
        let feed = async move {
            for at in arrivals {
                time::sleep_until(start + Duration::from_millis(at)).await;
                if sender.send(at).is_err() {
                    return;
                }
            }
            time::sleep(Duration::from_secs(10)).await;
            drop(sender);
        };
        let collect = async {
            let taken = Debounce::CHANGES.collect(0, &mut receiver, |_| busy).await;
            (start.elapsed(), taken.len())
        };
        let (elapsed, taken) = tokio::select! {
            biased;
            outcome = collect => outcome,
            () = feed => unreachable!("the burst is bounded"),
        };
        (u64::try_from(elapsed.as_millis()).unwrap(), taken)
    }

    /// The obvious answer: walk the arrivals.
    fn expected(arrivals: &[u64]) -> u64 {
        let mut last = 0;
        for &at in arrivals {
            if at >= last + 20 || at >= 250 {
                break;
            }
            last = at;
        }
        (last + 20).min(250)
    }

    #[tokio::test(start_paused = true)]
    async fn a_single_change_waits_for_quiet_only() {
        assert_eq!(burst(&[], false).await, (20, 1));
    }

    #[tokio::test(start_paused = true)]
    async fn a_known_writer_is_waited_for_up_to_the_bound() {
        assert_eq!(burst(&[], true).await, (250, 1));
    }

    #[tokio::test(start_paused = true)]
    async fn changes_without_end_are_cut_at_the_bound() {
        let arrivals: Vec<u64> = (1..100).map(|step| step * 10).collect();
        assert_eq!(burst(&arrivals, false).await.0, 250);
    }

    /// On the real clock: a channel that is never empty gives no timer a chance.
    #[tokio::test]
    async fn changes_that_are_always_there_do_not_keep_work_from_starting() {
        let (sender, mut receiver) = mpsc::unbounded_channel();
        sender.send(0).unwrap();
        let limits = Debounce { quiet: Duration::from_millis(5), most: Duration::from_millis(20) };
        let one_more = |taken: &[usize]| {
            std::thread::sleep(Duration::from_millis(2));
            // The bound ends the burst after ten or so; without one this ends the test.
            if taken.len() < 200 {
                sender.send(taken.len()).unwrap();
            }
            false
        };
        let taken = limits.collect(0, &mut receiver, one_more).await;
        assert!(taken.len() < 50, "{}", taken.len());
    }

    proptest! {
        #[test]
        fn a_burst_ends_when_the_walk_says_so(gaps in proptest::collection::vec(0_u64..40, 0..40)) {
            let arrivals: Vec<u64> = gaps
                .iter()
                .scan(0, |at, gap| { *at += gap; Some(*at) })
                // A change in the very millisecond of a deadline may fall on either side of it.
                .collect();
            let tie = arrivals.windows(2).any(|pair| pair[1] - pair[0] == 20)
                || arrivals.first() == Some(&20)
                || arrivals.contains(&250);
            prop_assume!(!tie);
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_time()
                .start_paused(true)
                .build()
                .unwrap();
            prop_assert_eq!(runtime.block_on(burst(&arrivals, false)).0, expected(&arrivals));
        }
    }
}
