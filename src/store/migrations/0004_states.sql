-- Keys may be disabled and organizations deleted: `state` in their documents. An earlier version does not read that member, and
-- would accept such a key; it refuses this database, as it does for every migration that it does not know.
PRAGMA user_version = 4;
