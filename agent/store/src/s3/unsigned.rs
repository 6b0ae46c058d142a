//! Streamed content without a signature of each of its chunks.

use aws_runtime::auth::PayloadSigningOverride;
use aws_runtime::content_encoding::{AwsChunkedBodyOptions, DeferredSigner, DeferredSignerSender};
use aws_sdk_s3::config::interceptors::BeforeTransmitInterceptorContextMut;
use aws_sdk_s3::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_s3::error::BoxError;

/// What follows the content: the name of the checksum, a colon, and eight bytes in base64.
const TRAILER: u64 = "x-amz-checksum-crc64nvme:".len() as u64 + 12;

/// For a request of `length` bytes whose CRC-64/NVME follows the content. Without TLS the SDK signs
/// each chunk besides: a SHA-256 of everything, here and on the server, which took a quarter of our
/// CPU time (docs/performance.md). The content has its checksum, which the server compares, with TLS
/// and without, as that of small objects has.
#[derive(Debug)]
pub(super) struct UnsignedChunks {
    pub length: u64,
}

#[aws_smithy_runtime_api::client::interceptors::dyn_dispatch_hint]
impl Intercept for UnsignedChunks {
    fn name(&self) -> &'static str {
        "UnsignedChunks"
    }

    /// After the SDK's own interceptor, which has decided on signatures.
    fn modify_before_signing(
        &self,
        context: &mut BeforeTransmitInterceptorContextMut<'_>,
        _runtime_components: &RuntimeComponents,
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let unsigned = AwsChunkedBodyOptions::new(self.length, vec![TRAILER]);
        let headers = context.request_mut().headers_mut();
        headers.insert("content-length", unsigned.encoded_length().to_string());
        config
            .interceptor_state()
            .unset::<DeferredSigner>()
            .unset::<DeferredSignerSender>()
            .store_put(unsigned)
            .store_put(PayloadSigningOverride::StreamingUnsignedPayloadTrailer);
        Ok(())
    }
}
