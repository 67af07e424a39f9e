//! How kbuild would link a tree in stages 2 to 4: read from the `.cmd` files of
//! an earlier build, else asked of the tree's own makefiles.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::cmdfile::{self, CmdFile};
use super::make::MakeVariables;
use super::state::TreeState;
use super::tree::{self, Tree};
use backlto::error::Result;

/// What the commands of stages 2 to 4 consist of.
#[derive(Debug, PartialEq)]
pub(crate) struct LinkPlan {
    /// kbuild's name for the linker, for `.cmd` files.
    pub(crate) ld: String,
    /// kbuild's name for llvm-ar, for `.cmd` files.
    pub(crate) ar: String,
    /// The archives that make up vmlinux (`KBUILD_VMLINUX_OBJS`).
    pub(crate) archives: Vec<String>,
    /// `KBUILD_LDFLAGS`.
    pub(crate) linker_flags: Vec<String>,
    /// ld.lld's arguments for `vmlinux.o`.
    pub(crate) link: Vec<String>,
    /// The tree's list of objects that must come first.
    pub(crate) head_list: PathBuf,
}

/// The initcall order, as the linker reads it.
pub(crate) const INITCALLS: &str = ".tmp_initcalls.lds";

impl LinkPlan {
    /// The libraries searched by the final link (`KBUILD_VMLINUX_LIBS`).
    pub(crate) fn libraries(&self) -> impl Iterator<Item = &String> {
        self.link
            .iter()
            .skip_while(|word| *word != "--start-group")
            .skip(1)
            .take_while(|word| *word != "--end-group")
    }

    /// Finds out how `tree` is linked.
    ///
    /// # Errors
    /// When no record tells and make cannot be asked, or has no sensible answer.
    pub(crate) fn find(tree: &Tree<'_>, state: &mut TreeState<'_>) -> Result<LinkPlan> {
        if tree.make_variables.is_empty()
            && let Some(plan) = LinkPlan::from_records(tree)
        {
            return Ok(plan);
        }
        LinkPlan::from_make(&MakeVariables::of(tree, state)?)
    }

    /// Reads the plan from the `.cmd` files of an earlier build; `None` when there
    /// are none of this shape, or the configuration or a makefile that decides how
    /// the kernel is linked is newer.
    fn from_records(tree: &Tree<'_>) -> Option<LinkPlan> {
        let objtree = tree.path.as_path();
        let archive = if tree.distributed {
            "built-in-fixup.a"
        } else {
            "vmlinux.a"
        };
        let configured = modified(&objtree.join("include/config/auto.conf"))?;
        let read = |target: &str| {
            if modified(&cmdfile::path_of(objtree, target))? < configured {
                return None;
            }
            let file = CmdFile::read(objtree, target).ok()?;
            Some((file.command(target).ok()?, file))
        };
        let (link, link_file) = read("vmlinux.o")?;
        let link = link_file.words(&link).ok()?;
        let (archive_command, _) = read(archive)?;
        let plan = LinkPlan::from_commands(archive, &archive_command, &link)?;
        let recorded = modified(&cmdfile::path_of(objtree, "vmlinux.o"))?;
        plan.makefiles_are_older_than(recorded, objtree)
            .then_some(plan)
    }

    /// Whether the makefiles that decide how the kernel of `objtree` is linked are
    /// all older than `recorded`.
    fn makefiles_are_older_than(&self, recorded: SystemTime, objtree: &Path) -> bool {
        // SOURCE/scripts/head-object-list.txt
        let source = self.head_list.ancestors().nth(2).unwrap_or(Path::new(""));
        let written = |name: &str| modified(&objtree.join(source).join(name));
        let arch = tree::architecture(objtree).unwrap_or_default();
        let arch_makefile = format!("arch/{}/Makefile", tree::source_architecture(&arch));
        // Every kernel has the first two; one that is not where it was looked for
        // proves nothing.
        let is_older = |name: &str| written(name).is_some_and(|time| time <= recorded);
        let no_newer = |name: &str| written(name).is_none_or(|time| time <= recorded);
        is_older("Makefile")
            && is_older(&arch_makefile)
            && no_newer("scripts/Makefile.vmlinux_a")
            && no_newer("scripts/Makefile.vmlinux_o")
    }

