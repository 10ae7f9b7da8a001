-- With which pepper the digests of keys and client secrets are made: `sha256`, or `hmac-sha256:` and the pepper's fingerprint.
CREATE TABLE digest_scheme (
    one    INTEGER PRIMARY KEY CHECK (one = 1),
    scheme TEXT NOT NULL
) STRICT;
