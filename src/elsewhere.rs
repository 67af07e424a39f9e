//! A cache on another machine, as the engine sees it.
//!
//! Nobody waits for a network: whoever wants to know what stands under a key asks
//! early, goes on, and looks later whether there is an [`Answer`]. What is found is
//! bytes of somebody else's: whether they are what they should be is for the one who
//! uses them to find out, who says it with [`Elsewhere::refuse`] if they are not.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::digest::Digest;

/// How many keys are asked for at a time.
pub(crate) const ASKED_AT_A_TIME: usize = 64;

/// What stands under a key.
pub(crate) struct Answer {
    /// The key that it was found by.
    pub(crate) key: Digest,
    /// What is known of the object, as it was offered.
    pub(crate) entry: Vec<u8>,
    pub(crate) object: Vec<u8>,
    /// What frees the room that the answer takes, when it is dropped.
    #[allow(dead_code, reason = "it is there to be dropped")]
    pub(crate) room: Option<Box<dyn Send + Sync>>,
}

/// A question that was asked, and its answer once there is one. It is given up when
/// the last user has dropped it.
#[derive(Default)]
pub(crate) struct Question {
    state: Mutex<State>,
    answered: Condvar,
}

#[derive(Default)]
enum State {
    #[default]
    Open,
    Answered(Option<Box<Answer>>),
}

impl Question {
    /// A question without an answer.
    pub(crate) fn open() -> Arc<Question> {
        Arc::new(Question::default())
    }

    /// A question that nothing was found for.
    pub(crate) fn in_vain() -> Arc<Question> {
        let question = Question::open();
        question.answer(None);
        question
    }

    /// Gives the answer; `None` when there is nothing.
    pub(crate) fn answer(&self, answer: Option<Answer>) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        *state = State::Answered(answer.map(Box::new));
        self.answered.notify_all();
    }

    /// Whether it is known that there is nothing.
    pub(crate) fn is_in_vain(&self) -> bool {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        matches!(&*state, State::Answered(None))
    }

    /// Takes the answer, if it comes within `patience` and there is something.
    pub(crate) fn take(&self, patience: Duration) -> Option<Answer> {
        // Without an end, where that is farther away than clocks go.
        let until = Instant::now().checked_add(patience);
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let State::Answered(answer) = &mut *state {
                return answer.take().map(|answer| *answer);
            }
            let left = until.map_or(Duration::MAX, |until| {
                until.saturating_duration_since(Instant::now())
            });
            if left.is_zero() {
                return None;
            }
            let waited = self.answered.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

/// A cache on another machine. All of it may be called from any thread, and returns at
/// once.
pub(crate) trait Elsewhere: Send + Sync {
    /// Begins to look for `keys`, of which the first that something is found by counts.
    fn ask(&self, keys: Vec<Digest>) -> Arc<Question>;

    /// Has `object` and `entry`, what is known of it, kept under `keys` some time soon;
    /// each has an entry of its own.
    fn offer(&self, entries: Vec<(Digest, Vec<u8>)>, object: &[u8]);

    /// Says why an answer was of no use: it is not what its key stands for.
    fn refuse(&self, reason: &str);

    /// Counts an answer that became an object, whose compile had taken `saved`.
    fn count_used(&self, after_import: bool, saved: Duration);

    /// How long a job may wait for an answer that would otherwise be compiled in `compile`.
    fn patience(&self, compile: Duration) -> Duration;

    /// Whether an answer to what is asked now is likely to come within `patience`.
    fn is_likely_within(&self, patience: Duration) -> bool;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer() -> Answer {
        Answer {
            key: Digest::of(b"key"),
            entry: b"entry".to_vec(),
            object: b"object".to_vec(),
            room: None,
        }
    }

    #[test]
    fn an_answer_is_given_once() {
        let question = Question::open();
        assert!(question.take(Duration::ZERO).is_none());
        assert!(!question.is_in_vain());
        question.answer(Some(answer()));
        assert!(!question.is_in_vain());
        assert_eq!(question.take(Duration::ZERO).unwrap().object, b"object");
        assert!(question.take(Duration::ZERO).is_none());
    }

    #[test]
    fn whoever_waits_is_woken() {
        let question = Question::open();
        std::thread::scope(|scope| {
            let waits = scope.spawn(|| question.take(Duration::from_secs(600)));
            let waits_for_ever = scope.spawn(|| Question::in_vain().take(Duration::MAX));
            question.answer(Some(answer()));
            assert!(waits.join().unwrap().is_some());
            assert!(waits_for_ever.join().unwrap().is_none());
            // That there is nothing is an answer, too.
            assert!(Question::in_vain().take(Duration::from_secs(600)).is_none());
        });
    }
}
