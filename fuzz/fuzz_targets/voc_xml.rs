//! Reads arbitrary bytes as an annotation in VOC's form, as the command line does.
#![no_main]

#[allow(dead_code)]
#[path = "../../crates/mnx-infer/src/commands/eval/voc/annotation.rs"]
mod annotation;
#[allow(dead_code)]
#[path = "../../crates/mnx-infer/src/commands/eval/voc/kind.rs"]
mod kind;

include!("../src/command_line.rs");

use libfuzzer_sys::fuzz_target;
use mnx_fuzz::InMemory;

thread_local! {
    static FILE: InMemory = InMemory::new();
}

fuzz_target!(|bytes: &[u8]| FILE.with(|file| {
    file.set(bytes);
    let annotation = match annotation::Annotation::open(file.path()) {
        Ok(annotation) => annotation,
        Err(error) => return mnx_fuzz::assert_one_line(&error.to_string()),
    };
    let size = annotation.size.unwrap_or((500, 375));
    assert!(size.0 > 0 && size.1 > 0);
    annotation.broken.iter().for_each(|message| mnx_fuzz::assert_one_line(message));
    for object in &annotation.objects {
        assert!(object.corners.iter().chain(&object.edges()).all(|corner| !corner.is_nan()) && !object.name.is_empty());
        if let Some((_, message)) = object.oddity(size) {
            mnx_fuzz::assert_one_line(&message);
        }
    }
}));
