//! One object tree, stage by stage.

use std::collections::HashSet;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use super::backends::{Backends, Label};
use super::cmdfile::CmdFile;
use super::indexes::Indexes;
use super::recipe::{INITCALLS, Recipe};
use super::{Request, Stage, archive, cmdfile, initcalls, steps};
use crate::digest::Digest;
use crate::error::{Error, Kind, Result};
use crate::front::{Outcome, RECORD, Session, absolute, keep_record};
use crate::incremental;
use crate::incremental::record::{Record, Step};
use crate::link::{Linker, index_name, native_name, read_index_list};
use crate::report::shell_words;

/// Every bitcode object, one per line, as the thin link saw them.
pub(super) const INDEX_LIST: &str = "vmlinux.thinlto-index";
/// Every object of vmlinux in link order.
pub(super) const ORDER: &str = "builtin.order";
/// The archive that `ORDER` lists, on THIN_DIST kernels.
const FIXUP: &str = "built-in-fixup.a";
/// The same with native objects.
const ARCHIVE: &str = "vmlinux.a";
/// What stage 4 makes of it.
const VMLINUX_O: &str = "vmlinux.o";

/// An object tree, and what its build is made of.
pub(super) struct Tree<'a> {
    path: PathBuf,
    /// What lines of output about it start with, when there are several: its
    /// architecture.
    name: String,
    /// `CONFIG_LTO_CLANG_THIN_DIST`: make itself knows stages 2 and 3.
    distributed: bool,
    recipe: Recipe,
    /// What to run on each finished object.
    post: Option<Arc<[String]>>,
    linker: &'a Linker,
    session: &'a Session,
}

impl<'a> Tree<'a> {
    pub(super) fn open(
        objtree: &Path,
        request: &Request,
        post: Option<Vec<String>>,
        linker: &'a Linker,
        session: &'a Session,
    ) -> Result<Tree<'a>> {
        let path = absolute(objtree)?;
        let distributed = is_distributed(&path)?;
        let object = any_bitcode(&path)?;
        Ok(Tree {
            recipe: Recipe::find(&path, distributed, &object, &request.make_variables)?,
            name: architecture(&path).unwrap_or_else(|_| objtree.display().to_string()),
            path,
            distributed,
            post: post.map(Arc::from),
            linker,
            session,
        })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Does stages 2 to 4, as far as `to`. `several` trees share the output.
    pub(super) fn run(&self, to: Stage, several: bool) -> Outcome {
        let label = match several {
            true => Label(Some(&self.name)),
            false => Label(None),
        };
        let path = self.path.join(RECORD);
        let mut record = Record::read(&path);
        let outcome = self.stages(to, label, &mut record);
        // What was done before a failure need not be done again.
        keep_record(&record, &path);
        outcome
    }

    fn stages(&self, to: Stage, label: Label<'_>, record: &mut Record) -> Outcome {
        let order = self.order()?;
        let bitcode = self.thin_link(&order, label, record)?;
        if to == Stage::ThinLink {
            return Ok(());
        }
        self.backends(&order, &bitcode, label, record)?;
        if to == Stage::Objects {
            return Ok(());
        }
        let objects = self.archive(&order, &bitcode, label)?;
        if to == Stage::Archive {
            return Ok(());
        }
        self.link(&objects, label, record)?;
        Ok(())
    }

    fn step(&self, what: &str, file: &str, label: Label<'_>) {
        self.session.reporter.step(what, &label.of(file));
    }

    fn error(&self, message: impl std::fmt::Display) -> Error {
        Error::new(Kind::Input, format!("`{}`: {message}", self.path.display()))
    }

