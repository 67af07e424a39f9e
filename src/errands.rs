//! A process that an engine starts on another machine to compile what was sent there.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

use crate::asm::{AsmFiles, Search};
use crate::compile::{Compiled, Failure, Imported, Watch};
use crate::digest::Digest;
use crate::error::{Error, Kind, Result};
use crate::execute::STACK_SIZE;
use crate::execute::errand::{
    self, Chore, ERRAND, Ended, Errand, INPUTS, Named, OUTPUTS, REPORT, WORK, digest_of_files,
};
use crate::files::{self, Files};
use crate::flag_key::{self, FlagsKey};
use crate::flags;
use crate::identity;
use crate::llvm::{self, Adopted, CompileInput, Invocation};
use crate::sys;

/// The status of a process that is not the compiler it should be.
pub(crate) const OTHER_COMPILER: i32 = 3;

/// Does the errand in `directory` and leaves there what came of it. What cannot be
/// compiled as it would be at home is left out, and the reason is said. A program that is
/// to be [`Options::helper`](crate::Options::helper) calls it when its arguments are
/// `worker errand`, after [`own_process`](crate::own_process). When another build of
/// backlto or LLVM runs here, the process ends with the status 3.
///
/// # Errors
/// [`Kind::Input`] when there is no errand, [`Kind::Output`] when nothing can be left there.
pub fn run(directory: &Path) -> Result<()> {
    let path = directory.join(ERRAND);
    let errand = read(&path).and_then(|bytes| {
        serde_json::from_slice::<Errand>(&bytes).map_err(|e| unreadable(&path).because(e))
    })?;
    let here = *identity::of_process();
    if errand.compiler != here {
        // Whoever started this and has gone needs no word.
        let _ = writeln!(
            io::stderr(),
            "backlto: this is another build of backlto or LLVM, or another libm for this \
             processor: {}, not {}",
            here.short(),
            errand.compiler.short()
        );
        sys::exit_now(OTHER_COMPILER);
    }
    let failed = |e| Error::new(Kind::Environment, "cannot compile here").because(e);
    let directory = std::path::absolute(directory).map_err(failed)?;
    let doing = std::thread::Builder::new()
        .name("backend".to_owned())
        .stack_size(STACK_SIZE)
        .spawn(move || {
            let _stack = sys::AlternateStack::new();
            do_all(&errand.compiles, &directory)
        })
        .map_err(failed)?;
    match doing.join() {
        Ok(done) => done,
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

fn unreadable(path: &Path) -> Error {
    Error::new(Kind::Input, format!("cannot read `{}`", path.display()))
}

fn read(path: &Path) -> Result<Vec<u8>> {
    files::read(path).map_err(|e| unreadable(path).because(e))
}

fn do_all(chores: &[Chore], directory: &Path) -> Result<()> {
    let out = directory.join(OUTPUTS);
    let unwritten = |e: io::Error| {
        let text = format!("cannot write to `{}`", out.display());
        Error::new(Kind::Output, text).because(e)
    };
    std::fs::create_dir_all(&out).map_err(unwritten)?;
    let mut report = Vec::new();
    for (number, chore) in chores.iter().enumerate() {
        let done = do_one(chore, directory, &work_of(chore, number, directory)?)?;
        if let Some(object) = done.object {
            std::fs::write(out.join(errand::object_name(number)), object).map_err(unwritten)?;
        }
        errand::report(&mut report, &done.ended, &done.assembly).map_err(unwritten)?;
    }
    std::fs::write(out.join(REPORT), report).map_err(unwritten)
}

/// Makes the directory in which compile `number` runs, with what assembly names in it.
fn work_of(chore: &Chore, number: usize, directory: &Path) -> Result<PathBuf> {
    let work = directory.join(WORK).join(number.to_string());
    let unmade = |e: io::Error| {
        let text = format!("cannot put files into `{}`", work.display());
        Error::new(Kind::Output, text).because(e)
    };
    std::fs::create_dir_all(&work).map_err(unmade)?;
    for named in &chore.files {
        if !errand::stays_inside(&named.name) {
            let text = format!("`{}` is no name for a file of an errand", named.name);
            return Err(Error::new(Kind::Input, text));
        }
        let (from, to) = (input(directory, named), work.join(&named.name));
        let parent = to.parent().unwrap_or(&work);
        std::fs::create_dir_all(parent).map_err(unmade)?;
        let _ = std::fs::copy(from, to).map_err(unmade)?;
    }
    Ok(work)
}

/// Where the content of `named` is.
fn input(directory: &Path, named: &Named) -> PathBuf {
    directory.join(INPUTS).join(named.file.to_string())
}

/// What a compile reads.
struct Contents {
    module: Vec<u8>,
    index: Option<Vec<u8>>,
    imports: Vec<Vec<u8>>,
}

impl Contents {
    fn of(chore: &Chore, directory: &Path) -> Result<Contents> {
        let content = |named: &Named| read(&input(directory, named));
        Ok(Contents {
            module: content(&chore.module)?,
            index: chore.index.as_ref().map(content).transpose()?,
            imports: chore.imports.iter().map(content).collect::<Result<_>>()?,
        })
    }
}

/// What came of a compile.
struct Done {
    ended: Ended,
    /// There is none if it would not be the one that is made at home.
    object: Option<Vec<u8>>,
    assembly: Vec<Vec<u8>>,
}

fn do_one(chore: &Chore, directory: &Path, work: &Path) -> Result<Done> {
    let begin = Instant::now();
    let contents = Contents::of(chore, directory)?;
    sys::enter(work).map_err(|e| {
        let text = format!("cannot enter `{}`", work.display());
        Error::new(Kind::Environment, text).because(e)
    })?;
    let mut witness = Witness::default();
    let (compiled, include) = match map(chore, work) {
        Ok((invocation, include)) => {
            let compiled = compile(chore, &contents, &invocation, &mut witness);
            (compiled, include)
        }
        Err(failure) => (failure.into(), Vec::new()),
    };
    let backend_cpu = compiled.backend_cpu;
    let object = object_of(compiled);
    let search = Search {
        directory: work,
        include: &include,
        files: &Files::default(),
    };
    let ended = Ended {
        object: object
            .as_ref()
            .map(|object| Digest::of(object))
            .map_err(Clone::clone),
        flags: chore.flags,
        module: Digest::of(&contents.module),
        imported: witness.imported,
        files: digest_of_files(&AsmFiles::of(&witness.assembly, &search)),
        backend_cpu,
        time: begin.elapsed(),
    };
    Ok(Done {
        ended,
        object: object.ok(),
        assembly: witness.assembly,
    })
}

/// What came of a compile, if it is what it would be at home.
fn object_of(compiled: Compiled) -> std::result::Result<Vec<u8>, String> {
    if !compiled.diagnostics.is_empty() || compiled.has_printed {
        // What clang shows of sources it reads there.
        return Err("the compiler has something to say".to_owned());
    }
    match compiled.object {
        Ok(Some(object)) => Ok(object),
        Ok(None) => Err("it ended without an object".to_owned()),
        Err(_) => Err("it failed".to_owned()),
    }
}

/// What the command line of `chore` means, and its include path.
fn map(chore: &Chore, work: &Path) -> std::result::Result<(Invocation, Vec<String>), Failure> {
    let (invocation, messages) =
        flags::map_inside(&chore.args, work).map_err(|e| Failure::NoProcess(e.to_string()))?;
    let invocation = invocation.ok_or(Failure::Reported(messages))?;
    let cc1 = invocation.cc1_args();
    let key = flag_key::of_flags(&cc1, work, &Files::default());
    let is_meant = |key: &FlagsKey| {
        let portable = key.portable.as_ref();
        portable.is_some_and(|portable| portable.digest == chore.flags)
    };
    match key.filter(is_meant) {
        Some(key) => Ok((invocation, key.include)),
        // Names of processors and what is configured are not the same everywhere.
        None => Err(Failure::Reported(
            "the flags mean something else".to_owned(),
        )),
    }
}

fn with_name<'a>((named, bytes): (&'a Named, &'a Vec<u8>)) -> (&'a str, &'a [u8]) {
    (&named.name, bytes)
}

fn compile(
    chore: &Chore,
    contents: &Contents,
    invocation: &Invocation,
    witness: &mut Witness,
) -> Compiled {
    match llvm::adopt_options(&chore.llvm_options) {
        Adopted::InForce => {}
        Adopted::Others => return Failure::OtherOptions.into(),
        Adopted::Rejected(text) => return Failure::Options(text).into(),
    }
    let imports = chore.imports.iter().zip(&contents.imports);
    let index = chore.index.as_ref().zip(contents.index.as_ref());
    let input = CompileInput {
        invocation,
        module: (&chore.module.name, &contents.module),
        index: index.map(with_name),
        imports: imports.map(with_name).collect(),
        output: "object",
        time_trace: false,
        wants_functions: false,
    };
    llvm::compile(&input, witness, &|_, _| sys::exit_now(1))
}

/// Notes what a compile shows.
#[derive(Default)]
struct Witness {
    assembly: Vec<Vec<u8>>,
    imported: Option<Imported>,
}

impl Watch for Witness {
    fn wants_imported(&self) -> bool {
        true
    }

    fn assembly(&mut self, text: &[u8]) {
        self.assembly.push(text.to_owned());
    }

    fn imported(&mut self, imported: Option<Imported>) -> bool {
        self.imported = imported;
        true
    }
}
