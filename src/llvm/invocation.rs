//! A clang command line, mapped once by clang's own driver library.

use std::path::{Path, PathBuf};
use std::ptr::NonNull;

use super::ffi;
use super::ffi::Slice;
use super::sink::{CStrings, Collector, ListCollector, collect, collect_entry};

/// What clang makes of one command line; jobs share it.
pub(crate) struct Invocation {
    mapped: NonNull<ffi::Invocation>,
    /// What it was made of, to make it again in another process.
    args: Vec<String>,
    directory: PathBuf,
}

// SAFETY: the C++ object is never changed after it is made; every compile
// works on a copy of its own (llvm-shims/Backend.cpp).
unsafe impl Send for Invocation {}
// SAFETY: as above.
unsafe impl Sync for Invocation {}

impl Invocation {
    /// Maps `args`, with the compiler's name first, as if run in `directory`.
    ///
    /// Returns the driver's messages too: warnings with an invocation, errors
    /// without one.
    pub(crate) fn map(args: &[String], directory: &Path) -> (Option<Invocation>, String) {
        let strings = match CStrings::new(args) {
            Ok(strings) => strings,
            Err(reason) => return (None, reason),
        };
        let clang = format!("{}/clang", super::BINDIR);
        let mut messages = Collector::default();
        // SAFETY: all borrowed arguments outlive the call.
        let mapped = unsafe {
            ffi::BackltoMapCommandLine(
                strings.as_ptr(),
                strings.len(),
                Slice::new(directory.as_os_str().as_encoded_bytes()),
                Slice::new(clang.as_bytes()),
                collect,
                messages.context(),
            )
        };
        let invocation = NonNull::new(mapped).map(|mapped| Invocation {
            mapped,
            args: args.to_owned(),
            directory: directory.to_owned(),
        });
        (invocation, messages.into_text())
    }

    /// The command line that was mapped, and where.
    pub(crate) fn origin(&self) -> (&[String], &Path) {
        (&self.args, &self.directory)
    }

    /// The cc1 command line.
    pub(crate) fn cc1_args(&self) -> Vec<String> {
        self.list(ffi::BackltoInvocationCC1Args)
    }

    /// The `-mllvm` options that must be in force while a job runs.
    pub(crate) fn llvm_options(&self) -> Vec<String> {
        self.list(ffi::BackltoInvocationLLVMOptions)
    }

    /// Whether the object may hold the command line itself.
    pub(crate) fn is_kept_in_object(&self) -> bool {
        // SAFETY: the invocation is alive.
        unsafe { ffi::BackltoInvocationKeptInObject(self.as_ptr()) }
    }

    /// The target triple of the object.
    pub(crate) fn triple(&self) -> String {
        self.list(ffi::BackltoInvocationTriple).concat()
    }

    pub(super) fn as_ptr(&self) -> *const ffi::Invocation {
        self.mapped.as_ptr()
    }

    fn list(
        &self,
        ask: unsafe extern "C" fn(*const ffi::Invocation, ffi::Sink, *mut std::ffi::c_void),
    ) -> Vec<String> {
        let mut list = ListCollector::default();
        // SAFETY: the invocation is alive and `list` outlives the call.
        unsafe { ask(self.as_ptr(), collect_entry, list.context()) };
        list.into_vec()
    }
}

impl Drop for Invocation {
    fn drop(&mut self) {
        // To free memory of C++ may take a lock that a crash has left behind.
        if !super::has_crashed() {
            // SAFETY: made by BackltoMapCommandLine and freed only here.
            unsafe { ffi::BackltoFreeInvocation(self.mapped.as_ptr()) }
        }
    }
}
