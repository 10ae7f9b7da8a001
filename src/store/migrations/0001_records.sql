-- One table for each kind of record: the columns that are searched, and the record as a JSON document. Instants are
-- milliseconds since 1970. This file is never edited once it was released; what changes comes in the next one.

-- "KGAT": says whose database this is (SQLite file format, section 1.3.17).
PRAGMA application_id = 1262960980;

CREATE TABLE organization (
    id       TEXT PRIMARY KEY NOT NULL,
    revision INTEGER NOT NULL,
    document TEXT NOT NULL
) STRICT;

CREATE TABLE subscription (
    id           TEXT PRIMARY KEY NOT NULL,
    revision     INTEGER NOT NULL,
    organization TEXT NOT NULL REFERENCES organization (id),
    document     TEXT NOT NULL,
    UNIQUE (organization, id)
) STRICT;

-- What names a subscription names its organization as well: no key of one under the subscription of another.
CREATE TABLE api_key (
    id           TEXT PRIMARY KEY NOT NULL,
    revision     INTEGER NOT NULL,
    organization TEXT NOT NULL,
    subscription TEXT NOT NULL,
    -- Beside the document, because it is written late and changes nothing.
    last_used_at INTEGER,
    document     TEXT NOT NULL,
    FOREIGN KEY (organization, subscription) REFERENCES subscription (organization, id)
) STRICT;
CREATE INDEX api_key_by_organization ON api_key (organization, id);
CREATE INDEX api_key_by_subscription ON api_key (subscription, id);

CREATE TABLE client (
    id           TEXT PRIMARY KEY NOT NULL,
    revision     INTEGER NOT NULL,
    organization TEXT NOT NULL,
    subscription TEXT NOT NULL,
    document     TEXT NOT NULL,
    FOREIGN KEY (organization, subscription) REFERENCES subscription (organization, id)
) STRICT;
CREATE INDEX client_by_organization ON client (organization, id);
CREATE INDEX client_by_subscription ON client (subscription, id);

CREATE TABLE opaque_token (
    digest     TEXT PRIMARY KEY NOT NULL,
    client     TEXT NOT NULL REFERENCES client (id),
    expires_at INTEGER NOT NULL,
    document   TEXT NOT NULL
) STRICT;
CREATE INDEX opaque_token_by_end ON opaque_token (expires_at);

CREATE TABLE revoked_token (
    id         TEXT PRIMARY KEY NOT NULL,
    expires_at INTEGER NOT NULL
) STRICT;
CREATE INDEX revoked_token_by_end ON revoked_token (expires_at);

-- Assertions that were used (RFC 7523 section 3).
CREATE TABLE assertion_mark (
    client     TEXT NOT NULL,
    id         TEXT NOT NULL,
    expires_at INTEGER NOT NULL,
    PRIMARY KEY (client, id)
) STRICT, WITHOUT ROWID;
CREATE INDEX assertion_mark_by_end ON assertion_mark (expires_at);

CREATE TABLE idempotent_answer (
    key     TEXT PRIMARY KEY NOT NULL,
    request TEXT NOT NULL,
    status  INTEGER NOT NULL,
    body    TEXT NOT NULL,
    at      INTEGER NOT NULL
) STRICT;
CREATE INDEX idempotent_answer_by_time ON idempotent_answer (at);

CREATE TABLE audit_event (
    sequence      INTEGER PRIMARY KEY NOT NULL,
    at            INTEGER NOT NULL,
    actor         TEXT NOT NULL,
    origin        TEXT,
    action        TEXT NOT NULL,
    target        TEXT NOT NULL,
    organization  TEXT,
    details       TEXT NOT NULL,
    previous_hash TEXT NOT NULL,
    hash          TEXT NOT NULL
) STRICT;
CREATE INDEX audit_event_by_organization ON audit_event (organization, sequence);
CREATE INDEX audit_event_by_target ON audit_event (target, sequence);
CREATE INDEX audit_event_by_actor ON audit_event (actor, sequence);

-- How many events there are and the hash of the last: removing the last ones leaves this behind.
CREATE TABLE audit_head (
    one    INTEGER PRIMARY KEY NOT NULL CHECK (one = 1),
    events INTEGER NOT NULL,
    hash   TEXT NOT NULL
) STRICT;
INSERT INTO audit_head (one, events, hash)
VALUES (1, 0, '0000000000000000000000000000000000000000000000000000000000000000');
