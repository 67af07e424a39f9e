//! One backend compile, from borrowed bytes to an object.

use std::time::Duration;

use inkwell::context::Context;

use super::ffi;
use super::ffi::{Buffer, RawStatus, Slice};
use super::invocation::Invocation;
use super::sink::{Collector, collect};

/// What one compile reads.
pub(crate) struct CompileInput<'a> {
    pub(crate) invocation: &'a Invocation,
    /// The bitcode, under the path that the thin link was given.
    pub(crate) module: (&'a str, &'a [u8]),
    /// The summary index; none when the command line has no `-fthinlto-index=`.
    pub(crate) index: Option<(&'a str, &'a [u8])>,
    /// Modules to import from, under the paths that the index has for them.
    pub(crate) imports: Vec<(&'a str, &'a [u8])>,
    /// The object's path, for names that LLVM derives from it.
    pub(crate) output: &'a str,
}

/// How one compile ended.
pub(crate) struct Compiled {
    /// The object, or why there is none.
    pub(crate) object: Result<Vec<u8>, CompileFailure>,
    /// Everything clang would have printed.
    pub(crate) diagnostics: String,
    /// CPU time of import, optimiser and code generation.
    pub(crate) backend_cpu: Duration,
}

/// Why a compile gave no object.
pub(crate) enum CompileFailure {
    /// clang's messages say it, or the text does when it is not empty.
    Reported(String),
    /// LLVM called `report_fatal_error`.
    Fatal(String),
    /// LLVM crashed on a signal.
    Crash(String),
}

/// Compiles one module in a context of its own.
pub(crate) fn compile(input: &CompileInput<'_>) -> Compiled {
    let imports: Vec<Buffer> = input
        .imports
        .iter()
        .map(|(name, bytes)| Buffer::new(name, bytes))
        .collect();
    let context = Context::create();
    let request = ffi::CompileRequest {
        invocation: input.invocation.as_ptr(),
        context: context.raw(),
        module: Buffer::new(input.module.0, input.module.1),
        index: match input.index {
            Some((name, bytes)) => Buffer::new(name, bytes),
            None => Buffer {
                name: Slice::NONE,
                bytes: Slice::NONE,
            },
        },
        imports: imports.as_ptr(),
        import_count: imports.len(),
        output_path: Slice::new(input.output.as_bytes()),
    };

    let mut backend_nanoseconds = 0;
    let mut object = Collector::default();
    let mut diagnostics = Collector::default();
    let mut error = Collector::default();
    // SAFETY: the request borrows from `input`, `imports` and `context`, which
    // all outlive the call; the context is used by this call alone.
    let status = unsafe {
        ffi::BackltoCompile(
            &raw const request,
            &raw mut backend_nanoseconds,
            collect,
            object.context(),
            collect,
            diagnostics.context(),
            collect,
            error.context(),
        )
    };
    let error = error.into_text();
    let object = match status {
        RawStatus::OK => Ok(object.into_bytes()),
        RawStatus::FATAL => Err(CompileFailure::Fatal(error)),
        RawStatus::CRASH => Err(CompileFailure::Crash(error)),
        _ => Err(CompileFailure::Reported(error)),
    };
    if matches!(
        object,
        Err(CompileFailure::Fatal(_) | CompileFailure::Crash(_))
    ) {
        // The compile stopped in the middle: its context may hold half-built
        // values that cannot be freed safely.
        std::mem::forget(context);
    }
    Compiled {
        object,
        diagnostics: diagnostics.into_text(),
        backend_cpu: Duration::from_nanos(backend_nanoseconds),
    }
}
