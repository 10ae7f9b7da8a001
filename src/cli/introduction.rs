//! Which commands does `keygate run` print for a first try, and how does it show the first administrator?

use crate::model::secret::Secret;
use crate::runtime::first_administrator::AdministratorNotice;
use std::path::Path;

/// The commands for a first try, one per line, with a remark in `: '…'`. A test ensures that README has the same ones.
///
/// The command `:` does nothing with its arguments. A `#` in their place would be an argument of the command before it in an
/// interactive zsh, and an option that changes that comes too late for lines that are pasted together.
const COMMANDS: &str = r#"curl -i http://{at}/public/hello            ; : '200: anyone may'
curl -i http://{at}/orders/7                ; : '401: no credential'

eval "$({keygate} clients create --name demo --scope orders:read{place})" ; : 'sets client_id and client_secret, shown this once'
curl -s -u "$client_id:$client_secret" -d grant_type=client_credentials http://{at}/oauth/token ; : 'a token, as any OAuth client gets it'
TOKEN=$(KEYGATE_CLIENT_SECRET="$client_secret" {keygate} token get --client-id "$client_id"{place}) ; : 'the same'
curl -i -H "authorization: Bearer $TOKEN" http://{at}/orders/7 ; : '200, with identity headers at the echo'

KEY=$({keygate} keys create --name demo --expires 30d{place})
curl -i -H "x-api-key: $KEY" http://{at}/key/hello ; : '200'
curl -i -H "x-api-key: $KEY" http://{at}/orders/7 ; : '403: this key does not have the scope orders:read'
curl -i -H "x-api-key: $KEY" -H "authorization: Bearer $TOKEN" http://{at}/orders/7 ; : '400: two credentials'
for i in 1 2 3 4 5 6 7; do curl -s -o /dev/null -w '%{http_code}\n' -H "x-api-key: $KEY" http://{at}/key/hello; done ; : 'then 429'

{keygate} keys revoke "$KEY" --yes{place} ; : 'from this instant; without --yes it asks'
curl -i -H "x-api-key: $KEY" http://{at}/key/hello ; : '401: revoked'
{keygate} clients delete "$client_id" --revoke-tokens --yes{place}
curl -i -H "authorization: Bearer $TOKEN" http://{at}/orders/7 ; : '401: revoked'
{keygate} audit list{place} ; : 'who did all this'
"#;

/// Returns the commands for a gate that listens at `at`. `keygate` is the program as a shell word; `place` is empty, or
/// ` --data-dir FOLDER`.
pub fn commands(keygate: &str, place: &str, at: &str) -> String {
    COMMANDS
        .replace("{keygate}", keygate)
        .replace("{place}", place)
        .replace("{at}", at)
}

/// Returns the text about the first administrator: its credentials, or where they are.
pub fn first_administrator(notice: &AdministratorNotice) -> Secret<String> {
    const INTRODUCTION: &str = "The first administrator, a client with the scopes admin:read and admin:write.";
    Secret::new(match notice {
        AdministratorNotice::Credentials(administrator) => format!(
            "{INTRODUCTION} This is the only time its secret is shown:\n{}",
            administrator.text().expose(),
        ),
        AdministratorNotice::File { path, .. } => format!(
            "{INTRODUCTION} Its secret is in {}: keep it elsewhere and remove the file.\n",
            path.display(),
        ),
    })
}

/// Returns a path as one word of a shell command, quoted if necessary.
pub fn shell_word(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = text
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || b"/._-+".contains(&byte));
    if plain {
        text
    } else {
        format!("'{}'", text.replace('\'', "'\\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_quoted_as_one_shell_word() {
        for (path, word) in [
            ("/a/b-c.d", "/a/b-c.d"),
            ("/a b", "'/a b'"),
            ("/a'b", "'/a'\\''b'"),
            ("/$(rm)", "'/$(rm)'"),
        ] {
            assert_eq!(shell_word(Path::new(path)), word);
        }
    }

    #[test]
    fn every_placeholder_is_replaced() {
        let text = commands("keygate", " --data-dir x", "127.0.0.1:8080").replace("%{http_code}", "");
        assert!(!text.contains('{') && !text.contains('}'), "{text}");
    }
}
