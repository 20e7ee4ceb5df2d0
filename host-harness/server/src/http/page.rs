//! The administrators' page: files that never change while a process runs. What they show,
//! they ask the HTTP API for, as any other client does.

use super::answer::Answer;
use axum::Router;
use axum::extract::Path;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::get;
use data_encoding::HEXLOWER;
use sha2::{Digest, Sha256};
use std::sync::LazyLock;

/// Where the page is.
const PAGE: &str = "/admin/";

/// Only the page's own files and the API beside them; and no text becomes markup or script (Trusted
/// Types). `data:` is the QR code of a key, which must not have an address.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
     connect-src 'self'; form-action 'none'; frame-ancestors 'none'; base-uri 'none'; \
     require-trusted-types-for 'script'; trusted-types 'none'",
);

/// The headers of every file, besides its own.
const HEADERS: [(HeaderName, HeaderValue); 5] = [
    (header::CONTENT_SECURITY_POLICY, POLICY),
    (
        header::REFERRER_POLICY,
        HeaderValue::from_static("no-referrer"),
    ),
    (
        HeaderName::from_static("cross-origin-opener-policy"),
        HeaderValue::from_static("same-origin"),
    ),
    (
        HeaderName::from_static("cross-origin-resource-policy"),
        HeaderValue::from_static("same-origin"),
    ),
    // A newer host's page is seen at once.
    (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
];

/// One file of the page.
struct File {
    /// Below [`PAGE`].
    name: &'static str,
    kind: &'static str,
    text: &'static str,
    /// Names what is in it (RFC 9110 section 8.8.3).
    tag: LazyLock<String>,
}

macro_rules! file {
    ($name:literal, $kind:literal) => {{
        const TEXT: &str = include_str!(concat!("../../page/", $name));
        File {
            name: $name,
            kind: $kind,
            text: TEXT,
            tag: LazyLock::new(|| tag(TEXT)),
        }
    }};
}

macro_rules! script {
    ($name:literal) => {
        file!($name, "text/javascript")
    };
}

static FILES: [File; 28] = [
    file!("index.html", "text/html; charset=utf-8"),
    file!("page.css", "text/css; charset=utf-8"),
    file!("icon.svg", "image/svg+xml"),
    file!("texts/de.json", "application/json"),
    file!("texts/en.json", "application/json"),
    script!("api.js"),
    script!("audit.js"),
    script!("backup-codes.js"),
    script!("dialog.js"),
    script!("dom.js"),
    script!("enrolment.js"),
    script!("factor.js"),
    script!("field.js"),
    script!("list.js"),
    script!("mail.js"),
    script!("main.js"),
    script!("members.js"),
    script!("notice.js"),
    script!("own.js"),
    script!("place.js"),
    script!("reset.js"),
    script!("reset-done.js"),
    script!("session.js"),
    script!("shown-once.js"),
    script!("sign-in.js"),
    script!("texts.js"),
    script!("unknown.js"),
    script!("unlock.js"),
];

fn tag(text: &str) -> String {
    format!("\"{}\"", HEXLOWER.encode(&Sha256::digest(text)))
}

/// The page, as routes.
pub(super) fn routes<S: Clone + Send + Sync + 'static>() -> Router<S> {
    Router::new()
        .route("/admin", get(async || Redirect::permanent(PAGE)))
        .route(
            PAGE,
            get(async |headers: HeaderMap| answer("index.html", &headers)),
        )
        .route("/admin/{*file}", get(named))
}

async fn named(Path(name): Path<String>, headers: HeaderMap) -> Response {
    answer(&name, &headers)
}

