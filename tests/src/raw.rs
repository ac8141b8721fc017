//! Servers that the tests write themselves, down to the bytes.

use std::future::Future;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_tungstenite::accept_async;
use tokio_tungstenite::tungstenite::{Message, Utf8Bytes};

/// A connection, in the clear or inside TLS.
pub trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Duplex for S {}

pub(crate) async fn serve<F, R>(listener: TcpListener, tls: Option<TlsAcceptor>, serve: F)
where
    F: Fn(Box<dyn Duplex>) -> R + Clone + Send + Sync + 'static,
    R: Future<Output = ()> + Send + 'static,
{
    while let Ok((stream, _)) = listener.accept().await {
        let (tls, serve) = (tls.clone(), serve.clone());
        tokio::spawn(async move {
            match tls {
                None => serve(Box::new(stream)).await,
                Some(tls) => {
                    if let Ok(stream) = tls.accept(stream).await {
                        serve(Box::new(stream)).await;
                    }
                }
            }
        });
    }
}

/// Serves a WebSocket that says everything again, and `bye` once it is closed.
pub async fn echo_websocket(stream: Box<dyn Duplex>) {
    let Ok(mut socket) = accept_async(stream).await else { return };
    while let Some(Ok(message)) = futures_util::StreamExt::next(&mut socket).await {
        let said = match message {
            Message::Text(text) if text == "end" => break,
            Message::Text(_) | Message::Binary(_) => {
                futures_util::SinkExt::send(&mut socket, message).await
            }
            Message::Ping(_) | Message::Pong(_) | Message::Close(_) | Message::Frame(_) => Ok(()),
        };
        if said.is_err() {
            return;
        }
    }
    // A client that is gone hears nothing more.
    drop(
        futures_util::SinkExt::send(&mut socket, Message::Text(Utf8Bytes::from_static("bye")))
            .await,
    );
    drop(socket.close(None).await);
}
