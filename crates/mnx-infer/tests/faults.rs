//! What the system can do to the program: signals, full disks, closed files, too little memory. It ends with an exit code and
//! a line, or by the signal, and leaves nothing half-written.
// They run the embedded networks.
#![cfg(all(unix, feature = "embedded-model", feature = "embedded-bccd"))]

mod common;

use std::ffi::OsString;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use common::*;

/// The program under limits of the shell's `ulimit`, or with redirections.
fn under(setup: &str, redirections: &str, args: &[OsString]) -> Output {
    let mut shell = Command::new("sh");
    shell.arg("-c").arg(format!("{setup}\nexec \"$@\" {redirections}")).arg("sh");
    shell.arg(env!("CARGO_BIN_EXE_mnx-infer")).args(args).stdin(Stdio::null());
    shell.output().expect("there is a shell")
}

/// The line of a run that must fail with exit code 1.
fn one_line(output: &Output) -> String {
    let line = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{:?}: {line}", output.status);
    assert!(line.starts_with("error: ") && line.lines().count() == 1, "{line}");
    line
}

/// The program with the signals that it has at a terminal: who starts tests in the background may have some ignored.
fn listening() -> Command {
    let mut command = program();
    let listen = || {
        for signal in [libc::SIGHUP, libc::SIGINT, libc::SIGTERM] {
            // SAFETY: this may be called between fork and exec, and nobody else looks at the signal.
            unsafe { libc::signal(signal, libc::SIG_DFL) };
        }
        Ok(())
    };
    // SAFETY: it neither allocates nor takes a lock.
    unsafe { command.pre_exec(listen) };
    command
}

fn temporaries(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned());
    names.filter(|name| name.starts_with(".mnx-")).collect()
}

fn init(arch: &str, output: &Path) -> Vec<OsString> {
    args!["init", "--arch", arch, "--seed", "1", "--output", output].to_vec()
}

/// Waits for something that comes in time or never.
fn wait_for(mut there: impl FnMut() -> bool) {
    let start = Instant::now();
    while !there() {
        assert!(start.elapsed() < Duration::from_secs(60), "it never came");
        sleep(Duration::from_millis(2));
    }
}

fn send(child: &Child, signal: &str) {
    let sent = Command::new("kill").args([format!("-{signal}"), child.id().to_string()]).status();
    assert!(sent.expect("there is `kill`").success());
}

/// A folder with so many names of one picture.
fn many_pictures(folder: &Path, count: usize) {
    std::fs::create_dir_all(folder).unwrap();
    let picture = testdata("pictures/chelsea.png");
    let first = folder.join("0.png");
    std::fs::copy(picture, &first).unwrap();
    for number in 1..count {
        std::fs::hard_link(&first, folder.join(format!("{number}.png"))).unwrap();
    }
}

/// A data set in VOC's form with so many names of one picture.
fn many_annotated(folder: &Path, count: usize) {
    let lists = folder.join("ImageSets/Main");
    std::fs::create_dir_all(&lists).unwrap();
    for (kind, suffix) in [("Annotations", "xml"), ("JPEGImages", "jpg")] {
        std::fs::create_dir(folder.join(kind)).unwrap();
        let one = testdata("bccd").join(kind).join(format!("BloodImage_00031.{suffix}"));
        for number in 0..count {
            std::fs::copy(&one, folder.join(kind).join(format!("{number}.{suffix}"))).unwrap();
        }
    }
    let names: String = (0..count).map(|number| format!("{number}\n")).collect();
    std::fs::write(lists.join("test.txt"), names).unwrap();
}

/// Commands that write a file and take long.
fn long_commands(folder: &Folder) -> Vec<Vec<OsString>> {
    let output = folder.path("output.mnx");
    many_pictures(&folder.path("pictures"), 400);
    let voc = folder.path("pictures/voc");
    many_annotated(&voc, 400);
    vec![
        args![
            "quantize",
            "--calibrate",
            folder.path("pictures"),
            "--output",
            output,
            "--threads",
            "1",
            "--isa",
            "scalar"
        ]
        .to_vec(),
        args!["bench", "--iterations", "1000000", "--threads", "1", "--plot", folder.path("plot.svg")].to_vec(),
        args!["eval", "--voc", voc, "--isa", "scalar", "--threads", "1", "--plot", folder.path("plot.svg")].to_vec(),
    ]
}

#[test]
fn signals_leave_no_temporary_file() {
    let folder = Folder::new();
    let home = folder.path("");
    let commands = long_commands(&folder);
    for (args, (signal, number)) in commands.iter().zip([("TERM", 15), ("INT", 2), ("HUP", 1)]) {
        let mut child = listening().args(args).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        wait_for(|| !temporaries(&home).is_empty() || child.try_wait().unwrap().is_some());
        send(&child, signal);
        wait_for(|| child.try_wait().unwrap().is_some());
        let status = child.wait().unwrap();
        assert_eq!(status.signal(), Some(number), "{args:?}: {status:?}");
        assert_eq!(folder.names(), ["pictures"], "{args:?}");
    }
}

