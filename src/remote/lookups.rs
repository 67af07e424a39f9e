//! From a key to an answer.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use tokio::sync::Semaphore;

use super::action::{self, Part};
use super::blobs::Reader;
use super::connection::Connection;
use super::content::BlobName;
use super::trouble::{Ailment, Trouble};
use crate::digest::Digest;
use crate::elsewhere::{ASKED_AT_A_TIME, Answer, Question};

/// The bytes of objects that have come and wait for their jobs, at most.
const ROOM: u32 = 256 << 20;

/// Looks for keys, many at a time.
pub(super) struct Lookups {
    connection: Arc<Connection>,
    reader: Reader,
    slots: Semaphore,
    room: Arc<Semaphore>,
    found: AtomicU64,
    ended: AtomicU64,
}

impl Lookups {
    /// Starts looking, in the context of a runtime.
    pub(super) fn start(connection: &Arc<Connection>) -> Lookups {
        Lookups {
            connection: Arc::clone(connection),
            reader: Reader::start(connection),
            slots: Semaphore::new(ASKED_AT_A_TIME),
            room: Arc::new(Semaphore::new(ROOM as usize)),
            found: AtomicU64::new(0),
            ended: AtomicU64::new(0),
        }
    }

    /// How many questions had an object for an answer, of how many that had one at all.
    pub(super) fn found_of_ended(&self) -> (u64, u64) {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        (read(&self.found), read(&self.ended))
    }

    /// Answers `question` with what stands under one of `keys`, unless nobody wants to
    /// know any more. While the engine is left alone, the question is put off.
    pub(super) async fn answer(&self, keys: Vec<Digest>, question: Weak<Question>) {
        let answer = loop {
            let looked = {
                // The semaphore is never closed.
                let _slot = self.slots.acquire().await;
                self.look(&keys, &question).await
            };
            let ailment = match looked {
                Ok(answer) => break answer,
                Err(ailment) => ailment,
            };
            if let Some(question) = question.upgrade() {
                question.put_off();
            }
            // What was wrong once is not asked for again.
            if !ailment.may_pass() {
                return;
            }
            tokio::time::sleep(self.connection.health.left_alone_for()).await;
            if let Some(question) = question.upgrade() {
                question.resume();
            }
        };
        // Of what nobody wants any more, it was not asked to the end.
        if is_wanted(&question) {
            self.ended.fetch_add(1, Ordering::Relaxed);
            let found = u64::from(answer.is_some());
            self.found.fetch_add(found, Ordering::Relaxed);
        }
        if let Some(question) = question.upgrade() {
            question.answer(answer);
        }
    }

    /// What stands under one of `keys`, if anything does and somebody wants to know.
    ///
    /// # Errors
    /// When that is not to be had from the engine: how it is.
    async fn look(
        &self,
        keys: &[Digest],
        question: &Weak<Question>,
    ) -> Result<Option<Answer>, Ailment> {
        let health = &self.connection.health;
        for key in keys {
            if !is_wanted(question) {
                break;
            }
            if !health.is_well() {
                return Err(Ailment::Away);
            }
            match self.find(key, question).await {
                Ok(None) => {}
                Ok(found) => {
                    health.count(|totals| totals.found += 1);
                    return Ok(found);
                }
                Err(trouble) => {
                    let _ = health.suffered(&trouble);
                    return Err(trouble.kind);
                }
            }
        }
        Ok(None)
    }

    /// What stands under `key`, if anything does.
    async fn find(
        &self,
        key: &Digest,
        question: &Weak<Question>,
    ) -> Result<Option<Answer>, Trouble> {
        let name = BlobName::of(&action::of_key(key));
        match self.fetch(key, &name, question).await {
            // A result without its blobs, too: an engine may drop them.
            Err(trouble) if trouble.kind == Ailment::Absent => Ok(None),
            result => result,
        }
    }

    async fn fetch(
        &self,
        key: &Digest,
        action: &BlobName,
        question: &Weak<Question>,
    ) -> Result<Option<Answer>, Trouble> {
        let result = self.connection.action_result(action).await?;
        let (entry, object, name) = action::read(result)?;
        let entry = self.part(entry).await?;
        let size = u32::try_from(name.size + entry.len());
        let size = size.unwrap_or(ROOM).min(ROOM);
        let room = Arc::clone(&self.room).acquire_many_owned(size).await;
        // Its job may have come to its end meanwhile.
        if !is_wanted(question) {
            return Ok(None);
        }
        let object = self.part(object).await?;
        Ok(Some(Answer {
            key: *key,
            entry,
            object,
            room: room.ok().map(|room| Box::new(room) as Box<_>),
        }))
    }

    async fn part(&self, part: Part) -> Result<Vec<u8>, Trouble> {
        match part {
            Part::Here(bytes) => Ok(bytes),
            Part::Blob(name) => self.reader.read(&name).await,
        }
    }
}

/// Whether somebody still wants to know the answer to `question`.
fn is_wanted(question: &Weak<Question>) -> bool {
    let question = question.upgrade();
    question.is_some_and(|question| !question.is_closed())
}
