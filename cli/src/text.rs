//! How command lines are written, for people and for shells.

use std::path::Path;

/// `args` as a shell would read them, with no more quotes than a person would
/// write.
pub(crate) fn shell_words(args: &[String]) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=,:+@%".contains(c);
    let words: Vec<_> = args
        .iter()
        .map(|arg| match !arg.is_empty() && arg.chars().all(plain) {
            true => arg.into(),
            // Only a NUL byte cannot be quoted, and no argument has one.
            false => shlex::try_quote(arg).unwrap_or_else(|_| arg.into()),
        })
        .collect();
    words.join(" ")
}

/// The command line `args` as a shell would run it in `directory`, from where this process
/// is.
pub(crate) fn shell_command(directory: &Path, args: &[String]) -> String {
    let words = shell_words(args);
    match std::env::current_dir() {
        Ok(here) if here == directory => words,
        _ => {
            let directory = directory.to_string_lossy().into_owned();
            format!("cd {} && {words}", shell_words(&[directory]))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_must_be_is_quoted() {
        let args = ["-z=a,b", "", "a b", "it's", "$x"].map(str::to_owned);
        let text = shell_words(&args);
        assert!(text.starts_with("-z=a,b '' 'a b' "), "{text}");
        assert_eq!(shlex::split(&text).unwrap(), args);
    }
}
