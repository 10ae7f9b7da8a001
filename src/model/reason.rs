//! Which words does an error give as its reason? One table per error maps each variant to its word and yields the list.

/// Implements `reason()` and `REASONS` for an error, from one table. A variant without a row is
/// a compile error, and `REASONS` contains exactly the words of the rows.
///
/// After `of` stand the variants that wrap an error with a table of its own.
///
/// ```text
/// reasons! {
///     AcceptError {
///         Self::QueryByte => "query_byte",
///         Self::HostMissing => "host_missing",
///     }
///     of { Path(PathError) }
/// }
/// ```
macro_rules! reasons {
    (
        $error:ty { $($kind:pat => $reason:expr,)* }
        $(of { $($variant:ident($inner:ty)),+ $(,)? })?
    ) => {
        impl $error {
            /// Every word that [`Self::reason`] returns. A word that two errors share appears twice.
            pub const REASONS: &'static [&'static str] = {
                const PARTS: &[&[&str]] = &[&[$($reason),*], $($(<$inner>::REASONS),+)?];
                &$crate::model::reason::concat_words::<{ $crate::model::reason::word_count(PARTS) }>(PARTS)
            };

            /// Returns the word for this error in metrics, access records and
            /// the refusal table; always in [`Self::REASONS`].
            pub const fn reason(&self) -> &'static str {
                match self {
                    $($kind => $reason,)*
                    $($(Self::$variant(inner) => inner.reason(),)+)?
                }
            }
        }
    };
}
pub(crate) use reasons;

/// Returns the number of words in all `parts`.
pub(crate) const fn word_count(parts: &[&[&'static str]]) -> usize {
    let (mut words, mut part) = (0, 0);
    while part < parts.len() {
        words += parts[part].len();
        part += 1;
    }
    words
}

/// Returns the words of all `parts`, in order. `N` must be [`word_count`] of the same parts.
pub(crate) const fn concat_words<const N: usize>(parts: &[&[&'static str]]) -> [&'static str; N] {
    let mut words = [""; N];
    let (mut filled, mut part) = (0, 0);
    while part < parts.len() {
        let mut word = 0;
        while word < parts[part].len() {
            words[filled] = parts[part][word];
            filled += 1;
            word += 1;
        }
        part += 1;
    }
    words
}

#[cfg(test)]
mod tests {
    enum Inner {
        Early,
        Late,
    }

    reasons! {
        Inner {
            Self::Early => "early",
            Self::Late => "late",
        }
    }

    enum Outer {
        Held(Inner),
        First,
        Second { secs: u64 },
    }

    reasons! {
        Outer {
            Self::First | Self::Second { secs: 0 } => "first",
            Self::Second { .. } => "second",
        }
        of { Held(Inner) }
    }

    #[test]
    fn each_row_is_a_word_of_the_list_and_held_errors_add_theirs() {
        assert_eq!(Inner::REASONS, ["early", "late"]);
        assert_eq!(Outer::REASONS, ["first", "second", "early", "late"]);
        for (error, reason) in [
            (Outer::First, "first"),
            (Outer::Second { secs: 0 }, "first"),
            (Outer::Second { secs: 1 }, "second"),
            (Outer::Held(Inner::Early), "early"),
            (Outer::Held(Inner::Late), "late"),
        ] {
            assert_eq!(error.reason(), reason);
        }
    }
}
