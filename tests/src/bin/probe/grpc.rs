//! Every kind of gRPC call, by tonic.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use httpjail_tests::act::{Refusal, Step};
use httpjail_tests::{Call, Plain};
use serde_json::{Value, json};
use tokio_stream::wrappers::ReceiverStream;
use tonic::client::Grpc;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint};
use tonic::{Request, Status, Streaming};

use crate::arguments::{Arguments, PATIENCE};

const MANY: usize = 500;

/// `URL`: makes calls of every kind, and tells what came of each.
pub(crate) fn converse(arguments: &Arguments) -> Result<Value, Refusal> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let outcome = runtime.step("runtime")?.block_on(all(arguments.word(0).to_owned()));
    outcome.map_err(io::Error::other).step("grpc")
}

async fn all(url: String) -> Result<Value, Status> {
    let mut client = connect(url).await?;
    Ok(json!({
        "unary": unary(&mut client, Call::Echo, "hello", None).await,
        "long": unary(&mut client, Call::Echo, &"x".repeat(50_000), None).await.len(),
        "count": count(&mut client).await?,
        "join": join(&mut client).await?,
        "echo": echo(&mut client).await?,
        "fail": unary(&mut client, Call::Fail, "", None).await,
        "fail late": unary(&mut client, Call::FailLate, "", None).await,
        "deadline": unary(&mut client, Call::Wait, "", Some(Duration::from_millis(200))).await,
        "after": unary(&mut client, Call::Echo, "again", None).await,
    }))
}

async fn connect(url: String) -> Result<Grpc<Channel>, Status> {
    let failed = |error: &dyn std::error::Error| Status::unavailable(format!("{error:?}"));
    let is_tls = url.starts_with("https:");
    let mut endpoint = Endpoint::from_shared(url).map_err(|error| failed(&error))?;
    if is_tls {
        let roots = std::env::var_os("SSL_CERT_FILE").unwrap_or_default();
        let roots = std::fs::read(roots).map_err(|error| failed(&error))?;
        let tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(roots));
        endpoint = endpoint.tls_config(tls).map_err(|error| failed(&error))?;
    }
    Ok(Grpc::new(endpoint.connect().await.map_err(|error| failed(&error))?))
}

async fn ready(client: &mut Grpc<Channel>) -> Result<(), Status> {
    client.ready().await.map_err(|error| Status::unavailable(format!("{error:?}")))
}

async fn unary(
    client: &mut Grpc<Channel>,
    call: Call,
    text: &str,
    deadline: Option<Duration>,
) -> String {
    let mut request = Request::new(Bytes::copy_from_slice(text.as_bytes()));
    if let Some(deadline) = deadline {
        request.set_timeout(deadline);
    }
    let answer = async {
        ready(client).await?;
        client.unary(request, call.path(), Plain).await
    };
    // tonic itself waits no longer than that for the head of an answer, but for its message.
    match tokio::time::timeout(deadline.unwrap_or(PATIENCE), answer).await {
        Ok(Ok(answer)) => String::from_utf8_lossy(answer.get_ref()).into_owned(),
        Ok(Err(status)) => format!("{:?}: {}", status.code(), status.message()),
        Err(_) => "given up".to_owned(),
    }
}

async fn count(client: &mut Grpc<Channel>) -> Result<usize, Status> {
    ready(client).await?;
    let request = Request::new(Bytes::from(MANY.to_string()));
    let mut answer =
        client.server_streaming(request, Call::Count.path(), Plain).await?.into_inner();
    let mut count = 0;
    while answer.message().await?.is_some() {
        count += 1;
    }
    Ok(count)
}

async fn join(client: &mut Grpc<Channel>) -> Result<usize, Status> {
    ready(client).await?;
    let messages = tokio_stream::iter((0..MANY).map(|_| Bytes::from_static(b"0123456789")));
    let answer = client.client_streaming(Request::new(messages), Call::Join.path(), Plain).await?;
    Ok(answer.get_ref().len())
}

/// The next message is sent only when the one before has come back.
async fn echo(client: &mut Grpc<Channel>) -> Result<usize, Status> {
    ready(client).await?;
    let (sender, messages) = tokio::sync::mpsc::channel(1);
    let lost = |_| Status::internal("the call has ended");
    sender.send(Bytes::from_static(b"0")).await.map_err(lost)?;
    let request = Request::new(ReceiverStream::new(messages));
    let mut answer: Streaming<Bytes> =
        client.streaming(request, Call::Echo.path(), Plain).await?.into_inner();
    let mut count = 0;
    while let Some(message) = answer.message().await? {
        count += 1;
        if count == MANY {
            return Ok(count);
        }
        sender.send(message).await.map_err(lost)?;
    }
    Ok(count)
}
