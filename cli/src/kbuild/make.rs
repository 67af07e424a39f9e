//! What make says of the variables that the makefiles of a tree define.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::cmdfile::CmdFile;
use super::flags;
use super::state::{MakeAnswer, TreeState};
use super::tree::{Tree, architecture};
use backlto::error::{Error, Kind, Result};

/// The values of make's variables, by what make printed.
pub(crate) struct MakeVariables {
    objtree: PathBuf,
    /// What make printed.
    printed: String,
}

/// The variables asked for.
const ASKED: [&str; 7] = [
    "LD",
    "AR",
    "srctree",
    "KBUILD_LDFLAGS",
    "KBUILD_VMLINUX_OBJS",
    "KBUILD_VMLINUX_LIBS",
    MAKEFILES_READ,
];

/// Where make keeps the names of all makefiles that it has read.
const MAKEFILES_READ: &str = "MAKEFILE_LIST";

/// A goal that no makefile of the kernel has.
const GOAL: &str = "backlto-variables";

/// How the name of the makefile with that goal ends.
const HELPER: &str = ".backlto-variables.mk";

/// Starts each answer, apart from what else make prints.
const MARK: &str = "backlto-variable:";

/// What to do when make is not told enough.
const ADVICE: &str = "give what make was given, e.g. --make LLVM=-22 --make ARCH=arm64; where the \
                      tree is to be configured anew, run make first";

impl MakeVariables {
    /// Reads the variables of `tree`. Make is asked, which takes a second or two,
    /// unless no makefile has changed since it last was.
    ///
    /// # Errors
    /// When nothing tells the compiler, and when make cannot be run or does not succeed.
    pub(crate) fn of(tree: &Tree<'_>, state: &mut TreeState<'_>) -> Result<MakeVariables> {
        let mut variables = guess_variables(tree)?;
        variables.extend_from_slice(tree.make_variables);
        // Which options the makefiles choose depends on what the linker knows.
        let question: Vec<&str> = ASKED
            .into_iter()
            .chain([&*tree.linker_identity])
            .chain(variables.iter().map(String::as_str))
            .collect();
        let printed = |text: String| MakeVariables {
            objtree: tree.path.clone(),
            printed: text,
        };
        if let Some(known) = state.make_answer()
            && state.digest(&question, &known.makefiles) == Some(known.inputs)
        {
            return Ok(printed(known.text));
        }
        let asked = printed(ask(&tree.path, &variables)?);
        let makefiles = asked.makefiles()?;
        // make may have brought the configuration up to date.
        state.forget(&makefiles);
        let answer = state
            .digest(&question, &makefiles)
            .map(|inputs| MakeAnswer {
                inputs,
                makefiles,
                text: asked.printed.clone(),
            });
        state.set_make_answer(answer.as_ref());
        Ok(asked)
    }

    /// The makefiles that make has read, but for the one of [`ask`].
    fn makefiles(&self) -> Result<Vec<String>> {
        let names = self.get(MAKEFILES_READ)?.split_whitespace();
        let of_tree = names.filter(|name| !name.ends_with(HELPER));
        Ok(of_tree.map(str::to_owned).collect())
    }

    /// The value of the variable `name`, one of [`ASKED`].
    ///
    /// # Errors
    /// When make did not print it.
    pub(crate) fn get(&self, name: &str) -> Result<&str> {
        self.printed
            .lines()
            .find_map(|line| {
                let (variable, value) = line.strip_prefix(MARK)?.split_once('=')?;
                (variable == name).then_some(value.trim())
            })
            .ok_or_else(|| self.error(&format!("make did not print `{name}`")))
    }

