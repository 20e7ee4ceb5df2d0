//! Every answer of the suite is held to the OpenAPI document that the server
//! gives out.

use crate::support::{Answer, RESET_TOTP, Server};
use jsonschema::Validator;
use reqwest::Method;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::sync::{LazyLock, Mutex};

const DOCUMENT: &str = "/api/openapi.json";

/// The validators of the answers, by method, path and status, once the first
/// test has read the document.
static VALIDATORS: LazyLock<Mutex<HashMap<String, Validator>>> = LazyLock::new(Mutex::default);

/// Fails where the document does not tell of such an answer. What is no route,
/// or none with this method, is not in the document.
pub(crate) fn check(method: &Method, path: &str, answer: &Answer) {
    let path = path.split('?').next().unwrap();
    let status = answer.status.as_u16();
    let validators = VALIDATORS.lock().unwrap();
    if validators.is_empty() || matches!(status, 204 | 404 | 405) || path == DOCUMENT {
        return;
    }
    let answer_of = key(method.as_str(), path, &status.to_string());
    let validator = validators
        .get(&answer_of)
        .unwrap_or_else(|| panic!("the document knows no {answer_of}"));
    let problems: Vec<_> = validator
        .iter_errors(&answer.json())
        .map(|error| format!("{error} at {}", error.instance_path()))
        .collect();
    assert!(
        problems.is_empty(),
        "{answer_of}: {problems:?}: {}",
        answer.body
    );
}

fn key(method: &str, path: &str, status: &str) -> String {
    format!("{} {path} {status}", method.to_uppercase())
}

/// Reads the document of a server, once.
pub(crate) async fn learn(url: &str) {
    if !VALIDATORS.lock().unwrap().is_empty() {
        return;
    }
    let document = reqwest::get(format!("{url}{DOCUMENT}")).await.unwrap();
    let document: Value = serde_json::from_str(&document.text().await.unwrap()).unwrap();
    *VALIDATORS.lock().unwrap() = validators(&document);
}

fn validators(document: &Value) -> HashMap<String, Validator> {
    let mut validators = HashMap::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            for (status, response) in operation["responses"].as_object().unwrap() {
                let schema = &response["content"]["application/json"]["schema"];
                assert!(schema.is_object(), "{method} {path} {status}");
                validators.insert(key(method, path, status), validator(document, schema));
            }
        }
    }
    validators
}

/// Of the schema, with the document's components, and of no member that the
/// schema does not name.
fn validator(document: &Value, schema: &Value) -> Validator {
    let mut components = document["components"].clone();
    components["schemas"]["Details"]["unevaluatedProperties"] = json!(false);
    let schema = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "components": components,
        "allOf": [schema],
        "unevaluatedProperties": false,
    });
    jsonschema::validator_for(&schema).unwrap()
}

#[tokio::test]
async fn the_document_is_openapi_3_1_and_tells_of_every_route() {
    let server = Server::start().await;
    let answer = server.request(Method::GET, DOCUMENT).send().await;
    let document = answer.json();
    assert_eq!(document["openapi"], "3.1.0");
    let routes: Vec<_> = document["paths"]
        .as_object()
        .unwrap()
        .iter()
        .map(|(path, methods)| (path.as_str(), methods.as_object().unwrap().len()))
        .collect();
    assert_eq!(
        routes,
        [
            RESET_TOTP,
            "/api/v1/login",
            "/api/v1/me",
            "/api/v1/logout",
            "/api/v1/users.enableTotp",
            "/api/v1/users.validateTotp",
            "/api/v1/users.disableTotp",
            "/api/v1/users.regenerateTotpCodes",
            "/api/v1/users.totpCodesRemaining",
            "/api/v1/second-factor.members",
            "/api/v1/second-factor.preview",
            "/api/v1/second-factor.audit",
            "/api/v1/second-factor.outbox",
            "/api/v1/second-factor.unlock",
            "/api/v1/second-factor.qr",
        ]
        .map(|path| (path, 1))
    );
    let details = &document["components"]["schemas"]["Details"]["properties"];
    assert_eq!(details["availableMethods"]["type"], "array");
}

/// The check is not blind.
#[tokio::test]
async fn an_answer_with_another_member_or_type_is_noticed() {
    let server = Server::start().await;
    let document = server.request(Method::GET, DOCUMENT).send().await.json();
    let refused = validator(&document, &json!({"$ref": "#/components/schemas/Refused"}));
    let done = validator(
        &document,
        &json!({"$ref": "#/components/schemas/Success_Done"}),
    );
    assert!(refused.is_valid(&json!({"success": false, "error": "x"})));
    assert!(done.is_valid(&json!({"success": true})));
    for wrong in [
        json!({"success": false}),
        json!({"success": false, "error": 1}),
        json!({"success": false, "error": "x", "stack": "y"}),
        json!({"success": false, "error": "x", "details": {"methods": []}}),
        json!([]),
    ] {
        assert!(!refused.is_valid(&wrong), "{wrong}");
    }
    assert!(!done.is_valid(&json!({"success": true, "more": 1})));
}

/// A page of its own files alone.
#[tokio::test]
async fn the_page_can_be_browsed_and_loads_nothing_from_elsewhere() {
    let server = Server::start().await;
    for (path, kind) in [
        ("/api/docs/", "text/html"),
        ("/api/docs/swagger-ui-bundle.js", "text/javascript"),
        ("/api/docs/swagger-initializer.js", "text/javascript"),
    ] {
        let response = reqwest::get(format!("{}{path}", server.url()))
            .await
            .unwrap();
        assert_eq!(response.status(), 200, "{path}");
        let header = |name: &str| response.headers()[name].to_str().unwrap().to_owned();
        assert!(header("content-type").starts_with(kind), "{path}");
        assert!(header("content-security-policy").starts_with("default-src 'self';"));
        assert_eq!(header("x-content-type-options"), "nosniff");
        let text = response.text().await.unwrap();
        if kind == "text/html" {
            assert!(!text.contains("//"), "{text}");
        }
        if path.ends_with("initializer.js") {
            assert!(text.contains(DOCUMENT), "{text}");
        }
    }
}
