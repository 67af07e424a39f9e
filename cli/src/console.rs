//! Lines for the person or the program that runs backlto. When whoever reads them has
//! gone, nobody is left to tell; when a disk is full, the run has failed.

use std::io::{ErrorKind, Write};
use std::sync::atomic::{AtomicBool, Ordering};

use anstyle::{AnsiColor, Style};
use serde_json::json;

use backlto::error::{Error, Kind};

/// Prints `error`, and what to do about it.
pub(crate) fn error(error: &Error) {
    message("error", AnsiColor::Red, &error.to_string());
    error.advice().into_iter().for_each(note);
}

/// Whether what ends a run is to be printed as JSON too.
static JSON: AtomicBool = AtomicBool::new(false);

/// From now on what ends a run is an event on standard output too.
pub(crate) fn speak_json() {
    JSON.store(true, Ordering::Relaxed);
}

/// Prints `error`, by which a run or a door ends.
pub(crate) fn ending(error: &Error) {
    self::error(error);
    if JSON.load(Ordering::Relaxed) {
        let event = json!({
            "event": "error", "error": error.to_string(), "advice": error.advice(),
        });
        line(&event.to_string());
    }
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

/// Prints `line` to standard error as it is.
pub(crate) fn bare(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// Prints what clang says, as it would: it has decided on colours when it wrote that,
/// unless the user wants none.
pub(crate) fn compiler_messages(text: &str) {
    let mut stderr = std::io::stderr();
    // Nobody is left to tell when standard error is gone.
    let _ = match anstream::ColorChoice::global() {
        anstream::ColorChoice::Never => write!(stderr, "{}", anstream::adapter::strip_str(text)),
        _ => stderr.write_all(text.as_bytes()),
    };
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
    text(&format!("{line}\n"));
}

/// Prints `text`, which ends a line, to standard output.
pub(crate) fn text(text: &str) {
    if SILENT.load(Ordering::Relaxed) {
        return;
    }
    check_output(std::io::stdout().write_all(text.as_bytes()));
}

/// Says once if what was `printed` to standard output is lost.
pub(crate) fn check_output(printed: std::io::Result<()>) {
    match printed {
        Err(e) if e.kind() != ErrorKind::BrokenPipe && !has_lost_output() => {
            lost_output(&Error::new(Kind::Output, "cannot write to standard output").because(e));
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
