//! Blobs as an engine names them, and as they travel.

use bazel_remote_apis::build::bazel::remote::execution::v2 as api;
use ruzstd::decoding::StreamingDecoder;
use ruzstd::encoding::{CompressionLevel, compress_to_vec};
use sha2::{Digest as _, Sha256};
use std::fmt::Write as _;
use std::io::Read as _;

use super::trouble::Trouble;

/// The compressor of what is sent as it is.
pub(super) const IDENTITY: i32 = api::compressor::Value::Identity as i32;
/// The compressor of what travels as zstd.
pub(super) const ZSTD: i32 = api::compressor::Value::Zstd as i32;
/// The digest function of all that we name. Every engine knows it.
pub(super) const SHA256: i32 = api::digest_function::Value::Sha256 as i32;
/// The longest blob that is read: an engine may say of any that it is longer than memory.
pub(super) const LONGEST: usize = 256 << 20;
/// Blobs that are not worth the work of being compressed.
const SMALL: usize = 1024;

/// The name of a blob: its SHA-256 and its size.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct BlobName {
    /// In lower-case hexadecimal.
    pub(super) hash: String,
    pub(super) size: usize,
}

impl BlobName {
    /// The name of `bytes`.
    pub(super) fn of(bytes: &[u8]) -> BlobName {
        let mut hash = String::with_capacity(64);
        for byte in Sha256::digest(bytes) {
            // Writing to a string cannot fail.
            let _ = write!(hash, "{byte:02x}");
        }
        BlobName {
            hash,
            size: bytes.len(),
        }
    }

    /// What `digest`, which came from an engine, names.
    ///
    /// # Errors
    /// When it is no SHA-256, or has no size.
    pub(super) fn read(digest: &api::Digest) -> Result<BlobName, Trouble> {
        let is_hash = digest.hash.len() == 64
            && digest
                .hash
                .bytes()
                .all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
        match usize::try_from(digest.size_bytes) {
            Ok(size) if is_hash => Ok(BlobName {
                hash: digest.hash.clone(),
                size,
            }),
            _ => Err(Trouble::wrong(
                "the name of a blob is no SHA-256 with a size",
            )),
        }
    }

    /// The name as an engine takes it.
    pub(super) fn message(&self) -> api::Digest {
        api::Digest {
            hash: self.hash.clone(),
            size_bytes: i64::try_from(self.size).unwrap_or(i64::MAX),
        }
    }

    /// Gives back `bytes` if this is their name.
    ///
    /// # Errors
    /// When it is not: somebody has changed them on their way, or lies.
    pub(super) fn check(&self, bytes: Vec<u8>) -> Result<Vec<u8>, Trouble> {
        match BlobName::of(&bytes) == *self {
            true => Ok(bytes),
            false => {
                let short = self.hash.get(..12).unwrap_or_default();
                Err(Trouble::wrong(format!(
                    "blob {short}… came with other bytes"
                )))
            }
        }
    }
}

/// Compresses `bytes` if it is `wanted` and makes them fewer; the second is how they
/// travel.
pub(super) fn pack(bytes: &[u8], wanted: bool) -> (Vec<u8>, i32) {
    if wanted && bytes.len() >= SMALL {
        let packed = compress_to_vec(bytes, CompressionLevel::Fastest);
        if packed.len() < bytes.len() {
            return (packed, ZSTD);
        }
    }
    (bytes.to_vec(), IDENTITY)
}

/// The blob `name` out of `bytes`, which travelled as `compressor` says.
///
/// # Errors
/// When they are not those of that blob.
pub(super) fn unpack(name: &BlobName, bytes: Vec<u8>, compressor: i32) -> Result<Vec<u8>, Trouble> {
    match compressor {
        IDENTITY => name.check(bytes),
        ZSTD => {
            let damaged = || Trouble::wrong("a blob came as damaged zstd");
            let decoder = StreamingDecoder::new(&bytes[..]).map_err(|_| damaged())?;
            // A few bytes can say that they stand for a terabyte.
            let mut limited = decoder.take(name.size as u64 + 1);
            let mut unpacked = Vec::new();
            let read = limited.read_to_end(&mut unpacked);
            read.map_err(|_| damaged())?;
            name.check(unpacked)
        }
        _ => Err(Trouble::wrong(
            "a blob came compressed in a way we did not offer",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_is_sha256() {
        let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(BlobName::of(b"").hash, empty);
    }

    #[test]
    fn what_was_packed_is_unpacked() {
        for bytes in [b"x".repeat(100_000), b"small".to_vec(), Vec::new()] {
            for wanted in [false, true] {
                let (packed, how) = pack(&bytes, wanted);
                assert!(packed.len() <= bytes.len());
                let unpacked = unpack(&BlobName::of(&bytes), packed, how);
                assert_eq!(unpacked.expect("the bytes"), bytes);
            }
        }
    }

    #[test]
    fn other_bytes_are_refused() {
        let bytes = b"x".repeat(100_000);
        let name = BlobName::of(&bytes);
        let (packed, how) = pack(&bytes, true);
        assert_eq!(how, ZSTD);
        let mut shorter = packed.clone();
        shorter.truncate(packed.len() / 2);
        for (bytes, how) in [
            (shorter, ZSTD),
            (b"junk".to_vec(), ZSTD),
            (pack(&b"y".repeat(100_000), true).0, ZSTD),
            (pack(&b"x".repeat(200_000), true).0, ZSTD),
            (b"other".to_vec(), IDENTITY),
            (packed, 7),
        ] {
            assert!(unpack(&name, bytes, how).is_err());
        }
    }

    #[test]
    fn names_that_are_none_are_refused() {
        let right = BlobName::of(b"x").message();
        assert!(BlobName::read(&right).is_ok());
        for (hash, size_bytes) in [
            (right.hash.to_uppercase(), 1),
            ("../../x".to_owned(), 1),
            (String::new(), 0),
            (right.hash.clone(), -1),
        ] {
            assert!(BlobName::read(&api::Digest { hash, size_bytes }).is_err());
        }
    }
}
