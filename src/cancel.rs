//! Ending what runs because nobody wants it any more.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::execute;

/// Ends the runs of an [`Engine`](crate::Engine), from any thread and also while the
/// engine is in use elsewhere.
#[derive(Clone, Debug, Default)]
pub struct Canceller(Arc<AtomicBool>);

impl Canceller {
    /// Ends all runs soon, as [`Engine::cancel`](crate::Engine::cancel) does.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::Relaxed);
        execute::wake();
    }

    /// What is set once runs are to end.
    pub(crate) fn flag(&self) -> &Arc<AtomicBool> {
        &self.0
    }
}
