//! Takes errors, text, lists and structs that grow across the border to C.

use std::ffi::{CStr, CString, c_char};
use std::panic::AssertUnwindSafe;

use backlto::error::{Error, Errors, Kind};

/// An error: what could not be done, why, and what to do next.
pub struct backlto_error {
    kind: backlto_kind,
    message: CString,
}

/// Tells what went wrong to programs that act on it.
#[repr(C)]
#[derive(Clone, Copy)]
pub enum backlto_kind {
    /// The plan contradicts itself.
    BACKLTO_KIND_PLAN = 1,
    /// An input is missing, unreadable, damaged or not what it should be.
    BACKLTO_KIND_INPUT = 2,
    /// Flags that clang does not accept.
    BACKLTO_KIND_FLAGS = 3,
    /// The back end reported an error: see the diagnostics.
    BACKLTO_KIND_CODEGEN = 4,
    /// LLVM crashed or gave up.
    BACKLTO_KIND_CRASH = 5,
    /// A program that was to finish an object failed.
    BACKLTO_KIND_POST = 6,
    /// An output could not be written.
    BACKLTO_KIND_OUTPUT = 7,
    /// The linker failed.
    BACKLTO_KIND_LINK = 8,
    /// It was not run: backlto_engine_cancel() was called, or another job had failed.
    BACKLTO_KIND_CANCELLED = 9,
    /// A library or the system does not fit.
    BACKLTO_KIND_ENVIRONMENT = 10,
    /// It took longer than one object may take.
    BACKLTO_KIND_TIMED_OUT = 11,
    /// The call makes no sense: a null pointer, text that is not UTF-8.
    BACKLTO_KIND_ARGUMENT = 100,
    /// An error in backlto itself.
    BACKLTO_KIND_BUG = 101,
}

impl From<Error> for backlto_error {
    fn from(error: Error) -> backlto_error {
        backlto_error {
            kind: kind_of(&error),
            message: c_text(&with_advice(&error)),
        }
    }
}

impl From<Errors> for backlto_error {
    /// Makes one error of all, a line each, with the kind of the first.
    fn from(errors: Errors) -> backlto_error {
        let kind = kind_of(errors.first());
        let lines: Vec<String> = errors.iter().map(with_advice).collect();
        backlto_error {
            kind,
            message: c_text(&lines.join("\n")),
        }
    }
}

/// Gives the number that C knows the kind of `error` by.
fn kind_of(error: &Error) -> backlto_kind {
    match error.kind() {
        Kind::Plan => backlto_kind::BACKLTO_KIND_PLAN,
        Kind::Input => backlto_kind::BACKLTO_KIND_INPUT,
        Kind::Flags => backlto_kind::BACKLTO_KIND_FLAGS,
        Kind::Codegen => backlto_kind::BACKLTO_KIND_CODEGEN,
        Kind::Crash => backlto_kind::BACKLTO_KIND_CRASH,
        Kind::Post => backlto_kind::BACKLTO_KIND_POST,
        Kind::Output => backlto_kind::BACKLTO_KIND_OUTPUT,
        Kind::Link => backlto_kind::BACKLTO_KIND_LINK,
        Kind::Cancelled => backlto_kind::BACKLTO_KIND_CANCELLED,
        Kind::Environment => backlto_kind::BACKLTO_KIND_ENVIRONMENT,
        Kind::TimedOut => backlto_kind::BACKLTO_KIND_TIMED_OUT,
        _ => backlto_kind::BACKLTO_KIND_BUG,
    }
}

/// Gives the text of `error`, and what to do next.
fn with_advice(error: &Error) -> String {
    match error.advice() {
        Some(advice) => format!("{error} ({advice})"),
        None => error.to_string(),
    }
}

impl backlto_error {
    /// Says that a call makes no sense.
    pub(crate) fn argument(message: &str) -> backlto_error {
        backlto_error {
            kind: backlto_kind::BACKLTO_KIND_ARGUMENT,
            message: c_text(message),
        }
    }
}

pub(crate) type Result<T> = std::result::Result<T, backlto_error>;

/// Makes a string for C of `text`; NULs inside become U+FFFD.
pub(crate) fn c_text(text: &str) -> CString {
    CString::new(text.replace('\0', "\u{fffd}")).unwrap_or_default()
}

/// Runs `act`; its error, or that it panicked, goes to `error`.
///
/// # Safety
/// `error` is null or writable.
pub(crate) unsafe fn guard<T>(
    error: *mut *mut backlto_error,
    act: impl FnOnce() -> Result<T>,
) -> Option<T> {
    let outcome = std::panic::catch_unwind(AssertUnwindSafe(act)).unwrap_or_else(|_| {
        Err(backlto_error {
            kind: backlto_kind::BACKLTO_KIND_BUG,
            message: c"backlto panicked".to_owned(),
        })
    });
    match outcome {
        Ok(value) => Some(value),
        Err(e) => {
            if !error.is_null() {
                // SAFETY: it is writable, says the caller.
                unsafe { error.write(Box::into_raw(Box::new(e))) };
            }
            None
        }
    }
}

/// Runs `act` as [`guard`] does, and moves what it gives to the heap, for C to hold
/// by a pointer: null after an error.
///
/// # Safety
/// `error` is null or writable.
pub(crate) unsafe fn guard_new<T>(
    error: *mut *mut backlto_error,
    act: impl FnOnce() -> Result<T>,
) -> *mut T {
    // SAFETY: promised by the caller.
    unsafe { guard(error, act) }
        .map_or(std::ptr::null_mut(), |value| Box::into_raw(Box::new(value)))
}

