//! Flags: which values are refused, what help says, how the exit code tells.

mod common;

use common::*;

#[test]
fn refused_values_are_wrong_usage() {
    let folder = Folder::new();
    let output = folder.path("w.mnx");
    let init = |flag: &str, value: &str| {
        let mut args = args!["init", "--arch", "mobilenext", "--seed", "1", "--output", output].to_vec();
        args.extend(args![format!("{flag}={value}")]);
        fail(2, args)
    };
    for (flag, values) in [
        ("--width", &["nan", "inf", "-inf", "0", "-1", "", "wide", "1e9"][..]),
        ("--resolution", &["0", "-1", "1.5", "4294967296", "1000000"]),
        ("--classes", &["0", "-1", "65537"]),
        ("--identity", &["2", "-0.1", "nan"]),
        ("--threads", &["0", "1025", "-1", "1,2", "1,", "many"]),
        ("--isa", &["foo", "AVX2", ""]),
        ("--format", &["xml"]),
        ("--seed", &["-1", "1.5", "18446744073709551616"]),
        ("--arch", &["mobilenet", "", "net.yaml", "auto"]),
        ("--unknown", &["1"]),
    ] {
        for value in values {
            let line = init(flag, value);
            let named = line.contains(&format!("'{flag}")) || line.contains(&format!("{flag}:"));
            assert!(named || line.contains("these flags make no network"), "{flag}={value}: {line}");
        }
    }
    // A plot is SVG, whatever it is called.
    let line = fail(2, args!["bench", "--weights", weights(), "--plot", folder.path("blocks.png")]);
    assert!(line.contains("plots are SVG: expected a name like") && line.contains("blocks.svg"), "{line}");
    assert!(fail(2, args!["compare", "cifar"]).contains("did you mean embedded:cifar?"));
    assert!(folder.names().is_empty());
}

#[test]
fn refused_values_of_the_other_commands() {
    let weights = weights();
    for args in [
        args!["classify", "--top", "0", "a.png"].to_vec(),
        args!["classify", "--top", "nan", "a.png"].to_vec(),
        args!["classify"].to_vec(),
        args!["bench", "--batch", "0"].to_vec(),
        args!["bench", "--batch", "1,0"].to_vec(),
        args!["bench", "--iterations", "0"].to_vec(),
        args!["bench", "--warmup", "-1"].to_vec(),
        args!["bench", "--threads", "1,0"].to_vec(),
        args!["run", "--weights", weights].to_vec(),
        args!["paint"].to_vec(),
    ] {
        fail(2, args);
    }
    for (flag, values) in [
        ("--bn-eps", &["nan", "-1", "inf"][..]),
        ("--mean", &["1,2", "nan,1,1", "1,1,1,1"]),
        ("--std", &["0,1,1", "-1,1,1", "inf,1,1"]),
        ("--padding", &["same", ""]),
        ("--resize", &["0", "223"]),
    ] {
        for value in values {
            let mut args = args!["convert", "--arch", "mobilenext", "--input", "x", "--output", "y"].to_vec();
            args.push(format!("{flag}={value}").into());
            // Each of the two goes with the other.
            match flag {
                "--mean" => args.push("--std=1,1,1".into()),
                "--std" => args.push("--mean=0,0,0".into()),
                _ => (),
            }
            let line = fail(2, args);
            assert!(line.contains(flag.trim_start_matches('-')), "{flag}={value}: {line}");
        }
    }
    let alone = fail(2, ["convert", "--arch", "mobilenext", "--input", "x", "--output", "y", "--mean", "0,0,0"]);
    assert!(alone.contains("--std"), "{alone}");
}

#[test]
fn help_and_version_are_no_errors() {
    let commands =
        ["classify", "run", "convert", "init", "quantize", "bench", "compare", "eval", "inspect", "completions"]
            .map(|name| [name, "--help"]);
    let of_commands = commands.iter().map(|args| &args[..]);
    for args in [&["--help"][..], &["-h"], &["help", "bench"]].into_iter().chain(of_commands) {
        let help = succeed(args);
        assert!(help.contains("Usage: mnx-infer") && help.contains("Example"), "{help}");
    }
    let version = format!("mnx-infer {} ({})\n", env!("CARGO_PKG_VERSION"), mnx::Isa::detect());
    assert_eq!(succeed(["-V"]), version);
    let long = succeed(["--version"]);
    assert!(long.starts_with(&version), "{long}");
    assert!(mnx::Isa::available().iter().all(|isa| long.lines().nth(1).unwrap().contains(isa.name())), "{long}");
    assert!(succeed(["run", "--help"]).contains("must not change while the program runs"));
}

#[test]
fn without_a_command_the_program_shows_its_help() {
    let output = run::<&str>([]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("Usage: mnx-infer"));
}

#[test]
fn an_isa_that_is_asked_for_runs_or_is_an_error() {
    let picture = testdata("pictures/chelsea.png");
    let weights = weights();
    let mut ran = 0;
    for &isa in mnx::Isa::ALL {
        let bench = args![
            "bench",
            "--weights",
            weights,
            "--iterations",
            "1",
            "--warmup",
            "0",
            "--threads",
            "1",
            "--format",
            "json",
            "--isa",
            isa.name()
        ];
        if isa.is_available() {
            assert_eq!(json(&bench)["isa"], isa.name());
            ran += 1;
        } else {
            let line = fail(1, args!["classify", "--weights", weights, "--isa", isa.name(), picture]);
            assert!(line.contains(isa.name()) && line.contains("this CPU lacks it"), "{line}");
        }
    }
    assert!(ran >= 1);
}