    /// The objects of vmlinux in link order: what `builtin.order` lists.
    fn order(&self) -> Result<Vec<String>> {
        let mut order = Vec::new();
        let mut seen = HashSet::new();
        for archive in &self.recipe.archives {
            for member in archive::members(&self.path, archive)? {
                if seen.insert(member.clone()) {
                    order.push(member);
                }
            }
        }
        let head = self.path.join(&self.recipe.head_list);
        let list = std::fs::read_to_string(&head).map_err(|e| {
            Error::new(Kind::Input, format!("cannot read `{}`", head.display())).because(e)
        })?;
        archive::move_head_objects(&mut order, &list);
        if let Some(lost) = order.iter().find(|object| !self.path.join(object).exists()) {
            return Err(self
                .error(format!("`{lost}` is part of vmlinux, but missing"))
                .hint("run make again: the front end is not done"));
        }
        Ok(order)
    }

    /// Stage 2. Returns the bitcode objects, in link order.
    fn thin_link(
        &self,
        order: &[String],
        label: Label<'_>,
        record: &mut Record,
    ) -> Result<Vec<String>> {
        if self.distributed {
            let fixup = steps::written(&self.path, FIXUP, |name| {
                archive::write(&self.path, name, order)
            })?;
            if fixup.changed {
                self.step("AR", FIXUP, label);
            }
            fixup.younger_than(&self.path, &self.recipe.archives);
            self.record(FIXUP, &self.fixup_command())?;
        }
        let list = steps::written(&self.path, ORDER, |name| self.write(name, &lines(order)))?;
        if self.distributed {
            list.younger_than(&self.path, &[FIXUP.to_owned()]);
            self.record(ORDER, &format!("{} t {FIXUP} > {ORDER}", self.recipe.ar))?;
        }

        let mut args = self.recipe.linker_flags.clone();
        args.extend([
            "-r".to_owned(),
            format!("--thinlto-index-only={INDEX_LIST}"),
            format!("@{ORDER}"),
        ]);
        let command = command_text(&self.recipe.ld, &args);
        let inputs = steps::digest(&self.path, &[&command, &self.linker.identity()], order);
        let unchanged = record
            .step(INDEX_LIST)
            .is_some_and(|step| inputs == Some(step.inputs))
            && self.indexes_are(record.step(INDEX_LIST));
        if !unchanged {
            self.step("LD", INDEX_LIST, label);
            record.set_step(INDEX_LIST, None);
            // A list that a failed link left half-written must not look fresh to
            // make: its record goes before the link, the list itself after.
            self.forget(&cmdfile::path_of(&self.path, INDEX_LIST))?;
            let indexes = Indexes::before(&self.path, order);
            let linked = self
                .session
                .link(self.linker, &self.path, &args, "the thin link");
            if linked.is_err() {
                self.forget(&self.path.join(INDEX_LIST))?;
            }
            linked?;
            indexes.keep_times();
        }
        steps::make_younger(&self.path, INDEX_LIST, &[ORDER.to_owned()]);
        self.record(INDEX_LIST, &command)?;

        let bitcode = read_index_list(&self.path.join(INDEX_LIST))?;
        if bitcode.is_empty() {
            return Err(self.error("no object of vmlinux is bitcode"));
        }
        if !unchanged && let (Some(inputs), Some(outputs)) = (inputs, self.indexes_digest(&bitcode))
        {
            record.set_step(INDEX_LIST, Some(Step { inputs, outputs }));
        }
        Ok(bitcode)
    }

    /// What the thin link has written for `bitcode`.
    fn indexes_digest(&self, bitcode: &[String]) -> Option<Digest> {
        let mut files: Vec<String> = bitcode.iter().map(|object| index_name(object)).collect();
        files.push(INDEX_LIST.to_owned());
        steps::digest(&self.path, &[], &files)
    }

    /// Whether what the thin link has written is what `step` remembers.
    fn indexes_are(&self, step: Option<&Step>) -> bool {
        let now = read_index_list(&self.path.join(INDEX_LIST))
            .ok()
            .and_then(|bitcode| self.indexes_digest(&bitcode));
        now.is_some() && now == step.map(|step| step.outputs)
    }

