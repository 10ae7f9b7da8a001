//! How does a command call a gate and print its response?

pub mod args;
pub mod find;
mod profile;

use crate::cli::gate::args::GateArgs;
use crate::cli::gate::args::ItemFilter;
use crate::cli::gate::args::ListArgs;
use crate::cli::gate::args::OnceArgs;
use crate::cli::http::admin_client::AdminClient;
use crate::cli::http::admin_client::AdminError;
use crate::cli::http::admin_client::AdminRequest;
use crate::cli::http::admin_client::AdminResponse;
use crate::cli::printer::Printer;
use crate::cli::render;
use crate::cli::render::Column;
use http::Method;
use serde_json::Value;
use serde_json::json;
use std::error::Error;
use std::io::Write;
use std::time::Duration;
use url::form_urlencoded;

/// The number of items per page of a list: the most that the admin API allows.
const PAGE: usize = 200;

/// The admin API of a gate or of its store, and the output of the command.
pub struct GateClient<'a> {
    client: AdminClient,
    pub printer: Printer<'a>,
}

impl<'a> GateClient<'a> {
    pub const fn new(client: AdminClient, printer: Printer<'a>) -> Self {
        Self { client, printer }
    }

    /// Returns a client of the gate that `args` name, or of the store itself if no gate runs.
    ///
    /// # Errors
    /// Those of [`find::open`]. A gate that is named with --admin is not called yet.
    pub fn open(args: &GateArgs, out: &'a mut dyn Write, err: &'a mut dyn Write) -> Result<Self, Box<dyn Error>> {
        let mut printer = Printer::new(&args.output, out, err);
        Ok(Self::new(find::open(args, &mut printer)?, printer))
    }

    /// Sends a request and returns the body of the response. `members` become the body, or the query of a GET or
    /// DELETE; null members are omitted.
    ///
    /// # Errors
    /// If no gate responds, or the gate refuses.
    pub fn call(&self, method: Method, path: &str, members: Value) -> Result<Value, Box<dyn Error>> {
        self.send_members(method, path, members, None)
    }

    /// Posts `members` and returns the body of the response. A repeated request with the same idempotency key creates
    /// nothing new.
    ///
    /// # Errors
    /// If no gate responds, or the gate refuses.
    pub fn create(&self, path: &str, members: Value, once: &OnceArgs) -> Result<Value, Box<dyn Error>> {
        self.send_members(Method::POST, path, members, once.idempotency_key.as_deref())
    }

    fn send_members(
        &self,
        method: Method,
        path: &str,
        members: Value,
        key: Option<&str>,
    ) -> Result<Value, Box<dyn Error>> {
        // For a missing member the gate uses the default of the plan or subscription, or keeps the current value.
        let members = match members {
            Value::Object(members) => Value::from_iter(members.into_iter().filter(|(_, value)| !value.is_null())),
            members => members,
        };
        let (path, body) = match method {
            Method::GET | Method::DELETE => (path.to_owned() + &query(&members), None),
            _ => (path.to_owned(), (!members.is_null()).then_some(&members)),
        };
        let response = self.send(&AdminRequest {
            method,
            path: &path,
            body,
            idempotency_key: key,
        })?;
        match response.status {
            200..=299 => Ok(response.body),
            _ => Err(self.refusal(&response).into()),
        }
    }

    /// Sends a GET and returns the response, which may be a refusal.
    ///
    /// # Errors
    /// Those of [`AdminClient::send`].
    pub fn get(&self, path: &str) -> Result<AdminResponse, AdminError> {
        self.send(&AdminRequest {
            method: Method::GET,
            path,
            body: None,
            idempotency_key: None,
        })
    }

    /// Sends a request and returns the response, which may be a refusal.
    ///
    /// # Errors
    /// Those of [`AdminClient::send`].
    pub fn send(&self, request: &AdminRequest<'_>) -> Result<AdminResponse, AdminError> {
        self.client.send(request)
    }

    /// Returns a refusal as text for people.
    pub fn refusal(&self, response: &AdminResponse) -> String {
        refusal(response, self.client.listener().unwrap_or("the gate"))
    }

    /// Returns whether the command uses a socket or the store itself, not an admin listener. The gate is then on this
    /// machine, and an absolute path names the same file for the gate and the command.
    pub fn is_local(&self) -> bool {
        self.client.listener().is_none()
    }

