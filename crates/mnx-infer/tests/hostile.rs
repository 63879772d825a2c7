//! Files from strangers: small ones that ask for much, and names that are meant to deceive whoever reads them.
// They run the embedded networks.
#![cfg(all(feature = "embedded-model", feature = "embedded-bccd"))]

mod common;

use common::*;

/// A GIF of a few bytes: a screen of any size, on which one pixel is drawn.
fn gif(width: u16, height: u16) -> Vec<u8> {
    let mut file = b"GIF89a".to_vec();
    file.extend(width.to_le_bytes());
    file.extend(height.to_le_bytes());
    file.extend(b"\x80\0\0\0\0\0\xFF\xFF\xFF,\0\0\0\0\x01\0\x01\0\0\x02\x02\x44\x01\0;");
    file
}

/// A bitmap header without pixels.
fn bmp(width: u32, height: u32) -> Vec<u8> {
    let mut file = b"BM\0\0\0\0\0\0\0\0\x36\0\0\0\x28\0\0\0".to_vec();
    file.extend(width.to_le_bytes());
    file.extend(height.to_le_bytes());
    file.extend(b"\x01\0\x18\0");
    file.resize(54, 0);
    file
}

/// A lossy WebP without pixels.
fn webp(width: u16, height: u16) -> Vec<u8> {
    let mut file = b"RIFF\x2A\0\0\0WEBPVP8 \x1E\0\0\0\x10\x02\0\x9D\x01\x2A".to_vec();
    file.extend(width.to_le_bytes());
    file.extend(height.to_le_bytes());
    file.resize(50, 0);
    file
}

#[test]
fn pictures_that_claim_much_are_refused_by_their_headers() {
    let folder = Folder::new();
    for (name, content) in [
        ("a.gif", gif(14_000, 14_000)),
        ("a.bmp", bmp(14_142, 14_142)),
        ("a.webp", webp(16_383, 16_383)),
        ("a.ppm", b"P6 14142 14142 255\n".to_vec()),
    ] {
        let path = folder.file(name, content);
        let line = fail(1, args!["classify", path]);
        assert!(line.contains("at most 268435456 bytes to decode") && line.contains("--max-pixels"), "{line}");
        let line = fail(1, args!["classify", "--max-pixels", "1000000", path]);
        assert!(line.contains("at most 1000000 pixels") && line.contains("--max-pixels"), "{line}");
    }
    fail(2, args!["classify", "--max-pixels", "0", "a.png"]);
    let small = folder.file("small.gif", gif(300, 200));
    succeed(args!["classify", "--max-pixels", "60000", small]);
    let line = fail(1, args!["detect", "--max-pixels", "59999", small]);
    assert!(line.contains("at most 59999 pixels, found 300 x 200"), "{line}");
}

/// All threads together decode one large picture at a time, and none of them is forgotten.
#[test]
fn many_large_pictures_take_turns() {
    let folder = Folder::new();
    let pictures = folder.path("pictures");
    std::fs::create_dir(&pictures).unwrap();
    for number in 0..6 {
        std::fs::write(pictures.join(format!("{number}.gif")), gif(9000, 6000)).unwrap();
    }
    let answers = json(args!["classify", "--threads", "4", "--format", "json", pictures]);
    assert_eq!(answers.as_array().unwrap().len(), 6);
}