/// These are over soon: whenever the signal comes, the file is whole or there is none.
#[test]
fn signals_at_any_time_leave_all_or_nothing() {
    let checkpoint = model_file("mobilenext_0.35_cifar10.safetensors");
    let folder = Folder::new();
    let convert = |output: &Path| {
        let network = args!["--arch", "mobilenext-cifar", "--width", "0.35"];
        [&args!["convert", "--input", checkpoint, "--output", output][..], &network].concat()
    };
    let whole = folder.path("whole.mnx");
    let started = Instant::now();
    assert!(run(convert(&whole)).status.success());
    let took = started.elapsed();
    let whole = std::fs::read(whole).unwrap();
    for step in 0..20 {
        let output = folder.path("w.mnx");
        let mut child = listening().args(convert(&output)).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        sleep(took * step / 18);
        if child.try_wait().unwrap().is_none() {
            send(&child, if step % 2 == 0 { "TERM" } else { "INT" });
        }
        child.wait().unwrap();
        if let Ok(found) = std::fs::read(&output) {
            assert!(found == whole, "half a file");
            std::fs::remove_file(&output).unwrap();
        }
        assert_eq!(folder.names(), ["whole.mnx"]);
    }
}

#[test]
fn what_was_told_to_ignore_hangups_goes_on() {
    let folder = Folder::new();
    many_pictures(&folder.path("pictures"), 60);
    let output = folder.path("q.mnx");
    let quantize = args![
        "quantize",
        "--calibrate",
        folder.path("pictures"),
        "--output",
        output,
        "--threads",
        "1",
        "--isa",
        "scalar"
    ];
    let mut shell = Command::new("sh");
    shell.args(["-c", "trap '' HUP; exec \"$@\"", "sh", env!("CARGO_BIN_EXE_mnx-infer")]).args(&quantize);
    let mut child = shell.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    wait_for(|| !temporaries(&folder.path("")).is_empty() || child.try_wait().unwrap().is_some());
    send(&child, "HUP");
    assert!(child.wait().unwrap().success());
    assert_eq!(folder.names(), ["pictures", "q.mnx"]);
}

