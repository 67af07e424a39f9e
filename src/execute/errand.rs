//! Compiles that go together to another machine, as files: what they read on the way
//! there, what came of them on the way back.
//!
//! ```text
//!   errand      in JSON: which compiles
//!   in/N        what they read, each content once
//!   out/report  a frame for each compile, in their order
//!   out/N.o     the object of compile N
//! ```
//!
//! Nothing says where the files are here. Modules have the names that indexes know.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::wire;
use super::{CompileJob, Content, Input, Outcome, Shown};
use crate::compile::Imported;
use crate::dependency;
use crate::digest::Digest;
use crate::flag_key::FlagsKey;
use crate::identity;

/// The file with the [`Errand`].
pub(crate) const ERRAND: &str = "errand";
/// The folder of what is read.
pub(crate) const INPUTS: &str = "in";
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
}

/// A file under the name by which the thin link knows it.
#[derive(Serialize, Deserialize)]
pub(crate) struct Named {
    pub(crate) name: String,
    /// Its number in the folder of inputs.
    pub(crate) file: usize,
}

/// What `flags` mean, in one digest.
pub(crate) fn digest_of_flags(flags: &FlagsKey) -> Digest {
    dependency::key(&flags.dependencies)
}

/// An errand, and the files that it speaks of, by their numbers.
pub(crate) struct Packed {
    pub(crate) errand: Vec<u8>,
    pub(crate) inputs: Vec<Arc<dyn Content>>,
}

impl Packed {
    /// Packs `jobs`; `None` if there is one among them whose flags ask for more than an
    /// object.
    pub(crate) fn of(jobs: &[Arc<CompileJob>]) -> Option<Packed> {
        let mut packer = Packer::default();
        let compiles = jobs.iter().map(|job| packer.add(job));
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
    fn add(&mut self, job: &CompileJob) -> Option<Chore> {
        let flags = job.flags.key.as_ref()?;
        let (args, _) = job.flags.invocation.origin();
        Some(Chore {
            args: args.to_owned(),
            llvm_options: job.flags.llvm_options.clone(),
            flags: digest_of_flags(flags),
            module: self.name(&job.module),
            index: job.index.as_ref().map(|index| self.name(index)),
            imports: job.imports.iter().map(|input| self.name(input)).collect(),
        })
    }

    fn name(&mut self, input: &Input) -> Named {
        let inputs = &mut self.inputs;
        let digest = input.content.digest();
        let number = self.numbers.entry(digest).or_insert_with(|| {
            inputs.push(Arc::clone(&input.content));
            inputs.len() - 1
        });
        Named {
            name: input.name.clone(),
            file: *number,
        }
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
    pub(crate) backend_cpu: Duration,
    pub(crate) time: Duration,
}

/// Adds to a report how a compile `ended` that was shown `assembly`.
pub(crate) fn report(to: &mut impl Write, ended: &Ended, assembly: &[Vec<u8>]) -> io::Result<()> {
    let bodies: Vec<&[u8]> = assembly.iter().map(Vec::as_slice).collect();
    wire::send(to, ended, &bodies)
}

/// What `report` says of `jobs`, whose objects are `objects`: for each what came of it, or
/// why it is of no use.
pub(crate) fn outcomes(
    jobs: &[Arc<CompileJob>],
    mut report: impl Read,
    objects: Vec<Option<Vec<u8>>>,
) -> Vec<Result<Outcome, String>> {
    jobs.iter()
        .zip(objects)
        .map(|(job, object)| outcome(job, &mut report, object))
        .collect()
}

fn outcome(
    job: &CompileJob,
    report: &mut impl Read,
    object: Option<Vec<u8>>,
) -> Result<Outcome, String> {
    let (ended, assembly): (Ended, _) = wire::receive(report)
        .map_err(|e| format!("its report cannot be read: {e}"))?
        .ok_or("its report says nothing of a job")?;
    let digest = ended.object?;
    let object = object.ok_or("an object is missing")?;
    let flags = job.flags.key.as_ref().map(digest_of_flags);
    if flags != Some(ended.flags) || job.module.content.digest() != ended.module {
        return Err("an object is that of another job".to_owned());
    }
    if Digest::of(&object) != digest {
        return Err("an object is not the one that its report speaks of".to_owned());
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
