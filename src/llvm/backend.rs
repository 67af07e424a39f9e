//! One backend compile, from borrowed bytes to an object.

use std::ffi::c_void;
use std::panic::AssertUnwindSafe;
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
    /// Whether LLVM is to keep a time trace.
    pub(crate) time_trace: bool,
}

/// Looks at a compile once its module has everything that it imports.
pub(crate) trait Watch {
    /// Whether [`Watch::imported`] has a use for the bitcode.
    fn wants_bitcode(&self) -> bool;
    /// A text of assembly in the module.
    fn assembly(&mut self, text: &[u8]);
    /// What the optimiser is about to get, as bitcode, if that was wanted. False
    /// when the object is not needed. Called once, after all assembly.
    fn imported(&mut self, bitcode: Option<&[u8]>) -> bool;
}

/// How one compile ended.
pub(crate) struct Compiled {
    /// The object, or why there is none; empty when [`Watch::imported`] did not
    /// want it.
    pub(crate) object: Result<Vec<u8>, CompileFailure>,
    /// Everything clang would have printed.
    pub(crate) diagnostics: String,
    /// CPU time of import, optimiser and code generation.
    pub(crate) backend_cpu: Duration,
    /// LLVM's time trace, a JSON text, if one was asked for.
    pub(crate) time_trace: Option<String>,
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

/// A watcher for C++, which no panic may reach.
struct Watched<'a> {
    watch: &'a mut dyn Watch,
    panicked: bool,
}

impl Watched<'_> {
    fn guard<T>(&mut self, otherwise: T, act: impl FnOnce(&mut dyn Watch) -> T) -> T {
        let watch = &mut *self.watch;
        std::panic::catch_unwind(AssertUnwindSafe(|| act(watch))).unwrap_or_else(|_| {
            self.panicked = true;
            otherwise
        })
    }
}

/// # Safety
/// `ctx` must point to a [`Watched`] that nobody else uses, and `ptr` must be
/// readable for `len` bytes.
unsafe extern "C" fn on_assembly(ctx: *mut c_void, ptr: *const u8, len: usize) {
    // SAFETY: promised by the caller; only texts that are not empty are shown.
    let (watched, text) = unsafe {
        (
            &mut *ctx.cast::<Watched<'_>>(),
            std::slice::from_raw_parts(ptr, len),
        )
    };
    watched.guard((), |watch| watch.assembly(text));
}

/// # Safety
/// As for [`on_assembly`]; `ptr` may be null.
unsafe extern "C" fn on_imported(ctx: *mut c_void, ptr: *const u8, len: usize) -> bool {
    // SAFETY: promised by the caller.
    let (watched, bitcode) = unsafe {
        (
            &mut *ctx.cast::<Watched<'_>>(),
            (!ptr.is_null()).then(|| std::slice::from_raw_parts(ptr, len)),
        )
    };
    watched.guard(true, |watch| watch.imported(bitcode))
}

/// Compiles one module in a context of its own. `watch` is told what LLVM has
/// imported, if LLVM's ThinLTO backend runs at all.
pub(crate) fn compile(input: &CompileInput<'_>, watch: Option<&mut dyn Watch>) -> Compiled {
    let mut watched = watch.map(|watch| Watched {
        watch,
        panicked: false,
    });
    let imports: Vec<Buffer> = input
        .imports
        .iter()
        .map(|(name, bytes)| Buffer::new(name, bytes))
        .collect();
    let mut time_trace = Collector::default();
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
        imported: watched.is_some().then_some(on_imported),
        wants_bitcode: watched
            .as_ref()
            .is_some_and(|watched| watched.watch.wants_bitcode()),
        asm_text: watched.is_some().then_some(on_assembly),
        imported_ctx: watched.as_mut().map_or(std::ptr::null_mut(), |watched| {
            std::ptr::from_mut(watched).cast()
        }),
        time_trace: input.time_trace.then_some(collect),
        time_trace_ctx: time_trace.context(),
    };

    let mut backend_nanoseconds = 0;
    let mut object = Collector::default();
    let mut diagnostics = Collector::default();
    let mut error = Collector::default();
    // SAFETY: the request borrows from `input`, `imports`, `watched`, `time_trace` and
    // `context`, which all outlive the call; the last two are used by this call
    // alone.
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
    assert!(
        !watched.is_some_and(|watched| watched.panicked),
        "a watcher of the compile panicked"
    );
    let object = match status {
        RawStatus::OK => Ok(object.into_bytes()),
        RawStatus::STOPPED => Ok(Vec::new()),
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
        time_trace: input.time_trace.then(|| time_trace.into_text()),
    }
}
