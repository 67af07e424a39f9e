//! The machines of the engine for tests: they run actions, each in a directory of its own.

use std::collections::HashMap;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use bazel_remote_apis::build::bazel::remote::execution::v2 as api;
use bazel_remote_apis::google::longrunning as operations;
use bazel_remote_apis::google::longrunning::Operation;
use bazel_remote_apis::google::longrunning::operation::Result as Ended;
use bazel_remote_apis::google::{protobuf, rpc};
use prost::Message;
use sha2::{Digest as _, Sha256};
use tokio_stream::StreamExt;
use tonic::{Code, Request, Response, Status};

use crate::engine::{Answer, Fault, Served, Streamed, digest};

type Blobs = HashMap<String, Vec<u8>>;

fn message<T: Message + Default>(blobs: &Blobs, digest: &Option<api::Digest>) -> T {
    let hash = &digest.as_ref().expect("a digest is named").hash;
    let empty = Vec::new();
    let bytes = blobs.get(hash).unwrap_or(&empty);
    T::decode(&bytes[..]).expect("a message")
}

/// Puts the directory `digest` in its place; false when a blob of it is missing.
fn put(blobs: &Blobs, tree: &Option<api::Digest>, place: &Path) -> bool {
    let directory: api::Directory = message(blobs, tree);
    std::fs::create_dir_all(place).expect("a directory");
    let mut names: Vec<_> = directory.files.iter().map(|file| &file.name).collect();
    names.dedup();
    assert!(
        names.is_sorted() && names.len() == directory.files.len(),
        "{names:?}"
    );
    directory.files.iter().all(|file| {
        let digest = digest(file.digest.clone());
        let path = place.join(&file.name);
        let Some(bytes) = blobs.get(&digest.hash) else {
            return false;
        };
        std::fs::write(&path, bytes).expect("a file is written");
        let mode = if file.is_executable { 0o755 } else { 0o644 };
        std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).expect("a mode");
        true
    }) && directory
        .directories
        .iter()
        .all(|entry| put(blobs, &entry.digest, &place.join(&entry.name)))
}

/// The name of `blob`.
fn name_of(blob: &[u8]) -> api::Digest {
    let hash = Sha256::digest(blob);
    api::Digest {
        hash: hash.iter().map(|byte| format!("{byte:02x}")).collect(),
        size_bytes: i64::try_from(blob.len()).expect("a size"),
    }
}

/// Runs the action `hash`; its result and the blobs that it made, or `None` when blobs are
/// missing.
fn run(blobs: &Blobs, hash: &str, fault: Option<Fault>) -> Option<(api::ActionResult, Blobs)> {
    let action = api::Action::decode(&blobs.get(hash)?[..]).expect("an action");
    let command: api::Command = message(blobs, &action.command_digest);
    let place = tempfile::tempdir().expect("a directory");
    if !put(blobs, &action.input_root_digest, place.path()) {
        return None;
    }
    let mut words = command.arguments.clone();
    if fault == Some(Fault::OtherProgram) {
        let errand = place.path().join("errand");
        let text = std::fs::read_to_string(&errand).expect("an errand");
        // The digest of all code stands first.
        let at = text.find(":\"").expect("a digest") + 2;
        let other = if text[at..].starts_with('0') {
            "1"
        } else {
            "0"
        };
        let text = format!("{}{other}{}", &text[..at], &text[at + 1..]);
        std::fs::write(&errand, text).expect("another errand");
    }
    words[0] = place.path().join(&words[0]).display().to_string();
    let output = Command::new(&words[0])
        .args(&words[1..])
        .current_dir(place.path())
        .env_clear()
        .output();
    let Ok(output) = output else {
        // As a shell says it.
        let result = api::ActionResult {
            exit_code: 127,
            stderr_raw: b"no such program\n".to_vec(),
            ..api::ActionResult::default()
        };
        return Some((result, Blobs::new()));
    };
    let mut made = Blobs::new();
    let mut files = Vec::new();
    for path in &command.output_paths {
        if let Ok(bytes) = std::fs::read(place.path().join(path)) {
            let digest = name_of(&bytes);
            made.insert(digest.hash.clone(), bytes);
            files.push(api::OutputFile {
                path: path.clone(),
                digest: Some(digest),
                ..api::OutputFile::default()
            });
        }
    }
    match fault {
        Some(Fault::NoOutput) => files.clear(),
        Some(Fault::Swaps) => {
            let digests: Vec<_> = files.iter().map(|file| file.digest.clone()).collect();
            let turned = digests.iter().cycle().skip(1);
            for (file, digest) in files.iter_mut().zip(turned) {
                file.digest.clone_from(digest);
            }
        }
        _ => {}
    }
    let result = api::ActionResult {
        output_files: files,
        exit_code: output.status.code().unwrap_or(128),
        stderr_raw: match fault {
            Some(Fault::Says) => b"mind the gap\n".to_vec(),
            _ => output.stderr,
        },
        ..api::ActionResult::default()
    };
    Some((result, made))
}

