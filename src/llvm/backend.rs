//! One backend compile, from borrowed bytes to an object.

use std::ffi::c_void;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use inkwell::context::Context;

use super::ffi;
use super::ffi::{Buffer, RawStatus, Slice};
use super::invocation::Invocation;
use super::remainder::index_remainder;
use super::sink::{Collector, ListCollector, collect, collect_entry};
use crate::compile::{Compiled, Failure, Imported, Watch};
use crate::digest::Digest;

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
    /// Whether to tell which functions the code generator gets.
    pub(crate) wants_functions: bool,
}

/// A watcher for C++, which no panic may reach.
struct Watched<'a> {
    watch: &'a mut dyn Watch,
    /// The module's name and its summary index.
    index: (&'a str, &'a [u8]),
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
/// As for [`on_assembly`]; `ptr` may be null, else `places` must be readable for
/// `place_count` numbers unless there are none.
unsafe extern "C" fn on_imported(
    ctx: *mut c_void,
    ptr: *const u8,
    len: usize,
    places: *const u64,
    place_count: usize,
) -> bool {
    // SAFETY: promised by the caller.
    let (watched, bitcode, places) = unsafe {
        (
            &mut *ctx.cast::<Watched<'_>>(),
            (!ptr.is_null()).then(|| std::slice::from_raw_parts(ptr, len)),
            match place_count {
                0 => &[],
                _ => std::slice::from_raw_parts(places, place_count),
            },
        )
    };
    let (module, index) = watched.index;
    watched.guard(true, |watch| {
        let imported = bitcode.and_then(|bitcode| {
            let remainder = index_remainder(index, module)?;
            Some(Imported {
                module: Digest::of(bitcode),
                index: Digest::of(&remainder),
                places: Digest::of(
                    &places
                        .iter()
                        .flat_map(|n| n.to_le_bytes())
                        .collect::<Vec<u8>>(),
                ),
            })
        });
        watch.imported(imported)
    })
}

/// Compiles one module in a context of its own. `watch` is told what LLVM has
/// imported, if LLVM's ThinLTO backend runs at all.
///
/// When LLVM crashes, `last_words` is told why, and after a fatal error what
/// clang has printed; then the thread sleeps for ever. Neither C++ nor what it
/// owns is touched again: the compile may hold locks of the C++ heap.
pub(crate) fn compile(
    input: &CompileInput<'_>,
    watch: &mut dyn Watch,
    last_words: &dyn Fn(Failure, String),
) -> Compiled {
    let wants_bitcode = watch.wants_imported();
    let mut watched = Watched {
        watch,
        index: (
            input.module.0,
            input.index.map_or(&[][..], |(_, bytes)| bytes),
        ),
        panicked: false,
    };
    let imports: Vec<Buffer> = input
        .imports
        .iter()
        .map(|(name, bytes)| Buffer::new(name, bytes))
        .collect();
    let mut time_trace = Collector::default();
    let mut functions = ListCollector::default();
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
        imported: Some(on_imported),
        wants_bitcode,
        asm_text: Some(on_assembly),
        imported_ctx: std::ptr::from_mut(&mut watched).cast(),
        time_trace: input.time_trace.then_some(collect),
        time_trace_ctx: time_trace.context(),
        functions: input.wants_functions.then_some(collect_entry),
        functions_ctx: functions.context(),
    };

    let mut backend_nanoseconds = 0;
    let mut signal = 0;
    let mut has_printed = false;
    let mut object = Collector::default();
    let mut diagnostics = Collector::default();
    let mut error = Collector::default();
    // SAFETY: the request borrows from `input`, `imports`, `watched`, `time_trace`,
    // `functions` and `context`, which all outlive the call; the last three are used
    // by this call alone.
    let status = unsafe {
        ffi::BackltoCompile(
            &raw const request,
            &raw mut backend_nanoseconds,
            &raw mut signal,
            &raw mut has_printed,
            collect,
            object.context(),
            collect,
            diagnostics.context(),
            collect,
            error.context(),
        )
    };
    let object = match status {
        RawStatus::CRASH => {
            last_words(Failure::Crash(signal), String::new());
            stop()
        }
        RawStatus::FATAL => {
            last_words(Failure::Fatal(error.into_text()), diagnostics.into_text());
            stop()
        }
        RawStatus::OK => Ok(Some(object.into_bytes())),
        RawStatus::STOPPED => Ok(None),
        _ => Err(Failure::Reported(error.into_text())),
    };
    assert!(!watched.panicked, "a watcher of the compile panicked");
    Compiled {
        object,
        diagnostics: diagnostics.into_text(),
        has_printed,
        warning: None,
        backend_cpu: Duration::from_nanos(backend_nanoseconds),
        time_trace: input.time_trace.then(|| time_trace.into_text()),
        functions: all_told(functions.into_vec()),
        took_elsewhere: None,
    }
}

/// `names` without the text that ends them; `None` when that has not come.
fn all_told(mut names: Vec<String>) -> Option<Vec<String>> {
    names.pop().map(|_| names)
}

/// Ends a thread without ending it, which would run destructors of C++.
fn stop() -> ! {
    loop {
        std::thread::park();
    }
}
