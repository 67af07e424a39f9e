//! The calls by which an engine runs an action.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bazel_remote_apis::build::bazel::remote::execution::v2 as api;
use bazel_remote_apis::google::longrunning::operation::Result as Ended;
use bazel_remote_apis::google::longrunning::operations_client::OperationsClient;
use bazel_remote_apis::google::longrunning::{CancelOperationRequest, Operation};
use bazel_remote_apis::google::rpc;
use prost::Message as _;
use tonic::{Code, Status, Streaming};

use super::connection::Connection;
use super::content::{BlobName, SHA256};
use super::trouble::{Ailment, Trouble};

/// How often what an engine says of an action may break off.
const ATTEMPTS: usize = 4;
/// How long an engine has to hear that an action is not wanted any more.
const TO_CANCEL: Duration = Duration::from_secs(2);

/// The name that an engine has given to what it does, once it has.
#[derive(Default)]
pub(super) struct OperationName(Mutex<Option<String>>);

impl OperationName {
    pub(super) fn get(&self) -> Option<String> {
        let name = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        name.clone()
    }

    fn set(&self, name: &str) {
        if !name.is_empty() {
            let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            *known = Some(name.to_owned());
        }
    }
}

impl Connection {
    /// Has the engine run `action`, whose blobs it has. What it calls that goes to `name`.
    /// The outputs `inline` may come with the result.
    ///
    /// # Errors
    /// When it does not. That blobs are missing is [`Ailment::Lacking`].
    pub(super) async fn run_action(
        &self,
        action: &BlobName,
        inline: &[String],
        name: &OperationName,
        limit: Duration,
    ) -> Result<api::ActionResult, Trouble> {
        let request = api::ExecuteRequest {
            instance_name: self.instance.clone(),
            action_digest: Some(action.message()),
            inline_stderr: true,
            inline_output_files: inline.to_vec(),
            digest_function: SHA256,
            ..api::ExecuteRequest::default()
        };
        let run = tokio::time::timeout(limit, self.follow(request, name, limit)).await;
        run.unwrap_or_else(|_| Err(Trouble::slow("Execute", limit.as_secs_f64())))
    }

    async fn follow(
        &self,
        request: api::ExecuteRequest,
        name: &OperationName,
        limit: Duration,
    ) -> Result<api::ActionResult, Trouble> {
        let of = |status| Trouble::of("Execute", &status);
        let mut said = self
            .call("Execute", limit, || async {
                self.executions().execute(request.clone()).await
            })
            .await?;
        for attempt in 1.. {
            let trouble = match last_of(&mut said, name).await {
                Ok(Some(operation)) => return result_of(operation),
                Ok(None) => Trouble::wrong("Execute: an operation ended without a result"),
                Err(status) => of(status),
            };
            let may_pass = trouble.kind.may_pass() || trouble.kind == Ailment::Wrong;
            let (Some(name), true) = (name.get(), may_pass && attempt < ATTEMPTS) else {
                return Err(trouble);
            };
            self.health.count(|totals| totals.calls += 1);
            let request = api::WaitExecutionRequest { name };
            let waited = self.executions().wait_execution(request).await;
            said = waited
                .map_err(|status| Trouble::of("WaitExecution", &status))?
                .into_inner();
        }
        unreachable!("the last attempt returns")
    }

    /// Tells the engine that the operation `name` is not wanted any more. Not every engine
    /// listens.
    pub(super) async fn cancel_operation(&self, name: String) {
        let request = CancelOperationRequest { name };
        let told = self.call("CancelOperation", TO_CANCEL, || async {
            OperationsClient::new(self.service())
                .cancel_operation(request.clone())
                .await
        });
        let _ = told.await;
    }
}

/// Follows what is `said` to the operation that is done; `None` when it ends before.
async fn last_of(
    said: &mut Streaming<Operation>,
    name: &OperationName,
) -> Result<Option<Operation>, Status> {
    while let Some(operation) = said.message().await? {
        name.set(&operation.name);
        if operation.done {
            return Ok(Some(operation));
        }
    }
    Ok(None)
}

fn result_of(operation: Operation) -> Result<api::ActionResult, Trouble> {
    let failed = |status: rpc::Status| {
        let status = Status::new(Code::from_i32(status.code), status.message);
        Trouble::of("Execute", &status)
    };
    let response = match operation.result {
        Some(Ended::Response(response)) => response,
        Some(Ended::Error(status)) => return Err(failed(status)),
        None => return Err(Trouble::wrong("Execute: an operation has no result")),
    };
    // Whatever its type is called: it is one that it may be or none.
    let response = api::ExecuteResponse::decode(&response.value[..])
        .map_err(|_| Trouble::wrong("Execute: a result is none of its kind"))?;
    match response.status.filter(|status| status.code != 0) {
        Some(status) => Err(failed(status)),
        None => response
            .result
            .ok_or_else(|| Trouble::wrong("Execute: a response has no result")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn operation(result: Option<Ended>) -> Operation {
        Operation {
            done: true,
            result,
            ..Operation::default()
        }
    }

    fn response(response: &api::ExecuteResponse) -> Operation {
        let any = bazel_remote_apis::google::protobuf::Any {
            type_url: String::new(),
            value: response.encode_to_vec(),
        };
        operation(Some(Ended::Response(any)))
    }

    #[test]
    fn each_place_where_trouble_may_stand_is_looked_at() {
        let missing = rpc::Status {
            code: Code::FailedPrecondition as i32,
            ..rpc::Status::default()
        };
        let good = api::ExecuteResponse {
            result: Some(api::ActionResult::default()),
            ..api::ExecuteResponse::default()
        };
        assert!(result_of(response(&good)).is_ok());
        let told = api::ExecuteResponse {
            status: Some(missing.clone()),
            ..good
        };
        for lacking in [response(&told), operation(Some(Ended::Error(missing)))] {
            let trouble = result_of(lacking).expect_err("blobs are missing");
            assert_eq!(trouble.kind, Ailment::Lacking);
        }
        for empty in [operation(None), response(&api::ExecuteResponse::default())] {
            assert_eq!(result_of(empty).expect_err("none").kind, Ailment::Wrong);
        }
    }
}
