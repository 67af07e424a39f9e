//! Compiles that go together to another machine, as files: what they read on the way
//! there, what came of them on the way back.
//!
//! ```text
//!   errand      in JSON: which compiles
//!   in/N        what they read, each content once
//!   work/N      where compile N looks for files that its assembly names
//!   out/report  a frame for each compile, in their order
//!   out/N.o     the object of compile N
//! ```
//!
//! Nothing says where the files are here. Modules have the names that indexes know, files
//! that flags name are called by their numbers, and those that assembly names have the
//! names that it has for them.

use std::collections::HashMap;
use std::fmt;
use std::io::{self, Read, Write};
use std::path::{Component, Path};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::wire;
use super::{CompileJob, Content, Input, Outcome, Shown};
use crate::asm::{AsmFiles, Search};
use crate::compile::Imported;
use crate::dependency::{self, Part};
use crate::digest::Digest;
use crate::files::InputFile;
use crate::flags::MappedFlags;
use crate::identity;

/// The file with the [`Errand`].
pub(crate) const ERRAND: &str = "errand";
/// The folder of what is read.
pub(crate) const INPUTS: &str = "in";
/// The folder of the directories in which compiles run.
pub(crate) const WORK: &str = "work";
/// The folder of what is made.
pub(crate) const OUTPUTS: &str = "out";
/// The file in it that says how compiles ended.
pub(crate) const REPORT: &str = "report";

/// The name of the object of compile `number`, among what is made.
pub(crate) fn object_name(number: usize) -> String {
    format!("{number}.o")
}

/// What is to be compiled.
#[derive(Serialize, Deserialize)]
pub(crate) struct Errand {
    /// The digest of all code that the compiles are to be done by.
    pub(crate) compiler: Digest,
    pub(crate) compiles: Vec<Chore>,
}

/// One compile of an errand.
#[derive(Serialize, Deserialize)]
pub(crate) struct Chore {
    /// The command line that clang's driver is to map.
    pub(crate) args: Vec<String>,
    pub(crate) llvm_options: Vec<String>,
    /// What the flags should mean for an object.
    pub(crate) flags: Digest,
    pub(crate) module: Named,
    pub(crate) index: Option<Named>,
    pub(crate) imports: Vec<Named>,
    /// What its assembly names.
    pub(crate) files: Vec<Named>,
}

/// A file under the name by which the thin link, or assembly, knows it.
#[derive(Serialize, Deserialize)]
pub(crate) struct Named {
    pub(crate) name: String,
    /// Its number in the folder of inputs.
    pub(crate) file: usize,
}

/// Whether the flags of a job may be sent elsewhere, with the files that they name.
pub(crate) fn may_leave(flags: &MappedFlags) -> bool {
    let (args, _) = flags.invocation.origin();
    flags
        .portable()
        .is_some_and(|portable| portable.is_named_by(args))
}

/// Whether `name` stays in the directory in which it starts.
pub(crate) fn stays_inside(name: &str) -> bool {
    let is_plain = |part| matches!(part, Component::Normal(_) | Component::CurDir);
    Path::new(name).components().all(is_plain)
}

/// A job to be sent, with the files that its assembly names, as far as that is known.
#[derive(Clone)]
pub(crate) struct Parcel {
    pub(crate) job: Arc<CompileJob>,
    pub(crate) files: Vec<Input>,
}

/// An errand, and the files that it speaks of, by their numbers.
pub(crate) struct Packed {
    pub(crate) errand: Vec<u8>,
    pub(crate) inputs: Vec<Arc<dyn Content>>,
}

impl Packed {
    /// Packs `parcels`; `None` if there is one among them whose flags may not leave.
    pub(crate) fn of(parcels: &[Parcel]) -> Option<Packed> {
        let mut packer = Packer::default();
        let compiles = parcels.iter().map(|parcel| packer.add(parcel));
        let errand = Errand {
            compiler: *identity::of_process(),
            compiles: compiles.collect::<Option<_>>()?,
        };
        Some(Packed {
            errand: serde_json::to_vec(&errand).ok()?,
            inputs: packer.inputs,
        })
    }
}

#[derive(Default)]
struct Packer {
    inputs: Vec<Arc<dyn Content>>,
    numbers: HashMap<Digest, usize>,
}

impl Packer {
    fn add(&mut self, parcel: &Parcel) -> Option<Chore> {
        let job = &parcel.job;
        let flags = job.flags.portable()?;
        let (args, _) = job.flags.invocation.origin();
        let args = flags.rename(args, |file: &Arc<InputFile>| {
            let content: Arc<dyn Content> = file.clone();
            // From a directory in that of compiles.
            format!("../../{INPUTS}/{}", self.number(&content))
        });
        Some(Chore {
            args: args?,
            llvm_options: job.flags.llvm_options.clone(),
            flags: flags.digest,
            module: self.name(&job.module),
            index: job.index.as_ref().map(|index| self.name(index)),
            imports: job.imports.iter().map(|input| self.name(input)).collect(),
            files: parcel.files.iter().map(|input| self.name(input)).collect(),
        })
    }

