//! What stands in for the client where it was left out: the same names, and one error.

use std::path::Path;
use std::sync::Arc;

use super::address::Address;
use super::options::RemoteOptions;
use super::totals::{Probed, Summary};
use crate::away::Workshop;
use crate::elsewhere::Elsewhere;
use crate::error::{Error, Kind, Result};

/// No cache: there is no value of it.
pub(crate) enum RemoteCache {}

impl RemoteCache {
    pub(crate) fn open(options: &RemoteOptions, _helper: Option<&Path>) -> Result<RemoteCache> {
        Err(left_out(options))
    }

    pub(crate) fn elsewhere(&self) -> Arc<dyn Elsewhere> {
        match *self {}
    }

    pub(crate) fn workshop(&self) -> Option<Arc<dyn Workshop>> {
        match *self {}
    }

    pub(crate) fn finish(self, _lingers: bool) -> Summary {
        match self {}
    }
}

fn left_out(options: &RemoteOptions) -> Error {
    if let Err(e) = Address::parse(&options.url) {
        return e;
    }
    Error::new(Kind::Environment, format!("cannot use `{}`", options.url))
        .because("this backlto was built without the feature `remote`")
}

/// Says that no engine can be used.
///
/// # Errors
/// Always.
pub fn probe(options: &RemoteOptions, _helper: Option<&Path>) -> Result<Probed> {
    Err(left_out(options))
}
