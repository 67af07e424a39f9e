//! Lines for the person or the program that runs backlto. When whoever reads them has
//! gone, nobody is left to tell; when a disk is full, the run has failed.

use std::io::{ErrorKind, Write};
use std::sync::atomic::{AtomicBool, Ordering};

use anstyle::{AnsiColor, Style};

use backlto::error::{Error, Kind};

/// Prints `error`, and what to do about it.
pub(crate) fn error(error: &Error) {
    message("error", AnsiColor::Red, &error.to_string());
    error.advice().into_iter().for_each(note);
}

/// Prints the warning `text`.
pub(crate) fn warning(text: &str) {
    message("warning", AnsiColor::Magenta, text);
}

/// Prints that `error` is done without, and what to do about it.
pub(crate) fn done_without(error: &Error) {
    warning(&error.to_string());
    error.advice().into_iter().for_each(note);
}

/// Prints `text`, which is neither an error nor a warning.
pub(crate) fn note(text: &str) {
    message("note", AnsiColor::Cyan, text);
}

/// Whether output that was asked for is not all there.
static LOST: AtomicBool = AtomicBool::new(false);

/// Whether output that was asked for is not all there, so that the run has failed.
pub(crate) fn has_lost_output() -> bool {
    LOST.load(Ordering::Relaxed)
}

/// Prints `error`, by which output that was asked for is lost.
pub(crate) fn lost_output(error: &Error) {
    LOST.store(true, Ordering::Relaxed);
    self::error(error);
}

/// Whether nothing more is to be said.
static SILENT: AtomicBool = AtomicBool::new(false);

/// From now on nothing is printed: the process is about to end.
pub(crate) fn be_silent() {
    SILENT.store(true, Ordering::Relaxed);
}

/// Prints `line` to standard output.
pub(crate) fn line(line: &str) {
    if SILENT.load(Ordering::Relaxed) {
        return;
    }
    match writeln!(std::io::stdout(), "{line}") {
        Err(e) if e.kind() != ErrorKind::BrokenPipe && !has_lost_output() => {
            lost_output(&Error::new(Kind::Output, "cannot write to standard output").because(e))
        }
        _ => {}
    }
}

/// Prints `text` to standard error behind `label` in `color`.
fn message(label: &str, color: AnsiColor, text: &str) {
    if SILENT.load(Ordering::Relaxed) {
        return;
    }
    let bold = Style::new().bold();
    let style = Style::new().bold().fg_color(Some(color.into()));
    let mut stderr = anstream::stderr().lock();
    let _ = writeln!(
        stderr,
        "{bold}backlto:{bold:#} {style}{label}:{style:#} {text}"
    );
}
