//! One error type: what was being done to which file, why it failed, and what
//! to do next.

use std::fmt;

/// A result with this crate's [`Error`].
pub type Result<T> = std::result::Result<T, Error>;

/// What went wrong, for callers that act on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Kind {
    /// The plan contradicts itself, e.g. two jobs with one output.
    Plan,
    /// An input is missing, unreadable, damaged or not what it should be.
    Input,
    /// A command line that clang does not accept.
    Flags,
    /// The backend reported an error for a module.
    Codegen,
    /// LLVM crashed or gave up while it compiled a module.
    Crash,
    /// A program that was to finish an object failed.
    Post,
    /// An output could not be written.
    Output,
    /// The linker failed.
    Link,
    /// The caller asked to stop before it was done.
    Cancelled,
    /// A tool or library that is needed is missing or does not fit.
    Environment,
}

/// An error message with its causes, outermost first.
#[derive(Clone, Debug)]
pub struct Error {
    kind: Kind,
    message: String,
    causes: Vec<String>,
    hint: Option<String>,
    compiler: Option<String>,
}

impl Error {
    /// `message` says what was being done, to which file in backticks.
    pub fn new(kind: Kind, message: impl Into<String>) -> Error {
        Error {
            kind,
            message: message.into(),
            causes: Vec::new(),
            hint: None,
            compiler: None,
        }
    }

    /// Adds the reason: an I/O error, LLVM's own words.
    #[must_use]
    pub fn because(mut self, cause: impl fmt::Display) -> Error {
        let cause = cause.to_string();
        if !cause.is_empty() {
            self.causes.push(cause);
        }
        self
    }

    /// Adds what to do next.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Error {
        self.hint = Some(hint.into());
        self
    }

    /// Adds the compiler's own message, as it would have printed it, as the
    /// reason.
    #[must_use]
    pub(crate) fn said_by_compiler(mut self, message: String) -> Error {
        let reason = message.trim_end().to_owned();
        self.compiler = Some(message);
        self.because(reason)
    }

    /// What the compiler would have printed, when the error is the compiler's
    /// alone.
    pub fn compiler_message(&self) -> Option<&str> {
        self.compiler.as_deref()
    }

    /// What went wrong, for callers that act on it.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Whether it only says that a compile failed: the compiler's own messages
    /// say why.
    pub fn leaves_reason_to_compiler(&self) -> bool {
        self.kind == Kind::Codegen && self.causes.is_empty()
    }

    /// What to do next, if there is something to say.
    pub fn advice(&self) -> Option<&str> {
        self.hint.as_deref()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        self.causes.iter().try_for_each(|c| write!(f, ": {c}"))
    }
}

impl std::error::Error for Error {}
