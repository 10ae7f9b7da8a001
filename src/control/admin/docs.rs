//! How do people read the description of the API, and try its operations? On a page of Swagger UI, which is in the
//! binary: the page loads nothing from other hosts, and sends a pasted token to this gate alone.

use axum::Router;
use axum::body::Body;
use axum::response::IntoResponse;
use axum::response::Response;
use axum::routing::get;
use http::HeaderValue;
use http::StatusCode;
use http::header;
use std::sync::Arc;
use utoipa_swagger_ui::Config;

/// The path of the page.
const PAGE: &str = "/admin/v1/docs";

/// Loads and starts Swagger UI.
const OWN_FILES: [(&str, &str, &str); 2] = [
    ("", "text/html; charset=utf-8", include_str!("docs/page.html")),
    (
        "/start.js",
        "text/javascript; charset=utf-8",
        include_str!("docs/start.js"),
    ),
];

/// The files of Swagger UI that the page loads.
const SWAGGER_FILES: [&str; 4] = [
    "/favicon-32x32.png",
    "/index.css",
    "/swagger-ui-bundle.js",
    "/swagger-ui.css",
];

/// Scripts, styles and requests of this listener alone, and nothing inline: a script of another origin could read a pasted
/// token. Swagger UI has its icons in its styles.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; \
     base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
);

/// Returns whether `path` is the page or one of its files. They are the same for every gate, so they need no token.
pub(super) fn is_part_of_page(path: &str) -> bool {
    path.strip_prefix(PAGE)
        .is_some_and(|file| OWN_FILES.iter().any(|(name, _, _)| *name == file) || SWAGGER_FILES.contains(&file))
}

/// Returns the routes of the page and its files.
pub(super) fn routes<S: Clone + Send + Sync + 'static>() -> Router<S> {
    let mut router = Router::new();
    for (name, content_type, text) in OWN_FILES {
        let file = get(async move || response(content_type, Body::from(text)));
        router = router.route(&format!("{PAGE}{name}"), file);
    }
    for name in SWAGGER_FILES {
        router = router.route(&format!("{PAGE}{name}"), get(async move || swagger_file(name)));
    }
    router
}

fn swagger_file(name: &str) -> Response {
    let Ok(Some(file)) = utoipa_swagger_ui::serve(name.trim_start_matches('/'), Arc::new(Config::default())) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let mut response = response(&file.content_type, Body::from(file.bytes));
    if file.gzpipped {
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    response
}

fn response(content_type: &str, body: Body) -> Response {
    let content_type = [(header::CONTENT_TYPE, content_type.to_owned())];
    let policy = [(header::CONTENT_SECURITY_POLICY, POLICY)];
    (policy, content_type, body).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_that_the_page_names_is_in_the_binary() {
        let (_, _, page) = OWN_FILES[0];
        for (attribute, after) in [("href=\"", "docs/"), ("src=\"", "docs/")] {
            for rest in page.split(attribute).skip(1) {
                let (url, _) = rest.split_once('"').unwrap();
                let file = url.strip_prefix(after).map(|name| format!("{PAGE}/{name}"));
                assert!(
                    url == "openapi.json" || file.is_some_and(|file| is_part_of_page(&file)),
                    "{url}"
                );
            }
        }
        for name in SWAGGER_FILES {
            assert_eq!(swagger_file(name).status(), StatusCode::OK, "{name}");
        }
    }

    #[test]
    fn only_the_page_and_its_files_are_part_of_it() {
        for path in [PAGE, "/admin/v1/docs/start.js", "/admin/v1/docs/swagger-ui.css"] {
            assert!(is_part_of_page(path), "{path}");
        }
        for path in [
            "/admin/v1/docs/",
            "/admin/v1/docs/swagger-initializer.js",
            "/admin/v1/docs/../keys",
            "/admin/v1/docsx",
            "/admin/v1/keys",
        ] {
            assert!(!is_part_of_page(path), "{path}");
        }
    }
}
