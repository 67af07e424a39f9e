//! Stages 2 to 4 of one object tree.

use std::collections::HashSet;
use std::path::Path;

use super::backends::{Backends, Label};
use super::cmdfile::CmdFile;
use super::link_plan::{INITCALLS, LinkPlan};
use super::request::Stage;
use super::state::{self, TreeState};
use super::tree::Tree;
use super::{archive, cmdfile, initcalls};
use crate::linker::{index_name, native_name, read_index_list};
use crate::session::Outcome;
use crate::text::shell_words;
use backlto::error::{Error, Kind, Result};
use backlto::files;

/// Every bitcode object, one per line, as the thin link saw them.
pub(crate) const INDEX_LIST: &str = "vmlinux.thinlto-index";
/// Every object of vmlinux in link order.
const ORDER: &str = "builtin.order";
/// The archive that [`ORDER`] lists, on THIN_DIST kernels.
const FIXUP: &str = "built-in-fixup.a";
/// The archive of every object of vmlinux, native ones in place of bitcode.
const ARCHIVE: &str = "vmlinux.a";
/// What stage 4 makes of [`ARCHIVE`].
const VMLINUX_O: &str = "vmlinux.o";

/// The stages of one tree.
pub(crate) struct Stages<'a> {
    tree: &'a Tree<'a>,
    plan: &'a LinkPlan,
    label: Label<'a>,
}

