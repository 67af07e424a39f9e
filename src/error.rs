//! One error says what was being done to which file, why it failed, and what to
//! do next. Several say that a plan does not fit together: see [`Errors`].

use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;

/// A result with this crate's [`Error`].
pub type Result<T> = std::result::Result<T, Error>;

/// Tells what went wrong to callers that act on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Kind {
    /// The plan contradicts itself, e.g. two jobs with one output.
    Plan,
    /// An input is missing, unreadable, damaged or not what it should be.
    Input,
    /// A command line is not accepted by clang.
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
    /// It was not done, or not to its end: the caller asked to stop, or another
    /// job of the run has failed.
    Cancelled,
    /// An object of an earlier build is not what its inputs compile to: see
    /// [`Options::audit`](crate::Options).
    Mismatch,
    /// It took longer than [`Options::timeout_per_object`](crate::Options) allows.
    TimedOut,
    /// A tool, a library or something of the system that is needed is missing,
    /// does not fit or cannot be had.
    Environment,
}

/// A thing that could not be done, and why.
///
/// Its text is the whole story, `what: why: why that`. The reason is also the
/// [`source`](StdError::source): a program that prints the chain of sources itself
/// starts with [`message`](Error::message).
///
/// ```
/// use std::error::Error as _;
/// use backlto::error::{Error, Kind};
///
/// let reason = std::io::Error::from(std::io::ErrorKind::NotFound);
/// let error = Error::new(Kind::Input, "cannot read `a.o`").because(reason);
/// assert_eq!(error.to_string(), "cannot read `a.o`: entity not found");
/// assert_eq!(error.message(), "cannot read `a.o`");
/// assert!(error.source().is_some_and(|reason| reason.is::<std::io::Error>()));
/// ```
#[derive(Clone, Debug)]
pub struct Error {
    kind: Kind,
    message: String,
    cause: Option<Arc<dyn StdError + Send + Sync>>,
    hint: Option<String>,
    compiler: Option<String>,
}

impl Error {
    /// Makes an error without a reason. `message` says what was being done, to
    /// which file in backticks.
    pub fn new(kind: Kind, message: impl Into<String>) -> Error {
        Error {
            kind,
            message: message.into(),
            cause: None,
            hint: None,
            compiler: None,
        }
    }

    /// Sets the reason: an error of the system or of a library, or a text such as
    /// LLVM's own words. An empty text is no reason.
    #[must_use]
    pub fn because(mut self, cause: impl Into<Box<dyn StdError + Send + Sync>>) -> Error {
        let cause = cause.into();
        if !cause.to_string().is_empty() {
            self.cause = Some(cause.into());
        }
        self
    }

    /// Sets what to do next.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Error {
        self.hint = Some(hint.into());
        self
    }

    /// Makes the compiler's own message, as it would have printed it, the reason.
    #[must_use]
    pub(crate) fn said_by_compiler(mut self, message: String) -> Error {
        let reason = message.trim_end().to_owned();
        self.compiler = Some(message);
        self.because(reason)
    }

    /// Says what the compiler would have printed, when the error is the compiler's
    /// alone.
    pub fn compiler_message(&self) -> Option<&str> {
        self.compiler.as_deref()
    }

    /// Says what went wrong, for callers that act on it.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Says what could not be done, without the reason.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Whether the error only says that a compile failed: the compiler's own
    /// messages say why.
    pub fn leaves_reason_to_compiler(&self) -> bool {
        self.kind == Kind::Codegen && self.cause.is_none()
    }

    /// Says what to do next, if there is something to say.
    pub fn advice(&self) -> Option<&str> {
        self.hint.as_deref()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        self.cause.iter().try_for_each(|c| write!(f, ": {c}"))
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.cause.as_ref().map(|cause| &**cause as _)
    }
}

