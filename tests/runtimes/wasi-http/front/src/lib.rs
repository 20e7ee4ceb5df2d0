//! Answers `wasi:http` as the plugin decides.
#![cfg(target_family = "wasm")]

use bindings::chat::reset_totp::handler::{self, Caller, Request};
use bindings::chat::wasi_http::calls;
use wasip2::exports::http::incoming_handler::Guest;
use wasip2::http::types::{
    Fields, Headers, IncomingBody, IncomingRequest, Method, OutgoingBody, OutgoingResponse,
    ResponseOutparam,
};

mod bindings {
    wit_bindgen::generate!({
        path: ["../../../../wit", "../wit"],
        world: "chat:wasi-http/front",
        generate_all,
    });
}

/// Bytes of a body, and of a header: as `wit/handler.wit` says.
const MOST_BODY: usize = 64 * 1024;
const MOST_HEADER: usize = 256;

/// Bytes that a stream takes at a time.
const PIECE: usize = 4096;

struct Front;

wasip2::http::proxy::export!(Front);

impl Guest for Front {
    fn handle(request: IncomingRequest, outparam: ResponseOutparam) {
        let (status, body) = answer(&request).unwrap_or_else(|refusal| refusal);
        respond(outparam, status, body.as_bytes());
    }
}

/// Status and body.
type Answer = (u16, String);

fn answer(request: &IncomingRequest) -> Result<Answer, Answer> {
    let path = request.path_with_query();
    if !matches!(request.method(), Method::Post)
        || path.as_deref() != Some("/api/v1/users.resetTOTP")
    {
        return Err(failure(404, "Not found"));
    }
    let headers = request.headers();
    let [user, token, content_type, code, method] = [
        "x-user-id",
        "x-auth-token",
        "content-type",
        "x-2fa-code",
        "x-2fa-method",
    ]
    .map(|name| header(&headers, name));
    let (user, token) = (user?.unwrap_or_default(), token?.unwrap_or_default());
    let asked = Request {
        content_type: content_type?,
        two_factor_code: code?,
        two_factor_method: method?,
        body: body(request)?,
    };
    if !calls::begin(&user, &token, asked.two_factor_code.as_deref()) {
        let body = r#"{"status":"error","message":"You must be logged in to do this."}"#;
        return Err((401, body.to_owned()));
    }
    let caller = Caller {
        id: user,
        bypass_token: false,
    };
    let decided = handler::reset_totp(&caller, &asked);
    match (calls::end(), decided.status) {
        (true, 200) | (false, 400) => Ok((decided.status, decided.body)),
        // What is done is answered as done; all else means no.
        (true, _) => Ok((200, r#"{"success":true}"#.to_owned())),
        (false, _) => Err(failure(502, "The plugin failed")),
    }
}

fn header(headers: &Headers, name: &str) -> Result<Option<String>, Answer> {
    let mut values = headers.get(name).into_iter();
    let (first, second) = (values.next(), values.next());
    match first {
        Some(value) if second.is_some() || value.len() > MOST_HEADER => {
            Err(failure(400, "A header is repeated or too long"))
        }
        Some(value) => String::from_utf8(value)
            .map(Some)
            .map_err(|_| failure(400, "A header is no text")),
        None => Ok(None),
    }
}

fn body(request: &IncomingRequest) -> Result<Vec<u8>, Answer> {
    let unreadable = |()| failure(400, "The body cannot be read");
    let incoming: IncomingBody = request.consume().map_err(unreadable)?;
    let stream = incoming.stream().map_err(unreadable)?;
    let mut body = Vec::new();
    // It ends with an error, be it the end alone; what is cut off is no JSON.
    while let Ok(piece) = stream.blocking_read(PIECE as u64) {
        body.extend(piece);
        if body.len() > MOST_BODY {
            return Err(failure(413, "The body is too long"));
        }
    }
    Ok(body)
}

fn failure(status: u16, text: &str) -> Answer {
    (status, format!(r#"{{"success":false,"error":"{text}"}}"#))
}

/// A client that has gone is not answered.
fn respond(outparam: ResponseOutparam, status: u16, text: &[u8]) {
    let json = ("content-type".to_owned(), b"application/json".to_vec());
    let headers = Fields::from_list(&[json]).unwrap_or_else(|_| Fields::new());
    let response = OutgoingResponse::new(headers);
    let (Ok(()), Ok(body)) = (response.set_status_code(status), response.body()) else {
        return;
    };
    ResponseOutparam::set(outparam, Ok(response));
    let Ok(stream) = body.write() else {
        return;
    };
    let mut pieces = text.chunks(PIECE);
    let is_written = pieces.all(|piece| stream.blocking_write_and_flush(piece).is_ok());
    drop(stream);
    if is_written {
        let _ = OutgoingBody::finish(body, None);
    }
}
