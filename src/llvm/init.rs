//! LLVM's process-wide state: targets, handlers and `-mllvm` options.

use std::ffi::CStr;
use std::sync::Once;
use std::sync::atomic::{AtomicBool, Ordering};

use super::BUILT_VERSION;
use super::ffi;
use super::sink::{CStrings, Collector, collect};
use crate::error::{Error, Kind, Result};

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
pub(crate) fn start() -> Result<()> {
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

/// Whether a job has ever set `-mllvm` options in this process.
static OPTIONS_SET: AtomicBool = AtomicBool::new(false);

/// Whether the options in force are those of a program that embeds this library.
pub(crate) fn options_of_host() -> bool {
    // SAFETY: only reads what LLVM has registered; no job changes it before it
    // says so in `OPTIONS_SET`.
    !OPTIONS_SET.load(Ordering::Acquire) && unsafe { ffi::BackltoLLVMOptionsGiven() }
}

/// Resets all `-mllvm` options and sets `options`. What a host has set stays as
/// long as no job asks for any.
///
/// They are global to the process: the scheduler calls this between two groups
/// of jobs, when none is running.
pub(crate) fn set_llvm_options(options: &[String]) -> Result<()> {
    let describe = |reason: &str| {
        Error::new(
            Kind::Flags,
            format!("cannot set `-mllvm {}`", options.join(" -mllvm ")),
        )
        .because(reason.trim_end())
    };
    if options.is_empty() && !OPTIONS_SET.load(Ordering::Acquire) {
        return Ok(());
    }
    OPTIONS_SET.store(true, Ordering::Release);
    let args = CStrings::new(options).map_err(|reason| describe(&reason))?;
    let mut text = Collector::default();
    // SAFETY: the strings outlive the call and no job runs (see above).
    let status =
        unsafe { ffi::BackltoSetLLVMOptions(args.as_ptr(), args.len(), collect, text.context()) };
    if status != ffi::RawStatus::OK {
        return Err(describe("").said_by_compiler(text.into_text()));
    }
    Ok(())
}

/// Whether jobs read the plan's mapped buffers (see `llvm-shims/Seams.cpp`).
pub(crate) fn seams_active() -> bool {
    // SAFETY: only asks the dynamic loader.
    unsafe { ffi::BackltoSeamsActive() }
}