/// All the reasons why something could not be done: at least one.
///
/// Its text has a line for each. `?` makes it of an [`Error`] and of it an
/// [`Error`], which then has all of them for its reason.
///
/// ```
/// use backlto::error::{Error, Errors, Kind};
///
/// let error = |name| Error::new(Kind::Input, format!("cannot read `{name}`"));
/// let errors = Errors::of([error("a.o"), error("b.o")]).expect("there are two");
/// assert_eq!(errors.len(), 2);
/// assert_eq!(errors.first().kind(), Kind::Input);
/// assert_eq!(errors.to_string(), "cannot read `a.o`\ncannot read `b.o`");
/// assert_eq!(
///     Error::from(errors).to_string(),
///     "2 errors: cannot read `a.o`\ncannot read `b.o`"
/// );
/// assert!(Errors::of([]).is_none());
/// ```
#[derive(Clone, Debug)]
pub struct Errors {
    /// Never empty.
    all: Vec<Error>,
}

// It would always say no.
#[allow(clippy::len_without_is_empty)]
impl Errors {
    /// Takes all of `errors`; gives `None` when there are none.
    pub fn of(errors: impl IntoIterator<Item = Error>) -> Option<Errors> {
        let all: Vec<Error> = errors.into_iter().collect();
        (!all.is_empty()).then_some(Errors { all })
    }

    /// Gives the first error.
    pub fn first(&self) -> &Error {
        &self.all[0]
    }

    /// Counts the errors: 1 or more.
    pub fn len(&self) -> usize {
        self.all.len()
    }

    /// Goes through the errors in the order in which they were found.
    pub fn iter(&self) -> std::slice::Iter<'_, Error> {
        self.all.iter()
    }
}

impl fmt::Display for Errors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.first().fmt(f)?;
        self.all[1..].iter().try_for_each(|e| write!(f, "\n{e}"))
    }
}

impl StdError for Errors {
    /// The reason of the one error; several have none in common.
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match &self.all[..] {
            [one] => one.source(),
            _ => None,
        }
    }
}

impl From<Error> for Errors {
    fn from(error: Error) -> Errors {
        Errors { all: vec![error] }
    }
}

impl From<Errors> for Error {
    /// The one error, or one of the first's kind that has all for its reason.
    fn from(mut errors: Errors) -> Error {
        match errors.len() {
            1 => errors.all.remove(0),
            count => Error::new(errors.first().kind, format!("{count} errors")).because(errors),
        }
    }
}

impl IntoIterator for Errors {
    type Item = Error;
    type IntoIter = std::vec::IntoIter<Error>;

    fn into_iter(self) -> Self::IntoIter {
        self.all.into_iter()
    }
}

impl<'a> IntoIterator for &'a Errors {
    type Item = &'a Error;
    type IntoIter = std::slice::Iter<'a, Error>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_keep_their_own_sources() {
        let system = std::io::Error::other("the disk is on fire");
        let inner = Error::new(Kind::Output, "cannot write `a`").because(system);
        let outer = Error::new(Kind::Post, "cannot finish `b`").because(inner.clone());
        let text = "cannot finish `b`: cannot write `a`: the disk is on fire";
        assert_eq!(outer.to_string(), text);
        let reason = outer.source().expect("a reason");
        let reason = reason.downcast_ref::<Error>().expect("the inner error");
        assert_eq!(
            (reason.kind(), reason.message()),
            (Kind::Output, "cannot write `a`")
        );
        assert!(reason.source().is_some_and(|e| e.is::<std::io::Error>()));
        // An error alone among several reads as itself.
        let alone = Errors::from(inner);
        assert!(alone.source().is_some_and(|e| e.is::<std::io::Error>()));
        assert_eq!(Error::from(alone).kind(), Kind::Output);
    }

    #[test]
    fn an_empty_text_is_no_reason() {
        let error = Error::new(Kind::Codegen, "failed").because("");
        assert!(error.source().is_none() && error.leaves_reason_to_compiler());
    }

    #[test]
    fn several_errors_become_one_that_has_them_all() {
        let error = |name| Error::new(Kind::Plan, name);
        let errors = Errors::of(["a", "b", "c"].map(error)).expect("there are three");
        assert_eq!(errors.iter().map(Error::message).collect::<String>(), "abc");
        let one = Error::from(errors);
        assert_eq!((one.kind(), one.message()), (Kind::Plan, "3 errors"));
        let all = one.source().and_then(|e| e.downcast_ref::<Errors>());
        assert_eq!(all.expect("all of them").into_iter().count(), 3);
    }
}
