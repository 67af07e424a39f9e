//! Text and bytes from C++, appended to Rust buffers by callback, so that
//! nobody has to guess who frees what.

use std::ffi::{CString, c_char, c_void};

/// A growing buffer that a shim writes to.
#[derive(Default)]
pub(super) struct Collector(Vec<u8>);

/// Appends to the [`Collector`] behind `ctx`.
///
/// # Safety
/// `ctx` must come from [`Collector::context`] of a live collector that nobody
/// else uses meanwhile, and `ptr` must be readable for `len` bytes.
pub(super) unsafe extern "C" fn collect(ctx: *mut c_void, ptr: *const u8, len: usize) {
    if len == 0 {
        return;
    }
    // SAFETY: both are promised by the caller, see above.
    let (collector, bytes) = unsafe {
        (
            &mut *ctx.cast::<Collector>(),
            std::slice::from_raw_parts(ptr, len),
        )
    };
    collector.0.extend_from_slice(bytes);
}

impl Collector {
    pub(super) fn context(&mut self) -> *mut c_void {
        std::ptr::from_mut(self).cast()
    }

    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    /// LLVM's messages are UTF-8 but for file names, which may be anything.
    pub(super) fn into_text(self) -> String {
        String::from_utf8(self.0)
            .unwrap_or_else(|e| String::from_utf8_lossy(e.as_bytes()).into_owned())
    }
}

/// A list of texts, one sink call each.
#[derive(Default)]
pub(super) struct ListCollector(Vec<String>);

/// Appends one entry to the [`ListCollector`] behind `ctx`.
///
/// # Safety
/// As for [`collect`], with a [`ListCollector`].
pub(super) unsafe extern "C" fn collect_entry(ctx: *mut c_void, ptr: *const u8, len: usize) {
    // SAFETY: promised by the caller; C++ may pass null for an empty text.
    let (list, bytes) = unsafe {
        (
            &mut *ctx.cast::<ListCollector>(),
            match len {
                0 => &[][..],
                _ => std::slice::from_raw_parts(ptr, len),
            },
        )
    };
    list.0.push(String::from_utf8_lossy(bytes).into_owned());
}

impl ListCollector {
    pub(super) fn context(&mut self) -> *mut c_void {
        std::ptr::from_mut(self).cast()
    }

    pub(super) fn into_vec(self) -> Vec<String> {
        self.0
    }
}

/// A list of bytes, one sink call each.
#[derive(Default)]
pub(super) struct BytesCollector(Vec<Vec<u8>>);

/// Appends one entry to the [`BytesCollector`] behind `ctx`.
///
/// # Safety
/// As for [`collect`], with a [`BytesCollector`].
pub(super) unsafe extern "C" fn collect_bytes(ctx: *mut c_void, ptr: *const u8, len: usize) {
    // SAFETY: promised by the caller; C++ may pass null for no bytes.
    let (list, bytes) = unsafe {
        (
            &mut *ctx.cast::<BytesCollector>(),
            match len {
                0 => &[][..],
                _ => std::slice::from_raw_parts(ptr, len),
            },
        )
    };
    list.0.push(bytes.to_vec());
}

impl BytesCollector {
    pub(super) fn context(&mut self) -> *mut c_void {
        std::ptr::from_mut(self).cast()
    }

    pub(super) fn into_vec(self) -> Vec<Vec<u8>> {
        self.0
    }
}

/// C strings and the array of pointers to them that C++ wants.
pub(super) struct CStrings {
    _owned: Vec<CString>,
    pointers: Vec<*const c_char>,
}

impl CStrings {
    /// An argument with a NUL byte cannot be told to C++; it is an error that
    /// names the argument.
    pub(super) fn new<S: AsRef<[u8]>>(texts: &[S]) -> Result<CStrings, String> {
        let owned = texts
            .iter()
            .map(|text| {
                CString::new(text.as_ref()).map_err(|_| {
                    let shown = String::from_utf8_lossy(text.as_ref());
                    format!("`{}` contains a NUL byte", shown.escape_debug())
                })
            })
            .collect::<Result<Vec<_>, _>>()?;
        let pointers = owned.iter().map(|text| text.as_ptr()).collect();
        Ok(CStrings {
            _owned: owned,
            pointers,
        })
    }

    pub(super) fn as_ptr(&self) -> *const *const c_char {
        self.pointers.as_ptr()
    }

    pub(super) fn len(&self) -> usize {
        self.pointers.len()
    }
}
