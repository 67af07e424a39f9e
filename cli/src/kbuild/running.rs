//! The recipe that make is running: where flags stand that no `.cmd` file has
//! yet.
//!
//! The object of a module with a single source is compiled and linked by one
//! recipe (`cmd_ld_single_m` in `scripts/Makefile.build`), and kbuild records
//! the recipe only after it ended. A `.cmd` file that is there at that moment
//! is of the build before. But the shell that runs the recipe has its text
//! among its arguments, and waits for the linker.

use rustix::process::getppid;

use super::cmdfile;
use crate::processes::parent_of;

/// The recipes of the shells that wait for this process.
pub(crate) struct RunningRecipes(Vec<RunningRecipe>);

/// The recipe that a shell is running, as the shell was given it.
struct RunningRecipe(String);

/// How many processes may stand between the shell and this one: the linker, and
/// wrappers around it. A make or two are passed on the way to the shells of others.
const NEAR: usize = 16;

impl RunningRecipes {
    /// Reads the recipes of the shells that have started the linker that has started
    /// this process, the nearest first.
    pub(crate) fn current() -> RunningRecipes {
        let arguments = std::iter::successors(getppid(), |child| parent_of(*child))
            // The linker itself.
            .skip(1)
            .take(NEAR)
            .filter_map(|ancestor| std::fs::read(format!("/proc/{ancestor}/cmdline")).ok());
        RunningRecipes(
            arguments
                .filter_map(|text| RunningRecipe::of_shell(&String::from_utf8_lossy(&text)))
                .collect(),
        )
    }

    /// The words of the command that compiles `object`, if a recipe has one.
    pub(crate) fn compile_of(&self, object: &str) -> Option<Vec<String>> {
        self.0.iter().find_map(|recipe| recipe.compile_of(object))
    }
}

impl RunningRecipe {
    /// Takes the recipe from `arguments`, a shell's as in /proc/PID/cmdline: each
    /// followed by a NUL.
    fn of_shell(arguments: &str) -> Option<RunningRecipe> {
        let mut arguments = arguments.split('\0').skip(1);
        // make runs `sh -c TEXT`; other flags may be mixed in (`-ec`).
        arguments.find(|word| word.starts_with('-') && word.ends_with('c'))?;
        Some(RunningRecipe(arguments.next()?.to_owned()))
    }

    /// The words of the command that compiles `object`, if the recipe has one.
    fn compile_of(&self, object: &str) -> Option<Vec<String>> {
        cmdfile::commands(&self.0)
            .filter_map(shlex::split)
            .find(|words| cmdfile::files_of_compile(words, object).is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "sh\0-c\0set -e; echo '  CC [M]  fs/a.o';  trap 'rm -f fs/a.o; exit' HUP; \
        clang-22 -Wp,-MMD,fs/.a.o.d -DX='\"a;b\"' -c -o fs/a.o /src/fs/a.c ; \
        ld.backlto -r -o fs/.tmp_a.o fs/a.o; mv fs/.tmp_a.o fs/a.o; \
        printf '%s\\n' 'savedcmd_fs/a.o := clang-22 -OLD -c -o fs/a.o /src/fs/a.c' > fs/.a.o.cmd\0";

    #[test]
    fn the_compile_is_found_among_the_commands() {
        let recipe = RunningRecipe::of_shell(TEXT).unwrap();
        assert_eq!(
            recipe.compile_of("fs/a.o").unwrap(),
            [
                "clang-22",
                "-Wp,-MMD,fs/.a.o.d",
                "-DX=\"a;b\"",
                "-c",
                "-o",
                "fs/a.o",
                "/src/fs/a.c"
            ]
        );
        assert_eq!(recipe.compile_of("fs/b.o"), None);
    }

    #[test]
    fn a_process_that_is_no_shell_has_no_recipe() {
        assert!(RunningRecipe::of_shell("make\0all\0").is_none());
    }
}