    /// Fetches a list page by page, up to `args.limit` items that `filter` admits, and prints it. `filters` are members of
    /// the query.
    ///
    /// # Errors
    /// If no gate responds, or the gate refuses.
    pub fn list(
        &mut self,
        path: &str,
        filters: Value,
        filter: &ItemFilter,
        args: &ListArgs,
        columns: &[Column<'_>],
    ) -> Result<(), Box<dyn Error>> {
        let mut items = Vec::new();
        let most = usize::try_from(args.limit).unwrap_or(usize::MAX);
        let after = self.each(path, filters, args.after.clone(), most, &mut |item| {
            let is_shown = filter.admits(&item);
            if is_shown {
                items.push(item);
            }
            is_shown
        })?;
        self.printer.items(columns, &json!({ "items": items, "next": after }))?;
        if let Some(after) = after {
            let line = format!("There are more: go on with --after {}", render::escaped(&after));
            self.printer.note_in_table(&line)?;
        }
        Ok(())
    }

    /// Returns whether the command works on the store itself, because no gate runs.
    pub const fn is_in_process(&self) -> bool {
        self.client.is_in_process()
    }

    /// Waits until it is time to ask again.
    pub fn pause(&self, duration: Duration) {
        self.client.pause(duration);
    }

    /// Fetches a list page by page, from the item behind `after` on, and passes each item to `take`, which returns
    /// whether the item counts. Stops after `most` items that count, and then returns the last one's id.
    ///
    /// # Errors
    /// If no gate responds, or the gate refuses.
    pub fn each(
        &self,
        path: &str,
        filters: Value,
        mut after: Option<String>,
        most: usize,
        take: &mut dyn FnMut(Value) -> bool,
    ) -> Result<Option<String>, Box<dyn Error>> {
        let (mut query, mut count) = (filters, 0);
        loop {
            query["after"] = after.into();
            query["limit"] = PAGE.into();
            let mut page = self.call(Method::GET, path, query.clone())?;
            let items = match page["items"].take() {
                Value::Array(items) => items,
                Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_) => Vec::new(),
            };
            let (mut rest, next) = (items.into_iter(), next(&page["next"]));
            while let Some(item) = rest.next() {
                let id = position(&item);
                count += usize::from(take(item));
                if count >= most {
                    return Ok(if rest.len() == 0 { next } else { id });
                }
            }
            if next.is_none() {
                return Ok(None);
            }
            after = next;
        }
    }

    /// Fetches a list that has one page, and prints it.
    ///
    /// # Errors
    /// If no gate responds, or the gate refuses.
    pub fn list_all(&mut self, path: &str, columns: &[Column<'_>]) -> Result<(), Box<dyn Error>> {
        let list = self.call(Method::GET, path, Value::Null)?;
        self.printer.items(columns, &list)
    }

    /// Fetches one object and prints it, with the members in `first` before the others.
    ///
    /// # Errors
    /// If no gate responds, or the gate refuses.
    pub fn show_one(&mut self, path: &str, first: &[&str]) -> Result<(), Box<dyn Error>> {
        let thing = self.call(Method::GET, path, Value::Null)?;
        self.printer.page(&thing, first)
    }

    /// Reports a change: prints `lines` for the next command on stdout, and `sentence` on stderr. With `--output json`,
    /// prints the response on stdout instead.
    ///
    /// # Errors
    /// If the output cannot be written. The change is made, and a secret in the response is lost.
    pub fn report(&mut self, response: &Value, sentence: &str, lines: &str) -> Result<(), Box<dyn Error>> {
        self.printer.note_in_table(sentence)?;
        match (pending(response), self.client.is_in_process()) {
            (Some(durability), false) => self.printer.note(durability)?,
            (Some(_), true) => self.printer.note(
                "The gate is not running, and the store cannot be written: it is in the log of revocations, and in force from \
                 the gate's next start",
            )?,
            (None, true) => self
                .printer
                .note("The gate is not running: it is written to the store, and in force from its next start")?,
            (None, false) => {}
        }
        let written = self.printer.write(response, |_| lines.to_owned());
        written.map_err(|error| format!("it was done, and its answer is lost: cannot write to stdout: {error}").into())
    }
}

/// Returns a line for people about a revocation that the gate's store lacks; `None` for every other response.
fn pending(response: &Value) -> Option<&'static str> {
    Some(if response.get("durable")?.as_bool()? {
        "warning: the gate's store cannot be written; this is in force on the gate and in its log of revocations, and the store \
         gets it as soon as it can"
    } else {
        "warning: neither the gate's store nor its log of revocations can be written; this is in force in the gate's memory \
         alone: do not restart the gate before `keygate_store_pending_revocations` is 0"
    })
}

/// Returns `members` as a query that begins with `?`; empty without members.
fn query(members: &Value) -> String {
    let mut query = form_urlencoded::Serializer::new(String::new());
    for (name, value) in members.as_object().into_iter().flatten() {
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        query.append_pair(name, &text);
    }
    match query.finish() {
        query if query.is_empty() => query,
        query => format!("?{query}"),
    }
}

/// Returns the text that names an item of a list as the one behind which a page begins.
fn position(item: &Value) -> Option<String> {
    next(&item["id"]).or_else(|| next(&item["sequence"]))
}

/// Returns the member `next` of a list as text. It is the id of an item, or the number of an audit event.
fn next(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

fn refusal(response: &AdminResponse, at: &str) -> String {
    let (status, body) = (response.status, &response.body);
    let text = |name: &str| body[name].as_str().map(render::escaped);
    let detail = match (status, text("detail")) {
        (401, _) => format!(
            "{at} refuses the token: is it that of `admin.token` of the gate that runs there, or one with the scope \
             `admin:read` or `admin:write` that has not expired?"
        ),
        (_, Some(detail)) => detail,
        (_, None) => "no reason was given".to_owned(),
    };
    let title = text("title").unwrap_or_default();
    // Print the last part of the type too: it is stable, so scripts and searches can rely on it.
    let slug = body["type"].as_str().and_then(|kind| kind.rsplit(':').next());
    let slug = slug.map_or_else(String::new, |slug| format!(" {}", render::escaped(slug)));
    let mut lines = vec![format!("{title}: {detail} ({status}{slug})")];
    for error in body["errors"].as_array().into_iter().flatten() {
        let (pointer, detail) = (render::cell(&error["pointer"]), render::cell(&error["detail"]));
        lines.push(format!("  {pointer}: {detail}"));
    }
    lines.join("\n")
}
