//! A cache on another machine, as the engine sees it.
//!
//! Nobody waits for a network: whoever wants to know what stands under a key asks
//! early, goes on, and looks later whether there is an [`Answer`]. What is found is
//! bytes of somebody else's: whether they are what they should be is for the one who
//! uses them to find out, who says it with [`Elsewhere::refuse`] if they are not.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
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
/// the last user has dropped it, or nobody wants to know any more.
#[derive(Default)]
pub(crate) struct Question {
    state: Mutex<State>,
    answered: Condvar,
}

#[derive(Default)]
enum State {
    #[default]
    Open,
    /// An answer may come, but not soon.
    PutOff,
    Answered(Option<Box<Answer>>),
    Closed,
}

impl Question {
    /// A question without an answer.
    pub(crate) fn open() -> Arc<Question> {
        Arc::new(Question::default())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives the answer; `None` when there is nothing.
    pub(crate) fn answer(&self, answer: Option<Answer>) {
        let mut state = self.state();
        if !matches!(*state, State::Closed) {
            *state = State::Answered(answer.map(Box::new));
        }
        self.answered.notify_all();
    }

    /// Has nobody wait for the answer, which is not to be had at present.
    pub(crate) fn put_off(&self) {
        let mut state = self.state();
        if matches!(*state, State::Open) {
            *state = State::PutOff;
        }
        self.answered.notify_all();
    }

    /// The answer may come soon, after all.
    pub(crate) fn resume(&self) {
        let mut state = self.state();
        if matches!(*state, State::PutOff) {
            *state = State::Open;
        }
    }

    /// Nobody wants to know any more: an answer takes no room.
    pub(crate) fn close(&self) {
        *self.state() = State::Closed;
        self.answered.notify_all();
    }

    /// Whether nobody wants to know any more.
    pub(crate) fn is_closed(&self) -> bool {
        matches!(*self.state(), State::Closed)
    }

    /// Whether it is known that there is nothing.
    pub(crate) fn is_in_vain(&self) -> bool {
        matches!(*self.state(), State::Answered(None))
    }

    /// Takes the answer, if it comes within `patience` and there is something. One that is
    /// put off is not waited for.
    pub(crate) fn take(&self, patience: Duration) -> Option<Answer> {
        // Without an end, where that is farther away than clocks go.
        let until = Instant::now().checked_add(patience);
        let mut state = self.state();
        loop {
            match &mut *state {
                State::Open => {}
                State::PutOff | State::Closed => return None,
                State::Answered(answer) => return answer.take().map(|answer| *answer),
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

    /// A question that nothing was found for.
    fn in_vain() -> Arc<Question> {
        let question = Question::open();
        question.answer(None);
        question
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
            let waits_for_ever = scope.spawn(|| in_vain().take(Duration::MAX));
            question.answer(Some(answer()));
            assert!(waits.join().unwrap().is_some());
            assert!(waits_for_ever.join().unwrap().is_none());
            // That there is nothing is an answer, too.
            assert!(in_vain().take(Duration::from_secs(600)).is_none());
        });
    }

    #[test]
    fn what_is_put_off_is_not_waited_for_and_may_come_later() {
        let question = Question::open();
        std::thread::scope(|scope| {
            let waits = scope.spawn(|| question.take(Duration::MAX));
            question.put_off();
            assert!(waits.join().unwrap().is_none());
        });
        // That there is nothing, nobody has said.
        assert!(!question.is_in_vain());
        assert!(question.take(Duration::MAX).is_none());
        question.resume();
        std::thread::scope(|scope| {
            let waits = scope.spawn(|| question.take(Duration::MAX));
            question.answer(Some(answer()));
            assert!(waits.join().unwrap().is_some());
        });
    }

    #[test]
    fn what_nobody_wants_to_know_takes_no_room() {
        let room = Arc::new(());
        let answer = || Answer {
            room: Some(Box::new(Arc::clone(&room))),
            ..answer()
        };
        let question = Question::open();
        question.answer(Some(answer()));
        assert_eq!(Arc::strong_count(&room), 2);
        question.close();
        question.answer(Some(answer()));
        assert_eq!(Arc::strong_count(&room), 1);
        assert!(question.is_closed() && !question.is_in_vain());
        question.put_off();
        question.resume();
        assert!(question.is_closed() && question.take(Duration::MAX).is_none());
    }
}
