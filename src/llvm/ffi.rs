//! The shims as Rust sees them: one declaration for each in
//! `llvm-shims/BackltoShims.h`, which documents them.

use std::ffi::{c_char, c_void};

use inkwell::llvm_sys::prelude::LLVMContextRef;

#[repr(C)]
#[derive(Clone, Copy)]
pub(super) struct Slice {
    pub(super) ptr: *const u8,
    pub(super) len: usize,
}

impl Slice {
    /// A slice with a null pointer, which some fields read as "not given".
    pub(super) const NONE: Slice = Slice {
        ptr: std::ptr::null(),
        len: 0,
    };

    /// Borrows `bytes`; the caller keeps them alive as long as C++ may look.
    pub(super) fn new(bytes: &[u8]) -> Slice {
        Slice {
            ptr: bytes.as_ptr(),
            len: bytes.len(),
        }
    }
}

#[repr(C)]
#[derive(Clone, Copy)]
pub(super) struct Buffer {
    pub(super) name: Slice,
    pub(super) bytes: Slice,
}

impl Buffer {
    /// Borrows both, like [`Slice::new`].
    pub(super) fn new(name: &str, bytes: &[u8]) -> Buffer {
        Buffer {
            name: Slice::new(name.as_bytes()),
            bytes: Slice::new(bytes),
        }
    }
}

/// `BackltoStatus`, as a number: C++ could return a value that this build of
/// the Rust side does not know.
#[repr(transparent)]
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct RawStatus(u32);

impl RawStatus {
    pub(super) const OK: RawStatus = RawStatus(0);
    pub(super) const FATAL: RawStatus = RawStatus(2);
    pub(super) const CRASH: RawStatus = RawStatus(3);
    pub(super) const STOPPED: RawStatus = RawStatus(4);
}

pub(super) type Sink = unsafe extern "C" fn(ctx: *mut c_void, ptr: *const u8, len: usize);
pub(super) type Imported = unsafe extern "C" fn(
    ctx: *mut c_void,
    bitcode: *const u8,
    len: usize,
    places: *const u64,
    place_count: usize,
) -> bool;
pub(super) type ModuleVisitor =
    unsafe extern "C" fn(ctx: *mut c_void, path: *const u8, len: usize, hash: *const u32);

#[repr(C)]
#[derive(Default)]
pub(super) struct ModuleInfo {
    pub(super) has_thin_lto: bool,
    pub(super) has_hash: bool,
    pub(super) hash_matches: bool,
    pub(super) hash: [u32; 5],
}

#[repr(C)]
pub(super) struct NamedModule {
    pub(super) path: Slice,
    pub(super) hash: [u32; 5],
}

#[repr(C)]
pub(super) struct CompileRequest {
    pub(super) invocation: *const Invocation,
    pub(super) context: LLVMContextRef,
    pub(super) module: Buffer,
    pub(super) index: Buffer,
    pub(super) imports: *const Buffer,
    pub(super) import_count: usize,
    pub(super) output_path: Slice,
    pub(super) imported: Option<Imported>,
    pub(super) wants_bitcode: bool,
    pub(super) asm_text: Option<Sink>,
    pub(super) imported_ctx: *mut c_void,
    pub(super) time_trace: Option<Sink>,
    pub(super) time_trace_ctx: *mut c_void,
    pub(super) functions: Option<Sink>,
    pub(super) functions_ctx: *mut c_void,
}

#[repr(C)]
pub(super) struct ThinLink {
    pub(super) modules: *const Buffer,
    pub(super) module_count: usize,
    pub(super) used: *const Slice,
    pub(super) used_count: usize,
    pub(super) relocatable: bool,
    pub(super) shared: bool,
    pub(super) whole_program_visibility: bool,
}

/// Opaque `BackltoInvocation`.
#[repr(C)]
pub(super) struct Invocation {
    _opaque: [u8; 0],
}

/// Opaque `BackltoIndex`.
#[repr(C)]
pub(super) struct Index {
    _opaque: [u8; 0],
}