/// Frees what [`guard_new`] made.
///
/// # Safety
/// `pointer` is null, or from there and not freed yet.
pub(crate) unsafe fn free<T>(pointer: *mut T) {
    // SAFETY: promised by the caller.
    unsafe { free_with(pointer, drop) }
}

/// Has `end` end what [`guard_new`] made. If that panics, nobody hears of it.
///
/// # Safety
/// `pointer` is null, or from there and not freed yet.
pub(crate) unsafe fn free_with<T>(pointer: *mut T, end: impl FnOnce(T)) {
    if !pointer.is_null() {
        // SAFETY: promised by the caller.
        let value = unsafe { Box::from_raw(pointer) };
        let _ = std::panic::catch_unwind(AssertUnwindSafe(|| end(*value)));
    }
}

/// Borrows what `pointer` points to; `what` names it in the error for null.
///
/// # Safety
/// `pointer` is null or valid for as long as `'a`.
pub(crate) unsafe fn required<'a, T>(pointer: *const T, what: &str) -> Result<&'a T> {
    // SAFETY: promised by the caller.
    unsafe { pointer.as_ref() }.ok_or_else(|| backlto_error::argument(&format!("{what} is NULL")))
}

/// Copies the text at `pointer`, if that is not null.
///
/// # Safety
/// `pointer` is null or to a text that ends with NUL.
pub(crate) unsafe fn text(pointer: *const c_char) -> Result<Option<String>> {
    if pointer.is_null() {
        return Ok(None);
    }
    // SAFETY: promised by the caller.
    let text = unsafe { CStr::from_ptr(pointer) };
    match text.to_str() {
        Ok(text) => Ok(Some(text.to_owned())),
        Err(_) => Err(backlto_error::argument("text is not UTF-8")),
    }
}

/// Copies the texts of a list that ends with a null pointer; none when the list is
/// null.
///
/// # Safety
/// `list` is null, or its pointers up to the first null one are to texts that end
/// with NUL.
pub(crate) unsafe fn texts(list: *const *const c_char) -> Result<Vec<String>> {
    let mut all = Vec::new();
    if list.is_null() {
        return Ok(all);
    }
    loop {
        // SAFETY: the list goes on up to its null pointer, and holds texts.
        match unsafe { text(*list.add(all.len())) }? {
            Some(text) => all.push(text),
            None => return Ok(all),
        }
    }
}

/// Borrows bytes.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct backlto_bytes {
    /// Where the bytes are; may be null when there are none.
    pub data: *const u8,
    /// How many bytes there are.
    pub size: usize,
}

impl backlto_bytes {
    /// Borrows the bytes.
    ///
    /// # Safety
    /// They are readable for as long as `'a`.
    pub(crate) unsafe fn get<'a>(self) -> &'a [u8] {
        if self.data.is_null() {
            return &[];
        }
        // SAFETY: promised by the caller.
        unsafe { std::slice::from_raw_parts(self.data, self.size) }
    }

    /// Lends `bytes` to C.
    pub(crate) fn of(bytes: &[u8]) -> backlto_bytes {
        backlto_bytes {
            data: bytes.as_ptr(),
            size: bytes.len(),
        }
    }
}

/// Marks a struct that starts with its size and whose fields may all be zero.
///
/// # Safety
/// The struct does, its fields may, and it is `repr(C)`.
pub(crate) unsafe trait Grows: Copy {}

/// Copies a struct of a caller who may know fewer fields; null counts as all zero.
///
/// # Safety
/// `pointer` is null or valid for as many bytes as the size that it starts with.
pub(crate) unsafe fn grown<T: Grows>(pointer: *const T) -> Result<T> {
    let mut copy = std::mem::MaybeUninit::<T>::zeroed();
    if !pointer.is_null() {
        // SAFETY: every such struct starts with its size.
        let size = unsafe { pointer.cast::<usize>().read() };
        if size < size_of::<usize>() {
            return Err(backlto_error::argument("struct_size is not set"));
        }
        let size = size.min(size_of::<T>());
        // SAFETY: `size` bytes can be read, says the caller, and written.
        unsafe {
            std::ptr::copy_nonoverlapping(pointer.cast::<u8>(), copy.as_mut_ptr().cast(), size);
        };
    }
    // SAFETY: zero is fine for every field (see `Grows`), and so is what C wrote.
    Ok(unsafe { copy.assume_init() })
}

/// Says what went wrong, for people.
///
/// # Safety
/// See the crate.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn backlto_error_message(error: *const backlto_error) -> *const c_char {
    // SAFETY: promised by the caller.
    unsafe { error.as_ref() }.map_or(c"".as_ptr(), |e| e.message.as_ptr())
}

/// Says what went wrong, for programs.
///
/// # Safety
/// See the crate; `error` is not null.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn backlto_error_kind(error: *const backlto_error) -> backlto_kind {
    // SAFETY: promised by the caller.
    unsafe { error.as_ref() }.map_or(backlto_kind::BACKLTO_KIND_ARGUMENT, |e| e.kind)
}

/// Frees an error.
///
/// # Safety
/// See the crate.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn backlto_error_free(error: *mut backlto_error) {
    // SAFETY: promised by the caller.
    unsafe { free(error) }
}
