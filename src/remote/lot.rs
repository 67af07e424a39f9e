//! Jobs as an action that an engine runs.

use std::sync::Arc;

use bazel_remote_apis::build::bazel::remote::execution::v2 as api;
use prost::Message as _;

use super::content::{BlobName, LONGEST};
use super::trouble::Trouble;
use crate::execute::Content;
use crate::execute::errand::{ERRAND, INPUTS, OUTPUTS, Packed, Parcel, REPORT, object_name};
use crate::sys::Mapping;

/// What the program is called where it runs.
const PROGRAM: &str = "backlto";

/// The program that engines run.
pub(super) enum Program {
    /// One that goes along.
    Sent(Arc<SentProgram>),
    /// One that the machines have, by its path there.
    There(String),
}

impl Program {
    /// The blob of one that goes along.
    pub(super) fn sent(&self) -> Option<&BlobName> {
        match self {
            Program::Sent(program) => Some(&program.name),
            Program::There(_) => None,
        }
    }
}

/// A program that goes along.
pub(super) struct SentProgram {
    pub(super) name: BlobName,
    content: Mapping,
}

impl SentProgram {
    /// Opens the program at `path`.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(super) fn open(path: &std::path::Path) -> std::io::Result<SentProgram> {
        let content = Mapping::new(&std::fs::File::open(path)?)?;
        Ok(SentProgram {
            name: BlobName::of(content.bytes()),
            content,
        })
    }

    pub(super) fn bytes(&self) -> &[u8] {
        self.content.bytes()
    }
}

/// A blob of a lot.
pub(super) enum Blob {
    Made(Vec<u8>),
    Input(Arc<dyn Content>),
    Program(Arc<SentProgram>),
}

impl Blob {
    pub(super) fn bytes(&self) -> &[u8] {
        match self {
            Blob::Made(bytes) => bytes,
            Blob::Input(content) => content.bytes(),
            Blob::Program(program) => program.bytes(),
        }
    }
}

/// An action with all blobs that it consists of.
pub(super) struct Lot {
    pub(super) action: BlobName,
    pub(super) blobs: Vec<(BlobName, Blob)>,
    /// Where what is made is: the report, then the objects of all jobs.
    pub(super) outputs: Vec<String>,
}

impl Lot {
    /// The action that has `program` compile `parcels`, wherever an engine has what `platform`
    /// asks for. `name_of` names the blob of an input. `None` if the flags of one of them may
    /// not leave. Without any, it only shows whether the program runs.
    pub(super) fn of(
        parcels: &[Parcel],
        program: &Program,
        platform: &[(String, String)],
        name_of: impl Fn(&dyn Content) -> BlobName,
    ) -> Option<Lot> {
        let Packed { errand, inputs } = Packed::of(parcels)?;
        let objects = (0..parcels.len()).map(object_name);
        let outputs = std::iter::once(REPORT.to_owned()).chain(objects);
        let outputs: Vec<String> = outputs.map(|name| format!("{OUTPUTS}/{name}")).collect();
        let mut blobs = Blobs::default();
        let inputs: Vec<_> = inputs
            .into_iter()
            .enumerate()
            .map(|(number, content)| {
                let name = name_of(&*content);
                let file = file(number.to_string(), &name, false);
                blobs.add(name, Blob::Input(content));
                file
            })
            .collect();
        let inputs = blobs.made(directory(inputs, Vec::new()));
        let errand = blobs.made(errand);
        let mut files = vec![file(ERRAND.to_owned(), &errand, false)];
        let path = match program {
            Program::Sent(program) => {
                blobs.add(program.name.clone(), Blob::Program(Arc::clone(program)));
                files.push(file(PROGRAM.to_owned(), &program.name, true));
                format!("./{PROGRAM}")
            }
            Program::There(path) => path.clone(),
        };
        let inputs = api::DirectoryNode {
            name: INPUTS.to_owned(),
            digest: Some(inputs.message()),
        };
        let root = blobs.made(directory(files, vec![inputs]));
        let command = blobs.made(command(path, &outputs, platform));
        let action = api::Action {
            command_digest: Some(command.message()),
            input_root_digest: Some(root.message()),
            platform: properties(platform),
            // To see that the program runs, it has to run.
            do_not_cache: parcels.is_empty(),
            ..api::Action::default()
        };
        let action = blobs.made(action.encode_to_vec());
        Some(Lot {
            action,
            blobs: blobs.0,
            outputs,
        })
    }
}

#[derive(Default)]
struct Blobs(Vec<(BlobName, Blob)>);

