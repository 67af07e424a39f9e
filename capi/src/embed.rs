//! Makes bitcode, and indexes by the thin link.

use std::ffi::c_char;

use backlto::{Linkage, Module, ThinLinkOptions};

use crate::guard::{
    Grows, Result, backlto_bytes, backlto_error, free, grown, guard_new, required, text, texts,
};

/// A module and the name by which indexes and jobs know it.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct backlto_module {
    /// The name, unique in its link. It need not be that of a file.
    pub name: *const c_char,
    /// The module itself: ThinLTO bitcode.
    pub bitcode: backlto_bytes,
}

/// A list of buffers of bytes.
pub struct backlto_buffers(Vec<Vec<u8>>);

/// For `linkage`: the objects become a program.
pub const BACKLTO_LINKAGE_EXECUTABLE: u32 = 0;
/// For `linkage`: the objects become a shared library.
pub const BACKLTO_LINKAGE_SHARED_LIBRARY: u32 = 1;
/// For `linkage`: the objects become a larger object.
pub const BACKLTO_LINKAGE_RELOCATABLE: u32 = 2;

/// Tells the thin link what it is to know of what is around the modules.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct backlto_thin_link_options {
    /// sizeof(struct backlto_thin_link_options)
    pub struct_size: usize,
    /// Symbols that something outside of the modules refers to, up to a NULL: the
    /// entry point, what native objects call. One that is missing may vanish.
    pub used: *const *const c_char,
    /// BACKLTO_LINKAGE_…
    pub linkage: u32,
    /// Whether no class is derived from outside of the modules.
    pub whole_program_visibility: bool,
}

// SAFETY: it does start with its size, and all may be zero.
unsafe impl Grows for backlto_thin_link_options {}

/// Copies the modules of a list of C's.
///
/// # Safety
/// `modules` are `count`, as the header wants them.
pub(crate) unsafe fn modules(modules: *const backlto_module, count: usize) -> Result<Vec<Module>> {
    if count == 0 {
        return Ok(Vec::new());
    }
    // SAFETY: promised by the caller.
    let first = unsafe { required(modules, "modules") }?;
    // SAFETY: promised by the caller.
    let modules = unsafe { std::slice::from_raw_parts(first, count) };
    let copy = |module: &backlto_module| {
        // SAFETY: promised by the caller.
        let (name, bitcode) = unsafe { (text(module.name)?, module.bitcode.get()) };
        let name = name.ok_or_else(|| backlto_error::argument("a module has no name"))?;
        Ok(Module::new(name, bitcode))
    };
    modules.iter().map(copy).collect()
}

/// Writes ThinLTO bitcode of `source`, which is LLVM IR as text or bitcode: one
/// buffer.
///
/// # Safety
/// See the crate.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn backlto_thin_lto_bitcode(
    name: *const c_char,
    source: backlto_bytes,
    error: *mut *mut backlto_error,
) -> *mut backlto_buffers {
    // SAFETY: promised by the caller.
    unsafe {
        guard_new(error, || {
            let name = text(name)?.unwrap_or_default();
            let bitcode = backlto::thin_lto_bitcode(&name, source.get())?;
            Ok(backlto_buffers(vec![bitcode]))
        })
    }
}

/// Thin-links `count` modules: gives the summary index of each, in their order.
/// `options` may be NULL.
///
/// # Safety
/// See the crate.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn backlto_thin_link(
    modules: *const backlto_module,
    count: usize,
    options: *const backlto_thin_link_options,
    error: *mut *mut backlto_error,
) -> *mut backlto_buffers {
    // SAFETY: promised by the caller.
    unsafe {
        guard_new(error, || {
            let options = grown(options)?;
            let options = ThinLinkOptions {
                linkage: match options.linkage {
                    BACKLTO_LINKAGE_EXECUTABLE => Linkage::Executable,
                    BACKLTO_LINKAGE_SHARED_LIBRARY => Linkage::SharedLibrary,
                    BACKLTO_LINKAGE_RELOCATABLE => Linkage::Relocatable,
                    _ => return Err(backlto_error::argument("there is no such linkage")),
                },
                used: texts(options.used)?,
                whole_program_visibility: options.whole_program_visibility,
            };
            let modules = self::modules(modules, count)?;
            Ok(backlto_buffers(backlto::thin_link(&modules, &options)?))
        })
    }
}

/// Counts the buffers of a list.
///
/// # Safety
/// See the crate.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn backlto_buffers_count(buffers: *const backlto_buffers) -> usize {
    // SAFETY: promised by the caller.
    unsafe { buffers.as_ref() }.map_or(0, |buffers| buffers.0.len())
}

/// Gives buffer `number` of a list; nothing when there is none.
///
/// # Safety
/// See the crate.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn backlto_buffers_get(
    buffers: *const backlto_buffers,
    number: usize,
) -> backlto_bytes {
    // SAFETY: promised by the caller.
    let found = unsafe { buffers.as_ref() }.and_then(|buffers| buffers.0.get(number));
    backlto_bytes::of(found.map_or(&[], Vec::as_slice))
}

/// Frees a list of buffers.
///
/// # Safety
/// See the crate.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn backlto_buffers_free(buffers: *mut backlto_buffers) {
    // SAFETY: promised by the caller.
    unsafe { free(buffers) }
}
