//! Builds that are killed at any moment, and the builds after them.

use crate::common::killed::Moments;
use crate::common::{BACKLTO, succeed};
use crate::project::{Project, UTIL};

/// Kills of one test.
const ROUNDS: usize = 24;

#[test]
fn a_build_after_one_that_was_killed_is_right() {
    let project = Project::built();
    let mut moments = Moments::of(|| succeed(&project.try_build(&["--no-cache"])));
    for round in 0..ROUNDS {
        project.edit(
            "util",
            &UTIL.replace("x * 2", &format!("x * {}", round + 10)),
        );
        project.edit(
            "alone",
            &format!("int alone(int x) {{ return x + {round}; }}\n"),
        );
        project.write("blob.bin", format!("blob {}", round % 3));
        if round % 4 == 0 {
            let _ = std::fs::remove_file(project.record());
        }
        project.plan();
        let mut command = project.command(BACKLTO);
        command.args(["run", "plan.json", "-q"]);
        moments.kill(command);
        if round % 2 == 0 {
            // Before the next build, an edit is taken back.
            project.edit("util", UTIL);
        }
        project.build();
        project.build().nothing();
        succeed(&project.run(BACKLTO, &["cache", "verify"]));
    }
    moments.assert_enough();
}

/// Cold builds into one cache, killed together with what tidies it up.
#[test]
fn a_cache_outlives_those_that_fill_it_and_those_that_tidy_it_up() {
    let project = Project::new();
    let mut moments = Moments::of(|| succeed(&project.try_build(&["--no-cache"])));
    let command = |words: &[&str]| {
        let mut command = project.command(BACKLTO);
        command.args(words);
        command
    };
    let mut tasks = Moments::of(|| succeed(&project.run(BACKLTO, &["cache", "verify"])));
    for number in 0..ROUNDS {
        let _ = std::fs::remove_file(project.record());
        for name in &project.modules {
            let _ = std::fs::remove_file(project.object(name));
        }
        let text = format!("int alone(int x) {{ return x + {}; }}\n", number % 9);
        project.edit("alone", &text);
        project.plan();
        moments.kill(command(&["run", "plan.json", "-q"]));
        let task = ["prune", "verify", "clear"][number % 3];
        tasks.kill(command(&[
            "--cache-policy=prune_interval=0s:cache_size_files=4",
            "cache",
            task,
        ]));
        project.build();
        succeed(&project.run(BACKLTO, &["cache", "verify"]));
    }
    moments.assert_enough();
}
