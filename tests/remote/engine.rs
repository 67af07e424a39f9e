//! An engine for tests: cache and blobs of the Remote Execution API in memory, with
//! faults on demand. Which call meets a fault is decided by a seed, so a failure can be
//! repeated.

#![allow(unreachable_pub)]

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bazel_remote_apis::build::bazel::remote::execution::v2 as api;
use bazel_remote_apis::google::bytestream as stream;
use bazel_remote_apis::google::longrunning::Operation;
use bazel_remote_apis::google::longrunning::operations_server::OperationsServer;
use bazel_remote_apis::google::rpc;
use tokio_stream::Stream;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::{Server, ServerTlsConfig};
use tonic::{Code, Request, Response, Status};

/// Nothing comes for so long when nothing more is to come.
const QUIET: Duration = Duration::from_secs(1);

/// What an engine does besides its work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It is the answer that comes late.
    Delay(Duration),
    /// It does not answer at all.
    Hang,
    /// It says that it is too busy.
    Busy,
    /// It has no room for more calls.
    Crowded,
    /// A bit of what it gives is another.
    FlipBit,
    /// What it gives ends early.
    Cut,
    /// It gives what was asked for by somebody else.
    MixUp,
    /// It gives the entry of another key, with the object of that.
    Forge,
    /// An action succeeded and made nothing.
    NoOutput,
    /// It says that an object is longer than memory.
    Swells,
    /// It keeps to itself what it has, as long as it suffers from that.
    Withholds,
    /// It has lost the blobs.
    Lose,
    /// It takes nothing.
    ReadOnly,
    /// Its machines run another program than they are given.
    OtherProgram,
    /// What runs there says something.
    Says,
    /// It finds that what an action needs is not there, once.
    Lacks,
    /// It says no more of what it runs, until it is asked again.
    FallsSilent,
    /// It says what it calls an action, and then nothing.
    NeverEnds,
    /// An action gives what another job of it was to give.
    Swaps,
}

/// How an engine is set up.
#[derive(Clone)]
pub struct Setup {
    /// The only instance there is.
    pub instance: &'static str,
    /// The bytes of a batch, as it says; 0 for it does not say.
    pub batch: i64,
    pub zstd: bool,
    /// A header that it wants.
    pub header: Option<(&'static str, &'static str)>,
    /// How it shows who it is; without, it does not speak TLS.
    pub tls: Option<ServerTlsConfig>,
    /// Whether it caches.
    pub caches: bool,
    /// Whether it runs actions.
    pub executes: bool,
    /// One call of so many meets the fault.
    pub one_of: u64,
    pub seed: u64,
}

impl Default for Setup {
    fn default() -> Setup {
        Setup {
            instance: "",
            batch: 0,
            zstd: false,
            header: None,
            tls: None,
            caches: true,
            executes: false,
            one_of: 1,
            seed: 22,
        }
    }
}

/// What an engine holds and was asked.
#[derive(Default)]
pub struct Held {
    pub blobs: HashMap<String, Vec<u8>>,
    /// By the hash of the action.
    pub results: HashMap<String, api::ActionResult>,
    /// How often each blob was uploaded.
    pub uploads: HashMap<String, usize>,
    /// How often each kind of call came.
    pub calls: HashMap<&'static str, usize>,
    /// The platform of each action that it was to run.
    pub platforms: Vec<Option<api::Platform>>,
    /// What was run and not told yet, by its operation.
    pub ended: HashMap<String, Operation>,
    /// How many actions it runs at present.
    pub running: usize,
    /// How many actions it has answered, or will not.
    pub actions: usize,
    /// Operations that nobody wants any more.
    pub cancelled: Vec<String>,
    /// Calls for which it is too busy: which of those of a kind, counted from one.
    pub busy: Vec<(&'static str, usize)>,
    has_lacked: bool,
    fault: Option<Fault>,
}

impl Held {
    /// Whether this is the first time that something is missing.
    pub fn lack_once(&mut self) -> bool {
        !std::mem::replace(&mut self.has_lacked, true)
    }
}

struct State {
    setup: Setup,
    held: Mutex<Held>,
    /// The calls so far.
    count: AtomicU64,
}

/// A running engine; it ends when it is dropped.
pub struct Engine {
    state: Arc<State>,
    runtime: Mutex<Option<tokio::runtime::Runtime>>,
    port: u16,
}

impl Engine {
    pub fn start(setup: Setup) -> Engine {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .expect("a runtime");
        let state = Arc::new(State {
            setup,
            held: Mutex::default(),
            count: AtomicU64::new(0),
        });
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0"));
        let listener = listener.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let serves = Served(Arc::clone(&state));
        let mut builder = Server::builder();
        if let Some(tls) = &state.setup.tls {
            builder = builder.tls_config(tls.clone()).expect("certificates");
        }
        let server = builder
            .add_service(api::capabilities_server::CapabilitiesServer::new(
                serves.clone(),
            ))
            .add_service(api::action_cache_server::ActionCacheServer::new(
                serves.clone(),
            ))
            .add_service(api::execution_server::ExecutionServer::new(serves.clone()))
            .add_service(OperationsServer::new(serves.clone()))
            .add_service(stream::byte_stream_server::ByteStreamServer::new(
                serves.clone(),
            ))
            .add_service(
                api::content_addressable_storage_server::ContentAddressableStorageServer::new(
                    serves,
                )
                .max_decoding_message_size(64 << 20),
            );
        runtime.spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
        Engine {
            state,
            runtime: Mutex::new(Some(runtime)),
            port,
        }
    }

