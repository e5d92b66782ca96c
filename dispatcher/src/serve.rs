//! HTTP connections: how many there may be, and how long the head of a request may take.

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

/// HTTP connections served at a time; more wait in the kernel's backlog until one ends.
const CONNECTIONS_MAX: usize = 1024;
/// A request's head has to arrive within this time, and an idle connection is closed after it.
const HEAD_PATIENCE: Duration = Duration::from_secs(30);
/// Between tries to accept when descriptors have run out.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// Serves `router` on `listener` for ever.
pub async fn serve(listener: TcpListener, router: Router) {
    let permits = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let Ok(permit) = Arc::clone(&permits).acquire_owned().await else { return };
        let Ok((socket, _)) = listener.accept().await else {
            tokio::time::sleep(ACCEPT_RETRY).await;
            continue;
        };
        // A reply is one write and must not wait for the acknowledgement of an earlier one. A socket that
        // refuses the option is about to fail anyway.
        socket.set_nodelay(true).ok();
        let service = TowerToHyperService::new(router.clone());
        tokio::spawn(async move {
            let mut builder = http1::Builder::new();
            let builder = builder.timer(TokioTimer::new()).header_read_timeout(HEAD_PATIENCE);
            // How one connection ends, cleanly or not, concerns nobody else; its requests are counted.
            builder.serve_connection(TokioIo::new(socket), service).await.ok();
            drop(permit);
        });
    }
}
