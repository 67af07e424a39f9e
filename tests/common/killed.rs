//! Programs that are killed at random moments.

use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Moments that differ from run to run on any machine, and are printed.
pub struct Moments {
    state: u64,
    /// How long what is killed takes.
    longest: Duration,
    /// How often it was too late.
    missed: u32,
    killed: u32,
}

impl Moments {
    /// Moments of what takes as long as `whole`, which is run once.
    pub fn of(whole: impl FnOnce()) -> Moments {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let seed = u64::try_from(now.expect("a date").as_nanos() & 0xffff_ffff).expect("it fits");
        eprintln!("seed {seed}");
        let start = Instant::now();
        whole();
        Moments {
            state: seed | 1,
            longest: start.elapsed(),
            missed: 0,
            killed: 0,
        }
    }

    /// A moment before the end.
    fn next(&mut self) -> Duration {
        // xorshift64
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        self.longest.mul_f64((self.state % 1000) as f64 / 1000.0)
    }

    /// Starts `command` and kills it, and all that it has started, at some moment.
    pub fn kill(&mut self, mut command: Command) {
        let quiet = Stdio::null;
        command.stdin(quiet()).stdout(quiet()).stderr(quiet());
        let mut child = command.process_group(0).spawn().expect("it starts");
        let moment = self.next();
        std::thread::sleep(moment);
        let ended = child.try_wait().expect("a child can be asked").is_some();
        let group = format!("-{}", child.id());
        let killed = Command::new("kill").args(["-KILL", "--", &group]).output();
        killed.expect("kill runs");
        child.wait().expect("it ends");
        match ended {
            // It takes less than it did, and less than that.
            true => {
                self.longest = moment.mul_f64(0.75).max(Duration::from_millis(5));
                self.missed += 1;
            }
            false => self.killed += 1,
        }
    }

    /// Fails where so little was killed that nothing was shown.
    #[track_caller]
    pub fn assert_enough(&self) {
        assert!(
            self.killed > self.missed,
            "only {} were killed, {} had ended",
            self.killed,
            self.missed
        );
    }
}