    fn name(&mut self, input: &Input) -> Named {
        Named {
            name: input.name.clone(),
            file: self.number(&input.content),
        }
    }

    fn number(&mut self, content: &Arc<dyn Content>) -> usize {
        let inputs = &mut self.inputs;
        let add = || {
            inputs.push(Arc::clone(content));
            inputs.len() - 1
        };
        *self.numbers.entry(content.digest()).or_insert_with(add)
    }
}

/// How one compile of an errand ended. Bodies follow: each text of assembly.
#[derive(Serialize, Deserialize)]
pub(crate) struct Ended {
    /// What the flags meant, the module, and the object's digest; or why there is none.
    pub(crate) object: Result<Digest, String>,
    pub(crate) flags: Digest,
    pub(crate) module: Digest,
    pub(crate) imported: Option<Imported>,
    /// What its assembly finds of files there; `None` when that cannot be told.
    pub(crate) files: Option<Digest>,
    pub(crate) backend_cpu: Duration,
    pub(crate) time: Duration,
}

/// Adds to a report how a compile `ended` that was shown `assembly`.
pub(crate) fn report(to: &mut impl Write, ended: &Ended, assembly: &[Vec<u8>]) -> io::Result<()> {
    let bodies: Vec<&[u8]> = assembly.iter().map(Vec::as_slice).collect();
    wire::send(to, ended, &bodies)
}

/// What assembly finds of files, in one digest; `None` when that cannot be told.
pub(crate) fn digest_of_files(files: &AsmFiles) -> Option<Digest> {
    match files {
        AsmFiles::Known(files) => Some(dependency::key(files)),
        AsmFiles::Unknown => None,
    }
}

/// Why what came of a compile is of no use.
pub(crate) enum Refusal {
    /// Its assembly pulls in these files, which it was not given.
    Lacks(Vec<Input>),
    Because(String),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::Lacks(_) => f.write_str("its assembly pulls in files"),
            Refusal::Because(reason) => f.write_str(reason),
        }
    }
}

impl From<String> for Refusal {
    fn from(reason: String) -> Refusal {
        Refusal::Because(reason)
    }
}

impl From<&str> for Refusal {
    fn from(reason: &str) -> Refusal {
        Refusal::Because(reason.to_owned())
    }
}

/// What `report` says of `parcels`, whose objects are `objects`: for each what came of it,
/// or why it is of no use.
pub(crate) fn outcomes(
    parcels: &[Parcel],
    mut report: impl Read,
    objects: Vec<Option<Vec<u8>>>,
) -> Vec<Result<Outcome, Refusal>> {
    parcels
        .iter()
        .zip(objects)
        .map(|(parcel, object)| outcome(parcel, &mut report, object))
        .collect()
}

fn outcome(
    parcel: &Parcel,
    report: &mut impl Read,
    object: Option<Vec<u8>>,
) -> Result<Outcome, Refusal> {
    let (ended, assembly): (Ended, _) = wire::receive(report)
        .map_err(|e| format!("its report cannot be read: {e}"))?
        .ok_or("its report says nothing of a job")?;
    let job = &parcel.job;
    // First: without its files, a compile failed.
    check_files(parcel, &assembly, ended.files)?;
    let digest = ended.object?;
    let object = object.ok_or("an object is missing")?;
    let flags = job.flags.portable();
    let is_ours = flags.is_some_and(|flags| flags.digest == ended.flags);
    if !is_ours || job.module.content.digest() != ended.module {
        return Err("an object is that of another job".into());
    }
    if Digest::of(&object) != digest {
        return Err("an object is not the one that its report speaks of".into());
    }
    Ok(Outcome {
        object,
        shown: Shown {
            assembly,
            imported: ended.imported,
        },
        backend_cpu: ended.backend_cpu,
        time: ended.time,
    })
}

/// Checks that `assembly` of the job in `parcel` `found` the files there that are here.
fn check_files(
    parcel: &Parcel,
    assembly: &[Vec<u8>],
    found: Option<Digest>,
) -> Result<(), Refusal> {
    let job = &parcel.job;
    let search = Search {
        directory: &job.directory,
        include: job.flags.key.as_ref().map_or(&[], |key| &key.include),
        files: &job.files,
    };
    let named = AsmFiles::of(assembly, &search);
    let expected = digest_of_files(&named);
    if expected.is_some() && found == expected {
        return Ok(());
    }
    let AsmFiles::Known(named) = named else {
        return Err("its assembly may pull in any file".into());
    };
    let is_there = named
        .iter()
        .filter(|named| named.part == Part::AsmFile && named.digest.is_some());
    let lacking = is_there.map(|named| {
        let file = job.files.get(&job.directory.join(&named.name)).ok()?;
        stays_inside(&named.name).then(|| Input {
            name: named.name.clone(),
            content: file,
        })
    });
    match lacking.collect::<Option<Vec<Input>>>() {
        Some(lacking) if parcel.files.is_empty() && !lacking.is_empty() => {
            Err(Refusal::Lacks(lacking))
        }
        _ => Err("its assembly pulls in files that are here alone".into()),
    }
}
