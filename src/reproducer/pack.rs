//! Writing an archive. It happens after a crash of LLVM, so nothing here calls C++ or
//! the C heap, whose locks the crash may hold for ever.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ruzstd::encoding::{CompressionLevel, compress_to_vec};

use super::layout::Layout;
use super::{DESCRIPTION, Description, FORMAT, SCRIPT};
use crate::execute::{CompileJob, Input};
use crate::files::InputFile;
use crate::llvm::BUILT_VERSION;

/// A compile to be packed.
pub(crate) struct Case<'a> {
    pub(crate) job: &'a CompileJob,
    /// clang's command line for it.
    pub(crate) command: Vec<String>,
    /// Files that the flags and the module's assembly name.
    pub(crate) named: Vec<(String, Arc<InputFile>)>,
    /// What happened; nothing when all went well.
    pub(crate) failure: Option<String>,
}

impl Case<'_> {
    /// The compressed archive, in which everything is below the directory `top`.
    pub(super) fn pack(&self, top: &str) -> io::Result<Vec<u8>> {
        let layout = self.layout();
        let description = self.describe(&layout);
        let mut archive = Archive::below(top);
        archive.directory(&layout.directory())?;
        archive.file(
            Path::new(DESCRIPTION),
            &serde_json::to_vec_pretty(&description)?,
        )?;
        archive.script(Path::new(SCRIPT), script(&description).as_bytes())?;
        for directory in layout.directories(&self.job.output) {
            archive.directory(&directory)?;
        }
        for (name, bytes) in self.files() {
            for directory in layout.directories(name) {
                archive.directory(&directory)?;
            }
            archive.file(&layout.place(name), bytes)?;
        }
        archive.compressed()
    }

    fn inputs(&self) -> impl Iterator<Item = &Input> {
        let job = self.job;
        [&job.module]
            .into_iter()
            .chain(&job.index)
            .chain(&job.imports)
    }

    /// Every file with its name.
    fn files(&self) -> impl Iterator<Item = (&str, &[u8])> {
        let named = self
            .named
            .iter()
            .map(|(name, file)| (&**name, file.bytes()));
        self.inputs().map(Input::parts).chain(named)
    }

    fn layout(&self) -> Layout {
        let job = self.job;
        let output = || std::iter::once(&*job.output);
        let index = job.index.iter().map(|index| &*index.name);
        let named = self.named.iter().map(|(name, _)| &**name);
        let all = self.files().map(|(name, _)| name).chain(output());
        Layout::new(all, index.chain(named).chain(output()))
    }

    fn describe(&self, layout: &Layout) -> Description {
        let job = self.job;
        let text = |path: PathBuf| path.display().to_string();
        let modules = [&job.module].into_iter().chain(&job.imports);
        let absolute = modules.filter(|module| Path::new(&module.name).is_absolute());
        let words = self
            .command
            .iter()
            .map(|word| match *word == job.module.name {
                true => word.clone(),
                false => layout.word(word),
            });
        Description {
            format: FORMAT,
            backlto: env!("CARGO_PKG_VERSION").to_owned(),
            llvm: BUILT_VERSION.to_owned(),
            failure: self.failure.clone(),
            command: words.collect(),
            directory: text(layout.directory()),
            module: job.module.name.clone(),
            index: job.index.as_ref().map(|index| layout.word(&index.name)),
            output: layout.word(&job.output),
            absolute: absolute
                .map(|module| (module.name.clone(), text(layout.place(&module.name))))
                .collect(),
        }
    }
}

/// What `run.sh` holds.
fn script(description: &Description) -> String {
    // Nothing has a meaning between these quotes but the quote itself.
    let quoted = |word: &str| format!("'{}'", word.replace('\'', "'\\''"));
    let compiler = description.command.first().map_or("clang", String::as_str);
    let words: Vec<String> = description
        .command
        .iter()
        .skip(1)
        .map(|w| quoted(w))
        .collect();
    let absolute: String = description
        .absolute
        .iter()
        .map(|(name, place)| format!("    needs {} {}\n", quoted(name), quoted(place)))
        .collect();
    format!(
        "#!/bin/sh
# Repeats a compile with all that it reads: by backlto, or with the argument
# `clang` by clang. Other programs of those names: $BACKLTO, $CLANG.
# Made by backlto {} (LLVM and clang {}).
here=$(cd \"$(dirname \"$0\")\" && pwd) || exit

# The summary index knows module $1 by this name, so clang reads it there.
needs() {{
    cmp -s -- \"$1\" \"$here/$2\" && return
    echo \"run.sh: clang needs $here/$2 as $1\" >&2
    exit 1
}}

case ${{1:-backlto}} in
backlto)
    exec \"${{BACKLTO:-backlto}}\" repro \"$here\" ;;
clang)
    cd \"$here\"/{} || exit
{absolute}    exec \"${{CLANG:-\"$(command -v -- {} || echo clang)\"}}\" {} ;;
*)
    echo \"run.sh: say backlto or clang\" >&2
    exit 2 ;;
esac
",
        description.backlto,
        description.llvm,
        quoted(&description.directory),
        quoted(compiler),
        words.join(" "),
    )
}

/// An archive in memory.
struct Archive {
    top: PathBuf,
    tar: tar::Builder<Vec<u8>>,
    known: BTreeSet<PathBuf>,
}

impl Archive {
    fn below(top: &str) -> Archive {
        Archive {
            top: top.into(),
            tar: tar::Builder::new(Vec::new()),
            known: BTreeSet::new(),
        }
    }

    fn directory(&mut self, path: &Path) -> io::Result<()> {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Directory);
        self.add(path, header, 0o755, &[])
    }

    fn file(&mut self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        self.add(path, tar::Header::new_gnu(), 0o644, bytes)
    }

    fn script(&mut self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        self.add(path, tar::Header::new_gnu(), 0o755, bytes)
    }

    /// Adds what has no other names there: a file may have several in a compile.
    fn add(
        &mut self,
        path: &Path,
        mut header: tar::Header,
        mode: u32,
        bytes: &[u8],
    ) -> io::Result<()> {
        if !self.known.insert(path.to_owned()) {
            return Ok(());
        }
        header.set_mode(mode);
        header.set_size(bytes.len() as u64);
        self.tar
            .append_data(&mut header, self.top.join(path), bytes)
    }

    fn compressed(self) -> io::Result<Vec<u8>> {
        let tar = self.tar.into_inner()?;
        Ok(compress_to_vec(&tar[..], CompressionLevel::Fastest))
    }
}
