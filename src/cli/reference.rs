//! Which key, client, organization or subscription does the user mean? The one with this id, this name or, of API keys,
//! this text. `-` reads any of these from stdin.

use crate::cli::gate::GateClient;
use crate::cli::render;
use crate::cli::render::cell;
use crate::cli::secret_text;
use crate::model::api_key;
use crate::model::api_key::ApiKeyTextError;
use crate::model::api_key::CredentialDigest;
use crate::model::api_key::KeyId;
use crate::model::directory::ApiKeyOrigin;
use crate::model::directory::KeyRecord;
use crate::model::directory::KeyState;
use crate::model::id::ClientId;
use crate::model::id::SubscriptionId;
use crate::model::names::Name;
use crate::model::secret::Secret;
use clap::Args;
use serde_json::Value;
use serde_json::json;
use std::convert::Infallible;
use std::error::Error;
use std::fmt::Display;
use std::path::Path;
use std::str::FromStr;

/// The number of records among which a name is looked for. With more of them, an id is needed.
const RECORDS_MAX: usize = 20_000;

/// The text that the user wrote for a record. Any text parses: clap prints a text that does not parse, and this one may be a
/// secret.
#[derive(Clone, Debug)]
pub struct Reference(Secret<String>);

impl FromStr for Reference {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(Self(Secret::new(text.to_owned())))
    }
}

/// The API key of a command.
#[derive(Clone, Debug, Args)]
pub struct KeyArg {
    /// Its id, its name where no other has it, or its text; `-` reads one of these from stdin
    #[arg(value_name = "KEY")]
    key: Reference,
}

/// The text of an API key, for a command that checks it.
#[derive(Clone, Debug, Args)]
pub struct KeyTextArg {
    /// Its text; `-` reads it from stdin
    #[arg(value_name = "KEY")]
    key: Reference,
}

/// The client of a command.
#[derive(Clone, Debug, Args)]
pub struct ClientArg {
    /// Its id, or its name where no other has it; `-` reads one of these from stdin
    #[arg(value_name = "CLIENT")]
    client: Reference,
}

/// The organization of a command.
#[derive(Clone, Debug, Args)]
pub struct OrganizationArg {
    /// Its id, or its name where no other has it; `-` reads one of these from stdin
    #[arg(value_name = "ORGANIZATION")]
    organization: Reference,
}

/// The subscription of a command.
#[derive(Clone, Debug, Args)]
pub struct SubscriptionArg {
    /// Its id, as `subscriptions list` shows it; `-` reads it from stdin
    #[arg(value_name = "SUBSCRIPTION")]
    subscription: Reference,
}

impl KeyArg {
    /// Returns the key in the store of `gate`.
    ///
    /// # Errors
    /// Those of [`Reference::find`].
    pub fn find(&self, gate: &GateClient<'_>) -> Result<ResolvedId<KeyId>, Box<dyn Error>> {
        self.key.find(gate)
    }

    /// Returns the key among `records`, those of a keys file.
    ///
    /// # Errors
    /// If stdin cannot be read, if no key fits, or if several keys have the name.
    pub fn find_among(&self, records: &[KeyRecord]) -> Result<ResolvedId<KeyId>, String> {
        let text = self.key.text()?;
        let candidates = KeyId::candidates(text.expose());
        let found = candidates
            .iter()
            .find_map(|id| records.iter().find(|key| key.id == *id));
        if let Some(key) = found {
            return Ok(ResolvedId::new(key.id, &json!({ "name": *key.name })));
        }
        let named = records.iter().filter(|key| *key.name == **text.expose());
        let named = named.map(|key| NameMatch {
            id: key.id,
            state: match key.state {
                KeyState::Active => "active".to_owned(),
                KeyState::Disabled => "disabled".to_owned(),
                KeyState::Revoked => "revoked".to_owned(),
            },
        });
        let found = only_one(named.collect(), text.expose())?;
        let found = found.ok_or_else(|| nothing_found::<KeyId>(text.expose()))?;
        Ok(ResolvedId::new(found, &json!({ "name": text.expose() })))
    }
}

impl KeyTextArg {
    /// Returns the text.
    ///
    /// # Errors
    /// If stdin cannot be read.
    pub fn text(&self) -> Result<Secret<String>, String> {
        self.key.text()
    }
}

impl ClientArg {
    /// Returns the client in the store of `gate`.
    ///
    /// # Errors
    /// Those of [`Reference::find`].
    pub fn find(&self, gate: &GateClient<'_>) -> Result<ResolvedId<ClientId>, Box<dyn Error>> {
        self.client.find(gate)
    }
}

impl OrganizationArg {
    /// Returns the organization in the store of `gate`.
    ///
    /// # Errors
    /// Those of [`Reference::find`].
    pub fn find(&self, gate: &GateClient<'_>) -> Result<ResolvedId<Name>, Box<dyn Error>> {
        self.organization.find(gate)
    }
}

