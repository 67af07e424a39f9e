//! What kbuild would run in stages 2 to 4 of a tree: read from the `.cmd`
//! files of an earlier build, else asked of the tree's own makefiles.

use std::path::{Path, PathBuf};

use super::answers::Answers;
use super::cmdfile::{self, CmdFile};
use super::steps::State;
use super::tree::Tree;
use backlto::error::Result;

/// The commands of stages 2 to 4.
#[derive(Debug, PartialEq)]
pub(crate) struct Recipe {
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

impl Recipe {
    /// The libraries searched by the final link (`KBUILD_VMLINUX_LIBS`).
    pub(crate) fn libraries(&self) -> impl Iterator<Item = &String> {
        self.link
            .iter()
            .skip_while(|word| *word != "--start-group")
            .skip(1)
            .take_while(|word| *word != "--end-group")
    }

    /// The map that the link writes, where kbuild wants one
    /// (`CONFIG_BUILTIN_MODULE_RANGES`).
    pub(crate) fn map(&self) -> Option<&str> {
        self.link.iter().find_map(|word| word.strip_prefix("-Map="))
    }

    /// Finds the recipe of `tree`.
    pub(crate) fn find(tree: &Tree<'_>, state: &mut State<'_>) -> Result<Recipe> {
        if tree.make_variables.is_empty()
            && let Some(recipe) = Recipe::from_records(tree)
        {
            return Ok(recipe);
        }
        Recipe::from_make(&Answers::of(tree, state)?)
    }

    /// From the `.cmd` files of an earlier build, unless the configuration has
    /// changed since.
    fn from_records(tree: &Tree<'_>) -> Option<Recipe> {
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
        let recipe = Recipe::from_commands(archive, &archive_command, &link)?;
        let recorded = modified(&cmdfile::path_of(objtree, "vmlinux.o"))?;
        let older = |makefile: PathBuf| modified(&makefile).is_none_or(|time| time <= recorded);
        let unchanged = recipe.makefiles(objtree).all(older);
        unchanged.then_some(recipe)
    }

    /// The makefiles of the source tree that decide how the kernel is linked.
    fn makefiles(&self, objtree: &Path) -> impl Iterator<Item = PathBuf> {
        // SOURCE/scripts/head-object-list.txt
        let source = self.head_list.ancestors().nth(2).unwrap_or(Path::new(""));
        let arch = super::tree::architecture(objtree).unwrap_or_default();
        [
            "Makefile".to_owned(),
            "scripts/Makefile.vmlinux_a".to_owned(),
            "scripts/Makefile.vmlinux_o".to_owned(),
            format!("arch/{arch}/Makefile"),
        ]
        .map(|name| objtree.join(source).join(name))
        .into_iter()
    }

    /// `archive_command` is kbuild's `cmd_ar_builtin_fixup`, on kernels without
    /// THIN_DIST `cmd_ar_vmlinux.a`; `link` the words of `cmd_ld_vmlinux.o`.
    fn from_commands(archive: &str, archive_command: &str, link: &[String]) -> Option<Recipe> {
        let (ld, link) = link.split_first()?;
        let relocatable = link.iter().position(|word| word == "-r")?;
        // rm -f X; AR cDPrST X ARCHIVES...; AR mPi ... -f LIST)
        let (_, creation) = archive_command.split_once(';')?;
        let (creation, rest) = creation.split_once(';')?;
        let creation = shlex::split(creation)?;
        let (ar, creation) = creation.split_first()?;
        let at = creation.iter().position(|word| word == archive)?;
        let (_, list) = rest.rsplit_once(" -f ")?;
        Some(Recipe {
            ld: ld.clone(),
            ar: ar.clone(),
            archives: creation[at + 1..].to_vec(),
            linker_flags: link[..relocatable].to_vec(),
            link: link.to_vec(),
            head_list: list.trim_end().strip_suffix(')')?.into(),
        })
    }

    fn from_make(answers: &Answers) -> Result<Recipe> {
        let words = |name: &str| {
            let value = answers.get(name)?;
            shlex::split(value).ok_or_else(|| answers.error(&format!("`{name}` is `{value}`")))
        };
        // Without a makefile, or with one of another project, make succeeds too.
        let archives = words("KBUILD_VMLINUX_OBJS")?;
        if archives.is_empty() {
            return Err(answers.error("`KBUILD_VMLINUX_OBJS` is empty"));
        }
        let linker_flags = words("KBUILD_LDFLAGS")?;
        // scripts/Makefile.vmlinux_o
        let mut link = linker_flags.clone();
        let mut add = |more: &[&str]| link.extend(more.iter().map(|&s| s.to_owned()));
        add(&["-r", "-o", "vmlinux.o"]);
        if answers.get("CONFIG_BUILTIN_MODULE_RANGES")? == "y" {
            add(&["-Map=vmlinux.o.map"]);
        }
        add(&["-T", INITCALLS]);
        add(&[
            "--whole-archive",
            "vmlinux.a",
            "--no-whole-archive",
            "--start-group",
        ]);
        link.extend(words("KBUILD_VMLINUX_LIBS")?);
        link.push("--end-group".to_owned());
        Ok(Recipe {
            ld: answers.get("LD")?.to_owned(),
            ar: answers.get("AR")?.to_owned(),
            archives,
            linker_flags,
            link,
            head_list: Path::new(answers.get("srctree")?).join("scripts/head-object-list.txt"),
        })
    }
}

fn modified(path: &Path) -> Option<std::time::SystemTime> {
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
        let recipe = Recipe::from_commands("vmlinux.a", archive, &link).unwrap();
        assert_eq!(recipe.ld, "ld.lld-22");
        assert_eq!(recipe.ar, "llvm-ar-22");
        assert_eq!(recipe.archives, ["./built-in.a", "lib/lib.a"]);
        assert_eq!(
            recipe.linker_flags,
            ["-m", "elf_x86_64", "-z", "noexecstack"]
        );
        assert_eq!(recipe.libraries().collect::<Vec<_>>(), ["a/lib.a"]);
        assert_eq!(
            recipe.head_list,
            Path::new("/src/scripts/head-object-list.txt")
        );
    }

    #[test]
    fn a_command_of_another_shape_is_not_misread() {
        let link = shlex::split(LINK).unwrap();
        for odd in ["", "rm -f vmlinux.a", "rm -f vmlinux.a; ar x; true"] {
            assert_eq!(
                Recipe::from_commands("vmlinux.a", odd, &link),
                None,
                "{odd}"
            );
        }
    }
}
