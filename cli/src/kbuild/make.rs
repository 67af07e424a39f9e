//! What make says of the variables that the makefiles of a tree define.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::cmdfile::CmdFile;
use super::state::{MakeAnswer, TreeState};
use super::tree::{Tree, architecture};
use crate::console;
use backlto::error::{Error, Kind, Result};

/// The values of make's variables, by what make printed.
pub(crate) struct MakeVariables {
    objtree: PathBuf,
    /// What make printed.
    printed: String,
}

/// The variables asked for.
const ASKED: [&str; 8] = [
    "LD",
    "AR",
    "srctree",
    "KBUILD_LDFLAGS",
    "KBUILD_VMLINUX_OBJS",
    "KBUILD_VMLINUX_LIBS",
    "CONFIG_BUILTIN_MODULE_RANGES",
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

impl MakeVariables {
    /// Reads the variables of `tree`. Make is asked, which takes a second or two,
    /// unless no makefile has changed since it last was.
    ///
    /// # Errors
    /// When make cannot be run or does not succeed.
    pub(crate) fn of(tree: &Tree<'_>, state: &mut TreeState<'_>) -> Result<MakeVariables> {
        let mut variables = guess_variables(&tree.path, &tree.object);
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
        .hint("give what make was given, e.g. --make LLVM=-22 --make ARCH=arm64")
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
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// What make was given when the tree was built, as far as the tree tells.
fn guess_variables(objtree: &Path, object: &str) -> Vec<String> {
    let mut variables = Vec::new();
    if let Ok(arch) = architecture(objtree) {
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
        None => console::warning(&format!(
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
