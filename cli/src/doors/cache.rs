//! `backlto cache`: look at the cache, prune it, empty it, check it.

use std::path::PathBuf;

use serde::Serialize;

use crate::console;
use crate::session::{Failure, Outcome};
use backlto::cache::{Cleared, Policy, Pruned, Store, Survey, Verified};
use backlto::error::{Error, Errors, Kind, Result};

/// What to do with the cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Task {
    /// Say what it holds and what builds have counted.
    Stats,
    /// Remove what the policy does not allow for, now.
    Prune,
    /// Remove everything.
    Clear,
    /// Read everything and remove what is damaged.
    Verify,
}

/// What the user asks for.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    /// What to do.
    pub(crate) task: Task,
    /// Count from zero again, once the counts are printed.
    pub(crate) zero: bool,
    /// The cache; where caches are kept when not given.
    pub(crate) directory: Option<PathBuf>,
    /// In ld.lld's syntax; ld.lld's own when not given.
    pub(crate) policy: Option<String>,
    /// Print JSON.
    pub(crate) json: bool,
}

/// Does what `request` says and prints what came of it.
///
/// # Errors
/// When it could not be done, and when damaged files were found.
pub(crate) fn run(request: &Request) -> Outcome {
    if request.zero && request.task != Task::Stats {
        return Err(Error::new(Kind::Plan, "only `stats` counts: --zero goes with it").into());
    }
    let directory = request
        .directory
        .clone()
        .or_else(backlto::default_cache_directory);
    let store = Store::at(&directory.ok_or_else(no_directory)?)?;
    let policy: Policy = request.policy.as_deref().unwrap_or_default().parse()?;
    let print = |text: String, json: Result<String>| -> Result<()> {
        console::line(&if request.json { json? } else { text });
        Ok(())
    };
    match request.task {
        Task::Stats => {
            let survey = store.survey()?;
            let stats = Stats {
                policy: policy.to_string(),
                survey: &survey,
            };
            print(stats_text(&stats), json(&stats))?;
            if request.zero {
                store.zero()?;
            }
        }
        Task::Prune => {
            let pruned = store.prune(&policy)?;
            print(pruned_text(pruned.as_ref()), json(&pruned))?;
        }
        Task::Clear => {
            let cleared = store.clear()?;
            print(cleared_text(&cleared), json(&cleared))?;
        }
        Task::Verify => {
            let verified = store.verify()?;
            print(verified_text(&verified), json(&verified))?;
            if let Some(errors) = problems(&verified) {
                return Err(match request.json {
                    true => Failure::Reported,
                    false => errors.into(),
                });
            }
        }
    }
    Ok(())
}

/// What `backlto cache stats` prints.
#[derive(Serialize)]
struct Stats<'a> {
    policy: String,
    #[serde(flatten)]
    survey: &'a Survey,
}

/// The error of a system that has no place for caches.
fn no_directory() -> Error {
    Error::new(Kind::Environment, "there is no place for a cache")
        .because("neither $XDG_CACHE_HOME nor $HOME is set")
        .hint("set $BACKLTO_CACHE_DIR")
}

/// `value` as JSON that people can read too.
fn json(value: &impl Serialize) -> Result<String> {
    serde_json::to_string_pretty(value)
        .map_err(|e| Error::new(Kind::Output, "cannot write JSON").because(e))
}

fn stats_text(stats: &Stats<'_>) -> String {
    let survey = stats.survey;
    let counters = &survey.counters;
    let hits = counters.hits();
    let asked = hits.saturating_add(counters.misses).max(1);
    let missing = match survey.directory.is_dir() {
        true => "",
        false => " (not there)",
    };
    let lines = [
        (
            "directory",
            format!("{}{missing}", survey.directory.display()),
        ),
        ("policy", stats.policy.clone()),
        ("entries", survey.entries.to_string()),
        ("objects", survey.objects.to_string()),
        ("size", size(survey.bytes)),
        ("running builds", survey.running_builds.to_string()),
        ("builds", counters.builds.to_string()),
        (
            "hits",
            format!(
                "{hits} ({:.1} %), {} of them after import",
                hits as f64 * 100.0 / asked as f64,
                counters.hits_after_import
            ),
        ),
        ("misses", counters.misses.to_string()),
        ("stored", size(counters.bytes_stored)),
        ("served", size(counters.bytes_served)),
        ("time saved", format!("{:.1} s", counters.seconds_saved)),
        ("errors", counters.errors.to_string()),
    ];
    lines
        .map(|(name, value)| format!("{name:<15} {value}"))
        .join("\n")
}

fn pruned_text(pruned: Option<&Pruned>) -> String {
    let Some(pruned) = pruned else {
        return "nothing to prune: there is no cache, or no limit".to_owned();
    };
    let mut text = format!(
        "removed {} objects and {} entries ({}), left {} and {} ({})",
        pruned.removed_objects,
        pruned.removed_entries,
        size(pruned.removed_bytes),
        pruned.objects,
        pruned.entries,
        size(pruned.bytes),
    );
    if pruned.kept_for_builds {
        text.push_str("; the rest is in use by running builds");
    }
    text
}