impl SubscriptionArg {
    /// Returns the subscription in the store of `gate`.
    ///
    /// # Errors
    /// Those of [`Reference::find`].
    pub fn find(&self, gate: &GateClient<'_>) -> Result<ResolvedId<SubscriptionId>, Box<dyn Error>> {
        self.subscription.find(gate)
    }
}

/// An id of the records that commands name.
trait RecordId: FromStr + Display {
    /// The records, in the singular.
    const NOUN: &'static str;
    /// The path of the list of the records.
    const PATH: &'static str;

    /// Returns the ids that `text` may stand for, the most probable first. Never an id that contains a secret, because
    /// the gate logs the paths of its requests.
    fn candidates(text: &str) -> Vec<Self>;
}

impl RecordId for KeyId {
    const NOUN: &'static str = "key";
    const PATH: &'static str = "keys";

    fn candidates(text: &str) -> Vec<Self> {
        let of_text = || api_key::parse_any(text).ok().map(|key| key.id);
        if let Some(id) = of_text().or_else(|| ApiKeyOrigin::id_in_hint(text)) {
            return vec![id];
        }
        let imported = Self::of_imported(&CredentialDigest::sha256(text));
        text.parse().into_iter().chain([imported]).collect()
    }
}

impl RecordId for ClientId {
    const NOUN: &'static str = "client";
    const PATH: &'static str = "clients";

    fn candidates(text: &str) -> Vec<Self> {
        let id = text.parse().ok();
        id.into_iter().filter(|_| !secret_text::may_be_one(text)).collect()
    }
}

impl RecordId for Name {
    const NOUN: &'static str = "organization";
    const PATH: &'static str = "organizations";

    fn candidates(text: &str) -> Vec<Self> {
        // Operators choose these ids, and many choose UUIDs, which `may_be_one` takes for secrets.
        text.parse().into_iter().collect()
    }
}

impl RecordId for SubscriptionId {
    const NOUN: &'static str = "subscription";
    const PATH: &'static str = "subscriptions";

    fn candidates(text: &str) -> Vec<Self> {
        let id = text.parse().ok();
        id.into_iter().filter(|_| !secret_text::may_be_one(text)).collect()
    }
}

/// The record that the user means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResolvedId<T> {
    pub id: T,
    /// The id, with the name or, of a subscription, with its organization and plan, where these are known.
    pub label: String,
}

impl<T: Display> ResolvedId<T> {
    fn new(id: T, record: &Value) -> Self {
        let text = |member: &str| record[member].as_str().map(render::escaped);
        let label = match (text("name"), text("organization"), text("plan")) {
            (Some(name), _, _) => format!("`{name}` ({id})"),
            (None, Some(organization), Some(plan)) => format!("{id} of {organization} to {plan}"),
            (None, _, _) => id.to_string(),
        };
        Self { id, label }
    }
}

/// A record with the name that is looked for.
struct NameMatch<T> {
    id: T,
    state: String,
}

impl Reference {
    /// Returns the text, or what is on stdin where the text is `-`.
    fn text(&self) -> Result<Secret<String>, String> {
        if self.0.expose() != "-" {
            return Ok(self.0.clone());
        }
        let bytes = secret_text::from_file(Path::new("-"))?;
        let text = std::str::from_utf8(bytes.expose()).map_err(|_| "stdin: not UTF-8")?;
        if text.contains(['\n', '\r']) {
            return Err("stdin: this is more than one line, and a command is about one record".to_owned());
        }
        Ok(Secret::new(text.to_owned()))
    }

    /// Returns the text for a filter of the audit log: where it is an API key, the id of the key.
    ///
    /// # Errors
    /// If stdin cannot be read.
    pub fn target(&self) -> Result<String, String> {
        let text = self.text()?;
        let text = text.expose();
        // The ids of organizations may look like secrets.
        let is_id = text.parse::<Name>().is_ok() || !secret_text::may_be_one(text);
        match KeyId::candidates(text).first() {
            Some(id) if !is_id || text.parse::<KeyId>().is_err() && ApiKeyOrigin::id_in_hint(text).is_some() => {
                Ok(id.to_string())
            }
            Some(_) | None => Ok(text.clone()),
        }
    }