/// The file of this name, unless the client has it.
fn answer(name: &str, headers: &HeaderMap) -> Response {
    let Some(file) = FILES.iter().find(|file| file.name == name) else {
        return Answer::not_found().into_response();
    };
    let tag = file.tag.as_str();
    let is_known = |known: &HeaderValue| known.as_bytes() == tag.as_bytes();
    let mut response = match headers.get(header::IF_NONE_MATCH).is_some_and(is_known) {
        true => StatusCode::NOT_MODIFIED.into_response(),
        false => ([(header::CONTENT_TYPE, file.kind)], file.text).into_response(),
    };
    response.headers_mut().extend(HEADERS);
    if let Ok(tag) = HeaderValue::from_str(tag) {
        response.headers_mut().insert(header::ETAG, tag);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::{BTreeMap, BTreeSet};
    use std::fs;
    use std::path::{Path, PathBuf};

    fn folder() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("page")
    }

    fn texts(language: &str) -> BTreeMap<String, String> {
        let file = folder().join(format!("texts/{language}.json"));
        serde_json::from_str(&fs::read_to_string(file).unwrap()).unwrap()
    }

    /// The `{places}` of a text.
    fn places(text: &str) -> BTreeSet<&str> {
        let places = text.split('{').skip(1);
        places.map(|rest| rest.split_once('}').unwrap().0).collect()
    }

    #[test]
    fn every_file_of_the_page_is_served() {
        let mut found = Vec::new();
        let mut folders = vec![folder()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                match path.is_dir() {
                    true => folders.push(path),
                    false => found.push(path),
                }
            }
        }
        let names = found
            .iter()
            .map(|path| path.strip_prefix(folder()).unwrap());
        let names: BTreeSet<_> = names.map(|name| name.to_str().unwrap()).collect();
        assert_eq!(names, FILES.iter().map(|file| file.name).collect());
    }

    #[test]
    fn both_languages_say_the_same_things_with_the_same_places() {
        let (english, german) = (texts("en"), texts("de"));
        let keys = |texts: &BTreeMap<String, String>| texts.keys().cloned().collect::<Vec<_>>();
        assert_eq!(keys(&english), keys(&german));
        for (key, text) in &english {
            assert_eq!(places(text), places(&german[key]), "{key}");
            assert!(
                !text.trim().is_empty() && !german[key].trim().is_empty(),
                "{key}"
            );
        }
    }

    /// As far as a key is written out, or is known by its beginning.
    #[test]
    fn every_text_is_used_and_what_is_used_is_there() {
        let english = texts("en");
        let scripts = FILES.iter().filter(|file| file.name.ends_with(".js"));
        let scripts: Vec<_> = scripts.map(|file| file.text).collect();
        let mut used = BTreeSet::new();
        let mut begun = BTreeSet::new();
        for piece in scripts.iter().flat_map(|script| script.split(&['\'', '`'])) {
            match piece.split_once("${") {
                None => used.insert(piece),
                Some((beginning, _)) => begun.insert(beginning.to_owned()),
            };
        }
        for rest in scripts
            .iter()
            .flat_map(|script| script.split("word('").skip(1))
        {
            let group = rest.split_once('\'').unwrap().0;
            begun.insert(format!("{group}."));
        }
        for key in english.keys() {
            let whole = key.trim_end_matches(".one").trim_end_matches(".other");
            let is_begun =
                |beginning: &String| beginning.ends_with('.') && key.starts_with(beginning);
            assert!(
                used.contains(whole) || begun.iter().any(is_begun),
                "nobody says {key}"
            );
        }
        for script in scripts {
            for call in ["t('", "rich('"] {
                let pieces = || script.split(call);
                for (before, after) in pieces().zip(pieces().skip(1)) {
                    let key = after.split_once('\'').unwrap().0;
                    let counted = format!("{key}.other");
                    let is_call = !before.ends_with(|c: char| c.is_alphanumeric());
                    assert!(
                        !is_call || english.contains_key(key) || english.contains_key(&counted),
                        "{key}"
                    );
                }
            }
        }
    }

    #[test]
    fn a_client_that_has_a_file_is_not_sent_it_again() {
        let first = answer("main.js", &HeaderMap::new());
        assert_eq!(first.status(), StatusCode::OK);
        let tag = first.headers()[header::ETAG].clone();
        let known = HeaderMap::from_iter([(header::IF_NONE_MATCH, tag)]);
        let again = answer("main.js", &known);
        assert_eq!(again.status(), StatusCode::NOT_MODIFIED);
        assert_eq!(answer("page.css", &known).status(), StatusCode::OK);
        assert_eq!(
            answer("../Cargo.toml", &known).status(),
            StatusCode::NOT_FOUND
        );
        for response in [first, again] {
            assert_eq!(response.headers()[header::CACHE_CONTROL], "no-cache");
            let policy = response.headers()[header::CONTENT_SECURITY_POLICY].to_str();
            assert!(policy.unwrap().starts_with("default-src 'none';"));
        }
    }

    /// A browser that knows Trusted Types would refuse it; others would not.
    #[test]
    fn no_file_makes_markup_or_code_of_text_or_names_another_server() {
        for File { name, text, .. } in &FILES {
            let own = text.replace("http://www.w3.org/2000/svg", "");
            for word in [
                "innerHTML",
                "outerHTML",
                "insertAdjacentHTML",
                "document.write",
                "eval(",
                "://",
            ] {
                assert!(!own.contains(word), "{name}: {word}");
            }
        }
    }
}