/// What `response` is as the end of an operation.
fn done(name: &str, response: &api::ExecuteResponse) -> Operation {
    let any = protobuf::Any {
        type_url: "type.googleapis.com/build.bazel.remote.execution.v2.ExecuteResponse".to_owned(),
        value: response.encode_to_vec(),
    };
    Operation {
        name: name.to_owned(),
        done: true,
        result: Some(Ended::Response(any)),
        ..Operation::default()
    }
}

fn streamed<const N: usize>(said: [Operation; N]) -> Response<Streamed<Operation>> {
    Response::new(Box::pin(tokio_stream::iter(said.map(Ok))))
}

#[tonic::async_trait]
impl api::execution_server::Execution for Served {
    type ExecuteStream = Streamed<Operation>;

    async fn execute(&self, request: Request<api::ExecuteRequest>) -> Answer<Streamed<Operation>> {
        let instance = request.get_ref().instance_name.clone();
        let fault = self.begin("Execute", &instance, &request).await?;
        let hash = digest(request.into_inner().action_digest).hash;
        let blobs = self.held().blobs.clone();
        let name = format!("operations/{hash}");
        if let Some(action) = blobs.get(&hash) {
            let action = api::Action::decode(&action[..]).expect("an action");
            self.held().platforms.push(action.platform);
        }
        self.held().running += 1;
        let lacks = fault == Some(Fault::Lacks) && self.held().lack_once();
        let of = hash.clone();
        let ran = match lacks || fault == Some(Fault::NeverEnds) {
            true => None,
            false => tokio::task::spawn_blocking(move || run(&blobs, &of, fault))
                .await
                .expect("it does not panic"),
        };
        let response = match ran {
            None => api::ExecuteResponse {
                status: Some(rpc::Status {
                    code: Code::FailedPrecondition as i32,
                    message: "blobs are missing".to_owned(),
                    details: Vec::new(),
                }),
                ..api::ExecuteResponse::default()
            },
            Some((result, made)) => {
                self.held().blobs.extend(made);
                api::ExecuteResponse {
                    result: Some(result),
                    ..api::ExecuteResponse::default()
                }
            }
        };
        let begun = Operation {
            name: name.clone(),
            ..Operation::default()
        };
        let ended = done(&name, &response);
        {
            let mut held = self.held();
            held.running -= 1;
            held.actions += 1;
        }
        Ok(match fault {
            Some(Fault::NeverEnds) => {
                let begun = tokio_stream::once(Ok(begun));
                Response::new(Box::pin(begun.chain(tokio_stream::pending())))
            }
            Some(Fault::FallsSilent) => {
                self.held().ended.insert(name, ended);
                streamed([begun])
            }
            _ => streamed([begun, ended]),
        })
    }

    type WaitExecutionStream = Streamed<Operation>;

    async fn wait_execution(
        &self,
        request: Request<api::WaitExecutionRequest>,
    ) -> Answer<Streamed<Operation>> {
        let name = request.into_inner().name;
        let ended = self.held().ended.remove(&name);
        match ended {
            Some(operation) => Ok(streamed([operation])),
            None => Err(Status::not_found("no such operation")),
        }
    }
}

#[tonic::async_trait]
impl operations::operations_server::Operations for Served {
    async fn list_operations(
        &self,
        _: Request<operations::ListOperationsRequest>,
    ) -> Answer<operations::ListOperationsResponse> {
        Err(Status::unimplemented("lists"))
    }

    async fn get_operation(
        &self,
        _: Request<operations::GetOperationRequest>,
    ) -> Answer<Operation> {
        Err(Status::unimplemented("single operations"))
    }

    async fn delete_operation(
        &self,
        _: Request<operations::DeleteOperationRequest>,
    ) -> Answer<protobuf::Empty> {
        Err(Status::unimplemented("to delete operations"))
    }

    async fn cancel_operation(
        &self,
        request: Request<operations::CancelOperationRequest>,
    ) -> Answer<protobuf::Empty> {
        self.held().cancelled.push(request.into_inner().name);
        Ok(Response::new(protobuf::Empty {}))
    }

    async fn wait_operation(
        &self,
        _: Request<operations::WaitOperationRequest>,
    ) -> Answer<Operation> {
        Err(Status::unimplemented("to wait"))
    }
}