    /// Returns the record in the store of `gate`.
    ///
    /// # Errors
    /// If stdin cannot be read, if no record fits, if several have the name, if no gate responds, or if the gate
    /// refuses.
    fn find<T: RecordId>(&self, gate: &GateClient<'_>) -> Result<ResolvedId<T>, Box<dyn Error>> {
        let text = self.text()?;
        let text = text.expose();
        let mut not_found = None;
        for id in T::candidates(text) {
            let response = gate.get(&format!("{}/{id}", T::PATH))?;
            if response.status != 404 {
                // A token without `admin:read` may still change the record: the command itself reports a refusal.
                let record = if response.status == 200 {
                    response.body
                } else {
                    Value::Null
                };
                return Ok(ResolvedId::new(id, &record));
            }
            if id.to_string() == *text {
                not_found = Some(gate.refusal(&response));
            }
        }
        let mut named = Vec::new();
        let after = gate.each(T::PATH, Value::Null, None, RECORDS_MAX, &mut |item| {
            if item["name"] == **text
                && let Ok(id) = cell(&item["id"]).parse()
            {
                let state = item["state"].as_str().unwrap_or("active").to_owned();
                named.push(NameMatch { id, state });
            }
            true
        })?;
        if after.is_some() {
            let noun = T::NOUN;
            return Err(
                format!("there are over {RECORDS_MAX} {noun}s, too many to look for a name; use the id").into(),
            );
        }
        match (only_one(named, text)?, not_found) {
            (Some(id), _) => Ok(ResolvedId::new(id, &json!({ "name": text }))),
            (None, Some(refusal)) => Err(refusal.into()),
            (None, None) => Err(nothing_found::<T>(text).into()),
        }
    }
}

/// Returns the only record that is still in use or, where none is, the only record. `None` if there is no record.
fn only_one<T: RecordId>(mut named: Vec<NameMatch<T>>, text: &str) -> Result<Option<T>, String> {
    let is_over = |record: &NameMatch<T>| matches!(record.state.as_str(), "revoked" | "expired" | "deleted");
    if !named.iter().all(is_over) {
        named.retain(|record| !is_over(record));
    }
    if named.len() > 1 {
        let noun = T::NOUN;
        let lines = named
            .iter()
            .map(|record| format!("\n  {} ({})", record.id, record.state));
        let name = secret_text::shown(text);
        let count = named.len();
        return Err(format!(
            "{count} {noun}s are named `{name}`; use the id of one of them:{}",
            lines.collect::<String>()
        ));
    }
    Ok(named.pop().map(|record| record.id))
}

fn nothing_found<T: RecordId>(text: &str) -> String {
    let noun = T::NOUN;
    let text_of_key = match api_key::parse_any(text) {
        Err(ApiKeyTextError::Malformed | ApiKeyTextError::Checksum) => "; if it is a key's text, it is not whole",
        Ok(_) | Err(ApiKeyTextError::Foreign) => "",
    };
    format!(
        "no {noun} has the id or the name `{}`{text_of_key}",
        secret_text::shown(text)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::api_key::ApiKeyEnvironment;
    use crate::model::api_key::ApiKeyText;
    use crate::model::api_key::system_random;

    fn ids(text: &str) -> Vec<KeyId> {
        KeyId::candidates(text)
    }

    #[test]
    fn a_key_is_meant_by_its_text_its_hint_or_its_id() {
        let key = ApiKeyText::generate("acme", ApiKeyEnvironment::Test, &mut system_random);
        let hint = ApiKeyOrigin::Own.hint("acme", ApiKeyEnvironment::Test, key.id());
        assert_eq!(ids(key.expose()), [key.id()]);
        assert_eq!(ids(&hint), [key.id()]);
        assert_eq!(ids(key.id().as_str())[0], key.id());
    }

    #[test]
    fn any_other_text_may_be_an_imported_key_and_is_never_an_id_itself() {
        let imported = |text: &str| KeyId::of_imported(&CredentialDigest::sha256(text));
        let key = ApiKeyText::generate("kg", ApiKeyEnvironment::Live, &mut system_random);
        let cut_off = &key.expose()[..73];
        for text in ["sk_live_0123456789abcdefghij", "ci", cut_off, ""] {
            assert_eq!(ids(text), [imported(text)], "{text}");
        }
    }

    #[test]
    fn a_client_secret_is_never_sent_as_an_id() {
        let secret = format!("kgs_{}", "0aZ".repeat(15));
        assert!(ClientId::candidates(&secret).is_empty());
        assert!(SubscriptionId::candidates(&secret).is_empty());
        assert_eq!(ClientId::candidates("client_4Vb8mTq0ZxN7sKe2RcYw1h").len(), 1);
    }

    #[test]
    fn a_name_is_enough_where_one_record_in_use_has_it() {
        let named = |states: &[&str]| {
            let named = states.iter().enumerate().map(|(index, state)| NameMatch {
                id: format!("id{index}").parse::<ClientId>().unwrap(),
                state: (*state).to_owned(),
            });
            only_one(named.collect(), "a").map(|id| id.map(|id| id.to_string()))
        };
        assert_eq!(named(&[]), Ok(None));
        assert_eq!(named(&["deleted"]), Ok(Some("id0".to_owned())));
        assert_eq!(named(&["revoked", "active", "expired"]), Ok(Some("id1".to_owned())));
        let several = named(&["active", "ending", "revoked"]).unwrap_err();
        assert_eq!(
            several,
            "2 clients are named `a`; use the id of one of them:\n  id0 (active)\n  id1 (ending)"
        );
        assert!(named(&["revoked", "revoked"]).is_err());
    }
}