    /// Stage 3.
    fn backends(
        &self,
        order: &[String],
        bitcode: &[String],
        label: Label<'_>,
        record: &mut Record,
    ) -> Outcome {
        let known: HashSet<&String> = order.iter().collect();
        if let Some(stranger) = bitcode.iter().find(|object| !known.contains(object)) {
            return Err(self
                .error(format!(
                    "{INDEX_LIST} lists `{stranger}`, which {ORDER} does not"
                ))
                .into());
        }
        Backends {
            objtree: &self.path,
            distributed: self.distributed,
            post: self.post.as_ref(),
            label,
        }
        .run(bitcode, record, self.session)
    }

    /// Writes `vmlinux.a`; returns its members.
    fn archive(
        &self,
        order: &[String],
        bitcode: &[String],
        label: Label<'_>,
    ) -> Result<Vec<String>> {
        let bitcode: HashSet<&String> = bitcode.iter().collect();
        let objects: Vec<String> = order
            .iter()
            .map(|object| match bitcode.contains(object) {
                true => native_name(object),
                false => object.clone(),
            })
            .collect();
        let archive = steps::written(&self.path, ARCHIVE, |name| {
            archive::write(&self.path, name, &objects)
        })?;
        if archive.changed {
            self.step("AR", ARCHIVE, label);
        }
        archive.younger_than(&self.path, &[ORDER.to_owned(), INDEX_LIST.to_owned()]);
        if self.distributed {
            self.record(
                ARCHIVE,
                &format!(
                    "rm -f {ARCHIVE}; while read -r obj; do if grep -Fqx ${{obj}} {INDEX_LIST}; \
                     then echo ${{obj%.o}}.thinlto-native.o; else echo ${{obj}}; fi; \
                     done < {ORDER} | xargs {} cDPrS --thin {ARCHIVE}",
                    self.recipe.ar
                ),
            )?;
        }
        Ok(objects)
    }

    /// Stage 4: `vmlinux.o`.
    fn link(&self, objects: &[String], label: Label<'_>, record: &mut Record) -> Result<()> {
        let mut all = objects.to_vec();
        for library in self.recipe.libraries() {
            match library.ends_with(".a") {
                true => all.extend(archive::members(&self.path, library)?),
                false => all.push(library.clone()),
            }
        }
        let command = command_text(&self.recipe.ld, &self.recipe.link);
        let inputs = steps::digest(&self.path, &[&command, &self.linker.identity()], &all);
        let written = [INITCALLS, VMLINUX_O].map(str::to_owned);
        let outputs = || steps::digest(&self.path, &[], &written);
        let known = record.step(VMLINUX_O);
        if known.is_some_and(|step| Some(step.inputs) == inputs && Some(step.outputs) == outputs())
        {
            steps::make_younger(&self.path, VMLINUX_O, &[ARCHIVE.to_owned()]);
            self.record_link(&command)?;
            return Ok(());
        }
        record.set_step(VMLINUX_O, None);
        self.step("GEN", INITCALLS, label);
        self.write(INITCALLS, &initcalls::linker_script(&self.path, &all)?)?;

        self.step("LD", VMLINUX_O, label);
        self.record_link(&command)?;
        self.session.link(
            self.linker,
            &self.path,
            &self.recipe.link,
            "the link of vmlinux.o",
        )?;
        if let (Some(inputs), Some(outputs)) = (inputs, outputs()) {
            record.set_step(VMLINUX_O, Some(Step { inputs, outputs }));
        }
        Ok(())
    }

    /// Records `command` as it is run, without the objtool that kbuild's own goes
    /// on with: where there is one, make sees the difference and does its stage 4
    /// again, objtool included.
    fn record_link(&self, command: &str) -> Result<()> {
        let path = cmdfile::path_of(&self.path, VMLINUX_O);
        if CmdFile::read(&self.path, VMLINUX_O)
            .and_then(|file| file.command(VMLINUX_O))
            .is_ok_and(|recorded| recorded == command)
        {
            // It is checked against the makefiles by its time.
            incremental::make_younger(&path, Some(SystemTime::now()));
            return Ok(());
        }
        self.record(VMLINUX_O, command)
    }