    /// Takes the plan from kbuild's commands; `None` when they have another shape.
    /// `archive_command` is `cmd_ar_builtin_fixup`, on kernels without THIN_DIST
    /// `cmd_ar_vmlinux.a`; `link` the words of `cmd_ld_vmlinux.o`.
    fn from_commands(archive: &str, archive_command: &str, link: &[String]) -> Option<LinkPlan> {
        let (ld, link) = link.split_first()?;
        let relocatable = link.iter().position(|word| word == "-r")?;
        // rm -f X; AR cDPrST X ARCHIVES...; AR mPi ... -f LIST)
        let mut commands = cmdfile::commands(archive_command);
        let creation = shlex::split(commands.nth(1)?)?;
        let (ar, creation) = creation.split_first()?;
        let at = creation.iter().position(|word| word == archive)?;
        let (_, list) = commands.last()?.rsplit_once(" -f ")?;
        Some(LinkPlan {
            ld: ld.clone(),
            ar: ar.clone(),
            archives: creation[at + 1..].to_vec(),
            linker_flags: link[..relocatable].to_vec(),
            link: link.to_vec(),
            head_list: list.trim_end().strip_suffix(')')?.into(),
        })
    }

    /// Makes the plan of what `scripts/Makefile.vmlinux_o` would use.
    fn from_make(variables: &MakeVariables) -> Result<LinkPlan> {
        let words = |name: &str| {
            let value = variables.get(name)?;
            shlex::split(value).ok_or_else(|| variables.error(&format!("`{name}` is `{value}`")))
        };
        // Without a makefile, or with one of another project, make succeeds too.
        let archives = words("KBUILD_VMLINUX_OBJS")?;
        if archives.is_empty() {
            return Err(variables.error("`KBUILD_VMLINUX_OBJS` is empty"));
        }
        let linker_flags = words("KBUILD_LDFLAGS")?;
        // scripts/Makefile.vmlinux_o; CONFIG_BUILTIN_MODULE_RANGES, which adds a map there,
        // depends on the absence of LTO.
        let more = [
            "-r",
            "-o",
            "vmlinux.o",
            "-T",
            INITCALLS,
            "--whole-archive",
            "vmlinux.a",
            "--no-whole-archive",
            "--start-group",
        ];
        let mut link = linker_flags.clone();
        link.extend(more.map(str::to_owned));
        link.extend(words("KBUILD_VMLINUX_LIBS")?);
        link.push("--end-group".to_owned());
        Ok(LinkPlan {
            ld: variables.get("LD")?.to_owned(),
            ar: variables.get("AR")?.to_owned(),
            archives,
            linker_flags,
            link,
            head_list: Path::new(variables.get("srctree")?).join("scripts/head-object-list.txt"),
        })
    }
}

/// When the file at `path` was last written, if it is there.
fn modified(path: &Path) -> Option<SystemTime> {
    std::fs::metadata(path).ok()?.modified().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINK: &str = "ld.lld-22 -m elf_x86_64 -z noexecstack -r -o vmlinux.o  -T \
        .tmp_initcalls.lds --whole-archive vmlinux.a --no-whole-archive --start-group a/lib.a \
        --end-group";

    #[test]
    fn recorded_commands_come_apart() {
        let archive = "rm -f vmlinux.a; llvm-ar-22 cDPrST vmlinux.a ./built-in.a  lib/lib.a; \
            llvm-ar-22 mPiT $(llvm-ar-22 t vmlinux.a | sed -n 1p) vmlinux.a \
            $(llvm-ar-22 t vmlinux.a | grep -F -f /src/scripts/head-object-list.txt)";
        let link = shlex::split(LINK).unwrap();
        let plan = LinkPlan::from_commands("vmlinux.a", archive, &link).unwrap();
        assert_eq!(plan.ld, "ld.lld-22");
        assert_eq!(plan.ar, "llvm-ar-22");
        assert_eq!(plan.archives, ["./built-in.a", "lib/lib.a"]);
        assert_eq!(plan.linker_flags, ["-m", "elf_x86_64", "-z", "noexecstack"]);
        assert_eq!(plan.libraries().collect::<Vec<_>>(), ["a/lib.a"]);
        assert_eq!(
            plan.head_list,
            Path::new("/src/scripts/head-object-list.txt")
        );
    }

    #[test]
    fn quoted_operators_end_no_command() {
        let archive = "rm -f vmlinux.a; 'a;r' cDPrST vmlinux.a 'x;y/built-in.a'; \
            'a;r' mPiT $('a;r' t vmlinux.a | grep -F -f /src/scripts/head-object-list.txt)";
        let link = shlex::split(LINK).unwrap();
        let plan = LinkPlan::from_commands("vmlinux.a", archive, &link).unwrap();
        assert_eq!(plan.ar, "a;r");
        assert_eq!(plan.archives, ["x;y/built-in.a"]);
    }

    #[test]
    fn a_command_of_another_shape_is_not_misread() {
        let link = shlex::split(LINK).unwrap();
        for odd in ["", "rm -f vmlinux.a", "rm -f vmlinux.a; ar x; true"] {
            assert_eq!(
                LinkPlan::from_commands("vmlinux.a", odd, &link),
                None,
                "{odd}"
            );
        }
    }
}
