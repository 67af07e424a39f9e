//! Takes apart what clang prints, one message at a time.

/// Says how bad a [`Diagnostic`] is; the worst is the greatest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Severity {
    /// Text that clang gives no level: LLVM's own, or a closing count.
    Text,
    /// Says more about the message before it.
    Note,
    /// Says what an optimisation did, where flags ask for that.
    Remark,
    /// Warns; the object is there all the same.
    Warning,
    /// Says why there is no object.
    Error,
}

/// One message of the compiler.
///
/// [`Observer::diagnostic`](crate::Observer::diagnostic) is told them.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Diagnostic {
    /// How bad the message is.
    pub severity: Severity,
    /// The message as clang prints it, source lines and newline included. All of
    /// a job's make up [`JobReport::diagnostics`](crate::JobReport::diagnostics).
    pub text: String,
}

/// clang's words for its levels, in `TextDiagnostic::printDiagnosticLevel`.
const LEVELS: [(&str, Severity); 5] = [
    ("fatal error: ", Severity::Error),
    ("error: ", Severity::Error),
    ("warning: ", Severity::Warning),
    ("remark: ", Severity::Remark),
    ("note: ", Severity::Note),
];

impl Diagnostic {
    /// Takes apart what clang has printed. Objects from the cache come with that
    /// text alone, so it is what all are taken from.
    pub(crate) fn all_of(printed: &str) -> Vec<Diagnostic> {
        let mut all: Vec<Diagnostic> = Vec::new();
        for line in printed.split_inclusive('\n') {
            let level = severity(line).or_else(|| is_count(line).then_some(Severity::Text));
            match (level, all.last_mut()) {
                // A source line or a caret.
                (None, Some(last)) => last.text.push_str(line),
                (level, _) => all.push(Diagnostic {
                    severity: level.unwrap_or(Severity::Text),
                    text: line.to_owned(),
                }),
            }
        }
        all
    }
}

/// Finds the level that stands first in `line`, or after its first place ("file:1:2: ").
fn severity(line: &str) -> Option<Severity> {
    let line = without_colours(line);
    let starts = std::iter::once(0).chain(line.match_indices(": ").map(|(at, _)| at + 2));
    starts.into_iter().find_map(|at| {
        let level = LEVELS.iter().find(|(word, _)| line[at..].starts_with(word));
        level.map(|(_, severity)| *severity)
    })
}

/// Whether `line` is a closing count: `1 warning generated.`
fn is_count(line: &str) -> bool {
    line.starts_with(|c: char| c.is_ascii_digit()) && line.trim_end().ends_with(" generated.")
}

fn without_colours(line: &str) -> String {
    let mut plain = String::new();
    let mut parts = line.split('\x1b');
    plain.extend(parts.next());
    plain.extend(parts.map(|part| part.split_once('m').map_or(part, |(_, rest)| rest)));
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_come_apart_and_lose_nothing() {
        let printed = "clang: warning: argument unused: '-x'\n\
            <inline asm>:1:2: error: invalid instruction mnemonic 'bogus'\n    1 |         bogus\n      |         ^\n\
            \x1b[1mm.c:3:5: \x1b[0m\x1b[0;1;36mnote: \x1b[0msee here\n\
            remark: inlined: error: is only a word here\n\
            1 warning and 1 error generated.\n";
        let all = Diagnostic::all_of(printed);
        let levels: Vec<Severity> = all.iter().map(|d| d.severity).collect();
        use Severity::{Error, Note, Remark, Text, Warning};
        assert_eq!(levels, [Warning, Error, Note, Remark, Text]);
        assert_eq!(all.iter().map(|d| &*d.text).collect::<String>(), printed);
        assert!(all[1].text.ends_with("^\n"), "{all:?}");
        assert_eq!(Diagnostic::all_of(""), []);
        assert_eq!(Diagnostic::all_of("LLVM says\nthis")[0].severity, Text);
    }
}
