//! Where an object came from.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Says where an object came from. Its text is for people,
/// [`as_str`](Origin::as_str) for programs.
///
/// ```
/// use backlto::Origin;
///
/// assert_eq!(Origin::UpToDate.as_str(), "up-to-date");
/// assert_eq!(Origin::UpToDate.to_string(), "up to date");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Origin {
    /// LLVM compiled it.
    Compiled,
    /// The cache had it, by the content of the job's inputs.
    Cached,
    /// The cache had it, by the content of the module after LLVM had imported
    /// into it.
    CachedAfterImport,
    /// A cache on another machine had it, by the content of the job's inputs.
    Remote,
    /// A cache on another machine had it, by the content of the module after LLVM had
    /// imported into it.
    RemoteAfterImport,
    /// An engine on another machine compiled it in this run.
    Executed,
    /// It was in its place already.
    UpToDate,
}

impl Origin {
    /// Gives the word that stands for it in JSON and in records: `compiled`,
    /// `cached`, `cached-after-import`, `remote`, `remote-after-import`, `executed` or
    /// `up-to-date`.
    pub fn as_str(self) -> &'static str {
        match self {
            Origin::Compiled => "compiled",
            Origin::Cached => "cached",
            Origin::CachedAfterImport => "cached-after-import",
            Origin::Remote => "remote",
            Origin::RemoteAfterImport => "remote-after-import",
            Origin::Executed => "executed",
            Origin::UpToDate => "up-to-date",
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Origin::Compiled => "compiled",
            Origin::Cached => "taken from the cache",
            Origin::CachedAfterImport => "taken from the cache, since the imported code was known",
            Origin::Remote => "taken from the remote cache",
            Origin::RemoteAfterImport => {
                "taken from the remote cache, since the imported code was known"
            }
            Origin::Executed => "compiled by the remote engine",
            Origin::UpToDate => "up to date",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_has_the_words_that_programs_read() {
        use Origin::{
            Cached, CachedAfterImport, Compiled, Executed, Remote, RemoteAfterImport, UpToDate,
        };
        for origin in [
            Compiled,
            Cached,
            CachedAfterImport,
            Remote,
            RemoteAfterImport,
            Executed,
            UpToDate,
        ] {
            let json = serde_json::to_string(&origin).unwrap();
            assert_eq!(json, format!("\"{}\"", origin.as_str()));
        }
    }
}
