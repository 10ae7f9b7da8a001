// Run:
// Cargo.toml dependencies:
// jsonwebtoken = "9"
// reqwest = { version = "0.12", features = ["rustls-tls"] }
// serde = { version = "1", features = ["derive"] }
// tokio = { version = "1", features = ["full"] }
// CLIENT_ID=<your-client-id> \
// KEY_PATH=client.pem \
// TOKEN_URL=https://auth.<region>.strata.io/oauth2/token \
// cargo run --release
use std::env;
use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};
use jsonwebtoken::{encode, Algorithm, EncodingKey, Header};
use serde::Serialize;
#[derive(Serialize)]
struct Claims {
    iss: String,
    sub: String,
    aud: String,
    iat: u64,
    exp: u64,
}
#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let client_id = env::var("CLIENT_ID")?;
    let key_path = env::var("KEY_PATH")?;
    let token_url = env::var("TOKEN_URL")?;
    let pem = fs::read(&key_path)?;
    let key = EncodingKey::from_ec_pem(&pem)?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    let claims = Claims {
        iss: client_id.clone(),
        sub: client_id,
        aud: token_url.clone(),
        iat: now,
        exp: now + 300,
    };
    let mut header = Header::new(Algorithm::ES256);
    header.typ = Some("JWT".into());
    let assertion = encode(&header, &claims, &key)?;
    let resp = reqwest::Client::new()
        .post(&token_url)
        .form(&[
            ("grant_type", "client_credentials"),
            (
                "client_assertion_type",
                "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
            ),
            ("client_assertion", &assertion),
        ])
        .send()
        .await?;
    println!("{} {}", resp.status(), resp.text().await?);
    Ok(())
}
