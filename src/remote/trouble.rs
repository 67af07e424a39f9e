//! What can go wrong in a call.

use std::error::Error as StdError;
use std::fmt;
use std::io::ErrorKind;

use tonic::{Code, Status};

/// Why a call gave nothing.
#[derive(Clone, Debug)]
pub(super) struct Trouble {
    pub(super) kind: Ailment,
    /// What happened, for people. No header is in it.
    pub(super) text: String,
}

/// What a failed call says of an engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ailment {
    /// What was asked for is not there.
    Absent,
    /// The engine cannot be reached, is too slow or too busy: it may be well later.
    Away,
    /// It has no room for more calls.
    Crowded,
    /// The connection broke, or was ended from there.
    Broken,
    /// It does not let us do that.
    Forbidden,
    /// It does not know how to do that.
    Unable,
    /// It lacks blobs that it needs.
    Lacking,
    /// It gave what is not what was asked for.
    Wrong,
    /// Anything else.
    Other,
}

impl Ailment {
    /// Whether what was tried may work when it is tried again.
    pub(super) fn may_pass(self) -> bool {
        matches!(self, Ailment::Away | Ailment::Crowded | Ailment::Broken)
    }
}

impl Trouble {
    /// The trouble that an answer is not what it should be.
    pub(super) fn wrong(text: impl Into<String>) -> Trouble {
        Trouble {
            kind: Ailment::Wrong,
            text: text.into(),
        }
    }

    /// The trouble that `call` was not answered within `seconds`.
    pub(super) fn slow(call: &str, seconds: f64) -> Trouble {
        Trouble {
            kind: Ailment::Away,
            text: format!("{call}: no answer within {seconds} s"),
        }
    }

    /// What `status`, the end of `call`, says.
    pub(super) fn of(call: &str, status: &Status) -> Trouble {
        let kind = match status.code() {
            // Not the engine has said so, but what is between: a connection that broke,
            // or two ends that do not understand each other.
            _ if has_met(status, &[ErrorKind::InvalidData]) => Ailment::Other,
            _ if has_met(status, &BROKEN) => Ailment::Broken,
            // Nobody here cancels a call: the connection went while it waited.
            Code::Cancelled => Ailment::Broken,
            _ if status.source().is_some() => Ailment::Away,
            Code::NotFound => Ailment::Absent,
            Code::Unauthenticated | Code::PermissionDenied => Ailment::Forbidden,
            Code::Unimplemented => Ailment::Unable,
            Code::FailedPrecondition => Ailment::Lacking,
            Code::ResourceExhausted => Ailment::Crowded,
            Code::Unavailable | Code::DeadlineExceeded => Ailment::Away,
            _ => Ailment::Other,
        };
        // A transport says what it met with in its sources.
        let mut words = vec![match status.message() {
            "" => status.code().description().to_owned(),
            message => message.to_owned(),
        }];
        let mut source = status.source();
        while let Some(error) = source {
            let text = error.to_string();
            if !words.iter().any(|word| word.contains(&text)) {
                words.push(text);
            }
            source = error.source();
        }
        Trouble {
            kind,
            text: format!("{call}: {}", words.join(": ")),
        }
    }
}

/// What a connection ends with that was there.
const BROKEN: [ErrorKind; 3] = [
    ErrorKind::BrokenPipe,
    ErrorKind::ConnectionReset,
    ErrorKind::UnexpectedEof,
];

/// Whether a connection met with one of `kinds`, which `status` tells of. rustls has
/// `InvalidData` for ends that do not trust or understand each other.
fn has_met(status: &Status, kinds: &[ErrorKind]) -> bool {
    let mut source = status.source();
    while let Some(error) = source {
        if let Some(error) = error.downcast_ref::<std::io::Error>()
            && kinds.contains(&error.kind())
        {
            return true;
        }
        source = error.source();
    }
    false
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_engine_says_is_told_from_what_became_of_the_connection() {
        for (status, kind) in [
            (Status::not_found("x"), Ailment::Absent),
            (Status::unauthenticated("x"), Ailment::Forbidden),
            (Status::unavailable("x"), Ailment::Away),
            (Status::cancelled("x"), Ailment::Broken),
            (Status::internal("x"), Ailment::Other),
        ] {
            assert_eq!(Trouble::of("Call", &status).kind, kind, "{status:?}");
        }
    }
}
