//! What the inputs of a link begin with. A module of both programs: nothing here uses
//! the library.

/// Bitcode.
pub(crate) const BITCODE: &[u8; 4] = b"BC\xC0\xDE";
/// Bitcode in a wrapper, which tells where in the file it is.
pub(crate) const WRAPPED_BITCODE: &[u8; 4] = b"\xDE\xC0\x17\x0B";
/// An archive.
pub(crate) const ARCHIVE: &[u8; 8] = b"!<arch>\n";
/// An archive whose members are files beside it.
pub(crate) const THIN_ARCHIVE: &[u8; 8] = b"!<thin>\n";
