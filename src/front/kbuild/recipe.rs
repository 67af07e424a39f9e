//! What kbuild would run in stages 2 to 4 of a tree: read from the `.cmd`
//! files of an earlier build, else asked of the tree's own makefiles.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::cmdfile::{self, CmdFile};
use crate::error::{Error, Kind, Result};
use crate::report;

/// The commands of stages 2 to 4.
#[derive(Debug, PartialEq)]
pub(super) struct Recipe {
    /// kbuild's name for the linker, for `.cmd` files.
    pub(super) ld: String,
    /// kbuild's name for llvm-ar, for `.cmd` files.
    pub(super) ar: String,
    /// The archives that make up vmlinux (`KBUILD_VMLINUX_OBJS`).
    pub(super) archives: Vec<String>,
    /// `KBUILD_LDFLAGS`.
    pub(super) linker_flags: Vec<String>,
    /// ld.lld's arguments for `vmlinux.o`.
    pub(super) link: Vec<String>,
    /// The tree's list of objects that must come first.
    pub(super) head_list: PathBuf,
}

/// The initcall order, as the linker reads it.
pub(super) const INITCALLS: &str = ".tmp_initcalls.lds";

impl Recipe {
    /// The libraries searched by the final link (`KBUILD_VMLINUX_LIBS`).
    pub(super) fn libraries(&self) -> impl Iterator<Item = &String> {
        self.link
            .iter()
            .skip_while(|word| *word != "--start-group")
            .skip(1)
            .take_while(|word| *word != "--end-group")
    }

    /// Finds the recipe of `objtree`. `distributed` tells THIN_DIST trees;
    /// `object` is any object of the tree that clang compiled.
    pub(super) fn find(
        objtree: &Path,
        distributed: bool,
        object: &str,
        make_variables: &[String],
    ) -> Result<Recipe> {
        if make_variables.is_empty()
            && let Some(recipe) = Recipe::from_records(objtree, distributed)
        {
            return Ok(recipe);
        }
        Recipe::from_make(objtree, object, make_variables)
    }

    /// From the `.cmd` files of an earlier build, unless the configuration has
    /// changed since.
    fn from_records(objtree: &Path, distributed: bool) -> Option<Recipe> {
        let archive = if distributed {
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

    fn from_make(objtree: &Path, object: &str, make_variables: &[String]) -> Result<Recipe> {
        let answers = Answers::ask(objtree, object, make_variables)?;
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

/// What the tree's makefiles say of their variables.
struct Answers {
    objtree: PathBuf,
    lines: String,
}

/// The variables asked for.
const ASKED: [&str; 7] = [
    "LD",
    "AR",
    "srctree",
    "KBUILD_LDFLAGS",
    "KBUILD_VMLINUX_OBJS",
    "KBUILD_VMLINUX_LIBS",
    "CONFIG_BUILTIN_MODULE_RANGES",
];

/// A goal that no makefile of the kernel has.
const GOAL: &str = "backlto-variables";

/// Starts each answer, apart from what else make prints.
const MARK: &str = "backlto-variable:";

impl Answers {
    /// Runs make on a goal of our own that prints the variables. GNU make reads
    /// what `MAKEFILES` names before the tree's makefile, also in the make that
    /// kbuild starts for itself.
    fn ask(objtree: &Path, object: &str, make_variables: &[String]) -> Result<Answers> {
        let failed = || {
            Error::new(
                Kind::Environment,
                format!("cannot ask make how `{}` is linked", objtree.display()),
            )
            .hint("give what make was given, e.g. --make LLVM=-22 --make ARCH=arm64")
        };
        let mut helper = tempfile::NamedTempFile::new().map_err(|e| failed().because(e))?;
        let rule = format!(
            ".PHONY: {GOAL}\n{GOAL}:\n\t@:$(foreach v,{},$(info {MARK}$v=$($v)))\n",
            ASKED.join(" ")
        );
        std::io::Write::write_all(&mut helper, rule.as_bytes()).map_err(|e| failed().because(e))?;

        let mut variables = guess_variables(objtree, object);
        variables.extend_from_slice(make_variables);
        let output = Command::new("make")
            .arg("--no-print-directory")
            .arg("-s")
            .arg("-C")
            .arg(objtree)
            .args(&variables)
            .arg(GOAL)
            .env("MAKEFILES", helper.path())
            // A make above us must not pass its goals and flags on.
            .env_remove("MAKEFLAGS")
            .env_remove("MAKELEVEL")
            .output()
            .map_err(|e| failed().because(format!("cannot run make: {e}")))?;
        if !output.status.success() {
            let text = String::from_utf8_lossy(&output.stderr);
            let reason = text.lines().last().unwrap_or("make failed").to_owned();
            return Err(failed().because(reason));
        }
        Ok(Answers {
            objtree: objtree.to_owned(),
            lines: String::from_utf8_lossy(&output.stdout).into_owned(),
        })
    }

    fn get(&self, name: &str) -> Result<&str> {
        self.lines
            .lines()
            .find_map(|line| {
                let (variable, value) = line.strip_prefix(MARK)?.split_once('=')?;
                (variable == name).then_some(value.trim())
            })
            .ok_or_else(|| self.error(&format!("make did not print `{name}`")))
    }

    fn error(&self, what: &str) -> Error {
        Error::new(
            Kind::Input,
            format!(
                "the makefiles of `{}` are not as expected",
                self.objtree.display()
            ),
        )
        .because(what)
    }
}

/// What make was given when the tree was built, as far as the tree tells.
fn guess_variables(objtree: &Path, object: &str) -> Vec<String> {
    let mut variables = Vec::new();
    if let Ok(arch) = super::tree::architecture(objtree) {
        variables.push(format!("ARCH={arch}"));
    }
    let compiler = CmdFile::read(objtree, object)
        .and_then(|file| file.words(&file.command(object)?))
        .ok()
        .and_then(|words| words.into_iter().next());
    match compiler.as_deref().and_then(split_clang) {
        Some(("", "")) => variables.push("LLVM=1".to_owned()),
        Some(("", suffix)) => variables.push(format!("LLVM={suffix}")),
        Some((prefix, _)) => variables.push(format!("LLVM={prefix}")),
        None => report::warning(&format!(
            "cannot tell which compiler built `{}`",
            objtree.display()
        )),
    }
    variables
}

/// `/opt/bin/clang` as ("/opt/bin/", ""), `clang-22` as ("", "-22"): the forms
/// that kbuild's `LLVM=` takes (Documentation/kbuild/llvm.rst).
fn split_clang(compiler: &str) -> Option<(&str, &str)> {
    let name = compiler.rfind('/').map_or(0, |slash| slash + 1);
    let suffix = compiler[name..].strip_prefix("clang")?;
    Some((&compiler[..name], suffix))
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

    #[test]
    fn compilers_tell_the_value_of_llvm() {
        assert_eq!(split_clang("clang"), Some(("", "")));
        assert_eq!(split_clang("clang-22"), Some(("", "-22")));
        assert_eq!(
            split_clang("/opt/llvm/bin/clang"),
            Some(("/opt/llvm/bin/", ""))
        );
        assert_eq!(split_clang("gcc"), None);
    }
}