    /// An error that says `what` is odd about the makefiles.
    pub(crate) fn error(&self, what: &str) -> Error {
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

/// Runs make on a goal of our own that prints the variables. GNU make reads what
/// `MAKEFILES` names before the tree's makefile, also in the make that kbuild
/// starts for itself.
fn ask(objtree: &Path, variables: &[String]) -> Result<String> {
    let failed = || {
        Error::new(
            Kind::Environment,
            format!("cannot ask make how `{}` is linked", objtree.display()),
        )
        .hint(ADVICE)
    };
    let mut helper = tempfile::Builder::new()
        .suffix(HELPER)
        .tempfile()
        .map_err(|e| failed().because(e))?;
    let rule = format!(
        ".PHONY: {GOAL}\n{GOAL}:\n\t@:$(foreach v,{},$(info {MARK}$v=$($v)))\n",
        ASKED.join(" ")
    );
    std::io::Write::write_all(&mut helper, rule.as_bytes()).map_err(|e| failed().because(e))?;

    let output = Command::new("make")
        .arg("--no-print-directory")
        .arg("-s")
        .arg("-C")
        .arg(objtree)
        .args(variables)
        .arg(GOAL)
        .env("MAKEFILES", helper.path())
        // When it is told something else than the tree was configured with, kbuild first
        // writes another configuration, with the default for all that it cannot ask. So
        // that is an error.
        .env("KCONFIG_NOSILENTUPDATE", "1")
        // A make above us must not pass its goals and flags on.
        .env_remove("MAKEFLAGS")
        .env_remove("MAKELEVEL")
        .output()
        .map_err(|e| failed().because(format!("cannot run make: {e}")))?;
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr);
        // The last line only says which make has failed.
        let said: Vec<&str> = text.lines().filter(|line| !line.is_empty()).collect();
        return Err(failed().because(match said.is_empty() {
            true => "make failed".to_owned(),
            false => said.join("\n"),
        }));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// What make was given when `tree` was built, as far as the tree tells.
///
/// # Errors
/// When neither the tree nor the user tells the compiler: kbuild would take gcc.
fn guess_variables(tree: &Tree<'_>) -> Result<Vec<String>> {
    let mut variables = Vec::new();
    if let Ok(arch) = architecture(&tree.path) {
        variables.push(format!("ARCH={arch}"));
    }
    let command = CmdFile::read(&tree.path, &tree.object)
        .and_then(|file| file.words(&file.command(&tree.object)?))
        .unwrap_or_default();
    let (cc, name) = flags::compiler(&command).unwrap_or_default();
    let given = std::env::var("LLVM").unwrap_or_default();
    match llvm_with(name) {
        Some((llvm, clang)) => {
            variables.push(format!("LLVM={llvm}"));
            // With a launcher, options, or a name that no value of LLVM stands for.
            if cc != clang {
                // To make, a dollar is a variable's.
                variables.push(format!("CC={}", cc.replace('$', "$$")));
            }
        }
        None if !given.is_empty() => variables.push(format!("LLVM={given}")),
        None if tree.make_variables.is_empty() => {
            let text = format!("cannot tell which compiler built `{}`", tree.path.display());
            return Err(Error::new(Kind::Input, text).hint(ADVICE));
        }
        None => {}
    }
    Ok(variables)
}

/// The value of kbuild's `LLVM=` that fits `compiler`, and the compiler that kbuild takes by
/// it: `LLVM=` is a directory or the end of a name (Documentation/kbuild/llvm.rst), not both.
fn llvm_with(compiler: &str) -> Option<(&str, String)> {
    let start = compiler.rfind('/').map_or(0, |slash| slash + 1);
    let suffix = compiler[start..].strip_prefix("clang")?;
    Some(match (&compiler[..start], suffix) {
        ("", "") => ("1", compiler.to_owned()),
        (directory, "") => (directory, compiler.to_owned()),
        (_, suffix) if suffix.starts_with('-') => (suffix, format!("clang{suffix}")),
        _ => ("1", "clang".to_owned()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compilers_tell_the_value_of_llvm() {
        for (compiler, llvm, taken) in [
            ("clang", "1", "clang"),
            ("clang-22", "-22", "clang-22"),
            ("/opt/bin/clang", "/opt/bin/", "/opt/bin/clang"),
            ("/usr/bin/clang-22", "-22", "clang-22"),
            ("clang22", "1", "clang"),
        ] {
            assert_eq!(llvm_with(compiler), Some((llvm, taken.to_owned())));
        }
        assert_eq!(llvm_with("gcc"), None);
        assert_eq!(llvm_with(""), None);
    }
}
