//! Response files (`@file`) as LLD reads them (`llvm/lib/Support/CommandLine.cpp`,
//! GNU quoting).

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

/// `args` with response files in place, those within others too, as far as they can
/// be read: LLD says what is wrong with one.
pub(crate) fn expand(args: &[OsString]) -> Vec<OsString> {
    let mut expanded = Vec::with_capacity(args.len());
    add(args, &mut Vec::new(), &mut expanded);
    expanded
}

/// Adds `args`, which are from the innermost of the files `within`, to `expanded`.
fn add(args: &[OsString], within: &mut Vec<PathBuf>, expanded: &mut Vec<OsString>) {
    for arg in args {
        match read(arg, within) {
            Some((file, words)) => {
                within.push(file);
                add(&words, within, expanded);
                within.pop();
            }
            None => expanded.push(arg.clone()),
        }
    }
}

/// The file that `arg` names, and the words in it. `None` when it names none that
/// can be read, or one of `within`, which would have no end.
fn read(arg: &OsStr, within: &[PathBuf]) -> Option<(PathBuf, Vec<OsString>)> {
    let name = OsStr::from_bytes(arg.as_bytes().strip_prefix(b"@")?);
    let file = Path::new(name).canonicalize().ok()?;
    // LLD reads a pipe, which gives its text only once.
    if within.contains(&file) || !file.is_file() {
        return None;
    }
    let text = std::fs::read(&file).ok()?;
    let words = words(text.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(&text));
    Some((file, words))
}

/// The words of `text`. A backslash keeps the next byte from being special, within
/// quotes of either kind too; a word of nothing but quotes is none.
fn words(text: &[u8]) -> Vec<OsString> {
    let mut words = Vec::new();
    let mut word = Vec::new();
    let mut quote = None;
    let mut bytes = text.iter().copied();
    while let Some(byte) = bytes.next() {
        match byte {
            b'\\' => word.push(bytes.next().unwrap_or(byte)),
            _ if quote == Some(byte) => quote = None,
            b'"' | b'\'' if quote.is_none() => quote = Some(byte),
            b' ' | b'\t' | b'\r' | b'\n' if quote.is_none() => {
                if !word.is_empty() {
                    words.push(OsString::from_vec(std::mem::take(&mut word)));
                }
            }
            _ => word.push(byte),
        }
    }
    if !word.is_empty() {
        words.push(OsString::from_vec(word));
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_those_of_llvm() {
        for (text, expected) in [
            ("a  b\tc\nd\r\n", &["a", "b", "c", "d"][..]),
            ("'a b' \"c d\" e'f g'h", &["a b", "c d", "ef gh"]),
            (r#"a\ b "c\"d" 'e\'f' \\"#, &["a b", "c\"d", "e'f", "\\"]),
            ("#a # b", &["#a", "#", "b"]),
            ("a '' b", &["a", "b"]),
            ("a 'b c", &["a", "b c"]),
            ("", &[]),
        ] {
            assert_eq!(words(text.as_bytes()), expected, "{text}");
        }
    }

    #[test]
    fn files_within_files_are_read_but_not_within_themselves() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = |name: &str| directory.path().join(name).display().to_string();
        let write = |name: &str, text: String| std::fs::write(path(name), text).expect("written");
        write("one", format!("-a @{} -b @{}", path("two"), path("two")));
        write("two", format!("-c @{} @nowhere", path("one")));
        let inner = [
            "-c".to_owned(),
            format!("@{}", path("one")),
            "@nowhere".into(),
        ];
        let mut expected = vec!["-a".to_owned()];
        expected.extend(inner.clone());
        expected.push("-b".into());
        expected.extend(inner);
        let expanded = expand(&[format!("@{}", path("one")).into()]);
        assert!(
            expanded.iter().eq(expected.iter().map(OsStr::new)),
            "{expanded:?}"
        );
    }
}
