//! Compiles in worker processes, which run [`crate::worker::serve`].

use std::collections::HashMap;
use std::io::{self, BufRead, BufReader, ErrorKind, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use super::wire::{self, End, Reply, Request};
use super::{CompileJob, Input, Limits, Shown};
use crate::compile::{Compiled, Failure, Watch};

/// How often somebody who waits for a process looks whether it is still wanted.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// The worker processes of one worker of a pool: one for each set of `-mllvm`
/// options, which is for the life of a process. They end with it.
pub(crate) struct Children {
    program: PathBuf,
    limits: Limits,
    running: HashMap<Vec<String>, Process>,
}

/// Why a job was given up.
enum GivenUp {
    Cancelled,
    TimedOut(Duration),
    /// The process has ended, or sends what makes no sense.
    Lost(io::Error),
}

impl From<io::Error> for GivenUp {
    fn from(error: io::Error) -> GivenUp {
        GivenUp::Lost(error)
    }
}

struct Process {
    child: Child,
    /// The process's standard input. Its other streams are those of this process,
    /// as for a compile here.
    socket: BufReader<UnixStream>,
}

impl Process {
    /// Starts `program`. No code runs between fork and exec: handlers that libraries
    /// have for forks take locks that a crash may have left behind.
    fn start(program: &Path) -> io::Result<Process> {
        let (ours, theirs) = UnixStream::pair()?;
        let child = Command::new(program)
            .arg("worker")
            .stdin(OwnedFd::from(theirs))
            // A fault for the process that was started by hand alone.
            .env_remove("BACKLTO_FAULT_HERE")
            .spawn()?;
        Ok(Process {
            child,
            socket: BufReader::new(ours),
        })
    }

    /// Waits for an answer in a compile that began at `begin`, within `limits`.
    fn wait(&mut self, begin: Instant, limits: &Limits) -> Result<(), GivenUp> {
        self.socket.get_ref().set_read_timeout(Some(LOOK_AGAIN))?;
        loop {
            match self.socket.fill_buf() {
                Ok(_) => break,
                Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
                Err(e) => return Err(e.into()),
            }
            if limits.is_cancelled() {
                return Err(GivenUp::Cancelled);
            }
            if let Some(timeout) = limits.timeout.filter(|timeout| begin.elapsed() > *timeout) {
                return Err(GivenUp::TimedOut(timeout));
            }
        }
        self.socket.get_ref().set_read_timeout(None)?;
        Ok(())
    }

    /// Has it compile `job` within `limits`.
    fn compile(
        &mut self,
        job: &CompileJob,
        watch: &mut dyn Watch,
        limits: &Limits,
    ) -> Result<Compiled, GivenUp> {
        let begin = Instant::now();
        let inputs = [&job.module].into_iter().chain(&job.index);
        let bodies: Vec<&[u8]> = inputs
            .chain(&job.imports)
            .map(|input: &Input| input.content.bytes())
            .collect();
        wire::send(self.socket.get_mut(), &Request::of(job), &bodies)?;
        loop {
            self.wait(begin, limits)?;
            let Some((reply, bodies)) = wire::receive(&mut self.socket)? else {
                return Err(io::Error::from(ErrorKind::UnexpectedEof).into());
            };
            let mut bodies = bodies.into_iter();
            match reply {
                Reply::Shown { imported } => {
                    let shown = Shown {
                        imported,
                        assembly: bodies.collect(),
                    };
                    let wanted = u8::from(shown.to(watch));
                    self.socket.get_mut().write_all(&[wanted])?;
                }
                Reply::Ended {
                    end,
                    diagnostics,
                    backend_cpu,
                    time_trace,
                    functions,
                } => {
                    return Ok(Compiled {
                        object: match end {
                            End::Object => Ok(bodies.next()),
                            End::Stopped => Ok(None),
                            End::Failed(failure) => Err(failure),
                        },
                        diagnostics,
                        warning: None,
                        backend_cpu,
                        time_trace,
                        functions,
                        took_elsewhere: None,
                    });
                }
            }
        }
    }

    /// Why it no longer answers.
    fn end(&mut self, error: &io::Error) -> Failure {
        // It may have sent what makes no sense.
        if !wire::is_end(error) {
            return Failure::Lost(error.to_string());
        }
        match self.child.wait() {
            Ok(status) => match status.signal() {
                Some(signal) => Failure::Crash(signal),
                None => Failure::Lost(status.to_string()),
            },
            Err(e) => Failure::Lost(e.to_string()),
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It has nothing to tidy up. That it has ended already is no error.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Children {
    /// Those that run `program`. They are killed when a compile is not done within
    /// `limits`.
    pub(super) fn new(program: PathBuf, limits: Limits) -> Children {
        Children {
            program,
            limits,
            running: HashMap::new(),
        }
    }

    /// Ends the process for `llvm_options`: the next job gets a fresh one.
    pub(super) fn forget(&mut self, llvm_options: &[String]) {
        self.running.remove(llvm_options);
    }

    pub(super) fn compile(&mut self, job: &CompileJob, watch: &mut dyn Watch) -> Compiled {
        let options = &job.flags.llvm_options;
        let mut process = match self.running.remove(options) {
            Some(process) => process,
            None => match Process::start(&self.program) {
                Ok(process) => process,
                Err(e) => {
                    let text = format!("cannot run `{}`: {e}", self.program.display());
                    return Failure::NoProcess(text).into();
                }
            },
        };
        let compiled = match process.compile(job, watch, &self.limits) {
            Ok(compiled) => compiled,
            // It is killed.
            Err(GivenUp::Cancelled) => return Failure::Cancelled.into(),
            Err(GivenUp::TimedOut(limit)) => return Failure::TimedOut(limit).into(),
            Err(GivenUp::Lost(e)) => return process.end(&e).into(),
        };
        // It ends itself after a crash.
        if !matches!(&compiled.object, Err(failure) if failure.is_crash()) {
            self.running.insert(options.clone(), process);
        }
        compiled
    }
}
