//! `include/backlto.h`, function by function. Rules that hold for all of them
//! stand at the head of that file (`cbindgen.toml`).
//!
//! # Safety
//! C keeps its promises unwritten; each function here relies on those of the
//! header: pointers are valid or, where it says so, null; handles come from the
//! function that makes them and were not freed; text ends with NUL.

mod embed;
mod guard;
mod plan;
mod run;

/// After a crash of LLVM, the thread it came in may hold the lock of a heap of
/// glibc's for ever: Rust code, which goes on, has one of its own (see
/// [`backlto_own_process`]).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Numbers this interface: see `backlto_abi`; also the number in the soname.
pub const BACKLTO_ABI: u32 = 0;

/// Gives the version of this interface: that of the library, to compare with the one
/// in the name of the file that was linked.
#[unsafe(no_mangle)]
pub extern "C" fn backlto_abi() -> u32 {
    BACKLTO_ABI
}

/// Gives the version of LLVM that this library was built for, such as "22.1.8".
#[unsafe(no_mangle)]
pub extern "C" fn backlto_llvm_version() -> *const std::ffi::c_char {
    const VERSION: &str = backlto::BUILT_VERSION;
    static TEXT: std::sync::OnceLock<std::ffi::CString> = std::sync::OnceLock::new();
    TEXT.get_or_init(|| guard::c_text(VERSION)).as_ptr()
}

/// Says whether modules and indexes can be in memory. They cannot where the program has
/// linked LLVM before backlto; files give the same objects then.
#[unsafe(no_mangle)]
pub extern "C" fn backlto_shares_inputs() -> bool {
    backlto::shares_inputs()
}

/// Makes this process outlive crashes and fatal errors of LLVM in a job, and files
/// that shrink while they are read. It installs signal handlers and LLVM's
/// fatal-error handler: for programs that are all about backlto. Nothing else in
/// this library touches handlers.
///
/// # Safety
/// `error` is null or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn backlto_own_process(error: *mut *mut guard::backlto_error) -> bool {
    // SAFETY: `error` is promised.
    unsafe { guard::guard(error, || Ok(backlto::own_process()?)) }.is_some()
}