#[allow(non_snake_case)]
unsafe extern "C" {
    pub(super) fn BackltoLoadedLLVMVersion() -> *const c_char;
    pub(super) fn BackltoInitialize();
    pub(super) fn BackltoContainCrashes();
    pub(super) fn BackltoHasCrashed() -> bool;
    pub(super) fn BackltoLLVMOptionsGiven() -> bool;
    pub(super) fn BackltoSetLLVMOptions(
        args: *const *const c_char,
        count: usize,
        sink: Sink,
        ctx: *mut c_void,
    ) -> RawStatus;

    pub(super) fn BackltoMapCommandLine(
        args: *const *const c_char,
        count: usize,
        directory: Slice,
        clang_path: Slice,
        sink: Sink,
        ctx: *mut c_void,
    ) -> *mut Invocation;
    pub(super) fn BackltoFreeInvocation(invocation: *mut Invocation);
    pub(super) fn BackltoInvocationCC1Args(i: *const Invocation, sink: Sink, ctx: *mut c_void);
    pub(super) fn BackltoInvocationLLVMOptions(i: *const Invocation, sink: Sink, ctx: *mut c_void);
    pub(super) fn BackltoInvocationKeptInObject(i: *const Invocation) -> bool;
    pub(super) fn BackltoInvocationTriple(i: *const Invocation, sink: Sink, ctx: *mut c_void);

    pub(super) fn BackltoArchName(triple: Slice, sink: Sink, ctx: *mut c_void);
    pub(super) fn BackltoReadModuleInfo(
        buffer: *const Buffer,
        info: *mut ModuleInfo,
        producer: Sink,
        producer_ctx: *mut c_void,
        triple: Sink,
        triple_ctx: *mut c_void,
        error: Sink,
        error_ctx: *mut c_void,
    ) -> RawStatus;
    pub(super) fn BackltoReadIndex(
        buffer: *const Buffer,
        error: Sink,
        error_ctx: *mut c_void,
    ) -> *mut Index;
    pub(super) fn BackltoFreeIndex(index: *mut Index);
    pub(super) fn BackltoIndexSkipsModule(index: *const Index) -> bool;
    pub(super) fn BackltoIndexInstructions(index: *const Index) -> u64;
    pub(super) fn BackltoIndexModules(index: *const Index, visit: ModuleVisitor, ctx: *mut c_void);
    pub(super) fn BackltoRepairIndex(
        index: *const Buffer,
        modules: *const NamedModule,
        count: usize,
        repaired: Sink,
        repaired_ctx: *mut c_void,
        error: Sink,
        error_ctx: *mut c_void,
    ) -> RawStatus;
    pub(super) fn BackltoIndexWithoutNames(
        index: *const Buffer,
        rest: Sink,
        rest_ctx: *mut c_void,
        error: Sink,
        error_ctx: *mut c_void,
    ) -> RawStatus;
    pub(super) fn BackltoIndexRemainder(
        index: *const Buffer,
        module: Slice,
        remainder: Sink,
        remainder_ctx: *mut c_void,
        error: Sink,
        error_ctx: *mut c_void,
    ) -> RawStatus;
    pub(super) fn BackltoDefinedSymbols(
        buffer: *const Buffer,
        symbol: Sink,
        symbol_ctx: *mut c_void,
        error: Sink,
        error_ctx: *mut c_void,
    ) -> RawStatus;

    pub(super) fn BackltoIsPositionIndependent(
        buffer: *const Buffer,
        result: *mut bool,
        error: Sink,
        error_ctx: *mut c_void,
    ) -> RawStatus;
    pub(super) fn BackltoPromotesVariable(
        module: *const Buffer,
        index: *const Buffer,
        result: *mut bool,
        error: Sink,
        error_ctx: *mut c_void,
    ) -> RawStatus;

    pub(super) fn BackltoCompile(
        request: *const CompileRequest,
        backend_nanoseconds: *mut u64,
        signal: *mut i32,
        printed: *mut bool,
        object: Sink,
        object_ctx: *mut c_void,
        diagnostics: Sink,
        diagnostics_ctx: *mut c_void,
        error: Sink,
        error_ctx: *mut c_void,
    ) -> RawStatus;
    pub(super) fn BackltoSeamsActive() -> bool;

    pub(super) fn BackltoRunThinLink(
        request: *const ThinLink,
        index: Sink,
        index_ctx: *mut c_void,
        error: Sink,
        error_ctx: *mut c_void,
    ) -> RawStatus;
    pub(super) fn BackltoWriteThinLTO(
        source: *const Buffer,
        bitcode: Sink,
        bitcode_ctx: *mut c_void,
        error: Sink,
        error_ctx: *mut c_void,
    ) -> RawStatus;

    pub(super) fn BackltoWriteThinArchive(
        path: *const c_char,
        members: *const *const c_char,
        count: usize,
        error: Sink,
        error_ctx: *mut c_void,
    ) -> RawStatus;
}
