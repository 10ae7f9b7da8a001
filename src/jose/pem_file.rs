//! Does a PEM file (RFC 7468) contain exactly one key of the required kind, or why not?

/// The DER of a public key, by its encoding.
#[derive(Debug, PartialEq, Eq)]
pub enum PublicDer {
    /// `PUBLIC KEY`: SubjectPublicKeyInfo (RFC 7468 section 13).
    Spki(Vec<u8>),
    /// `RSA PUBLIC KEY`: RSAPublicKey (RFC 8017 appendix A.1.1).
    Pkcs1(Vec<u8>),
}

/// # Errors
/// The reason, for the person who chose the file.
pub fn public_key(text: &[u8]) -> Result<PublicDer, &'static str> {
    // Report the worst mistake: a private key in the file matters more than the number of blocks.
    let tags: Vec<String> = pem::parse_many(text).map_or_else(
        |_| Vec::new(),
        |blocks| blocks.iter().map(|block| block.tag().to_owned()).collect(),
    );
    let is_certificate =
        |tag: &String| matches!(tag.as_str(), "CERTIFICATE" | "TRUSTED CERTIFICATE" | "X509 CERTIFICATE");
    if tags.iter().any(|tag| tag.ends_with("PRIVATE KEY")) {
        return Err(
            "a private key: whoever verifies needs the public key alone, and this one has been in too many places",
        );
    }
    match tags.iter().filter(|tag| is_certificate(tag)).count() {
        0 => {}
        1 => return Err("a certificate, where a public key is expected (openssl x509 -pubkey -noout)"),
        _ => {
            return Err(
                "a chain of certificates, where a public key is expected (openssl x509 -pubkey -noout, of the first)",
            );
        }
    }
    let block = only_block(text)?;
    match block.tag() {
        "PUBLIC KEY" => Ok(PublicDer::Spki(block.into_contents())),
        "RSA PUBLIC KEY" => Ok(PublicDer::Pkcs1(block.into_contents())),
        _ => Err("not a `PUBLIC KEY` or `RSA PUBLIC KEY` block"),
    }
}

/// Returns the DER of the only PKCS #8 private key (RFC 5958) in `text`.
///
/// # Errors
/// The reason, for the person who chose the file.
pub fn private_key(text: &[u8]) -> Result<Vec<u8>, &'static str> {
    let block = only_block(text)?;
    match block.tag() {
        "PRIVATE KEY" => Ok(block.into_contents()),
        "ENCRYPTED PRIVATE KEY" => Err("an encrypted private key"),
        _ => Err("not a `PRIVATE KEY` block (PKCS #8)"),
    }
}

/// Returns the content of the only block in `text`, which must have this tag.
///
/// # Errors
/// The reason, for the person who chose the file.
pub fn block_with_tag(tag: &str, text: &[u8]) -> Result<Vec<u8>, &'static str> {
    let block = only_block(text)?;
    if block.tag() == tag {
        Ok(block.into_contents())
    } else {
        Err("a block of another kind")
    }
}

/// Returns the PEM text of one block.
pub fn write(tag: &str, der: &[u8]) -> String {
    let line_ending = pem::EncodeConfig::new().set_line_ending(pem::LineEnding::LF);
    pem::encode_config(&pem::Pem::new(tag, der), line_ending)
}

fn only_block(text: &[u8]) -> Result<pem::Pem, &'static str> {
    // Text around the block is allowed (RFC 7468 section 2). A truncated block is not: it may be a second key.
    let begins = text.windows(BEGIN.len()).filter(|window| *window == BEGIN).count();
    let mut blocks = pem::parse_many(text).map_err(|_| "not PEM")?;
    match (blocks.pop(), begins) {
        (Some(block), 1) if blocks.is_empty() => Ok(block),
        (None, _) | (_, 0) => Err("no PEM block in it"),
        _ => Err("more than one PEM block in it: one key per file"),
    }
}

const BEGIN: &[u8] = b"-----BEGIN ";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_is_taken_by_its_tag_and_refused_by_name() {
        let encrypted = write("ENCRYPTED PRIVATE KEY", b"der");
        assert_eq!(
            private_key(write("PRIVATE KEY", b"der").as_bytes()),
            Ok(b"der".to_vec())
        );
        assert_eq!(private_key(encrypted.as_bytes()), Err("an encrypted private key"));
        let other = Err("not a `PRIVATE KEY` block (PKCS #8)");
        assert_eq!(private_key(write("EC PRIVATE KEY", b"der").as_bytes()), other);
        let file = write("KEYGATE SIGNING KEY", b"der");
        assert_eq!(
            block_with_tag("KEYGATE SIGNING KEY", file.as_bytes()),
            Ok(b"der".to_vec())
        );
        let other = Err("a block of another kind");
        assert_eq!(block_with_tag("PRIVATE KEY", file.as_bytes()), other);
    }
}