/// 64 MB of address space more than the program has anyway.
#[cfg(target_os = "linux")]
#[test]
fn small_files_need_little_memory_or_say_so() {
    use std::process::{Command, Stdio};
    let folder = Folder::new();
    let mut idle = program().args(["classify", "-"]).stdin(Stdio::piped()).spawn().unwrap();
    std::thread::sleep(std::time::Duration::from_millis(300));
    let status = std::fs::read_to_string(format!("/proc/{}/status", idle.id())).unwrap();
    let size = status.lines().find_map(|line| line.strip_prefix("VmPeak:")).expect("a size in kB");
    let size: u64 = size.trim().trim_end_matches(" kB").parse().unwrap();
    drop(idle.stdin.take());
    idle.wait().unwrap();
    let checkpoint = |names: usize| {
        let tensors: Vec<_> = (0..names)
            .map(|i| format!("\"t{i}\":{{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[0,0]}}"))
            .collect();
        let header = format!("{{{}}}", tensors.join(","));
        [&(header.len() as u64).to_le_bytes()[..], header.as_bytes()].concat()
    };
    let table = |channels: u32, repeats: u32, resolution: u32| {
        format!(
            "{{\"stem\":{{\"channels\":8,\"stride\":1}},\"resolution\":{resolution},\"stages\":[{{\"block\":\"sandglass\",\
             \"ratio\":1,\"channels\":{channels},\"repeats\":{repeats},\"stride\":1}}]}}"
        )
    };
    let files: [(&str, &str, Vec<u8>); 11] = [
        ("classify", "a.gif", gif(9000, 9000)),
        ("classify", "b.gif", gif(65_535, 65_535)),
        ("classify", "a.bmp", bmp(9000, 9000)),
        ("classify", "a.webp", webp(7000, 7000)),
        ("classify", "a.ppm", b"P6 9000 9000 255\n".to_vec()),
        ("classify", "a.pbm", b"P1 9000 9000\n0 1 0".to_vec()),
        ("convert", "a.safetensors", checkpoint(10)),
        ("init", "wide.json", table(65_536, 1, 8).into()),
        ("init", "long.json", table(8, 4_000_000_000, 8).into()),
        ("init", "broad.json", table(7_000, 2, 8).into()),
        ("init", "huge.json", table(8, 1, 65_535).into()),
    ];
    for (command, name, content) in files {
        assert!(content.len() < 1024);
        let (path, output) = (folder.file(name, content), folder.path("w.mnx"));
        let args = match command {
            "init" => args!["init", "--seed", "1", "--output", output, "--arch", path].to_vec(),
            "convert" => args!["convert", "--output", output, "--input", path].to_vec(),
            _ => args![command, path].to_vec(),
        };
        let mut shell = Command::new("sh");
        shell.args(["-c", &format!("ulimit -v {}\nexec \"$@\"", size + 65_536), "sh", env!("CARGO_BIN_EXE_mnx-infer")]);
        let began = std::time::Instant::now();
        let ran = shell.args(args).output().unwrap();
        let line = text(&ran.stderr);
        assert_eq!(ran.status.code(), Some(1), "{name}: {:?} {line}", ran.status);
        assert!(line.starts_with("error: ") && line.lines().count() == 1, "{name}: {line}");
        assert!(began.elapsed().as_secs() < 20, "{name}: {:?}", began.elapsed());
        assert!(!output.exists());
        std::fs::remove_file(path).unwrap();
    }
    assert!(folder.names().is_empty());
}

#[test]
fn a_value_forges_no_line() {
    let folder = Folder::new();
    let block = "x\\nerror: ok: everything is fine\\u202e";
    let table = format!("{{\"stem\":{{\"channels\":1,\"stride\":1}},\"stages\":[{{\"block\":\"{block}\"}}]}}");
    let table = folder.file("net.json", table);
    let line = fail(1, args!["init", "--arch", table, "--seed", "1", "--output", folder.path("w.mnx")]);
    assert!(line.contains("x\\nerror: ok") && line.contains("fine\\u{202e}"), "{line}");

    let name = "features.0.0.weight\\nerror: ok\\u202e\\u2066";
    let header = format!("{{\"{name}\":{{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[0,0]}}}}");
    let checkpoint =
        folder.file("c.safetensors", [&(header.len() as u64).to_le_bytes()[..], header.as_bytes()].concat());
    let output = folder.path("w.mnx");
    let arch = args!["convert", "--arch", "mobilenext", "--input", checkpoint, "--output", output];
    let said = fail_with_list(1, arch);
    // Only the first line begins as one of the program's.
    assert!(said.lines().skip(1).all(|line| line.starts_with("  ")) && said.contains("weight\\nerror: ok"), "{said}");
    assert!(!said.contains(['\u{202e}', '\u{2066}']));
}

