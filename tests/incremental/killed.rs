//! Builds that are killed at any moment, and the builds after them.

use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::common::{BACKLTO, succeed};
use crate::project::{Project, UTIL};

/// Moments that differ from run to run on any machine, and are printed.
struct Moments(u64);

impl Moments {
    fn new() -> Moments {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let seed = u64::try_from(now.expect("a date").as_nanos() & 0xffff_ffff).expect("it fits");
        eprintln!("seed {seed}");
        Moments(seed | 1)
    }

    /// Up to `longest`.
    fn next(&mut self, longest: Duration) -> Duration {
        // xorshift64
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        longest.mul_f64((self.0 % 1000) as f64 / 1000.0)
    }
}

/// Rounds of one test.
const ROUNDS: u32 = 16;

#[test]
fn a_build_after_one_that_was_killed_is_right() {
    let project = Project::built();
    let mut moments = Moments::new();
    let start = Instant::now();
    succeed(&project.try_build(&["--no-cache"]));
    let mut longest = start.elapsed() * 2;
    let mut killed = 0;
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
        let mut child = command
            .stdin(Stdio::null())
            .spawn()
            .expect("backlto starts");
        let moment = moments.next(longest);
        std::thread::sleep(moment);
        // SIGKILL.
        let _ = child.kill();
        match child.wait().expect("it ends").success() {
            true => longest = moment.max(Duration::from_millis(5)),
            false => killed += 1,
        }
        if round % 2 == 0 {
            // Before the next build, an edit is taken back.
            project.edit("util", UTIL);
        }
        project.build();
        project.build().nothing();
        let verified = project.run(BACKLTO, &["cache", "verify"]);
        succeed(&verified);
    }
    assert!(killed > 2, "{killed} of {ROUNDS} builds were killed");
}

/// Cold builds into one cache, killed together.
#[test]
fn a_cache_outlives_those_that_fill_it() {
    let project = Project::new();
    let mut moments = Moments::new();
    for _ in 0..ROUNDS / 2 {
        let _ = std::fs::remove_file(project.record());
        for name in &project.modules {
            let _ = std::fs::remove_file(project.object(name));
        }
        let number = moments.next(Duration::from_secs(9)).as_secs();
        let text = format!("int alone(int x) {{ return x + {number}; }}\n");
        project.edit("alone", &text);
        project.plan();
        let mut command = project.command(BACKLTO);
        command.args(["run", "plan.json", "-q"]);
        let mut child = command.spawn().expect("backlto starts");
        std::thread::sleep(moments.next(Duration::from_millis(300)));
        let _ = child.kill();
        let _ = child.wait();
        project.build();
    }
}
