//! Bodies that do not arrive, under a clock that goes on when nothing else does.

use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::*;

/// By the clock that stands still. Nobody waits so long: with nothing else to come it passes at once.
const PATIENCE: Duration = Duration::from_secs(3600);

/// What a node says to `bytes`, until it closes the connection.
fn over_a_socket(node: &Node, bytes: String) -> String {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        tokio::spawn(axum::serve(listener, node.router.clone()).into_future());
        stream.write_all(bytes.as_bytes()).await.unwrap();
        let mut reply = String::new();
        let closed = tokio::time::timeout(PATIENCE, stream.read_to_string(&mut reply)).await;
        closed.expect("the node closes the connection").unwrap();
        reply
    })
}

fn head(node: &Node, more: &str) -> String {
    let (key, path) = (&node.key, "/v1/apps/demo/messages");
    let json = "content-type: application/json";
    format!("POST {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {key}\r\n{json}\r\n{more}\r\n\r\n")
}

#[test]
fn a_body_that_stops_ends_its_connection() {
    let node = Node::new();
    let reply = over_a_socket(&node, head(&node, "content-length: 100") + "{\"target\":");
    assert!(reply.starts_with("HTTP/1.1 408 "), "{reply}");
    let (head, body) = reply.split_once("\r\n\r\n").unwrap();
    for line in ["connection: close", "retry-after: 1", "content-type: application/problem+json"] {
        assert!(head.lines().any(|it| it == line), "{line} is not in\n{head}");
    }
    let problem: Value = serde_json::from_str(body).unwrap();
    assert_eq!((&problem["code"], &problem["retryable"]), (&json!("body_timeout"), &json!(true)));
    assert!(problem["detail"].as_str().unwrap().contains(&format!("{BODY_S_MAX} s")));
    assert!(node.asked().is_empty());
}

#[test]
fn a_whole_body_is_not_late() {
    let node = Node::new();
    let body = json!({"target": {"all": true}, "payload": ""}).to_string();
    let more = format!("connection: close\r\ncontent-length: {}", body.len());
    let reply = over_a_socket(&node, head(&node, &more) + &body);
    assert!(reply.starts_with("HTTP/1.1 202 "), "{reply}");
    assert_eq!(node.asked().len(), 1);
}
