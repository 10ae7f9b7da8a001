//! Whether now; gives `Admission`.
