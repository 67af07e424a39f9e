//! Shows a page to the user.

use std::path::Path;
use std::process::{Command, Stdio};

use backlto::error::{Error, Kind, Result};

/// What the desktop has for that.
const OPENER: &str = "xdg-open";
/// The variable that names the user's browsers, with a colon between them; each may have
/// arguments, and `%s` where the page goes.
const VARIABLE: &str = "BROWSER";

/// Shows the page at `path`, by the first browser that can be started: of those that the
/// user names, else by what the desktop has. Waits until that program ends.
///
/// # Errors
/// When none can be started, or what was started fails.
pub(crate) fn show(path: &Path) -> Result<()> {
    let page = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let named = std::env::var(VARIABLE).unwrap_or_default();
    let commands = commands(&named, &page.display().to_string());
    let failed = |because: String| {
        let text = format!("cannot show `{}`", path.display());
        Err(Error::new(Kind::Environment, text)
            .because(because)
            .hint(format!(
                "open it yourself, or name a browser with {VARIABLE}"
            )))
    };
    let mut reason = String::new();
    for words in commands {
        let [program, args @ ..] = &*words else {
            continue;
        };
        let mut command = Command::new(program);
        // Standard output is for what backlto has to say.
        command.args(args).stdout(Stdio::null());
        match command.status() {
            Ok(status) if status.success() => return Ok(()),
            Ok(status) => return failed(format!("`{program}` ended with {status}")),
            Err(e) => reason = format!("`{program}` cannot be run: {e}"),
        }
    }
    failed(reason)
}

/// The command lines that may show `page`, by what the user has `named`; no shell is to
/// read them.
fn commands(named: &str, page: &str) -> Vec<Vec<String>> {
    let with_page = |command: &str| {
        let mut words = shlex::split(command).filter(|words| !words.is_empty())?;
        let has_place = words.iter().any(|word| word.contains("%s"));
        for word in &mut words {
            *word = word.replace("%s", page);
        }
        if !has_place {
            words.push(page.to_owned());
        }
        Some(words)
    };
    let commands: Vec<_> = named.split(':').filter_map(with_page).collect();
    match commands.is_empty() {
        true => vec![vec![OPENER.to_owned(), page.to_owned()]],
        false => commands,
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_users_browsers_come_before_the_desktops_and_no_shell_reads_the_name() {
        let page = "/a b/$(x);'.html";
        let words = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect();
        let expected: [(&str, Vec<Vec<String>>); 4] = [
            ("", vec![words(&["xdg-open", page])]),
            ("firefox", vec![words(&["firefox", page])]),
            (
                "one --new 'a window':two file=%s",
                vec![
                    words(&["one", "--new", "a window", page]),
                    words(&["two", &format!("file={page}")]),
                ],
            ),
            (":", vec![words(&["xdg-open", page])]),
        ];
        for (named, commands) in expected {
            assert_eq!(super::commands(named, page), commands, "{named}");
        }
    }
}
