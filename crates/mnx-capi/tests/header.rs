//! `include/mnx.h` is what cbindgen makes of the sources. `MNX_WRITE_HEADER=1` writes it anew.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

#[test]
fn the_header_is_that_of_the_sources() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let config = cbindgen::Config::from_file(root.join("cbindgen.toml")).unwrap();
    let mut builder = cbindgen::Builder::new().with_config(config);
    // In the order in which a reader needs them.
    let files = ["version", "status", "model", "options", "session", "picture", "classifier", "detector", "stopper"];
    for file in files {
        builder = builder.with_src(root.join(format!("src/{file}.rs")));
    }
    let mut made = Vec::new();
    builder.generate().unwrap().write(&mut made);
    let made = String::from_utf8(made).unwrap();
    let header = root.join("include/mnx.h");
    if std::env::var_os("MNX_WRITE_HEADER").is_some() {
        fs::write(&header, &made).unwrap();
    }
    let found = fs::read_to_string(&header).unwrap_or_default().replace("\r\n", "\n");
    assert!(
        found == made,
        "include/mnx.h is not that of the sources: MNX_WRITE_HEADER=1 cargo test -p mnx-capi --test header"
    );

    // No function of the sources is missing: a file that is not in the list above would be.
    let sources = fs::read_dir(root.join("src")).unwrap().map(|file| fs::read_to_string(file.unwrap().path()).unwrap());
    let names = |text: &str, before: &str| -> BTreeSet<String> {
        let after = text.split(before).skip(1);
        after.filter_map(|rest| rest.split_once('(')).map(|(name, _)| name.to_owned()).collect()
    };
    for source in sources {
        for function in names(&source, "extern \"C\" fn ") {
            let declared =
                made.lines().filter(|line| line.contains(&format!("{function}(")) && !line.starts_with(' ')).count();
            assert_eq!(declared, 1, "{function} in the header");
        }
    }
}
