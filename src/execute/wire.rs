//! How a job and what comes of it travel between processes: frames of a header
//! in JSON and of bytes as they are.

use std::ffi::OsStr;
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::{CompileJob, Shown};
use crate::compile::{Compiled, Failure, Imported};
use crate::identity;

/// What a worker process begins with.
#[derive(Serialize, Deserialize)]
pub(crate) struct Hello {
    llvm: String,
    libraries: Vec<Vec<u8>>,
}

impl Hello {
    pub(crate) fn of_this_process() -> Hello {
        Hello {
            llvm: identity::llvm(),
            libraries: identity::libraries().to_vec(),
        }
    }

    /// Whether whoever says this compiles as this process does. A host may have more
    /// libraries.
    pub(super) fn is_of_our_llvm(&self) -> bool {
        let is_here = |library| identity::libraries().contains(library);
        self.llvm == identity::llvm() && self.libraries.iter().all(is_here)
    }
}

/// One compile. Bodies follow: the module, the index if there is one, and the
/// imports.
#[derive(Serialize, Deserialize)]
pub(crate) struct Request {
    /// The command line that clang's driver is to map, and where.
    pub(crate) args: Vec<String>,
    mapped_in: Vec<u8>,
    pub(crate) llvm_options: Vec<String>,
    directory: Vec<u8>,
    pub(crate) module: String,
    pub(crate) index: Option<String>,
    pub(crate) imports: Vec<String>,
    pub(crate) output: String,
    pub(crate) time_trace: bool,
    pub(crate) wants_functions: bool,
    pub(crate) wants_imported: bool,
    pub(crate) gives_back: bool,
}

impl Request {
    pub(super) fn of(job: &CompileJob) -> Request {
        let (args, mapped_in) = job.flags.invocation.origin();
        Request {
            args: args.to_owned(),
            mapped_in: mapped_in.as_os_str().as_bytes().to_owned(),
            llvm_options: job.flags.llvm_options.clone(),
            directory: job.directory.as_os_str().as_bytes().to_owned(),
            module: job.module.name.clone(),
            index: job.index.as_ref().map(|index| index.name.clone()),
            imports: job.imports.iter().map(|input| input.name.clone()).collect(),
            output: job.output.clone(),
            time_trace: job.time_trace,
            wants_functions: job.wants_functions,
            wants_imported: job.wants_imported,
            gives_back: job.gives_back,
        }
    }

    pub(crate) fn mapped_in(&self) -> PathBuf {
        Path::new(OsStr::from_bytes(&self.mapped_in)).to_owned()
    }

    pub(crate) fn directory(&self) -> &Path {
        Path::new(OsStr::from_bytes(&self.directory))
    }

    /// How many bodies follow.
    pub(crate) fn bodies(&self) -> usize {
        1 + usize::from(self.index.is_some()) + self.imports.len()
    }
}

/// What a worker process has to say of a job.
#[derive(Serialize, Deserialize)]
pub(crate) enum Reply {
    /// What was imported, to be answered with one byte: 1 when the object is
    /// needed. Bodies follow: each text of assembly.
    Shown { imported: Option<Imported> },
    /// The end of the job. A body follows: the object, if there is one.
    Ended {
        end: End,
        diagnostics: String,
        has_printed: bool,
        backend_cpu: std::time::Duration,
        time_trace: Option<String>,
        functions: Option<Vec<String>>,
    },
}

/// How the job ended.
#[derive(Serialize, Deserialize)]
pub(crate) enum End {
    Object,
    Stopped,
    Failed(Failure),
}

/// Sends `shown`.
pub(crate) fn send_shown(to: &mut impl Write, shown: &Shown) -> io::Result<()> {
    let bodies: Vec<&[u8]> = shown.assembly.iter().map(Vec::as_slice).collect();
    let imported = shown.imported;
    send(to, &Reply::Shown { imported }, &bodies)
}

/// Sends `compiled`.
pub(crate) fn send_compiled(to: &mut impl Write, compiled: Compiled) -> io::Result<()> {
    let (end, object) = match compiled.object {
        Ok(Some(object)) => (End::Object, Some(object)),
        Ok(None) => (End::Stopped, None),
        Err(failure) => (End::Failed(failure), None),
    };
    let reply = Reply::Ended {
        end,
        diagnostics: compiled.diagnostics,
        has_printed: compiled.has_printed,
        backend_cpu: compiled.backend_cpu,
        time_trace: compiled.time_trace,
        functions: compiled.functions,
    };
    let bodies: Vec<&[u8]> = object.iter().map(Vec::as_slice).collect();
    send(to, &reply, &bodies)
}

