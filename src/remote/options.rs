//! What is to be known of an engine to use it.

use std::fmt;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

/// Says which engine to use and how.
///
/// More fields may come: write `..RemoteOptions::new(url)`.
#[derive(Clone, Debug)]
pub struct RemoteOptions {
    /// Where the engine is: `grpc://HOST[:PORT][/INSTANCE]`, or `grpcs://` with TLS.
    pub url: String,
    /// What every call carries, such as an engine's key.
    pub headers: Vec<Header>,
    /// A PEM file with the certificates to trust, in place of the system's.
    pub certificate_authorities: Option<PathBuf>,
    /// PEM files with the certificate that shows who calls, and its private key.
    pub identity: Option<(PathBuf, PathBuf)>,
    /// How long a job waits for an answer before it is compiled. When not given, a
    /// fiftieth of what its compile is expected to take, or a quarter while most answers
    /// are objects.
    pub wait: Option<Duration>,
    /// Whether objects that are not there are uploaded. An engine that does not take
    /// them is asked all the same.
    pub uploads: bool,
    /// How long the end of an engine's use waits for uploads. When not given, a hundredth of
    /// the time for which it was used, from 0.1 to 1 second.
    pub linger: Option<Duration>,
    /// How jobs are compiled on the engine; none is when not given.
    pub execution: Option<ExecutionOptions>,
}

/// Says how an engine compiles jobs. What they read is uploaded for that, whatever
/// [`RemoteOptions::uploads`] says of objects.
///
/// More fields may come: write `..ExecutionOptions::new(lots)`.
#[derive(Clone, Debug)]
pub struct ExecutionOptions {
    /// How many actions may be there at a time. Each has one job or several short ones, and
    /// needs one core.
    pub lots: NonZeroUsize,
    /// The program that compiles there, as a path on the machines. It has to be the build
    /// that runs here; that is uploaded when no path is given.
    pub program: Option<String>,
    /// What is asked of the machines, as names and values that the engine knows.
    pub platform: Vec<(String, String)>,
}

impl ExecutionOptions {
    /// Chooses so many actions at a time, on any machine of the engine.
    pub fn new(lots: NonZeroUsize) -> ExecutionOptions {
        ExecutionOptions {
            lots,
            program: None,
            platform: Vec::new(),
        }
    }
}

impl RemoteOptions {
    /// Chooses the engine at `url`, and uploads to it.
    pub fn new(url: impl Into<String>) -> RemoteOptions {
        RemoteOptions {
            url: url.into(),
            headers: Vec::new(),
            certificate_authorities: None,
            identity: None,
            wait: None,
            uploads: true,
            linger: None,
            execution: None,
        }
    }
}

/// A header of every call. Its value may be a secret: it is shown nowhere.
///
/// ```
/// use backlto::remote::Header;
///
/// let header = Header::new("x-api-key", "hush");
/// assert_eq!(format!("{header:?}"), "x-api-key: (hidden)");
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Header {
    name: String,
    value: String,
}

impl Header {
    /// Makes the header `name` with `value`. Whether the two can be sent shows when the
    /// engine is first used.
    pub fn new(name: impl Into<String>, value: impl Into<String>) -> Header {
        Header {
            name: name.into(),
            value: value.into(),
        }
    }

    #[cfg(feature = "remote")]
    pub(super) fn parts(&self) -> (&str, &str) {
        (&self.name, &self.value)
    }
}

impl fmt::Debug for Header {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: (hidden)", self.name)
    }
}