impl Blobs {
    /// Adds a blob; the empty one is everywhere.
    fn add(&mut self, name: BlobName, blob: Blob) {
        if name.size > 0 {
            self.0.push((name, blob));
        }
    }

    fn made(&mut self, bytes: Vec<u8>) -> BlobName {
        let name = BlobName::of(&bytes);
        self.add(name.clone(), Blob::Made(bytes));
        name
    }
}

fn file(name: String, blob: &BlobName, is_executable: bool) -> api::FileNode {
    api::FileNode {
        name,
        digest: Some(blob.message()),
        is_executable,
        ..api::FileNode::default()
    }
}

/// A directory, whose entries the API wants sorted.
fn directory(mut files: Vec<api::FileNode>, directories: Vec<api::DirectoryNode>) -> Vec<u8> {
    files.sort_by(|one, other| one.name.cmp(&other.name));
    let directory = api::Directory {
        files,
        directories,
        ..api::Directory::default()
    };
    directory.encode_to_vec()
}

/// Also sorted: what is the same is to have one name.
fn properties(platform: &[(String, String)]) -> Option<api::Platform> {
    let mut sorted = platform.to_vec();
    sorted.sort();
    let property = |(name, value)| api::platform::Property { name, value };
    let properties: Vec<_> = sorted.into_iter().map(property).collect();
    (!properties.is_empty()).then_some(api::Platform { properties })
}

#[allow(deprecated, reason = "older engines look for the platform here alone")]
fn command(program: String, outputs: &[String], platform: &[(String, String)]) -> Vec<u8> {
    let mut output_paths = outputs.to_vec();
    output_paths.sort();
    let command = api::Command {
        arguments: vec![program, "worker".to_owned(), "errand".to_owned()],
        output_paths,
        platform: properties(platform),
        ..api::Command::default()
    };
    command.encode_to_vec()
}

/// Where the outputs of `result` are, in the order of `paths`; `None` for one that is not
/// there.
///
/// # Errors
/// When the name of a blob is none, or one comes with other bytes or is longer than any of
/// ours.
pub(super) fn outputs(
    result: api::ActionResult,
    paths: &[String],
) -> Result<Vec<Option<Output>>, Trouble> {
    let mut files = result.output_files;
    paths
        .iter()
        .map(|path| {
            let Some(at) = files.iter().position(|file| file.path == *path) else {
                return Ok(None);
            };
            let file = files.swap_remove(at);
            let name = BlobName::read(&file.digest.unwrap_or_default())?;
            if name.size > LONGEST {
                return Err(Trouble::wrong("an output is longer than any of ours"));
            }
            Ok(Some(match file.contents.is_empty() {
                true => Output::Blob(name),
                false => Output::Here(name.check(file.contents)?),
            }))
        })
        .collect()
}

/// Where an output is.
pub(super) enum Output {
    /// It came along.
    Here(Vec<u8>),
    Blob(BlobName),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_the_same_has_one_name() {
        let property = |name: &str| (name.to_owned(), "1".to_owned());
        let outputs = ["out/1.o".to_owned()];
        let of = |names: [&str; 2]| command(String::new(), &outputs, &names.map(property));
        assert_eq!(of(["a", "b"]), of(["b", "a"]));
        assert_ne!(of(["a", "b"]), of(["a", "c"]));
        let names = |names: [&str; 2]| {
            let blob = BlobName::of(b"");
            let files = names.map(|name| file(name.to_owned(), &blob, false));
            directory(files.to_vec(), Vec::new())
        };
        assert_eq!(names(["10", "9"]), names(["9", "10"]));
    }

    #[test]
    fn outputs_are_found_by_their_names_and_checked() {
        let output = |path: &str, contents: &[u8]| api::OutputFile {
            path: path.to_owned(),
            digest: Some(BlobName::of(b"object").message()),
            contents: contents.to_vec(),
            ..api::OutputFile::default()
        };
        let paths = ["a", "b", "c"].map(str::to_owned);
        let result = |contents: &[u8]| api::ActionResult {
            output_files: vec![output("c", contents), output("a", b"")],
            ..api::ActionResult::default()
        };
        let found = outputs(result(b"object"), &paths).expect("outputs");
        assert!(matches!(
            &found[..],
            [Some(Output::Blob(_)), None, Some(Output::Here(_))]
        ));
        assert!(outputs(result(b"objecT"), &paths).is_err());
        let mut endless = result(b"object");
        let digest = endless.output_files[1].digest.as_mut();
        digest.expect("a digest").size_bytes = 1 << 40;
        assert!(outputs(endless, &paths).is_err());
    }
}
