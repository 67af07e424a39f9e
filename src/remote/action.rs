//! Keys as actions of an engine's action cache. These actions are never run: they are
//! names, small and the same for everybody.

use bazel_remote_apis::build::bazel::remote::execution::v2 as api;
use prost::Message as _;

use super::content::{BlobName, LONGEST};
use super::trouble::Trouble;
use crate::digest::Digest;

/// The output file of each action.
pub(super) const OBJECT: &str = "object";
/// Set apart from other keys and from keys of other layouts.
const SALT: &[u8] = b"backlto object v1 ";
/// Entries are a few hundred bytes and what clang has said. What is longer is left out,
/// since it would travel with each answer.
pub(super) const LONGEST_ENTRY: usize = 256 << 10;

/// What the actions run: nothing that there is.
pub(super) fn command() -> Vec<u8> {
    let command = api::Command {
        arguments: vec!["backlto".to_owned(), OBJECT.to_owned()],
        output_paths: vec![OBJECT.to_owned()],
        ..api::Command::default()
    };
    command.encode_to_vec()
}

/// The action that stands for `key`.
pub(super) fn of_key(key: &Digest) -> Vec<u8> {
    let action = api::Action {
        command_digest: Some(BlobName::of(&command()).message()),
        // The empty directory: a message without fields has no bytes.
        input_root_digest: Some(BlobName::of(b"").message()),
        salt: [SALT, key.as_bytes()].concat(),
        ..api::Action::default()
    };
    action.encode_to_vec()
}

/// What is to be kept for a key: `entry`, and an object that the engine has.
pub(super) fn result(entry: Vec<u8>, object: &BlobName) -> api::ActionResult {
    api::ActionResult {
        output_files: vec![api::OutputFile {
            path: OBJECT.to_owned(),
            digest: Some(object.message()),
            ..api::OutputFile::default()
        }],
        stdout_raw: entry,
        ..api::ActionResult::default()
    }
}

/// Where a part of a result is.
pub(super) enum Part {
    /// The engine has sent it along, unasked or asked.
    Here(Vec<u8>),
    /// It is a blob of its own.
    Blob(BlobName),
}

/// Entry and object of `result`, and the object's name.
///
/// # Errors
/// When it is none of ours: an action that failed, has no object, or is longer than any.
pub(super) fn read(result: api::ActionResult) -> Result<(Part, Part, BlobName), Trouble> {
    if result.exit_code != 0 {
        return Err(Trouble::wrong("an action is said to have failed"));
    }
    let entry = match &result.stdout_digest {
        Some(digest) if result.stdout_raw.is_empty() => Part::Blob(BlobName::read(digest)?),
        _ => Part::Here(result.stdout_raw),
    };
    let length = match &entry {
        Part::Here(bytes) => bytes.len(),
        Part::Blob(name) => name.size,
    };
    if length > LONGEST_ENTRY {
        return Err(Trouble::wrong("an entry is longer than any of ours"));
    }
    let file = result
        .output_files
        .into_iter()
        .find(|file| file.path == OBJECT);
    let (digest, contents) = match file {
        Some(file) => (file.digest, file.contents),
        None => (None, Vec::new()),
    };
    let digest = digest.ok_or_else(|| Trouble::wrong("an action has no object"))?;
    let name = BlobName::read(&digest)?;
    if name.size > LONGEST {
        return Err(Trouble::wrong("an object is longer than any of ours"));
    }
    let object = match contents.is_empty() {
        true => Part::Blob(name.clone()),
        false => Part::Here(name.check(contents)?),
    };
    Ok((entry, object, name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_key_is_an_action_of_its_own() {
        let of = |text: &[u8]| of_key(&Digest::of(text));
        assert_ne!(of(b"a"), of(b"b"));
        assert_eq!(of(b"a"), of(b"a"));
        let action = api::Action::decode(&of(b"a")[..]).expect("an action");
        let command = BlobName::of(&command()).message();
        assert_eq!(action.command_digest, Some(command));
    }

    #[test]
    fn what_is_no_result_of_ours_is_refused() {
        let good = result(b"entry".to_vec(), &BlobName::of(b"object"));
        assert!(read(good.clone()).is_ok());
        let mut failed = good.clone();
        failed.exit_code = 1;
        let mut empty = good.clone();
        empty.output_files.clear();
        let mut nameless = good.clone();
        nameless.output_files[0].digest = None;
        let mut lying = good.clone();
        lying.output_files[0].contents = b"objecT".to_vec();
        let mut endless = good.clone();
        let digest = endless.output_files[0].digest.as_mut();
        digest.expect("a digest").size_bytes = 1 << 40;
        let mut wordy = good;
        wordy.stdout_raw = vec![b' '; LONGEST_ENTRY + 1];
        for result in [failed, empty, nameless, lying, endless, wordy] {
            assert!(read(result).is_err());
        }
    }
}
