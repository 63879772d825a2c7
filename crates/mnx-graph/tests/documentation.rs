//! Examples speak to users of the facade, on whose pages they are.

#![cfg(not(target_family = "wasm"))]

use std::fs;
use std::path::Path;

/// Hidden lines begin with `#`; they make the facade's name one of this crate.
#[test]
fn examples_name_the_facade() {
    let mut wrong = Vec::new();
    in_folder(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/src")), &mut wrong);
    assert!(wrong.is_empty(), "expected `mnx::…` in examples, found:\n{}", wrong.join("\n"));
}

fn in_folder(folder: &Path, wrong: &mut Vec<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            in_folder(&path, wrong);
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        let mut example = false;
        for (number, line) in (1..).zip(text.lines()) {
            let Some(line) = line.trim_start().strip_prefix("//").and_then(|line| line.strip_prefix(['/', '!'])) else {
                continue;
            };
            let line = line.trim_start();
            example ^= line.starts_with("```");
            let shown = example && !line.starts_with('#');
            if shown && ["mnx_graph::", "mnx_conv::", "mnx_tensor::"].iter().any(|name| line.contains(name)) {
                wrong.push(format!("{}:{number}: {line}", path.display()));
            }
        }
    }
}