#[test]
fn a_file_that_may_not_grow_is_an_error() {
    let folder = Folder::new();
    let input = testdata("golden/w0.1-c10/cifar-32x32/input.npy");
    let (output, blocks) = (folder.path("y.npy"), folder.path("blocks"));
    let dump =
        args!["run", "--weights", weights(), "--input", input, "--output", output, "--dump-blocks", blocks].to_vec();
    for args in [init("mobilenext-cifar", &folder.path("w.mnx")), dump] {
        let line = one_line(&under("ulimit -f 2", "", &args));
        assert!(line.contains("cannot be written: File too large"), "{line}");
        assert!(temporaries(&folder.path("")).is_empty());
        assert!(!blocks.exists() || std::fs::read_dir(&blocks).unwrap().next().is_none());
        assert!(!output.exists() && !folder.path("w.mnx").exists());
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_an_error() {
    let full = Path::new("/dev/full");
    assert!(one_line(&run(init("mobilenext-cifar", full))).contains("No space left on device"));
    let folder = Folder::new();
    // A small file system that only this process sees.
    let mount = format!("mount -t tmpfs -o size=64k tmpfs '{}' || exit 99", folder.path("").display());
    let mut shell = Command::new("unshare");
    shell.args([
        "-rm",
        "sh",
        "-c",
        &format!("{mount}\n\"$@\"; code=$?; ls -A '{}'; exit $code", folder.path("").display()),
    ]);
    shell.args(["sh", env!("CARGO_BIN_EXE_mnx-infer")]).args(init("mobilenext-cifar", &folder.path("w.mnx")));
    match shell.output() {
        Ok(output) if output.status.code() == Some(1) && text(&output.stderr).starts_with("error: ") => {
            assert!(one_line(&output).contains("No space left on device"));
            assert_eq!(text(&output.stdout), "");
        }
        other => println!("SKIPPED a full file system: it cannot be made here: {other:?}"),
    }
}

#[test]
fn a_folder_that_may_not_be_written_is_an_error() {
    use std::os::unix::fs::PermissionsExt;
    let folder = Folder::new();
    let closed = folder.path("closed");
    std::fs::create_dir(&closed).unwrap();
    std::fs::set_permissions(&closed, std::fs::Permissions::from_mode(0o555)).unwrap();
    if std::fs::write(closed.join("mine"), "").is_ok() {
        println!("SKIPPED a read-only folder: this user may write everywhere");
        return;
    }
    let line = one_line(&run(init("mobilenext-cifar", &closed.join("w.mnx"))));
    assert!(line.contains("cannot be written: Permission denied"), "{line}");
}

#[test]
fn a_standard_output_that_is_not_there_is_an_error() {
    let folder = Folder::new();
    let picture = testdata("pictures/chelsea.png");
    let commands = [
        args!["--help"].to_vec(),
        args!["--version"].to_vec(),
        args!["classify", "--help"].to_vec(),
        args!["classify", picture].to_vec(),
        args!["classify", "--format", "json", picture].to_vec(),
        args!["inspect", "--kernels"].to_vec(),
        args!["completions", "bash"].to_vec(),
        init("mobilenext-cifar", &folder.path("w.mnx")),
    ];
    for args in &commands {
        if cfg!(not(target_vendor = "apple")) {
            let line = one_line(&under("", ">&-", args));
            assert_eq!(line, "error: standard output: expected one, found it closed\n", "{args:?}");
        }
        assert!(folder.names().is_empty());
    }
    #[cfg(target_os = "linux")]
    for args in &commands {
        let line = one_line(&under("", ">/dev/full", args));
        assert!(line.contains("standard output: No space left on device"), "{args:?}: {line}");
    }
    // Nobody can be told then, but the code stays.
    assert_eq!(under("", "2>&- >/dev/null", &args!["classify", folder.path("absent.png")]).status.code(), Some(1));
    // The picture on standard input is missing.
    let output = under("", "<&-", &args!["classify", "-"]);
    assert!(one_line(&output).contains("-: expected a PNG"), "{}", text(&output.stderr));
}

#[test]
fn few_descriptors_are_enough_for_many_blocks() {
    let folder = Folder::new();
    let input = testdata("golden/w0.1-c10/cifar-32x32/input.npy");
    let (output, blocks) = (folder.path("y.npy"), folder.path("blocks"));
    let dump =
        args!["run", "--weights", weights(), "--input", input, "--output", output, "--dump-blocks", blocks].to_vec();
    let ran = under("ulimit -n 12", "", &dump);
    assert!(ran.status.success(), "{}", text(&ran.stderr));
    assert_eq!(std::fs::read_dir(&blocks).unwrap().count(), 21);
    let line = one_line(&under("ulimit -n 4", "", &init("mobilenext-cifar", &folder.path("w.mnx"))));
    assert!(line.contains("w.mnx: cannot be written: Too many open files"), "{line}");
    assert_eq!(folder.names(), ["blocks", "y.npy"]);
}

/// Each thread takes address space for its stack.
#[cfg(target_os = "linux")]
#[test]
fn too_many_threads_are_an_error() {
    let folder = Folder::new();
    many_pictures(&folder.path("pictures"), 600);
    for args in [
        args!["classify", "--threads", "600", folder.path("pictures")].to_vec(),
        args!["classify", "--threads", "600", testdata("pictures/chelsea.png")].to_vec(),
    ] {
        let output = under("ulimit -v 700000", "", &args);
        let line = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{:?} {line}", output.status);
        let named = line.lines().all(|line| line.starts_with("error: "));
        assert!(named && line.lines().count() == 1, "{}", &line[..line.len().min(600)]);
    }
}

/// Where the next thread of a measurement does not fit, the others do not wait for it.
#[cfg(target_os = "linux")]
#[test]
fn a_measurement_without_all_its_threads_is_an_error() {
    let folder = Folder::new();
    let weights = folder.path("w.mnx");
    succeed(init("mobilenext-cifar", &weights));
    let args = args!["bench", "--weights", weights, "--iterations", "1", "--warmup", "0"].to_vec();
    for kib in (16_000..64_000).step_by(3_000) {
        let output = under(&format!("ulimit -v {kib}"), "", &args);
        assert_ne!(output.status.code(), Some(101), "{kib} KiB: {}", text(&output.stderr));
    }
}

#[test]
fn what_is_no_plain_file_is_no_weight_file() {
    let folder = Folder::new();
    let pipe = folder.path("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().expect("there is `mkfifo`").success());
    let picture = testdata("pictures/chelsea.png");
    for (weights, found) in [(pipe, "a pipe"), (folder.path(""), "a folder"), (PathBuf::from("/dev/null"), "a device")]
    {
        for args in [
            args!["classify", "--weights", weights, picture].to_vec(),
            args!["bench", "--weights", weights].to_vec(),
            args!["compare", weights].to_vec(),
            args!["quantize", "--weights", weights, "--calibrate", "x", "--output", folder.path("q.mnx")].to_vec(),
        ] {
            let line = one_line(&run(&args));
            assert!(line.ends_with(&format!(": expected a weight file, found {found}\n")), "{line}");
        }
    }
}
