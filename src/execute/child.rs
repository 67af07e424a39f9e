//! Compiles in worker processes, which run [`crate::worker::serve`].

use std::collections::HashMap;
use std::io::{self, BufReader, ErrorKind, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use super::wire::{self, End, Hello, Reply, Request};
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
    /// It has, before it said anything of the job.
    Unanswered(io::Error),
}

/// Why nobody waits any longer for a process to read or write.
#[derive(Debug)]
enum Over {
    Cancelled,
    TimedOut(Duration),
}

impl std::fmt::Display for Over {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("nobody waits any longer")
    }
}

impl std::error::Error for Over {}

impl From<io::Error> for GivenUp {
    fn from(error: io::Error) -> GivenUp {
        match error.downcast() {
            Ok(Over::Cancelled) => GivenUp::Cancelled,
            Ok(Over::TimedOut(limit)) => GivenUp::TimedOut(limit),
            Err(error) => GivenUp::Lost(error),
        }
    }
}

/// The line to a process, which waits no longer than the limits of a compile allow.
struct Line {
    socket: UnixStream,
    limits: Limits,
    /// When the compile began.
    begin: Instant,
}

impl Line {
    fn new(socket: UnixStream, limits: &Limits) -> io::Result<Line> {
        socket.set_read_timeout(Some(LOOK_AGAIN))?;
        socket.set_write_timeout(Some(LOOK_AGAIN))?;
        Ok(Line {
            socket,
            limits: limits.clone(),
            begin: Instant::now(),
        })
    }

    /// Does `act` again until it does not end for want of the other side.
    fn patiently<T>(&self, mut act: impl FnMut(&UnixStream) -> io::Result<T>) -> io::Result<T> {
        loop {
            match act(&self.socket) {
                Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
                ended => return ended,
            }
            if self.limits.is_cancelled() {
                return Err(io::Error::other(Over::Cancelled));
            }
            let timeout = self.limits.timeout;
            if let Some(limit) = timeout.filter(|limit| self.begin.elapsed() > *limit) {
                return Err(io::Error::other(Over::TimedOut(limit)));
            }
        }
    }
}

impl Read for Line {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.patiently(|mut socket| socket.read(buffer))
    }
}

impl Write for Line {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.patiently(|mut socket| socket.write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct Process {
    child: Child,
    /// The process's standard input. Its other streams are those of this process,
    /// as for a compile here.
    line: BufReader<Line>,
}

impl Process {
    /// Starts `program`, and hears which LLVM that has. No code runs between fork and
    /// exec: handlers that libraries have for forks take locks that a crash may have left
    /// behind.
    fn start(program: &Path, limits: &Limits) -> Result<Process, Failure> {
        let spawn = || -> io::Result<Process> {
            let (ours, theirs) = UnixStream::pair()?;
            let line = BufReader::new(Line::new(ours, limits)?);
            let child = Command::new(program)
                .arg("worker")
                .stdin(OwnedFd::from(theirs))
                // A fault for the process that was started by hand alone.
                .env_remove("BACKLTO_FAULT_HERE")
                .spawn()?;
            Ok(Process { child, line })
        };
        let name = program.display();
        let mut process =
            spawn().map_err(|e| Failure::NoProcess(format!("cannot run `{name}`: {e}")))?;
        match wire::receive::<Hello>(&mut process.line) {
            Ok(Some((hello, _))) if hello.is_of_our_llvm() => Ok(process),
            Ok(Some(_)) => Err(Failure::NoProcess(format!(
                "`{name}` has another LLVM, or other libraries, than this process; if they were \
                 upgraded meanwhile, start again"
            ))),
            Ok(None) => Err(process.failure(GivenUp::Lost(ErrorKind::UnexpectedEof.into()))),
            Err(e) => Err(process.failure(e.into())),
        }
    }

    /// Has it compile `job`.
    fn compile(&mut self, job: &CompileJob, watch: &mut dyn Watch) -> Result<Compiled, GivenUp> {
        self.line.get_mut().begin = Instant::now();
        let inputs = [&job.module].into_iter().chain(&job.index);
        let bodies: Vec<&[u8]> = inputs
            .chain(&job.imports)
            .map(|input: &Input| input.content.bytes())
            .collect();
        let unanswered = |error: io::Error| match error.into() {
            GivenUp::Lost(error) => GivenUp::Unanswered(error),
            other => other,
        };
        wire::send(self.line.get_mut(), &Request::of(job), &bodies).map_err(unanswered)?;
        let mut has_answered = false;
        loop {
            let received = wire::receive(&mut self.line)
                .and_then(|frame| frame.ok_or_else(|| ErrorKind::UnexpectedEof.into()));
            let (reply, bodies) = match received {
                Ok(frame) => frame,
                Err(e) if has_answered => return Err(e.into()),
                Err(e) => return Err(unanswered(e)),
            };
            has_answered = true;
            let mut bodies = bodies.into_iter();
            match reply {
                Reply::Shown { imported } => {
                    let shown = Shown {
                        imported,
                        assembly: bodies.collect(),
                    };
                    let wanted = u8::from(shown.to(watch));
                    self.line.get_mut().write_all(&[wanted])?;
                }
                Reply::Ended {
                    end,
                    diagnostics,
                    has_printed,
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
                        has_printed,
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

    /// What has become of a job that was given up.
    fn failure(&mut self, why: GivenUp) -> Failure {
        match why {
            GivenUp::Cancelled => Failure::Cancelled,
            GivenUp::TimedOut(limit) => Failure::TimedOut(limit),
            GivenUp::Lost(e) | GivenUp::Unanswered(e) => self.end(&e),
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
                // LLVM does not do that to itself.
                Some(libc::SIGKILL) => {
                    let text = "it was killed (signal 9), as a system does that is out of memory";
                    Failure::Lost(text.to_owned())
                }
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
        let (mut process, is_fresh) = match self.running.remove(options) {
            Some(process) => (process, false),
            None => match Process::start(&self.program, &self.limits) {
                Ok(process) => (process, true),
                Err(failure) => return failure.into(),
            },
        };
        match process.compile(job, watch) {
            Ok(compiled) => {
                // It ends itself after a crash.
                if !matches!(&compiled.object, Err(failure) if failure.is_crash()) {
                    self.running.insert(options.clone(), process);
                }
                compiled
            }
            // It has probably ended while it had nothing to do.
            Err(GivenUp::Unanswered(_)) if !is_fresh => {
                drop(process);
                self.compile(job, watch)
            }
            // What is left of it is killed.
            Err(why) => process.failure(why).into(),
        }
    }
}
