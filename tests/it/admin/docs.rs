//! Can a person read the description of the admin API in a browser, and try its operations there?

use super::generated_clients::TOKEN;
use super::generated_clients::described_operations;
use super::generated_clients::gate;
use crate::support::browser::Tab;
use crate::support::get;
use serde_json::Value;
use serde_json::json;

/// Notes each violation of the page's Content-Security-Policy, and finds elements.
const PRELUDE: &str = "\
    var violations = [];\n\
    document.addEventListener('securitypolicyviolation', event => violations.push(`${event.violatedDirective} ${event.blockedURI}`));\n\
    var button = (within, name) => within && [...within.querySelectorAll('button')].find(it => it.textContent.trim() === name);\n\
    var click = element => !!element && (element.click(), true);\n\
    var operation = name => [...document.querySelectorAll('.opblock')].find(it => it.id.endsWith(`-${name}`));";

#[test]
fn the_page_shows_every_operation_and_performs_them_with_a_token_and_asks_no_other_host() {
    let gate = gate();
    let origin = format!("http://{}/", gate.admin());
    let mut tab = Tab::open(&format!("{origin}admin/v1/docs"), PRELUDE);
    let operations = described_operations();
    tab.wait_for(&format!(
        "document.querySelectorAll('.opblock').length === {operations}"
    ));
    // Without a token an operation is refused.
    assert_eq!(perform(&mut tab, "listOrganizations"), 401);
    tab.wait_for("click(button(document, 'Authorize'))");
    let field = "document.querySelector('.auth-container input')";
    tab.wait_for(&format!("!!{field}"));
    // Swagger UI takes a text from the event of typing it.
    tab.evaluate(&format!(
        "Object.getOwnPropertyDescriptor(HTMLInputElement.prototype, 'value').set.call({field}, '{TOKEN}');\n\
         {field}.dispatchEvent(new Event('input', {{ bubbles: true }}))"
    ));
    tab.wait_for("click(document.querySelector('.auth-container button[type=submit]'))");
    tab.wait_for("click(button(document, 'Close'))");
    assert_eq!(perform(&mut tab, "listPlans"), 200);
    // A browser sends `Origin` with a change, with the example of the description as its body.
    assert_eq!(perform(&mut tab, "createOrganization"), 201);
    // The token is in the memory of the page alone.
    let stored = tab.evaluate("[localStorage.length, sessionStorage.length, document.cookie]");
    assert_eq!(stored, json!([0, 0, ""]));
    assert_eq!(tab.evaluate("violations"), json!([]));
    let is_own = |url: &&String| url.starts_with(&origin) || url.starts_with("data:");
    let foreign: Vec<&String> = tab.requested().iter().filter(|url| !is_own(url)).collect();
    assert!(foreign.is_empty(), "{foreign:?}");
    assert!(
        tab.requested().contains(&format!("{origin}admin/v1/plans")),
        "{:?}",
        tab.requested()
    );
}

/// Opens an operation, sends it as it stands there, and returns the status of the response.
#[track_caller]
fn perform(tab: &mut Tab, operation: &str) -> Value {
    let block = format!("operation('{operation}')");
    tab.wait_for(&format!("click({block}?.querySelector('.opblock-summary-control'))"));
    tab.wait_for(&format!("click(button({block}, 'Try it out'))"));
    tab.wait_for(&format!("click(button({block}, 'Execute'))"));
    let status =
        format!("{block}.querySelector('.live-responses-table tbody .response-col_status')?.textContent ?? null");
    let status = tab.wait_for(&status);
    let status = status.as_str().unwrap().split_whitespace().next().unwrap();
    status.parse::<u16>().unwrap().into()
}

#[test]
fn the_page_and_its_files_need_no_token_and_say_what_they_may_load() {
    let gate = gate();
    for (path, content_type) in [
        ("/admin/v1/docs", "text/html; charset=utf-8"),
        ("/admin/v1/docs/start.js", "text/javascript; charset=utf-8"),
        ("/admin/v1/docs/swagger-ui.css", "text/css"),
    ] {
        let response = get(gate.admin(), path);
        assert_eq!(response.status, 200, "{path}");
        assert_eq!(response.headers_named("content-type"), [content_type], "{path}");
        let policy = response.headers_named("content-security-policy")[0];
        assert!(policy.starts_with("default-src 'none'; script-src 'self';"), "{policy}");
        assert!(!policy.contains("unsafe"), "{policy}");
    }
    for path in ["/admin/v1/docs/", "/admin/v1/docs/swagger-ui.js"] {
        assert_eq!(get(gate.admin(), path).status, 401, "{path}");
    }
}
