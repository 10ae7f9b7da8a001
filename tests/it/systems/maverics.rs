//! Maverics: API clients with keys that the server makes, and the document's own programs in three languages.

use std::path::Path;

#[test]
fn the_programs_are_the_documents_but_for_the_indentation_that_it_lost() {
    for (program, document) in [
        ("main.py", include_str!("../../data/maverics/main.py.txt")),
        ("main.ts", include_str!("../../data/maverics/main.ts.txt")),
        ("src/main.rs", include_str!("../../data/maverics/main.rs.txt")),
    ] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("tests/clients/maverics")
            .join(program);
        let program = std::fs::read_to_string(path).unwrap();
        let lines = |text: &'static str| text.lines().map(str::trim).collect::<Vec<_>>();
        let written: Vec<&str> = program.lines().map(str::trim).collect();
        assert_eq!(written, lines(document));
    }
}