#[test]
fn the_flag_beats_the_environment_which_beats_detection() {
    let ran = |variable: &str, flags: &[&str]| {
        let mut command = program();
        command.env("MNX_ISA", variable).args(["bench", "--iterations", "1", "--warmup", "0", "--threads", "1"]);
        command.args(["--format", "json", "--weights"]).arg(weights()).args(flags);
        let output = command.output().unwrap();
        let parsed: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        (output.status.code(), parsed["isa"].as_str().map(str::to_owned), text(&output.stderr))
    };
    let fastest = mnx::Isa::detect().name();
    assert_eq!(ran("scalar", &[]).1.as_deref(), Some("scalar"));
    assert_eq!(ran("scalar", &["--isa", "auto"]).1.as_deref(), Some(fastest));
    assert_eq!(ran(fastest, &["--isa", "scalar"]).1.as_deref(), Some("scalar"));
    assert_eq!(ran("auto", &[]).1.as_deref(), Some(fastest));
    let (code, _, stderr) = ran("sse9", &[]);
    assert_eq!((code, stderr.lines().count()), (Some(1), 1));
    assert!(stderr.contains("MNX_ISA") && stderr.contains("sse9"), "{stderr}");
}

#[test]
fn a_closed_standard_output_ends_the_program_quietly() {
    let picture = testdata("pictures/chelsea.png");
    for format in ["text", "json"] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut command = program();
        command.args(["classify", "--format", format, "--weights"]).arg(weights()).args([&picture; 3]);
        let output = command.stdout(writer).output().unwrap();
        assert_eq!((output.status.code(), text(&output.stderr).as_str()), (Some(0), ""));
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_standard_output_is_an_error() {
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let mut command = program();
    command.args(["classify", "--weights"]).arg(weights()).arg(testdata("pictures/chelsea.png")).stdout(full);
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).starts_with("error: standard output: "), "{}", text(&output.stderr));
}

#[test]
fn completions_know_the_commands() {
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let script = succeed(["completions", shell]);
        assert!(["classify", "inspect", "per-block"].iter().all(|word| script.contains(word)), "{shell}: {script}");
    }
    let asks = r#"source /dev/stdin
        COMP_WORDS=(mnx-infer detect --mod); COMP_CWORD=2; _mnx__infer mnx-infer --mod detect; echo "${COMPREPLY[*]}""#;
    let mut bash = std::process::Command::new("bash");
    bash.args(["--norc", "-c", asks]).stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped());
    match bash.spawn() {
        Ok(mut bash) => {
            let script = succeed(["completions", "bash"]);
            std::io::Write::write_all(&mut bash.stdin.take().unwrap(), script.as_bytes()).unwrap();
            assert_eq!(text(&bash.wait_with_output().unwrap().stdout), "--model\n");
        }
        Err(e) => println!("SKIPPED bash's completions: {e}"),
    }
    let line = fail(2, ["completions", "tcsh"]);
    assert!(line.contains("tcsh") && line.contains("bash"), "{line}");
}

#[test]
fn no_colour_goes_into_a_pipe() {
    let picture = testdata("pictures/chelsea.png");
    let weights = weights();
    for args in [
        args!["classify", "--weights", weights, picture].to_vec(),
        args!["inspect", "--weights", weights].to_vec(),
        args!["bench", "--weights", weights, "--iterations", "1", "--warmup", "0", "--per-block"].to_vec(),
        args!["--help"].to_vec(),
        args!["--version"].to_vec(),
        args!["inspect", "--weights", "absent"].to_vec(),
        args!["inspect", "--batch", "0"].to_vec(),
    ] {
        for (name, value) in [("TERM", "xterm-256color"), ("CLICOLOR_FORCE", "1"), ("NO_COLOR", "1")] {
            let output = program().args(&args).env(name, value).output().unwrap();
            let said = [text(&output.stdout), text(&output.stderr)].concat();
            assert!(!said.is_empty() && !said.contains('\u{1b}'), "{name} {args:?}: {said:?}");
        }
    }
}

#[cfg(target_os = "linux")]
#[test]
fn names_that_are_no_text_have_their_bytes_in_every_json() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    let folder = Folder::new();
    let path = folder.path("").join(OsStr::from_bytes(b"\xE9t\xE9.mnx"));
    let bytes = |value: &serde_json::Value| serde_json::from_value::<Vec<u8>>(value.clone()).unwrap();
    let init = args!["init", "--arch", "mobilenext-cifar", "--width", "0.1", "--seed", "1", "--format", "json"];
    let made = json([&init[..], &args!["--output", path]].concat());
    assert_eq!(bytes(&made["output_bytes"]), path.as_os_str().as_bytes());
    let compare = args!["compare", path, "--iterations", "1", "--threads", "1", "--format", "json"];
    assert_eq!(bytes(&json(compare)["networks"][0]["file_bytes"]), path.as_os_str().as_bytes());
    let input = folder.path("x.npy");
    let picture = testdata("pictures/chelsea.png");
    succeed(args!["classify", "--weights", path, "--dump-input", input, picture]);
    let output = folder.path("").join(OsStr::from_bytes(b"\xE9.npy"));
    let ran = json(args!["run", "--weights", path, "--input", input, "--output", output, "--format", "json"]);
    assert_eq!(bytes(&ran["output_bytes"]), output.as_os_str().as_bytes());
}