    pub fn url(&self) -> String {
        let place = match self.state.setup.tls {
            None => format!("grpc://127.0.0.1:{}", self.port),
            // What the certificate says.
            Some(_) => format!("grpcs://localhost:{}", self.port),
        };
        match self.state.setup.instance {
            "" => place,
            instance => format!("{place}/{instance}"),
        }
    }

    pub fn held(&self) -> MutexGuard<'_, Held> {
        self.state.held.lock().expect("no test panics within")
    }

    /// Has the engine suffer from `fault` from now on.
    pub fn suffer(&self, fault: Option<Fault>) {
        self.held().fault = fault;
    }

    /// Has each key stand for the object of another module, in entries that are whole.
    pub fn make_up(&self) {
        let mut held = self.held();
        let of = |result: &api::ActionResult| {
            let entry: serde_json::Value =
                serde_json::from_slice(&result.stdout_raw).expect("an entry");
            (result.output_files[0].clone(), entry)
        };
        let all: Vec<_> = held.results.values().map(of).collect();
        for result in held.results.values_mut() {
            let (own, mut entry) = of(result);
            let other = all.iter().find(|(file, _)| file.digest != own.digest);
            let (file, of_other) = other.expect("there are two objects");
            for part in ["object", "size"] {
                entry["entry"][part] = of_other["entry"][part].clone();
            }
            result.stdout_raw = entry.to_string().into_bytes();
            result.output_files = vec![file.clone()];
        }
    }

    /// Ends it in the middle of what it does.
    pub fn end(&self) {
        let runtime = self.runtime.lock().expect("no test panics within").take();
        if let Some(runtime) = runtime {
            runtime.shutdown_background();
        }
    }

    /// Waits until nothing was asked for a while, as it is when all that was answered has
    /// arrived and there is nothing more to send.
    pub fn wait_until_quiet(&self) {
        let count = || self.state.count.load(Ordering::Relaxed);
        let mut before = count();
        loop {
            std::thread::sleep(QUIET);
            let now = count();
            if now == before && self.held().running == 0 {
                return;
            }
            before = now;
        }
    }

    /// How often `call` came.
    pub fn calls(&self, call: &str) -> usize {
        self.held().calls.get(call).copied().unwrap_or(0)
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.end();
    }
}

#[derive(Clone)]
pub struct Served(Arc<State>);

pub type Answer<T> = Result<Response<T>, Status>;
pub type Streamed<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

