//! LLVM's process-wide state: targets, handlers and `-mllvm` options.

use std::ffi::CStr;
use std::sync::{Mutex, Once, PoisonError};

use super::BUILT_VERSION;
use super::ffi;
use super::sink::{CStrings, Collector, collect};
use crate::error::{Error, Kind};

/// The version of the LLVM library loaded by this process.
fn loaded_version() -> &'static str {
    // SAFETY: the shim returns a NUL-terminated ASCII string that lives as
    // long as the process.
    let version = unsafe { CStr::from_ptr(ffi::BackltoLoadedLLVMVersion()) };
    version.to_str().unwrap_or("unknown")
}

/// Makes LLVM ready for jobs, once per process.
///
/// Fails when the loaded LLVM is of another major version than the one built
/// against: the C++ interfaces of two majors do not mix.
pub(crate) fn start() -> crate::error::Result<()> {
    let major = |version: &str| version.split('.').next().map(str::to_owned);
    if major(loaded_version()) != major(BUILT_VERSION) {
        return Err(Error::new(
            Kind::Environment,
            format!(
                "this backlto was built for LLVM {BUILT_VERSION}, but LLVM {} is loaded; \
                 install the LLVM it was built for or rebuild it",
                loaded_version()
            ),
        ));
    }
    static STARTED: Once = Once::new();
    // SAFETY: called once, before any job.
    STARTED.call_once(|| unsafe { ffi::BackltoInitialize() });
    Ok(())
}

/// Makes crashes and fatal errors of LLVM end their job instead of the process.
/// Call it after [`start`].
pub(crate) fn contain_crashes() {
    static CONTAINED: Once = Once::new();
    // SAFETY: called once; it only installs handlers.
    CONTAINED.call_once(|| unsafe { ffi::BackltoContainCrashes() });
}

/// Whether LLVM ever stopped in the middle of something in this process. It may
/// then hold locks for ever, and what it makes is not to be trusted.
pub(crate) fn has_crashed() -> bool {
    // SAFETY: only reads an atomic flag.
    unsafe { ffi::BackltoHasCrashed() }
}

/// The `-mllvm` options of the process: one set for its life. LLVM can reset its
/// options, but not all that they have done: some have callbacks, some are looked
/// at once.
static OPTIONS: Mutex<Option<Options>> = Mutex::new(None);

struct Options {
    set: Vec<String>,
    /// LLVM's words, if it did not accept them.
    rejected: Option<String>,
}

/// What came of a request for a set of `-mllvm` options.
pub(crate) enum Adopted {
    /// They are in force.
    InForce,
    /// Others are, for good.
    Others,
    /// LLVM does not accept them, in its own words.
    Rejected(String),
}

/// Whether any option has a value that no job gave it: then it is from a program
/// that embeds this library.
pub(crate) fn options_of_host() -> bool {
    let options = OPTIONS.lock().unwrap_or_else(PoisonError::into_inner);
    given_by_host(options.as_ref())
}

/// Whether any option of LLVM has a value, whoever gave it.
pub(crate) fn has_options() -> bool {
    // Under the lock nobody changes them.
    let _lock = OPTIONS.lock().unwrap_or_else(PoisonError::into_inner);
    any_is_given()
}

fn given_by_host(options: Option<&Options>) -> bool {
    options.is_none_or(|options| options.set.is_empty()) && any_is_given()
}

/// To be asked by those who hold the lock of [`OPTIONS`].
fn any_is_given() -> bool {
    // SAFETY: only reads what LLVM has registered; the caller holds the lock
    // under which jobs change it.
    unsafe { ffi::BackltoLLVMOptionsGiven() }
}

/// Sets `options`, if they are the first that a job of this process asks for.
/// The options of a host are a set of their own, which jobs without any share.
pub(crate) fn adopt_options(options: &[String]) -> Adopted {
    let mut current = OPTIONS.lock().unwrap_or_else(PoisonError::into_inner);
    if current.is_none() {
        if !options.is_empty() && given_by_host(None) {
            return Adopted::Others;
        }
        *current = Some(Options {
            set: options.to_owned(),
            rejected: set_options(options).err(),
        });
    }
    match &*current {
        Some(current) if current.set == options => match &current.rejected {
            None => Adopted::InForce,
            Some(text) => Adopted::Rejected(text.clone()),
        },
        _ => Adopted::Others,
    }
}

fn set_options(options: &[String]) -> Result<(), String> {
    if options.is_empty() {
        return Ok(());
    }
    let args = CStrings::new(options)?;
    let mut text = Collector::default();
    // SAFETY: the strings outlive the call, and no job runs: each asks for its
    // options first, and this is the first to ask.
    let status =
        unsafe { ffi::BackltoSetLLVMOptions(args.as_ptr(), args.len(), collect, text.context()) };
    match status {
        ffi::RawStatus::OK => Ok(()),
        _ => Err(text.into_text()),
    }
}

/// Whether jobs read the plan's mapped buffers (see `llvm-shims/Seams.cpp`).
pub(crate) fn seams_active() -> bool {
    // SAFETY: only asks the dynamic loader.
    unsafe { ffi::BackltoSeamsActive() }
}
