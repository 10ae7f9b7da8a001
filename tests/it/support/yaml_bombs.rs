//! YAML texts that are small, and large or deep for a careless reader (S149).

/// Returns texts that grow by aliases, nest too deeply, or are too long.
pub fn yaml_bombs() -> Vec<String> {
    let mut anchors = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..30 {
        let before = format!("*a{}, ", level - 1).repeat(9);
        anchors.push_str(&format!("a{level}: &a{level} [{before}]\n"));
    }
    let text = format!("a: &a {}\nb: [{}]\n", "x".repeat(10_000), "*a, ".repeat(100_000));
    vec![
        anchors,
        text,
        format!("a: {}", "[".repeat(10_000)),
        format!("a: {}{}", "{ a: ".repeat(10_000), "}".repeat(10_000)),
        (0..10_000)
            .map(|depth| format!("{:depth$}a:\n", ""))
            .collect::<String>()[..900_000]
            .to_owned(),
        "- ".repeat(10_000),
        "x".repeat(3 * 1024 * 1024),
    ]
}
