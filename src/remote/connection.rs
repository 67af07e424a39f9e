//! The way to an engine: TLS, headers, what the engine can do.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bazel_remote_apis::build::bazel::remote::execution::v2 as api;
use bazel_remote_apis::google::bytestream::byte_stream_client::ByteStreamClient;
use tokio::sync::OnceCell;
use tonic::metadata::{Ascii, MetadataKey, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic::{Request, Response, Status};

use super::action;
use super::address::Address;
use super::content::{BlobName, SHA256, ZSTD};
use super::health::Health;
use super::options::{Header, RemoteOptions};
use super::trouble::{Ailment, Trouble};
use crate::digest::Digest;
use crate::error::{Error, Kind, Result};

/// How long an engine has for the first answers, which the start of a build waits for.
const TO_GREET: Duration = Duration::from_secs(3);
/// How often a greeting may break off.
const GREETINGS: usize = 5;
/// How long it has for a small answer that nobody waits for.
pub(super) const TO_ANSWER: Duration = Duration::from_secs(10);
/// How long it has for blobs, and the least that it is to transfer in a second.
const TO_TRANSFER: Duration = Duration::from_secs(30);
const SLOWEST: usize = 64 << 10;
/// How long a call waits that an engine has no room for: small ones take few calls at a time.
const PAUSES: [Duration; 6] = [
    Duration::from_millis(10),
    Duration::from_millis(30),
    Duration::from_millis(100),
    Duration::from_millis(200),
    Duration::from_millis(300),
    Duration::from_millis(400),
];
/// What gRPC servers take in one message unless told otherwise, less some room for
/// what is around the blobs.
const USUAL_BATCH: usize = (4 << 20) - (64 << 10);
/// The longest answer that is read. Some engines send more than they say.
const LONGEST_MESSAGE: usize = 32 << 20;
/// Compressing is worth its time where bytes take time to travel.
const NEAR: Duration = Duration::from_millis(1);

pub(super) type Service = InterceptedService<Channel, Headers>;

/// A connection, which is made when it is first used and again when it was lost.
pub(super) struct Connection {
    service: Service,
    pub(super) instance: String,
    pub(super) health: Arc<Health>,
    capabilities: OnceCell<Capabilities>,
}

/// What an engine can do.
#[derive(Clone, Debug)]
pub(super) struct Capabilities {
    /// The bytes of blobs that go together in a call.
    pub(super) batch: usize,
    zstd_in_batches: bool,
    zstd_in_streams: bool,
    pub(super) executes: bool,
}

/// Adds what every call carries.
#[derive(Clone)]
pub(super) struct Headers(Vec<(MetadataKey<Ascii>, MetadataValue<Ascii>)>);

impl Interceptor for Headers {
    fn call(&mut self, mut request: Request<()>) -> std::result::Result<Request<()>, Status> {
        for (name, value) in &self.0 {
            let _ = request.metadata_mut().insert(name.clone(), value.clone());
        }
        Ok(request)
    }
}

impl Headers {
    /// # Errors
    /// When one cannot be sent. Values are not shown.
    fn of(headers: &[Header]) -> Result<Headers> {
        let read = |header: &Header| {
            let (name, value) = header.parts();
            let key = name.to_ascii_lowercase().parse().ok();
            let mut value: Option<MetadataValue<Ascii>> = value.parse().ok();
            if let Some(value) = &mut value {
                value.set_sensitive(true);
            }
            key.zip(value).ok_or_else(|| {
                Error::new(
                    Kind::Environment,
                    format!("cannot send the header `{name}`"),
                )
                .because("its name or its value has characters that headers have not")
            })
        };
        headers.iter().map(read).collect::<Result<_>>().map(Headers)
    }
}

impl Connection {
    /// Prepares a connection as `options` say, in the context of a runtime.
    ///
    /// # Errors
    /// When URL, headers or certificates are not what they should be.
    pub(super) fn new(options: &RemoteOptions, address: &Address) -> Result<Connection> {
        let cannot = |reason: tonic::transport::Error| {
            // The error itself only says that it is one of transport.
            let text = std::error::Error::source(&reason).map(ToString::to_string);
            cannot_use(options, text.unwrap_or_else(|| reason.to_string()))
        };
        let mut endpoint = Endpoint::from_shared(address.origin())
            .map_err(cannot)?
            .connect_timeout(TO_GREET)
            .http2_keep_alive_interval(Duration::from_secs(20))
            .keep_alive_timeout(Duration::from_secs(10))
            .http2_adaptive_window(true)
            .user_agent(concat!("backlto/", env!("CARGO_PKG_VERSION")))
            .map_err(cannot)?;
        if address.tls {
            endpoint = endpoint
                .tls_config(tls(options, address)?)
                .map_err(cannot)?;
        }
        let headers = Headers::of(&options.headers)?;
        Ok(Connection {
            service: InterceptedService::new(endpoint.connect_lazy(), headers),
            instance: address.instance.clone(),
            health: Arc::new(Health::new(&options.url)),
            capabilities: OnceCell::new(),
        })
    }

    /// Finds out whether the engine can be used as `options` say. One that is away is
    /// no error: it may come back.
    ///
    /// # Errors
    /// When it is there and does not know the instance or the user, or cannot cache.
    pub(super) async fn greet(&self, options: &RemoteOptions, address: &Address) -> Result<()> {
        let host = &address.host;
        let slow = |call: &str| Err(Trouble::slow(call, TO_GREET.as_secs_f64()));
        let until = tokio::time::Instant::now() + TO_GREET;
        let found = tokio::net::lookup_host((host.as_str(), address.port));
        let outcome = match tokio::time::timeout_at(until, found).await {
            Ok(Ok(_)) => {
                let greeted = tokio::time::timeout_at(until, self.exchange_greetings());
                greeted.await.unwrap_or_else(|_| slow("GetCapabilities"))
            }
            Ok(Err(e)) => {
                return Err(cannot_use(
                    options,
                    format!("cannot find the host `{host}`: {e}"),
                ));
            }
            // Who should know the name may be away as well.
            Err(_) => slow(&format!("the address of `{host}`")),
        };
        let trouble = match outcome {
            Ok(()) => return self.can_do(options).await,
            Err(trouble) => trouble,
        };
        let hint = match trouble.kind {
            Ailment::Broken if address.tls => "it may want a certificate (--remote-cert)",
            Ailment::Away | Ailment::Crowded | Ailment::Broken => {
                let _ = self.health.suffered(&trouble);
                return Ok(());
            }
            Ailment::Forbidden => "see which header or certificate it wants (--remote-header)",
            Ailment::Unable => "a cache needs ActionCache, ContentAddressableStorage, ByteStream",
            _ => "`backlto doctor --remote URL` tries it alone; is the instance right?",
        };
        Err(cannot_use(options, trouble.text).hint(hint))
    }

    /// Whether the engine, which has been greeted, can do what `options` want of it.
    ///
    /// # Errors
    /// When it cannot.
    async fn can_do(&self, options: &RemoteOptions) -> Result<()> {
        let capabilities = self.capabilities().await;
        let executes = capabilities.is_ok_and(|capabilities| capabilities.executes);
        match options.execution.is_some() && !executes {
            true => Err(cannot_use(options, "it runs no actions".to_owned())
                .hint("leave out --remote-jobs, or say --remote-cache-only")),
            false => Ok(()),
        }
    }

    /// Makes the calls that show whether the engine can be used.
    async fn exchange_greetings(&self) -> std::result::Result<(), Trouble> {
        for attempt in 1.. {
            let greeted = tokio::try_join!(
                self.capabilities(),
                self.is_known(),
                self.look_for_nothing()
            );
            match greeted {
                // When an engine ends a connection, the reason it gives may come too late
                // for a call.
                Err(trouble) if trouble.kind == Ailment::Broken && attempt < GREETINGS => {}
                Err(trouble) => return Err(trouble),
                Ok(_) => break,
            }
        }
        Ok(())
    }

    /// Whether the engine knows the instance and whoever asks, as far as blobs go.
    async fn is_known(&self) -> std::result::Result<(), Trouble> {
        let request = api::FindMissingBlobsRequest {
            instance_name: self.instance.clone(),
            blob_digests: vec![BlobName::of(&action::command()).message()],
            digest_function: SHA256,
        };
        let asked = self.call("FindMissingBlobs", TO_GREET, || async {
            self.blobs().find_missing_blobs(request.clone()).await
        });
        asked.await.map(|_| ())
    }

    /// Whether it knows them as far as actions go.
    async fn look_for_nothing(&self) -> std::result::Result<(), Trouble> {
        let name = BlobName::of(&action::of_key(&Digest::of(b"nothing")));
        match self.action_result(&name).await {
            Err(trouble) if trouble.kind == Ailment::Absent => Ok(()),
            Err(trouble) => Err(trouble),
            Ok(_) => Ok(()),
        }
    }

    /// What is kept for the action `name`.
    pub(super) async fn action_result(
        &self,
        name: &BlobName,
    ) -> std::result::Result<api::ActionResult, Trouble> {
        let request = api::GetActionResultRequest {
            instance_name: self.instance.clone(),
            action_digest: Some(name.message()),
            inline_stdout: true,
            inline_output_files: vec![action::OBJECT.to_owned()],
            digest_function: SHA256,
            ..api::GetActionResultRequest::default()
        };
        let begin = Instant::now();
        let result = self.call("GetActionResult", TO_ANSWER, || async {
            self.actions().get_action_result(request.clone()).await
        });
        let result = result.await;
        if matches!(&result, Err(trouble) if trouble.kind == Ailment::Absent) || result.is_ok() {
            self.health.answered(begin.elapsed());
        }
        result
    }

    /// What the engine can do, which it is asked once.
    pub(super) async fn capabilities(&self) -> std::result::Result<&Capabilities, Trouble> {
        let ask = || async {
            let request = api::GetCapabilitiesRequest {
                instance_name: self.instance.clone(),
            };
            let answer = self.call("GetCapabilities", TO_GREET, || async {
                let client = api::capabilities_client::CapabilitiesClient::new(self.service());
                { client }.get_capabilities(request.clone()).await
            });
            self.read_capabilities(answer.await?)
        };
        self.capabilities.get_or_try_init(ask).await
    }

    fn read_capabilities(
        &self,
        answer: api::ServerCapabilities,
    ) -> std::result::Result<Capabilities, Trouble> {
        let unable = |text: &str| Trouble {
            kind: Ailment::Unable,
            text: text.to_owned(),
        };
        let cache = answer
            .cache_capabilities
            .ok_or_else(|| unable("it does not cache"))?;
        // Old ones have the one function that was there at first, and name none.
        if !cache.digest_functions.is_empty() && !cache.digest_functions.contains(&SHA256) {
            return Err(unable("it does not name blobs by SHA-256"));
        }
        let updates = cache.action_cache_update_capabilities;
        if !updates.is_some_and(|updates| updates.update_enabled) {
            let text = "the engine takes no results from its users";
            self.health.refuses_uploads(text.to_owned());
        }
        let batch = usize::try_from(cache.max_batch_total_size_bytes).unwrap_or(0);
        Ok(Capabilities {
            batch: match batch {
                0 => USUAL_BATCH,
                size => size.min(USUAL_BATCH),
            },
            zstd_in_batches: cache.supported_batch_update_compressors.contains(&ZSTD),
            zstd_in_streams: cache.supported_compressors.contains(&ZSTD),
            executes: answer
                .execution_capabilities
                .is_some_and(|e| e.exec_enabled),
        })
    }

    /// Whether bytes take long enough to travel to be compressed.
    fn is_far(&self) -> bool {
        self.health.round_trip().is_some_and(|time| time > NEAR)
    }

    /// Whether blobs that go together travel as zstd.
    pub(super) fn packs_batches(&self, capabilities: &Capabilities) -> bool {
        capabilities.zstd_in_batches && self.is_far()
    }

    /// Whether a blob that goes alone travels as zstd.
    pub(super) fn packs_streams(&self, capabilities: &Capabilities) -> bool {
        capabilities.zstd_in_streams && self.is_far()
    }

    /// Makes `attempt`, the call of `name`, and waits for its end for no longer than `limit`.
    /// One that an engine has no room for is made again a little later.
    pub(super) async fn call<T, F>(
        &self,
        name: &str,
        limit: Duration,
        attempt: impl Fn() -> F,
    ) -> std::result::Result<T, Trouble>
    where
        F: Future<Output = std::result::Result<Response<T>, Status>>,
    {
        for pause in PAUSES {
            match self.call_once(name, limit, attempt()).await {
                Err(trouble) if trouble.kind == Ailment::Crowded => {
                    tokio::time::sleep(pause).await;
                }
                result => return result,
            }
        }
        self.call_once(name, limit, attempt()).await
    }

    async fn call_once<T>(
        &self,
        name: &str,
        limit: Duration,
        future: impl Future<Output = std::result::Result<Response<T>, Status>>,
    ) -> std::result::Result<T, Trouble> {
        self.health.count(|totals| totals.calls += 1);
        match tokio::time::timeout(limit, future).await {
            Ok(Ok(response)) => Ok(response.into_inner()),
            Ok(Err(status)) => Err(Trouble::of(name, &status)),
            Err(_) => Err(Trouble::slow(name, limit.as_secs_f64())),
        }
    }

    pub(super) fn service(&self) -> Service {
        self.service.clone()
    }

    pub(super) fn actions(&self) -> api::action_cache_client::ActionCacheClient<Service> {
        api::action_cache_client::ActionCacheClient::new(self.service())
            .max_decoding_message_size(LONGEST_MESSAGE)
    }

    pub(super) fn executions(&self) -> api::execution_client::ExecutionClient<Service> {
        api::execution_client::ExecutionClient::new(self.service())
            .max_decoding_message_size(LONGEST_MESSAGE)
    }

    pub(super) fn blobs(
        &self,
    ) -> api::content_addressable_storage_client::ContentAddressableStorageClient<Service> {
        api::content_addressable_storage_client::ContentAddressableStorageClient::new(
            self.service(),
        )
        .max_decoding_message_size(LONGEST_MESSAGE)
    }

    pub(super) fn streams(&self) -> ByteStreamClient<Service> {
        ByteStreamClient::new(self.service()).max_decoding_message_size(LONGEST_MESSAGE)
    }
}

/// How long the transfer of `bytes` may take.
pub(super) fn time_for(bytes: usize) -> Duration {
    TO_TRANSFER + Duration::from_secs((bytes / SLOWEST) as u64)
}

fn tls(options: &RemoteOptions, address: &Address) -> Result<ClientTlsConfig> {
    let read = |path: &Path| {
        std::fs::read(path).map_err(|e| {
            let text = format!("cannot read the certificate or key `{}`", path.display());
            Error::new(Kind::Environment, text).because(e)
        })
    };
    let mut tls = ClientTlsConfig::new().domain_name(address.host.clone());
    tls = match &options.certificate_authorities {
        Some(path) => tls.ca_certificate(Certificate::from_pem(read(path)?)),
        None => tls.with_native_roots(),
    };
    if let Some((certificate, key)) = &options.identity {
        tls = tls.identity(Identity::from_pem(read(certificate)?, read(key)?));
    }
    Ok(tls)
}

/// The error that the engine of `options` cannot be used.
pub(super) fn cannot_use(options: &RemoteOptions, reason: String) -> Error {
    let text = format!("cannot use the engine `{}`", options.url);
    Error::new(Kind::Environment, text).because(reason)
}
