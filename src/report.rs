//! What is known of a job once it has ended.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::incremental::record::ObjectRecord;

/// Says where an object came from. Its text is for people,
/// [`as_str`](Origin::as_str) for programs.
///
/// ```
/// use backlto::Origin;
///
/// assert_eq!(Origin::UpToDate.as_str(), "up-to-date");
/// assert_eq!(Origin::UpToDate.to_string(), "up to date");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Origin {
    /// LLVM compiled it.
    Compiled,
    /// The cache had it, by the content of the job's inputs.
    Cached,
    /// The cache had it, by the content of the module after LLVM had imported
    /// into it.
    CachedAfterImport,
    /// It was in its place already.
    UpToDate,
}

impl Origin {
    /// Gives the word that stands for it in JSON and in records: `compiled`,
    /// `cached`, `cached-after-import` or `up-to-date`.
    pub fn as_str(self) -> &'static str {
        match self {
            Origin::Compiled => "compiled",
            Origin::Cached => "cached",
            Origin::CachedAfterImport => "cached-after-import",
            Origin::UpToDate => "up-to-date",
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Origin::Compiled => "compiled",
            Origin::Cached => "taken from the cache",
            Origin::CachedAfterImport => "taken from the cache, since the imported code was known",
            Origin::UpToDate => "up to date",
        })
    }
}

/// Tells how one job ended.
#[derive(Debug)]
#[non_exhaustive]
pub struct JobReport {
    /// What clang would have printed for the job. An object from the cache comes
    /// with the messages of its compile; for one that is
    /// [`UpToDate`](Origin::UpToDate) they are not repeated, and this is empty.
    pub diagnostics: String,
    /// The object's size in bytes, or why there is none. It is 0 for an object
    /// that is [`UpToDate`](Origin::UpToDate), which is not looked at again.
    pub result: Result<u64>,
    /// The object itself, if [`Plan::in_memory`](crate::Plan::in_memory) asks
    /// for it and the job went well.
    pub object: Option<Vec<u8>>,
    /// LLVM's own time trace of the compile, a JSON text, if
    /// [`Options::time_trace`](crate::Options::time_trace) asks for it.
    pub time_trace: Option<String>,
    /// Where the object came from. Of a job that failed it says nothing.
    pub origin: Origin,
    /// Why the object had to be built, a sentence for each reason. Empty when
    /// nothing is known of an earlier build.
    pub why: Vec<String>,
    /// The wall time from the start of the job to its end; zero for a job that was
    /// not started.
    pub duration: Duration,
    /// The CPU time that LLVM's ThinLTO backend took of it: import, optimiser
    /// and code generation. Zero for a compile without a summary index.
    pub backend_cpu: Duration,
    /// What the next build will want to know.
    pub(crate) known: Option<ObjectRecord>,
}

impl JobReport {
    /// Makes the report of a job that was not started, because of `error`.
    pub(crate) fn not_run(error: Error) -> JobReport {
        JobReport {
            result: Err(error),
            ..JobReport::done(0)
        }
    }

    /// Makes the report of a job whose object was there.
    pub(crate) fn up_to_date(known: ObjectRecord) -> JobReport {
        JobReport {
            origin: Origin::UpToDate,
            known: Some(known),
            ..JobReport::done(0)
        }
    }

    /// Makes the report of a job that gave an object of `size` bytes.
    pub(crate) fn done(size: u64) -> JobReport {
        JobReport {
            diagnostics: String::new(),
            result: Ok(size),
            object: None,
            time_trace: None,
            origin: Origin::Compiled,
            why: Vec::new(),
            duration: Duration::ZERO,
            backend_cpu: Duration::ZERO,
            known: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_has_the_words_that_programs_read() {
        use Origin::{Cached, CachedAfterImport, Compiled, UpToDate};
        for origin in [Compiled, Cached, CachedAfterImport, UpToDate] {
            let json = serde_json::to_string(&origin).unwrap();
            assert_eq!(json, format!("\"{}\"", origin.as_str()));
        }
    }
}
