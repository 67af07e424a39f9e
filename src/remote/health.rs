//! How an engine is: what was counted, and whether it is worth asking.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::totals::{Summary, Totals};
use super::trouble::{Ailment, Trouble};

/// After trouble, an engine is left alone for so long at first, and twice as long after
/// each further time.
const FIRST_PAUSE: Duration = Duration::from_secs(5);
const LONGEST_PAUSE: Duration = Duration::from_secs(300);

/// Counts for an engine, from any thread.
pub(super) struct Health {
    /// The engine's URL, for messages.
    url: String,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    totals: Totals,
    first_trouble: Option<String>,
    read_only: Option<String>,
    first_home: Option<String>,
    closed: Option<String>,
    /// How long it was left alone the last time.
    pause: Duration,
    away_until: Option<Instant>,
    /// How long calls take, of late.
    round_trip: Option<Duration>,
}

impl Health {
    pub(super) fn new(url: &str) -> Health {
        Health {
            url: url.to_owned(),
            state: Mutex::default(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has `count` change the counts.
    pub(super) fn count(&self, count: impl FnOnce(&mut Totals)) {
        count(&mut self.state().totals);
    }

    /// Whether the engine is worth asking.
    pub(super) fn is_well(&self) -> bool {
        self.left_alone_for().is_zero()
    }

    /// How long it is from now until the engine is worth asking again.
    pub(super) fn left_alone_for(&self) -> Duration {
        let until = self.state().away_until;
        until.map_or(Duration::ZERO, |until| {
            until.saturating_duration_since(Instant::now())
        })
    }

    /// Notes that an answer took `time`, and that there was one.
    pub(super) fn answered(&self, time: Duration) {
        let mut state = self.state();
        if state
            .away_until
            .is_some_and(|until| Instant::now() >= until)
        {
            state.away_until = None;
            state.pause = Duration::ZERO;
        }
        // A mean that forgets: an eighth of each new one.
        state.round_trip = Some(match state.round_trip {
            Some(before) => (before * 7 + time) / 8,
            None => time,
        });
    }

    /// How long an answer takes at present.
    pub(super) fn round_trip(&self) -> Option<Duration> {
        self.state().round_trip
    }

    /// Notes `trouble`, after which the engine is left alone for a while. True when it was
    /// well before: what else fails of one cause, or because it has lasted, is not news.
    pub(super) fn suffered(&self, trouble: &Trouble) -> bool {
        let mut state = self.state();
        match trouble.kind {
            Ailment::Wrong => state.totals.refused += 1,
            _ => state.totals.failures += 1,
        }
        let now = Instant::now();
        // Many calls may fail of one cause.
        if state.away_until.is_some_and(|until| now < until) {
            return false;
        }
        let was_well = state.pause.is_zero();
        state.pause = (state.pause * 2).clamp(FIRST_PAUSE, LONGEST_PAUSE);
        state.away_until = Some(now + state.pause);
        let text = format!(
            "`{}`: {trouble}; it was left alone for {} s",
            self.url,
            state.pause.as_secs()
        );
        state.first_trouble.get_or_insert(text);
        was_well
    }

    /// Notes that so many `jobs` came back without an object, for `reason`.
    pub(super) fn came_home(&self, jobs: usize, reason: &str) {
        let mut state = self.state();
        state.totals.came_home += jobs as u64;
        state.first_home.get_or_insert(reason.to_owned());
    }

    /// Notes that nothing more is compiled by the engine, for `reason`.
    pub(super) fn closed(&self, reason: &str) {
        self.state().closed.get_or_insert(reason.to_owned());
    }

    /// Notes that nothing can be uploaded, since the engine does not want it: `reason`.
    pub(super) fn refuses_uploads(&self, reason: String) {
        self.state().read_only.get_or_insert(reason);
    }

    /// Whether the engine takes objects, as far as is known.
    pub(super) fn takes_objects(&self) -> bool {
        self.state().read_only.is_none()
    }

    pub(super) fn summary(&self) -> Summary {
        let state = self.state();
        Summary {
            totals: state.totals.clone(),
            first_trouble: state.first_trouble.clone(),
            read_only: state.read_only.clone(),
            first_home: state.first_home.clone(),
            closed: state.closed.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trouble_is_said_once_and_ends_the_asking_for_a_while() {
        let health = Health::new("grpc://e");
        assert!(health.is_well());
        assert!(health.suffered(&Trouble::wrong("first")));
        assert!(!health.suffered(&Trouble::wrong("second")));
        assert!(!health.is_well() && health.left_alone_for() <= FIRST_PAUSE);
        // An answer to what was asked before does not count.
        health.answered(Duration::ZERO);
        assert!(!health.is_well());
        let summary = health.summary();
        assert_eq!(summary.totals.refused, 2);
        let said = summary.first_trouble.expect("a text");
        assert_eq!(said, "`grpc://e`: first; it was left alone for 5 s");
    }

    #[test]
    fn trouble_that_lasts_is_no_news_until_there_was_an_answer() {
        let health = Health::new("grpc://e");
        let trouble = Trouble::wrong("it is away");
        let is_over = || health.state().away_until = Some(Instant::now());
        assert!(health.suffered(&trouble));
        is_over();
        assert!(health.is_well() && !health.suffered(&trouble));
        assert!(health.left_alone_for() > FIRST_PAUSE);
        is_over();
        health.answered(Duration::ZERO);
        assert!(health.suffered(&trouble));
    }

    #[test]
    fn round_trips_are_a_mean_that_forgets() {
        let health = Health::new("grpc://e");
        assert_eq!(health.round_trip(), None);
        health.answered(Duration::from_millis(8));
        health.answered(Duration::from_millis(16));
        assert_eq!(health.round_trip(), Some(Duration::from_millis(9)));
    }
}
