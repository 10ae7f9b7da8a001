//! Which one credential the request carries; gives `Credential`.