    /// kbuild's `cmd_ar_builtin_fixup`.
    fn fixup_command(&self) -> String {
        let ar = &self.recipe.ar;
        format!(
            "rm -f {FIXUP}; {ar} cDPrST {FIXUP} {}; \
             {ar} mPi $({ar} t {FIXUP} | sed -n 1p) {FIXUP} $({ar} t {FIXUP} | grep -F -f {})",
            self.recipe.archives.join(" "),
            self.recipe.head_list.display()
        )
    }

    fn record(&self, target: &str, command: &str) -> Result<()> {
        cmdfile::write(&self.path, target, command, std::iter::empty())
    }

    fn write(&self, file: &str, text: &str) -> Result<()> {
        crate::emit::write(&self.path.join(file), text.as_bytes())
    }

    /// Removes `path`, if it is there.
    fn forget(&self, path: &Path) -> Result<()> {
        match std::fs::remove_file(path) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(Error::new(
                Kind::Output,
                format!("cannot remove `{}`", path.display()),
            )
            .because(e)),
            _ => Ok(()),
        }
    }
}

fn lines(words: &[String]) -> String {
    words.iter().flat_map(|word| [word, "\n"]).collect()
}

fn command_text(program: &str, args: &[String]) -> String {
    format!("{program} {}", shell_words(args))
}

/// The architecture that the tree at `objtree` is configured for, by the name
/// that make knows it by.
pub(super) fn architecture(objtree: &Path) -> Result<String> {
    // "# Linux/arm64 6.12.1 Kernel Configuration"
    let config = objtree.join(".config");
    std::fs::read_to_string(&config)
        .ok()
        .and_then(|text| {
            let (_, rest) = text.split_once("# Linux/")?;
            rest.split_whitespace().next().map(str::to_owned)
        })
        .ok_or_else(|| {
            Error::new(
                Kind::Input,
                format!("cannot tell the architecture of `{}`", objtree.display()),
            )
            .because(format!("`{}` does not name it", config.display()))
            .hint("name the directory that make was given as O=, else the source tree")
        })
}

/// Whether the tree is of a THIN_DIST kernel; an error when it has no ThinLTO.
pub(super) fn is_distributed(objtree: &Path) -> Result<bool> {
    let config = objtree.join("include/config/auto.conf");
    let text = std::fs::read_to_string(&config).map_err(|e| {
        let what = match objtree.is_dir() {
            true => "is not a configured kernel object tree",
            false => "is not a directory",
        };
        Error::new(Kind::Input, format!("`{}` {what}", objtree.display()))
            .because(format!("cannot read `{}`: {e}", config.display()))
            .hint("name the directory that make was given as O=, else the source tree")
    })?;
    let has = |option: &str| {
        text.lines()
            .any(|line| line.strip_suffix("=y") == Some(option))
    };
    if has("CONFIG_LTO_CLANG_THIN_DIST") {
        return Ok(true);
    }
    if has("CONFIG_LTO_CLANG_THIN") {
        return Ok(false);
    }
    let what = match has("CONFIG_LTO_CLANG_FULL") {
        true => "full LTO, which has no backends to run apart",
        false => "no LTO",
    };
    Err(Error::new(
        Kind::Input,
        format!("`{}` is configured with {what}", objtree.display()),
    )
    .hint("choose CONFIG_LTO_CLANG_THIN, or CONFIG_LTO_CLANG_THIN_DIST where there is one"))
}

/// Some bitcode object of the tree's top archive.
fn any_bitcode(objtree: &Path) -> Result<String> {
    let members = archive::members(objtree, "built-in.a")
        .map_err(|e| e.hint("run make first: the front end is not done"))?;
    let starts_as_bitcode = |object: &String| {
        let mut magic = [0; 4];
        std::fs::File::open(objtree.join(object))
            .and_then(|mut file| file.read_exact(&mut magic))
            .is_ok_and(|()| magic == *b"BC\xC0\xDE")
    };
    members.into_iter().find(starts_as_bitcode).ok_or_else(|| {
        Error::new(
            Kind::Input,
            format!("no object of `{}/built-in.a` is bitcode", objtree.display()),
        )
        .hint("was the tree built with clang and LTO, and not cleaned since?")
    })
}