impl Served {
    pub fn held(&self) -> MutexGuard<'_, Held> {
        self.0.held.lock().expect("no test panics within")
    }

    /// Takes the call `name` of `instance` in, and says which fault it is to meet.
    pub async fn begin<T>(
        &self,
        name: &'static str,
        instance: &str,
        request: &Request<T>,
    ) -> Result<Option<Fault>, Status> {
        let setup = &self.0.setup;
        if let Some((key, value)) = setup.header {
            let given = request.metadata().get(key).and_then(|v| v.to_str().ok());
            if given != Some(value) {
                return Err(Status::unauthenticated("who are you?"));
            }
        }
        if instance != setup.instance {
            return Err(Status::invalid_argument(format!(
                "no instance '{instance}'"
            )));
        }
        let is_busy = {
            let mut held = self.held();
            let count = held.calls.entry(name).or_default();
            *count += 1;
            let call = (name, *count);
            held.busy.contains(&call)
        };
        let number = self.0.count.fetch_add(1, Ordering::Relaxed);
        if is_busy {
            return Err(Status::unavailable("too busy"));
        }
        let fault = self.held().fault.filter(|_| self.meets(number));
        match fault {
            Some(Fault::Delay(time)) => tokio::time::sleep(time).await,
            Some(Fault::Hang) => std::future::pending().await,
            Some(Fault::Busy) => return Err(Status::unavailable("too busy")),
            Some(Fault::Crowded) => return Err(Status::resource_exhausted("too many calls")),
            _ => {}
        }
        Ok(fault)
    }

    /// Whether call `number` meets a fault (splitmix64 of the seed).
    fn meets(&self, number: u64) -> bool {
        let mut x = (self.0.setup.seed + number).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        (x >> 32).is_multiple_of(self.0.setup.one_of)
    }

    /// Whether there is a result of the action `hash` that it keeps to itself.
    fn withholds(&self, hash: &str) -> bool {
        let held = self.held();
        held.fault == Some(Fault::Withholds) && held.results.contains_key(hash)
    }

    /// The blob `hash`, as an engine with `fault` gives it.
    fn blob(&self, hash: &str, fault: Option<Fault>) -> Option<Vec<u8>> {
        let mut blob = self.held().blobs.get(hash).cloned()?;
        match fault {
            Some(Fault::Lose) => return None,
            Some(Fault::FlipBit) => {
                let middle = blob.len() / 2;
                blob[middle] ^= 4;
            }
            Some(Fault::Cut) => blob.truncate(blob.len() / 2),
            Some(Fault::MixUp) => {
                let held = self.held();
                let other = held.blobs.iter().find(|(other, _)| *other != hash);
                blob = other.map(|(_, blob)| blob.clone()).unwrap_or_default();
            }
            _ => {}
        }
        Some(blob)
    }

    fn keep(&self, digest: &api::Digest, blob: Vec<u8>) -> Result<(), Status> {
        if digest.size_bytes != i64::try_from(blob.len()).expect("a size") {
            return Err(Status::invalid_argument("another size"));
        }
        let mut held = self.held();
        *held.uploads.entry(digest.hash.clone()).or_default() += 1;
        held.blobs.insert(digest.hash.clone(), blob);
        Ok(())
    }
}

pub fn digest(digest: Option<api::Digest>) -> api::Digest {
    digest.expect("a digest is named")
}

fn unpacked(bytes: Vec<u8>, is_zstd: bool) -> Vec<u8> {
    let mut blob = Vec::new();
    match is_zstd {
        false => blob = bytes,
        true => {
            let mut decoder =
                ruzstd::decoding::StreamingDecoder::new(&bytes[..]).expect("it is zstd");
            std::io::Read::read_to_end(&mut decoder, &mut blob).expect("it is whole");
        }
    }
    blob
}

fn packed(blob: &[u8]) -> Vec<u8> {
    ruzstd::encoding::compress_to_vec(blob, ruzstd::encoding::CompressionLevel::Fastest)
}

const ZSTD: i32 = api::compressor::Value::Zstd as i32;

#[tonic::async_trait]
impl api::capabilities_server::Capabilities for Served {
    async fn get_capabilities(
        &self,
        request: Request<api::GetCapabilitiesRequest>,
    ) -> Answer<api::ServerCapabilities> {
        let instance = request.get_ref().instance_name.clone();
        self.begin("GetCapabilities", &instance, &request).await?;
        let setup = &self.0.setup;
        let compressors = if setup.zstd { vec![ZSTD] } else { Vec::new() };
        let caches = api::CacheCapabilities {
            digest_functions: vec![api::digest_function::Value::Sha256 as i32],
            action_cache_update_capabilities: Some(api::ActionCacheUpdateCapabilities {
                update_enabled: true,
            }),
            max_batch_total_size_bytes: setup.batch,
            supported_compressors: compressors.clone(),
            supported_batch_update_compressors: compressors,
            ..api::CacheCapabilities::default()
        };
        Ok(Response::new(api::ServerCapabilities {
            cache_capabilities: setup.caches.then_some(caches),
            execution_capabilities: setup.executes.then(|| api::ExecutionCapabilities {
                digest_function: api::digest_function::Value::Sha256 as i32,
                exec_enabled: true,
                ..api::ExecutionCapabilities::default()
            }),
            ..api::ServerCapabilities::default()
        }))
    }
}

