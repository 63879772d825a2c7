//! Weight files that are missing, foreign, newer, cut off or damaged.

mod common;

use common::*;

#[test]
fn every_bad_weight_file_is_one_line_and_leaves_nothing() {
    let folder = Folder::new();
    let whole = std::fs::read(weights()).unwrap();
    let with = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = whole.clone();
        change(&mut bytes);
        bytes
    };
    let middle = whole.len() / 2;
    let mut int8 = std::fs::read(testdata("../fuzz/seeds/open_model/small-int8.mnx")).unwrap();
    // The last tensor is the classifier's.
    let last = int8.len() - 65;
    int8[last] ^= 1;
    let cases = [
        ("empty.mnx", vec![], ""),
        ("foreign.mnx", b"GIF89a and more than a few bytes of something else".to_vec(), "MNXW"),
        ("newer.mnx", with(&|b| b[4] = 9), "understands, 1 or 2, found version 9"),
        ("int8.mnx", int8, "CRC-32 of classifier"),
        ("short.mnx", whole[..20].to_vec(), "truncated"),
        ("header.mnx", whole[..100].to_vec(), "truncated"),
        ("cut.mnx", whole[..middle].to_vec(), "truncated"),
        ("less.mnx", whole[..whole.len() - 1].to_vec(), "truncated"),
        ("more.mnx", with(&|b| b.push(0)), "end after"),
        ("flipped-header.mnx", with(&|b| b[60] ^= 1), "CRC-32 of header"),
        ("flipped-weight.mnx", with(&|b| b[middle] ^= 1), "CRC-32 of"),
        ("long-header.mnx", with(&|b| b[8..16].fill(0x7f)), "header"),
    ];
    let picture = testdata("pictures/chelsea.png");
    let input = testdata("golden/w0.1-c10/cifar-32x32/input.npy");
    for (name, bytes, reason) in cases {
        let path = folder.file(name, bytes);
        let line = fail(1, args!["classify", "--weights", path, picture]);
        assert!(line.contains(path.to_str().unwrap()) && line.contains(reason), "{line}");
        let output = folder.path("y.npy");
        assert_eq!(line, fail(1, args!["run", "--weights", path, "--input", input, "--output", output]));
        assert_eq!(line, fail(1, args!["bench", "--weights", path]));
        std::fs::remove_file(path).unwrap();
    }
    for path in [folder.path("absent.mnx"), folder.path("")] {
        let line = fail(1, args!["classify", "--weights", path, picture]);
        assert!(line.contains(path.to_str().unwrap()), "{line}");
    }
    assert!(folder.names().is_empty());
}