/// Sends a frame: the number of bodies, the lengths of header and bodies, and
/// then all of them.
pub(crate) fn send<T: Serialize>(
    to: &mut impl Write,
    header: &T,
    bodies: &[&[u8]],
) -> io::Result<()> {
    let header = serde_json::to_vec(header)?;
    let mut lengths = Vec::with_capacity(8 * (bodies.len() + 2));
    for length in [bodies.len(), header.len()]
        .into_iter()
        .chain(bodies.iter().map(|body| body.len()))
    {
        lengths.extend((length as u64).to_le_bytes());
    }
    to.write_all(&lengths)?;
    to.write_all(&header)?;
    for body in bodies {
        to.write_all(body)?;
    }
    to.flush()
}

/// Receives a frame; `None` when the other side has closed the connection before
/// it.
pub(crate) fn receive<T: DeserializeOwned>(
    from: &mut impl Read,
) -> io::Result<Option<(T, Vec<Vec<u8>>)>> {
    let Some(count) = receive_number(from)? else {
        return Ok(None);
    };
    let number = |from: &mut _| receive_number(from)?.ok_or_else(cut);
    let header = number(from)?;
    // Read, not reserved: a length that is wrong ends at the end of the stream.
    let mut lengths = Vec::new();
    for _ in 0..count {
        lengths.push(number(from)?);
    }
    let header = receive_bytes(from, header)?;
    let bodies: Vec<Vec<u8>> = lengths
        .into_iter()
        .map(|length| receive_bytes(from, length))
        .collect::<io::Result<_>>()?;
    Ok(Some((serde_json::from_slice(&header)?, bodies)))
}

/// Whether `error` says that the other side has gone.
pub(crate) fn is_end(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionReset, UnexpectedEof};
    matches!(error.kind(), UnexpectedEof | BrokenPipe | ConnectionReset)
}

fn cut() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "a frame is cut off")
}

fn receive_number(from: &mut impl Read) -> io::Result<Option<u64>> {
    let bytes = receive_up_to(from, 8)?;
    match <[u8; 8]>::try_from(bytes) {
        Ok(bytes) => Ok(Some(u64::from_le_bytes(bytes))),
        Err(bytes) if bytes.is_empty() => Ok(None),
        Err(_) => Err(cut()),
    }
}

fn receive_bytes(from: &mut impl Read, length: u64) -> io::Result<Vec<u8>> {
    let bytes = receive_up_to(from, length)?;
    match bytes.len() as u64 == length {
        true => Ok(bytes),
        false => Err(cut()),
    }
}

fn receive_up_to(from: &mut impl Read, length: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    from.take(length).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_with_another_llvm_is_noticed() {
        let ours = Hello::of_this_process();
        assert!(ours.is_of_our_llvm() && ours.libraries.len() > 2);
        let fewer = Hello {
            llvm: identity::llvm(),
            libraries: ours.libraries[1..].to_vec(),
        };
        assert!(fewer.is_of_our_llvm());
        let mut other = Hello::of_this_process();
        other.libraries[0][0] ^= 1;
        assert!(!other.is_of_our_llvm());
        let newer = Hello {
            llvm: "22.1.9, loaded".to_owned(),
            ..ours
        };
        assert!(!newer.is_of_our_llvm());
    }

    #[test]
    fn a_frame_arrives_as_it_was_sent_or_not_at_all() {
        let mut sent = Vec::new();
        send(&mut sent, &("header", 7), &[b"one", b"", b"three"]).expect("memory takes it");
        let received = receive::<(String, u32)>(&mut &sent[..]).expect("a whole frame");
        let (header, bodies) = received.expect("a frame");
        assert_eq!(header, ("header".to_owned(), 7));
        assert_eq!(bodies, [&b"one"[..], b"", b"three"]);
        let none = receive::<(String, u32)>(&mut &[][..]).expect("the end");
        assert!(none.is_none());
        for length in 1..sent.len() {
            receive::<(String, u32)>(&mut &sent[..length]).expect_err("a part of a frame");
        }
        // A length that nobody could mean.
        let mut wrong = sent.clone();
        wrong[..16].fill(0xff);
        receive::<(String, u32)>(&mut &wrong[..]).expect_err("not a frame");
    }
}