#[tonic::async_trait]
impl api::action_cache_server::ActionCache for Served {
    async fn get_action_result(
        &self,
        request: Request<api::GetActionResultRequest>,
    ) -> Answer<api::ActionResult> {
        let instance = request.get_ref().instance_name.clone();
        let fault = self.begin("GetActionResult", &instance, &request).await?;
        let hash = digest(request.into_inner().action_digest).hash;
        while self.withholds(&hash) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let held = self.held();
        let mut result = held.results.get(&hash).cloned();
        let absent = || Status::not_found("no result");
        match (fault, &mut result) {
            (Some(Fault::Forge), Some(result)) => {
                let other = held.results.iter().find(|(other, _)| **other != hash);
                if let Some((_, other)) = other {
                    *result = other.clone();
                }
            }
            (Some(Fault::NoOutput), Some(result)) => result.output_files.clear(),
            (Some(Fault::Swells), Some(result)) => {
                for file in &mut result.output_files {
                    file.digest.as_mut().expect("a name").size_bytes = 1 << 40;
                }
            }
            _ => {}
        }
        result.map(Response::new).ok_or_else(absent)
    }

    async fn update_action_result(
        &self,
        request: Request<api::UpdateActionResultRequest>,
    ) -> Answer<api::ActionResult> {
        let instance = request.get_ref().instance_name.clone();
        let fault = self
            .begin("UpdateActionResult", &instance, &request)
            .await?;
        if fault == Some(Fault::ReadOnly) {
            return Err(Status::permission_denied("you may only read"));
        }
        let request = request.into_inner();
        let hash = digest(request.action_digest).hash;
        let result = request.action_result.expect("a result");
        let mut held = self.held();
        // As the API wants it.
        assert!(held.blobs.contains_key(&hash), "the action comes first");
        for file in &result.output_files {
            let hash = digest(file.digest.clone()).hash;
            assert!(held.blobs.contains_key(&hash), "objects come first");
        }
        held.results.insert(hash, result.clone());
        Ok(Response::new(result))
    }
}

#[tonic::async_trait]
impl api::content_addressable_storage_server::ContentAddressableStorage for Served {
    async fn find_missing_blobs(
        &self,
        request: Request<api::FindMissingBlobsRequest>,
    ) -> Answer<api::FindMissingBlobsResponse> {
        let instance = request.get_ref().instance_name.clone();
        self.begin("FindMissingBlobs", &instance, &request).await?;
        let mut names = request.into_inner().blob_digests;
        let held = self.held();
        names.retain(|name| !held.blobs.contains_key(&name.hash));
        Ok(Response::new(api::FindMissingBlobsResponse {
            missing_blob_digests: names,
        }))
    }

    async fn batch_update_blobs(
        &self,
        request: Request<api::BatchUpdateBlobsRequest>,
    ) -> Answer<api::BatchUpdateBlobsResponse> {
        let instance = request.get_ref().instance_name.clone();
        let fault = self.begin("BatchUpdateBlobs", &instance, &request).await?;
        let requests = request.into_inner().requests;
        let size: usize = requests.iter().map(|r| r.data.len()).sum();
        let limit = usize::try_from(self.0.setup.batch).expect("a size");
        if limit > 0 && size > limit {
            return Err(Status::invalid_argument("the batch is too large"));
        }
        let mut responses = Vec::new();
        for request in requests {
            let digest = digest(request.digest);
            let status = match fault {
                Some(Fault::Lose) => Some(rpc::Status {
                    code: Code::ResourceExhausted as i32,
                    message: "the disk is full".to_owned(),
                    details: Vec::new(),
                }),
                _ => {
                    self.keep(&digest, unpacked(request.data, request.compressor == ZSTD))?;
                    None
                }
            };
            responses.push(api::batch_update_blobs_response::Response {
                digest: Some(digest),
                status,
            });
        }
        Ok(Response::new(api::BatchUpdateBlobsResponse { responses }))
    }

    async fn batch_read_blobs(
        &self,
        request: Request<api::BatchReadBlobsRequest>,
    ) -> Answer<api::BatchReadBlobsResponse> {
        let instance = request.get_ref().instance_name.clone();
        let fault = self.begin("BatchReadBlobs", &instance, &request).await?;
        let request = request.into_inner();
        let packs = request.acceptable_compressors.contains(&ZSTD);
        let responses = request.digests.into_iter().map(|digest| {
            let blob = self.blob(&digest.hash, fault);
            let missing = rpc::Status {
                code: Code::NotFound as i32,
                message: "no blob".to_owned(),
                details: Vec::new(),
            };
            api::batch_read_blobs_response::Response {
                status: blob.is_none().then_some(missing),
                data: match packs {
                    true => packed(&blob.unwrap_or_default()),
                    false => blob.unwrap_or_default(),
                },
                compressor: if packs { ZSTD } else { 0 },
                digest: Some(digest),
            }
        });
        Ok(Response::new(api::BatchReadBlobsResponse {
            responses: responses.collect(),
        }))
    }

