//! Looking for objects on other machines before their jobs' turn comes.

use std::cmp::Reverse;
use std::sync::Arc;
use std::time::Duration;

use rayon::prelude::*;

use super::keys::{self, InputKeys};
use crate::digest::Digest;
use crate::elsewhere::Elsewhere;
use crate::prepare::Task;

/// Asks for the objects of `tasks` that the cache here does not know, by the content of
/// their inputs. Jobs that start first are asked for first.
pub(crate) fn ask(tasks: &mut [Task], elsewhere: &Arc<dyn Elsewhere>) {
    let keys: Vec<Option<Vec<Digest>>> = tasks.par_iter().map(keys_to_ask_for).collect();
    let mut asked: Vec<(&mut Task, Option<Vec<Digest>>)> = tasks.iter_mut().zip(keys).collect();
    asked.sort_by_key(|(task, _)| Reverse(task.cost));
    for (task, keys) in asked {
        if !may_be_taken(task) {
            continue;
        }
        task.elsewhere = Some(Arc::clone(elsewhere));
        task.asked = keys.map(|keys| elsewhere.ask(keys));
    }
}

/// Whether an object from elsewhere would do for `task`, and others may have its own.
fn may_be_taken(task: &Task) -> bool {
    // What its assembly reads shows in a compile alone; what is there for an audit alone
    // has its object.
    !task.is_to_be_saved && task.recorded.is_none()
}

/// The keys of `task` by its inputs, in the order in which they are looked for; `None`
/// when it has none, or the cache here has something for one.
fn keys_to_ask_for(task: &Task) -> Option<Vec<Digest>> {
    let made_of = keys::made_of(task).filter(|_| task.job.post.is_none())?;
    let keys = InputKeys::of(task, &made_of)?.all();
    let is_known = |cache: &crate::cache::Cache| keys.iter().any(|key| cache.has(key));
    match task.cache.as_deref().is_some_and(is_known) {
        true => None,
        false => Some(keys),
    }
}

/// How long `task` may wait for an answer.
pub(super) fn patience(task: &Task) -> Duration {
    let elsewhere = task.elsewhere.as_ref();
    elsewhere.map_or(Duration::ZERO, |elsewhere| elsewhere.patience(task.time))
}
