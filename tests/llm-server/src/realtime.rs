//! Enters: a request to upgrade to a WebSocket at `/v1/realtime?model=…`. Leaves: a session that answers each `response.create`
//! with text, in the words of OpenAI's realtime API (platform.openai.com/docs/api-reference/realtime-server-events). It hears no audio.

use futures_util::{SinkExt as _, StreamExt as _};
use hyper::{
    Request, Response, StatusCode, body,
    header::{CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, UPGRADE},
    http::HeaderValue,
    upgrade,
};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{Message, handshake::derive_accept_key, protocol::Role},
};

use crate::{
    models,
    reply::{Paced, Reply},
};

/// Where sessions are opened.
const PATH: &str = "/v1/realtime";
/// Events that a session answers; then it closes.
const MAX_EVENTS: usize = 10_000;

/// The answer to a request that asks for a session; `None` for every other request.
pub(crate) fn upgrade(request: &mut Request<body::Incoming>) -> Option<Response<Paced>> {
    let accept = derive_accept_key(request.headers().get(SEC_WEBSOCKET_KEY)?.as_bytes());
    let query = request.uri().query().unwrap_or_default();
    let model = query.split('&').find_map(|pair| pair.strip_prefix("model="));
    let (true, Some(model)) = (request.uri().path() == PATH, model) else { return None };
    let asked = model.to_owned();
    let upgrading = upgrade::on(request);
    tokio::spawn(async move {
        if let Ok(upgraded) = upgrading.await {
            let socket = WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Server, None).await;
            // A peer that hangs up ends its own session and nothing else.
            let _ended = session(socket, &asked).await;
        }
    });
    let mut response = Reply::text(String::new()).into_response(false);
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.clear();
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(SEC_WEBSOCKET_ACCEPT, HeaderValue::from_str(&accept).ok()?);
    Some(response)
}

type Socket = WebSocketStream<TokioIo<upgrade::Upgraded>>;
type Ended = Result<(), tokio_tungstenite::tungstenite::Error>;

async fn session(mut socket: Socket, asked: &str) -> Ended {
    let model = models::resolve(asked).to_owned();
    let object =
        |kind: &str| json!({"type": kind, "session": {"id": "sess_1", "object": "realtime.session", "model": model}});
    say(&mut socket, object("session.created")).await?;
    let (mut said, mut answers) = (String::new(), 0_u64);
    for _ in 0..MAX_EVENTS {
        let Some(message) = socket.next().await else { break };
        let text = match message? {
            Message::Text(text) => text,
            Message::Close(_) => break,
            _ => continue,
        };
        let event: Value = serde_json::from_str(&text).unwrap_or_default();
        match event["type"].as_str() {
            Some("session.update") => say(&mut socket, object("session.updated")).await?,
            Some("conversation.item.create") => {
                said.push_str(event["item"]["content"][0]["text"].as_str().unwrap_or_default());
                say(&mut socket, json!({"type": "conversation.item.added", "item": event["item"]})).await?;
            }
            Some("response.create") => {
                answers += 1;
                answer(&mut socket, answers, &said).await?;
            }
            _ => {
                let error =
                    json!({"type": "invalid_request_error", "code": "unknown_event", "message": "not an event"});
                say(&mut socket, json!({"type": "error", "error": error})).await?;
            }
        }
    }
    socket.close(None).await
}

async fn say(socket: &mut Socket, event: Value) -> Ended {
    socket.send(Message::text(event.to_string())).await
}

/// One answer, in pieces.
async fn answer(socket: &mut Socket, number: u64, said: &str) -> Ended {
    let id = format!("resp_{number:024x}");
    let text = format!("I have heard {} characters. Is there anything else?", said.chars().count());
    let open = json!({"id": id, "object": "realtime.response", "status": "in_progress", "output": []});
    say(socket, json!({"type": "response.created", "response": open})).await?;
    for piece in text.split_inclusive(' ') {
        let delta = json!({"type": "response.output_text.delta", "response_id": id, "item_id": "item_1",
            "output_index": 0, "content_index": 0, "delta": piece});
        say(socket, delta).await?;
    }
    let (input, output) = (models::tokens(said).max(1), models::tokens(&text));
    let item = json!({"id": "item_1", "type": "message", "role": "assistant", "status": "completed",
        "content": [{"type": "output_text", "text": text}]});
    let usage = json!({"total_tokens": input + output, "input_tokens": input, "output_tokens": output,
        "input_token_details": {"text_tokens": input, "audio_tokens": 0, "cached_tokens": 0},
        "output_token_details": {"text_tokens": output, "audio_tokens": 0}});
    let response =
        json!({"id": id, "object": "realtime.response", "status": "completed", "output": [item], "usage": usage});
    say(socket, json!({"type": "response.done", "response": response})).await
}
