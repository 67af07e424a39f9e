//! Lines for the person who runs backlto. Nobody is left to tell when the place
//! that they go to is gone, so failures to write are ignored.

use std::io::Write;

use anstyle::{AnsiColor, Style};

use backlto::error::Error;

/// Prints `error`, and what to do about it.
pub(crate) fn error(error: &Error) {
    message("error", AnsiColor::Red, &error.to_string());
    if let Some(advice) = error.advice() {
        message("note", AnsiColor::Cyan, advice);
    }
}

/// Prints the warning `text`.
pub(crate) fn warning(text: &str) {
    message("warning", AnsiColor::Magenta, text);
}

/// Prints `line` to standard output.
pub(crate) fn line(line: &str) {
    let _ = writeln!(std::io::stdout(), "{line}");
}

/// Prints `text` to standard error behind `label` in `color`.
fn message(label: &str, color: AnsiColor, text: &str) {
    let bold = Style::new().bold();
    let style = Style::new().bold().fg_color(Some(color.into()));
    let mut stderr = anstream::stderr().lock();
    let _ = writeln!(
        stderr,
        "{bold}backlto:{bold:#} {style}{label}:{style:#} {text}"
    );
}
