-- The requests that limits of a day and longer have counted, written as a whole now and then. The keys of buckets are
-- hashes with `hash_key`, so no name of a principal is here.
CREATE TABLE limit_counts (
    name     TEXT PRIMARY KEY NOT NULL,
    hash_key BLOB NOT NULL,
    buckets  BLOB NOT NULL
) STRICT;
