//! The thin link, and the bitcode that it takes.

use super::ffi;
use super::ffi::{Buffer, RawStatus, Slice};
use super::sink::{BytesCollector, Collector, collect, collect_bytes};

/// What a thin link reads.
pub(crate) struct ThinLink<'a> {
    /// Names and bitcode.
    pub(crate) modules: &'a [(&'a str, &'a [u8])],
    /// Symbols that something else refers to.
    pub(crate) used: &'a [String],
    pub(crate) relocatable: bool,
    pub(crate) shared: bool,
    pub(crate) whole_program_visibility: bool,
}

/// The summary index of each module, in their order; the error is LLVM's.
pub(crate) fn thin_link(link: &ThinLink<'_>) -> Result<Vec<Vec<u8>>, String> {
    let modules: Vec<Buffer> = link
        .modules
        .iter()
        .map(|(name, bytes)| Buffer::new(name, bytes))
        .collect();
    let used: Vec<Slice> = link
        .used
        .iter()
        .map(|name| Slice::new(name.as_bytes()))
        .collect();
    let request = ffi::ThinLink {
        modules: modules.as_ptr(),
        module_count: modules.len(),
        used: used.as_ptr(),
        used_count: used.len(),
        relocatable: link.relocatable,
        shared: link.shared,
        whole_program_visibility: link.whole_program_visibility,
    };
    let mut indexes = BytesCollector::default();
    let mut error = Collector::default();
    // SAFETY: the request borrows from `modules`, `used` and `link`, which outlive
    // the call, as the collectors do.
    let status = unsafe {
        ffi::BackltoRunThinLink(
            &raw const request,
            collect_bytes,
            indexes.context(),
            collect,
            error.context(),
        )
    };
    match status {
        RawStatus::OK => Ok(indexes.into_vec()),
        _ => Err(error.into_text()),
    }
}

/// ThinLTO bitcode of `source`, which is text or bitcode; the error is LLVM's.
pub(crate) fn write_thin_lto(name: &str, source: &[u8]) -> Result<Vec<u8>, String> {
    let buffer = Buffer::new(name, source);
    let mut bitcode = Collector::default();
    let mut error = Collector::default();
    // SAFETY: all pointers are to locals that outlive the call.
    let status = unsafe {
        ffi::BackltoWriteThinLTO(
            &raw const buffer,
            collect,
            bitcode.context(),
            collect,
            error.context(),
        )
    };
    match status {
        RawStatus::OK => Ok(bitcode.into_bytes()),
        _ => Err(error.into_text()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// LLVM alone would end the process.
    #[test]
    fn module_assembly_that_does_not_parse_is_an_error() {
        crate::llvm::start().unwrap();
        let text = "target triple = \"x86_64-unknown-linux-gnu\"\nmodule asm \"bogus !!\"\n";
        let reason = write_thin_lto("m.ll", text.as_bytes()).unwrap_err();
        assert!(reason.contains("unknown token in expression"), "{reason}");
    }
}