    type GetTreeStream = Streamed<api::GetTreeResponse>;

    async fn get_tree(
        &self,
        _: Request<api::GetTreeRequest>,
    ) -> Answer<Streamed<api::GetTreeResponse>> {
        Err(Status::unimplemented("trees"))
    }

    async fn split_blob(
        &self,
        _: Request<api::SplitBlobRequest>,
    ) -> Answer<api::SplitBlobResponse> {
        Err(Status::unimplemented("chunks"))
    }

    type GetChunkMappingStream = Streamed<api::GetChunkMappingResponse>;

    async fn get_chunk_mapping(
        &self,
        _: Request<api::GetChunkMappingRequest>,
    ) -> Answer<Streamed<api::GetChunkMappingResponse>> {
        Err(Status::unimplemented("chunks"))
    }

    async fn register_chunk_mapping(
        &self,
        _: Request<tonic::Streaming<api::RegisterChunkMappingRequest>>,
    ) -> Answer<api::RegisterChunkMappingResponse> {
        Err(Status::unimplemented("chunks"))
    }

    async fn splice_blob(
        &self,
        _: Request<api::SpliceBlobRequest>,
    ) -> Answer<api::SpliceBlobResponse> {
        Err(Status::unimplemented("chunks"))
    }
}

/// Instance, whether it is zstd, hash and size of a resource's name, with or without
/// `uploads/UUID/` in it.
fn resource(name: &str) -> (String, bool, api::Digest) {
    let (before, is_zstd, blob) = match name.split_once("compressed-blobs/zstd/") {
        Some((before, blob)) => (before, true, blob),
        None => {
            let (before, blob) = name.split_once("blobs/").expect("a blob");
            (before, false, blob)
        }
    };
    let instance = before.split("uploads/").next().unwrap_or_default();
    let (hash, size) = blob.split_once('/').expect("hash and size");
    let digest = api::Digest {
        hash: hash.to_owned(),
        size_bytes: size.parse().expect("a size"),
    };
    (instance.trim_end_matches('/').to_owned(), is_zstd, digest)
}

#[tonic::async_trait]
impl stream::byte_stream_server::ByteStream for Served {
    type ReadStream = Streamed<stream::ReadResponse>;

    async fn read(&self, request: Request<stream::ReadRequest>) -> Answer<Self::ReadStream> {
        let (instance, is_zstd, digest) = resource(&request.get_ref().resource_name);
        let fault = self.begin("Read", &instance, &request).await?;
        let missing = || Status::not_found("no blob");
        let blob = self.blob(&digest.hash, fault).ok_or_else(missing)?;
        let blob = if is_zstd { packed(&blob) } else { blob };
        let offset = usize::try_from(request.get_ref().read_offset).expect("an offset");
        let chunks: Vec<_> = blob[offset..]
            .chunks(10_000)
            .map(|data| {
                Ok(stream::ReadResponse {
                    data: data.to_vec(),
                })
            })
            .collect();
        Ok(Response::new(Box::pin(tokio_stream::iter(chunks))))
    }

    async fn write(
        &self,
        request: Request<tonic::Streaming<stream::WriteRequest>>,
    ) -> Answer<stream::WriteResponse> {
        let (metadata, extensions, mut chunks) = request.into_parts();
        let first = chunks.message().await?.expect("a chunk");
        let (instance, is_zstd, digest) = resource(&first.resource_name);
        let request = Request::from_parts(metadata, extensions, ());
        self.begin("Write", &instance, &request).await?;
        let mut bytes = first.data;
        let mut is_whole = first.finish_write;
        while let Some(chunk) = chunks.message().await? {
            assert_eq!(
                chunk.write_offset,
                i64::try_from(bytes.len()).expect("a size")
            );
            bytes.extend(chunk.data);
            is_whole = chunk.finish_write;
        }
        assert!(is_whole, "a write is finished");
        let committed_size = i64::try_from(bytes.len()).expect("a size");
        self.keep(&digest, unpacked(bytes, is_zstd))?;
        Ok(Response::new(stream::WriteResponse { committed_size }))
    }

    async fn query_write_status(
        &self,
        _: Request<stream::QueryWriteStatusRequest>,
    ) -> Answer<stream::QueryWriteStatusResponse> {
        Err(Status::unimplemented("partial uploads"))
    }
}