fn cleared_text(cleared: &Cleared) -> String {
    format!("removed {} files ({})", cleared.files, size(cleared.bytes))
}

fn verified_text(verified: &Verified) -> String {
    format!(
        "read {} objects and {} entries ({}): {} damaged",
        verified.objects,
        verified.entries,
        size(verified.bytes),
        match verified.problems.len() {
            0 => "none".to_owned(),
            some => some.to_string(),
        }
    )
}

/// Makes an error of each damaged file.
fn problems(verified: &Verified) -> Option<Errors> {
    let problems = verified.problems.iter().map(|problem| {
        let what = match problem.removed {
            true => "removed",
            false => "cannot use or remove",
        };
        Error::new(Kind::Input, format!("{what} `{}`", problem.file.display()))
            .because(problem.reason.as_str())
    });
    Errors::of(problems)
}

/// `bytes` in the unit that a person would choose.
fn size(bytes: u64) -> String {
    let units = ["kB", "MB", "GB", "TB"];
    let mut amount = bytes as f64 / 1e3;
    let mut unit = 0;
    // What would be rounded to the next unit's 1.0 is written as that.
    while amount >= 999.95 && unit + 1 < units.len() {
        amount /= 1e3;
        unit += 1;
    }
    format!("{amount:.1} {}", units[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A build that uses the cache in `directory` and compiles nothing.
    fn one_build(directory: &std::path::Path) {
        let options = backlto::Options {
            cache: Some(backlto::CacheOptions::new(directory)),
            ..backlto::Options::default()
        };
        backlto::Engine::new(&options).unwrap().finish();
    }

    fn request(task: Task, directory: &std::path::Path) -> Request {
        Request {
            task,
            zero: false,
            directory: Some(directory.to_owned()),
            policy: None,
            json: false,
        }
    }

    #[test]
    fn sizes_have_the_right_unit() {
        for (bytes, text) in [
            (0, "0.0 kB"),
            (999_949, "999.9 kB"),
            (999_950, "1.0 MB"),
            (1_234_567_890, "1.2 GB"),
            (u64::MAX, "18446744.1 TB"),
        ] {
            assert_eq!(size(bytes), text);
        }
    }

    #[test]
    fn json_says_all_that_text_says() {
        let directory = tempfile::tempdir().unwrap();
        one_build(directory.path());
        let survey = Store::at(directory.path()).unwrap().survey().unwrap();
        let stats = Stats {
            policy: Policy::default().to_string(),
            survey: &survey,
        };
        let value: serde_json::Value = serde_json::from_str(&json(&stats).unwrap()).unwrap();
        assert_eq!(value["policy"], stats.policy);
        assert_eq!(value["entries"], 0);
        assert_eq!(value["counters"]["builds"], 1);
        assert!(stats_text(&stats).contains("\nbuilds          1\n"));
    }

    #[test]
    fn every_task_works_without_a_cache_too() {
        let directory = tempfile::tempdir().unwrap();
        let missing = directory.path().join("missing");
        for task in [Task::Stats, Task::Prune, Task::Clear, Task::Verify] {
            assert!(run(&request(task, &missing)).is_ok(), "{task:?}");
        }
        assert!(!missing.exists());
    }

    #[test]
    fn damage_is_a_failure_that_names_the_file() {
        let directory = tempfile::tempdir().unwrap();
        one_build(directory.path());
        let digest = backlto::digest::Digest::of(b"object").to_string();
        let shelf = directory.path().join("v1/objects").join(&digest[..2]);
        std::fs::create_dir_all(&shelf).unwrap();
        let file = shelf.join(&digest[2..]);
        std::fs::write(&file, "damaged").unwrap();
        match run(&request(Task::Verify, directory.path())) {
            Err(Failure::Errors(errors)) => {
                let expected = format!("removed `{}`: damaged", file.display());
                assert_eq!(errors.to_string(), expected);
            }
            other => panic!("{other:?}"),
        }
        assert!(run(&request(Task::Verify, directory.path())).is_ok());
    }

    #[test]
    fn counts_start_from_zero_when_asked_to() {
        let directory = tempfile::tempdir().unwrap();
        one_build(directory.path());
        let builds = || {
            let survey = Store::at(directory.path()).unwrap().survey().unwrap();
            survey.counters.builds
        };
        assert_eq!(builds(), 1);
        let mut request = request(Task::Stats, directory.path());
        request.zero = true;
        assert!(run(&request).is_ok());
        assert_eq!(builds(), 0);
        one_build(directory.path());
        assert_eq!(builds(), 1);
        request.task = Task::Clear;
        assert!(run(&request).is_err());
        request.task = Task::Stats;
        request.directory = Some(directory.path().join("missing"));
        assert!(run(&request).is_ok());
    }

    #[test]
    fn a_wrong_policy_is_an_error() {
        let directory = tempfile::tempdir().unwrap();
        let mut request = request(Task::Prune, directory.path());
        request.policy = Some("cache_size=5".to_owned());
        assert!(matches!(run(&request), Err(Failure::Errors(_))));
    }
}
