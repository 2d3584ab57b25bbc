//! The README shows a program of `examples`, and errors as the compiler prints them.

const README: &str = include_str!("../README.md");

/// The blocks of the README in this language.
fn blocks(language: &str) -> impl Iterator<Item = &'static str> {
    let fence = format!("```{language}\n");
    let starts: Vec<usize> = README.match_indices(&fence).map(|(at, _)| at + fence.len()).collect();
    starts.into_iter().map(|start| README[start..].split("```").next().expect("the end of a block"))
}

#[test]
fn the_readme_shows_lines_of_the_quick_start() {
    let mut program = include_str!("../examples/quickstart.rs").lines().map(str::trim);
    let shown = blocks("rust").next().expect("a block of Rust");
    for line in shown.lines().map(str::trim).filter(|line| !line.is_empty()) {
        assert!(program.any(|other| other == line), "examples/quickstart.rs does not go on with: {line}");
    }
}

#[test]
fn the_readme_shows_errors_as_printed() {
    let printed = [
        include_str!("ui/query/unrouted_select.stderr"),
        include_str!("ui/session/add_without_parent.stderr"),
        include_str!("ui/key_enum/unmapped_variant.stderr"),
    ];
    let shown: Vec<&str> = blocks("text").map(str::trim_end).collect();
    assert_eq!(shown.len(), printed.len());
    for (shown, printed) in shown.iter().zip(printed) {
        assert!(printed.starts_with(shown), "shown:\n{shown}\nprinted:\n{printed}");
        let last = shown.lines().last().expect("a line");
        assert!(
            *shown == printed.trim_end() || last.contains("= note: "),
            "the remedy is not shown:\n{shown}"
        );
    }
}