#[test]
fn lines_are_short_whatever_a_file_holds() {
    let folder = Folder::new();
    let name = "x".repeat(300_000);
    let table = folder.file("net.json", format!("{{\"stem\":{{\"{name}\":1}}}}"));
    let line = fail(1, args!["init", "--arch", table, "--seed", "1", "--output", folder.path("w.mnx")]);
    assert!(line.chars().count() <= 510 && line.contains('…'), "{} characters", line.len());
    let header = format!("{{\"{name}\":{{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[0,0]}}}}");
    let checkpoint =
        folder.file("c.safetensors", [&(header.len() as u64).to_le_bytes()[..], header.as_bytes()].concat());
    for arch in ["auto", "mobilenext"] {
        let output = folder.path("w.mnx");
        let said = fail_with_list(1, args!["convert", "--arch", arch, "--input", checkpoint, "--output", output]);
        assert!(said.lines().all(|line| line.chars().count() <= 510), "{arch}: {} bytes", said.len());
    }
}

#[test]
fn labels_and_names_deceive_nobody() {
    let folder = Folder::new();
    let labels: Vec<String> = (0..10).map(|i| format!("cat{i}\u{202e}gnp.\u{2066}\u{200f}")).collect();
    let list = folder.file("labels.txt", labels.join("\n"));
    let weights = folder.path("w.mnx");
    let checkpoint = model_file("mobilenext_0.35_cifar10.safetensors");
    let arch =
        args!["convert", "--arch", "mobilenext-cifar", "--width", "0.35", "--labels", list, "--input", checkpoint];
    assert!(run([&arch[..], &args!["--output", weights]].concat()).status.success());
    let picture = folder.path("a\u{202e}gpj.png");
    std::fs::copy(testdata("pictures/chelsea.png"), &picture).unwrap();
    let hidden = |text: &str| text.contains(['\u{202e}', '\u{2066}', '\u{200f}']);
    for format in ["text", "json"] {
        for args in [
            args!["classify", "--weights", weights, "--format", format, picture].to_vec(),
            args!["inspect", "--weights", weights, "--format", format].to_vec(),
        ] {
            let said = succeed(&args);
            assert!(!hidden(&said) && said.contains("202e"), "{args:?}: {said}");
        }
    }
    let answers = json(args!["classify", "--weights", weights, "--format", "json", picture]);
    let label = answers[0]["top"][0]["label"].as_str().unwrap();
    assert!(labels.iter().any(|known| known == label), "{label:?}");
    assert_eq!(answers[0]["file"], picture.to_str().unwrap());
    let absent = run(args!["classify", folder.path("\u{202e}absent\n")]);
    assert!(!hidden(&text(&absent.stderr)) && text(&absent.stderr).lines().count() == 1);
}

/// The work that these start is known before it is begun.
#[test]
fn more_tensors_than_any_network_has_are_refused() {
    let folder = Folder::new();
    let tensors: Vec<_> =
        (0..30_000).map(|i| format!("\"t{i}\":{{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[0,0]}}")).collect();
    let header = format!("{{{}}}", tensors.join(","));
    let checkpoint =
        folder.file("c.safetensors", [&(header.len() as u64).to_le_bytes()[..], header.as_bytes()].concat());
    for arch in ["auto", "mobilenext"] {
        let output = folder.path("w.mnx");
        let line = fail(1, args!["convert", "--arch", arch, "--input", checkpoint, "--output", output]);
        assert!(line.contains("tensors of a checkpoint: expected at most 20000, found 30000"), "{line}");
    }
}