impl<'a> Stages<'a> {
    /// The stages of `tree`, which is linked by `plan`; `label` tells its lines of
    /// output from those of other trees.
    pub(crate) fn new(tree: &'a Tree<'a>, plan: &'a LinkPlan, label: Label<'a>) -> Stages<'a> {
        Stages { tree, plan, label }
    }

    /// Does the stages up to `to`.
    ///
    /// # Errors
    /// When a stage fails; those before it keep what they wrote.
    pub(crate) fn run(&self, to: Stage, state: &mut TreeState<'_>) -> Outcome {
        let order = self.order(state)?;
        let bitcode = self.thin_link(&order, state)?;
        if to == Stage::ThinLink {
            return Ok(());
        }
        self.backends(&order, &bitcode, state)?;
        if to == Stage::Objects {
            return Ok(());
        }
        let objects = self.archive(&order, &bitcode, state)?;
        if to == Stage::Archive {
            return Ok(());
        }
        self.link(&objects, state)?;
        Ok(())
    }

    fn say(&self, what: &str, file: &str) {
        self.tree.session.reporter.step(what, &self.label.of(file));
    }

    fn error(&self, message: impl std::fmt::Display) -> Error {
        Error::new(
            Kind::Input,
            format!("`{}`: {message}", self.tree.path.display()),
        )
    }

    /// The objects of vmlinux in link order: what `builtin.order` lists.
    fn order(&self, state: &mut TreeState<'_>) -> Result<Vec<String>> {
        let mut order = Vec::new();
        let mut seen = HashSet::new();
        for archive in &self.plan.archives {
            for member in archive::members(&self.tree.path, archive)? {
                if seen.insert(member.clone()) {
                    order.push(member);
                }
            }
        }
        let head = self.tree.path.join(&self.plan.head_list);
        let list = files::read_text(&head).map_err(|e| {
            Error::new(Kind::Input, format!("cannot read `{}`", head.display())).because(e)
        })?;
        archive::move_head_objects(&mut order, &list);
        let path = |object: &String| self.tree.path.join(object);
        state.files.read(order.iter().map(path));
        let is_lost = |object: &&String| state.files.digest(&path(object)).is_none();
        if let Some(lost) = order.iter().find(is_lost) {
            return Err(self
                .error(format!("`{lost}` is part of vmlinux, but missing"))
                .hint("run make again: the front end is not done"));
        }
        Ok(order)
    }

    /// Does stage 2, the thin link. Returns the bitcode objects, in link order.
    fn thin_link(&self, order: &[String], state: &mut TreeState<'_>) -> Result<Vec<String>> {
        if self.tree.distributed {
            self.write_archive(FIXUP, order, state)?;
            state::date_after(&self.tree.path, FIXUP, &self.plan.archives);
            self.record(FIXUP, &self.fixup_command())?;
        }
        self.write(ORDER, &lines(order))?;
        if self.tree.distributed {
            state::date_after(&self.tree.path, ORDER, &[FIXUP.to_owned()]);
            self.record(ORDER, &format!("{} t {FIXUP} > {ORDER}", self.plan.ar))?;
        }

        let mut args = self.plan.linker_flags.clone();
        args.extend([
            "-r".to_owned(),
            format!("--thinlto-index-only={INDEX_LIST}"),
            format!("@{ORDER}"),
        ]);
        let command = command_text(&self.plan.ld, &args);
        let inputs = state.digest(&[&command, &self.tree.linker_identity], order);
        state.step(INDEX_LIST, inputs, &|| indexes(&self.tree.path), || {
            self.say("LD", INDEX_LIST);
            // A list that a failed link left half-written must not look fresh to
            // make: its record goes before the link, the list itself after.
            remove(&cmdfile::path_of(&self.tree.path, INDEX_LIST))?;
            let linked = self.run_linker(&args, "the thin link");
            if linked.is_err() {
                remove(&self.tree.path.join(INDEX_LIST))?;
            }
            linked
        })?;
        state::date_after(&self.tree.path, INDEX_LIST, &[ORDER.to_owned()]);
        self.record(INDEX_LIST, &command)?;

        let bitcode = read_index_list(&self.tree.path.join(INDEX_LIST))?;
        match bitcode.is_empty() {
            true => Err(self.error("no object of vmlinux is bitcode")),
            false => Ok(bitcode),
        }
    }

    /// Does stage 3, the backends.
    fn backends(&self, order: &[String], bitcode: &[String], state: &mut TreeState<'_>) -> Outcome {
        let known: HashSet<&String> = order.iter().collect();
        if let Some(stranger) = bitcode.iter().find(|object| !known.contains(object)) {
            return Err(self
                .error(format!(
                    "{INDEX_LIST} lists `{stranger}`, which {ORDER} does not"
                ))
                .into());
        }
        Backends {
            objtree: &self.tree.path,
            distributed: self.tree.distributed,
            post: self.tree.post.as_ref(),
            label: self.label,
        }
        .run(bitcode, state, self.tree.session)
    }

    /// Writes `vmlinux.a`; returns its members.
    fn archive(
        &self,
        order: &[String],
        bitcode: &[String],
        state: &mut TreeState<'_>,
    ) -> Result<Vec<String>> {
        let bitcode: HashSet<&String> = bitcode.iter().collect();
        let objects: Vec<String> = order
            .iter()
            .map(|object| match bitcode.contains(object) {
                true => native_name(object),
                false => object.clone(),
            })
            .collect();
        self.write_archive(ARCHIVE, &objects, state)?;
        state::date_after(
            &self.tree.path,
            ARCHIVE,
            &[ORDER, INDEX_LIST].map(str::to_owned),
        );
        if self.tree.distributed {
            self.record(
                ARCHIVE,
                &format!(
                    "rm -f {ARCHIVE}; while read -r obj; do if grep -Fqx ${{obj}} {INDEX_LIST}; \
                     then echo ${{obj%.o}}.thinlto-native.o; else echo ${{obj}}; fi; \
                     done < {ORDER} | xargs {} cDPrS --thin {ARCHIVE}",
                    self.plan.ar
                ),
            )?;
        }
        Ok(objects)
    }

    /// Does stage 4: links `vmlinux.o` from `objects`. [`INITCALLS`] gets no record: kbuild's
    /// names a script and the programs for it, which were not run.
    fn link(&self, objects: &[String], state: &mut TreeState<'_>) -> Result<()> {
        let mut all = objects.to_vec();
        for library in self.plan.libraries() {
            match library.ends_with(".a") {
                true => all.extend(archive::members(&self.tree.path, library)?),
                false => all.push(library.clone()),
            }
        }
        let command = command_text(&self.plan.ld, &self.plan.link);
        let inputs = state.digest(&[&command, &self.tree.linker_identity], &all);
        let outputs = [INITCALLS, VMLINUX_O].map(str::to_owned).to_vec();
        state.step(VMLINUX_O, inputs, &|| Some(outputs.clone()), || {
            self.say("GEN", INITCALLS);
            self.write(INITCALLS, &initcalls::linker_script(&self.tree.path, &all)?)?;
            self.say("LD", VMLINUX_O);
            self.run_linker(&self.plan.link, "the link of vmlinux.o")
        })?;
        let mut read = vec![ARCHIVE.to_owned()];
        read.extend(self.plan.libraries().cloned());
        state::date_after(&self.tree.path, INITCALLS, &read);
        read.push(INITCALLS.to_owned());
        state::date_after(&self.tree.path, VMLINUX_O, &read);
        self.record_link(&command)
    }

    /// Records `command` as it is run, without the objtool that kbuild's own goes
    /// on with: where there is one, make sees the difference and does its stage 4
    /// again, objtool included.
    fn record_link(&self, command: &str) -> Result<()> {
        let path = cmdfile::path_of(&self.tree.path, VMLINUX_O);
        if CmdFile::read(&self.tree.path, VMLINUX_O)
            .and_then(|file| file.command(VMLINUX_O))
            .is_ok_and(|recorded| recorded == command)
        {
            // It is checked against the makefiles by its time.
            state::date_now(&path);
            return Ok(());
        }
        self.record(VMLINUX_O, command)
    }

    /// Writes the thin archive `name` of `members`, unless it is there.
    fn write_archive(
        &self,
        name: &str,
        members: &[String],
        state: &mut TreeState<'_>,
    ) -> Result<()> {
        let inputs = state.digest(&[name], members);
        state.step(name, inputs, &|| Some(vec![name.to_owned()]), || {
            self.say("AR", name);
            archive::write(&self.tree.path, name, members)
        })
    }

    fn run_linker(&self, args: &[String], doing: &str) -> Result<()> {
        let Tree {
            session, linker, ..
        } = self.tree;
        session.link(linker, &self.tree.path, args, doing)
    }

    /// The command that kbuild makes [`FIXUP`] with (`cmd_ar_builtin_fixup`).
    fn fixup_command(&self) -> String {
        let ar = &self.plan.ar;
        format!(
            "rm -f {FIXUP}; {ar} cDPrST {FIXUP} {}; \
             {ar} mPi $({ar} t {FIXUP} | sed -n 1p) {FIXUP} $({ar} t {FIXUP} | grep -F -f {})",
            self.plan.archives.join(" "),
            self.plan.head_list.display()
        )
    }

    fn record(&self, target: &str, command: &str) -> Result<()> {
        cmdfile::write(&self.tree.path, target, command, std::iter::empty())
    }

    fn write(&self, file: &str, text: &str) -> Result<()> {
        state::write_if_changed(&self.tree.path.join(file), text)
    }
}

/// Names the files that a thin link has written in the tree at `objtree`: the
/// summary indexes, and their list. `None` when there is no list.
pub(crate) fn indexes(objtree: &Path) -> Option<Vec<String>> {
    let bitcode = read_index_list(&objtree.join(INDEX_LIST)).ok()?;
    let mut files: Vec<String> = bitcode.iter().map(|object| index_name(object)).collect();
    files.push(INDEX_LIST.to_owned());
    Some(files)
}

/// Removes the file at `path`, if it is there.
fn remove(path: &Path) -> Result<()> {
    match std::fs::remove_file(path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
            Err(Error::new(Kind::Output, format!("cannot remove `{}`", path.display())).because(e))
        }
        _ => Ok(()),
    }
}

/// `words`, each on a line.
fn lines(words: &[String]) -> String {
    words.iter().flat_map(|word| [word, "\n"]).collect()
}

/// The command line of `program` with `args`, as a shell would read it.
fn command_text(program: &str, args: &[String]) -> String {
    format!("{program} {}", shell_words(args))
}
