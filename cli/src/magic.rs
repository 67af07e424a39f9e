//! What the inputs of a link begin with. A module of both programs: nothing here uses
//! the library.

use std::fs::File;
use std::path::Path;

use object::read::archive::ArchiveFile;
use object::read::{ReadCache, ReadRef};

/// Bitcode.
pub(crate) const BITCODE: &[u8; 4] = b"BC\xC0\xDE";
/// Bitcode in a wrapper, which tells where in the file it is.
pub(crate) const WRAPPED_BITCODE: &[u8; 4] = b"\xDE\xC0\x17\x0B";
/// An archive.
pub(crate) const ARCHIVE: &[u8; 8] = b"!<arch>\n";
/// An archive whose members are files beside it.
pub(crate) const THIN_ARCHIVE: &[u8; 8] = b"!<thin>\n";

/// Whether what begins with `start` is bitcode.
pub(crate) fn is_bitcode(start: &[u8]) -> bool {
    start.starts_with(BITCODE) || start.starts_with(WRAPPED_BITCODE)
}

/// Where in the archive at `path` its first member that is bitcode begins. Native objects
/// may have some in a section (`.llvmbc`, as in Rust's standard library), at which no
/// linker looks. The members of a thin archive are elsewhere.
pub(crate) fn bitcode_within(path: &Path) -> Option<u64> {
    let file = ReadCache::new(File::open(path).ok()?);
    let archive = ArchiveFile::parse(&file).ok()?;
    if archive.is_thin() {
        return None;
    }
    let members = archive.members().map_while(Result::ok);
    let mut starts = members.map(|member| member.file_range().0);
    starts.find(|at| {
        let start = file.read_bytes_at(*at, BITCODE.len() as u64);
        start.is_ok_and(is_bitcode)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A plain archive of `members`.
    fn archive(members: &[&[u8]]) -> Vec<u8> {
        let mut bytes = ARCHIVE.to_vec();
        for data in members {
            let size = data.len();
            let header = format!(
                "{:<16}{:<12}{:<6}{:<6}{:<8}{size:<10}`\n",
                "m/", 0, 0, 0, 644
            );
            bytes.extend(header.bytes());
            bytes.extend_from_slice(data);
            bytes.extend((size % 2 == 1).then_some(b'\n'));
        }
        bytes
    }

    #[test]
    fn only_a_member_that_begins_as_bitcode_is_some() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("a.a");
        let within = |bytes: &[u8]| {
            std::fs::write(&path, bytes).expect("written");
            bitcode_within(&path)
        };
        let native: &[u8] = b"\x7fELF.BC\xC0\xDE";
        assert_eq!(within(&archive(&[])), None);
        assert_eq!(within(&archive(&[native, b"", b"BC"])), None);
        for magic in [BITCODE, WRAPPED_BITCODE] {
            let bytes = archive(&[native, magic, magic]);
            assert_eq!(within(&bytes), Some(8 + 60 + 10 + 60));
            assert_eq!(within(&bytes[..130]), None);
        }
        assert_eq!(within(BITCODE), None);
        assert_eq!(bitcode_within(directory.path()), None);
    }
}
