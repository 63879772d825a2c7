//! Writing and opening weight files that are right.

mod common;

use std::borrow::Cow;

use std::path::{Path, PathBuf};

use common::kept::kept_at;
use common::{Parts, numbered, small_file, small_int8_file, small_spec};
use mnx_conv::Packing;
use mnx_graph::{
    Element, Error, ErrorKind, FileError, InFile, Limits, Model, Network, OpenOptions, Quantization, Session,
    SessionOptions, Spec, Weights, init, write_model, write_quantized,
};
use mnx_tensor::Tensor;
use serde_json::json;

/// The model holds the small network's numbered weights, aligned.
fn assert_numbered(model: &Model) {
    let mut source = numbered();
    for (index, layer) in model.network().layers().enumerate() {
        let expected = source(layer);
        let (weight, bias) = model.weights(index).unwrap();
        assert_eq!(layer.packing().unpack(weight, &layer.weight_dims()).unwrap(), expected.weight);
        assert_eq!(Packing::Bias16.unpack(bias, &[layer.cout]).unwrap(), expected.bias);
        assert_eq!(weight.as_ptr() as usize % 64, 0, "{}", layer.name);
        assert_eq!(bias.as_ptr() as usize % 64, 0, "{}", layer.name);
    }
    assert_eq!(model.spec(), &small_spec());
    assert_eq!(model.network(), &Network::new(&small_spec()).unwrap());
}

#[test]
fn what_is_written_is_read() {
    let file = small_file();
    assert_eq!(file.len() % 64, 0);
    assert_numbered(&Model::from_slice(&file[..]).unwrap());
    assert_numbered(&Model::from_reader(&file[..]).unwrap());
    // As from a pipe, a few bytes at a time, and in two parts.
    assert_numbered(&Model::from_reader(std::io::Read::chain(&file[..100], &file[100..])).unwrap());
    let cut = |end: usize| Model::from_reader(&file[..end]).unwrap_err().to_string();
    assert_eq!(cut(file.len() - 1), Model::from_slice(&file[..file.len() - 1]).unwrap_err().to_string());
    let longer = [&file[..], &[0]].concat();
    assert!(matches!(Model::from_reader(&longer[..]), Err(Error::File(FileError::TrailingBytes { .. }))));
    assert_numbered(&Model::from_bytes(file).unwrap());
}

#[test]
fn the_same_weights_give_the_same_bytes() {
    assert_eq!(small_file(), small_file());
    let spec = small_spec();
    assert_eq!(init(&spec, 5).unwrap(), init(&spec, 5).unwrap());
    assert_ne!(init(&spec, 5).unwrap(), init(&spec, 6).unwrap());
}

/// A seed stands for weights, on every machine and from release to release. The checksum is that of a second
/// implementation (the generator, its scales and the packing in NumPy).
#[test]
fn a_seed_gives_the_weights_it_always_gave() {
    let model = Model::from_bytes(init(&small_spec(), 1).unwrap()).unwrap();
    let mut hasher = crc32fast::Hasher::new();
    for index in 0..model.network().layers().count() {
        let (weight, bias) = model.weights(index).unwrap();
        hasher.update(bytemuck::cast_slice(weight));
        hasher.update(bytemuck::cast_slice(bias));
    }
    assert_eq!(hasher.finalize(), 1_198_186_171);
}

fn workspace(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path)
}

fn table(path: &str) -> Spec {
    Spec::from_json(&std::fs::read_to_string(workspace(path)).unwrap()).unwrap()
}

/// Length and CRC-32 of files as mnx 0.1.0 wrote them, which knew version 1 alone.
#[test]
fn networks_of_f32_are_written_as_they_always_were() {
    let family = |name: &str, change: fn(&mut Spec)| {
        let mut spec = Spec::family(name).unwrap();
        change(&mut spec);
        spec
    };
    let files = [
        (family("mobilenext", |s| s.width = 0.1), 1, 6_561_984, 2_385_630_000),
        (family("mobilenext-cifar", |s| (s.width, s.identity) = (0.35, 0.3)), 2, 2_624_640, 3_097_178_980),
        (table("testdata/golden/resnet-basic/table.json"), 5, 327_552, 803_605_097),
        (table("testdata/golden/resnet-bottleneck/table.json"), 6, 132_160, 3_254_853_657),
        (table("testdata/weights/every-kind.json"), 7, 40_512, 3_374_647_160),
    ];
    for (spec, seed, length, crc) in files {
        let file = init(&spec, seed).unwrap();
        assert_eq!((file.len(), crc32fast::hash(&file)), (length, crc), "{}", spec.family);
    }
}

/// Logits of `testdata/weights/every-kind-v1.mnx` as mnx 0.1.0 computed them.
const LOGITS: [f32; 6] = [-0.6862401, -1.1333219, 1.6822817, -0.6569889, -0.97046196, 1.6435673];

fn assert_logits(model: &Model, expected: &[f32; 6]) {
    let values: Vec<f32> = (0..2 * 3 * 19 * 23).map(|i| (i * 37 % 101 - 50) as f32 / 25.0).collect();
    let input = Tensor::from_slice([2, 3, 19, 23], &values).unwrap();
    let mut session = Session::with(model, SessionOptions::new().threads(1)).unwrap();
    // Those that round twice differ in the last places.
    let tolerance = if session.isa().fuses() { 0.0 } else { 1e-6 };
    let logits = session.run(input.view()).unwrap();
    assert_eq!(logits.data().len(), expected.len());
    for (found, expected) in logits.data().iter().zip(expected) {
        assert!((found - expected).abs() <= tolerance, "{:?}", logits.data());
    }
}

#[test]
fn a_file_of_an_earlier_release_opens_and_is_written_again() {
    let file = std::fs::read(workspace("testdata/weights/every-kind-v1.mnx")).unwrap();
    assert_eq!(file[4], 1);
    assert_logits(&Model::from_bytes(file.clone()).unwrap(), &LOGITS);
    assert!(init(&table("testdata/weights/every-kind.json"), 7).unwrap() == file, "other bytes");
}

/// Nobody writes such a file, but nothing is wrong with it.
#[test]
fn version_2_may_be_f32_throughout() {
    let old = std::fs::read(workspace("testdata/weights/every-kind-v1.mnx")).unwrap();
    let mut parts = Parts::of(&old);
    parts.version = 2;
    let layers = Model::from_bytes(old).unwrap().network().layers().count();
    parts.header["arithmetic"] = json!(vec!["f32"; layers]);
    assert_logits(&Model::from_bytes(parts.build()).unwrap(), &LOGITS);
}

#[test]
fn without_an_int8_layer_version_1_is_written() {
    let (spec, limits) = (small_spec(), Limits::default());
    let layers: Vec<Weights> = Network::new(&spec).unwrap().layers().map(numbered()).map(Weights::F32).collect();
    let nobody = |name: &str| -> Quantization { panic!("{name} is f32") };
    let mut file = Vec::new();
    write_quantized(&spec, &limits, &layers, nobody, &mut file).unwrap();
    assert_eq!(file, small_file());
    assert_eq!((file[4], small_int8_file()[4]), (1, 2));
}

#[test]
fn a_models_tensors_are_those_of_the_file() {
    let model = Model::from_bytes(small_file()).unwrap();
    let names: Vec<_> = model.tensors().map(|tensor| tensor.name.to_owned()).collect();
    assert_eq!(names.len(), 12);
    assert_eq!(names[2..4], ["features.1.conv.0.weight", "features.1.conv.0.bias"]);
    for (index, layer) in model.network().layers().enumerate() {
        let mut pair = model.tensors().skip(2 * index);
        let (weight, bias) = (pair.next().unwrap(), pair.next().unwrap());
        assert_eq!((weight.packing, weight.dims), (layer.packing(), &layer.weight_dims()[..]));
        assert_eq!((bias.packing, bias.dims), (Packing::Bias16, &[layer.cout][..]));
        assert_eq!((weight.element, bias.element), (Element::F32, Element::F32));
        let (weights, biases) = model.weights(index).unwrap();
        assert_eq!((weight.bytes, bias.bytes), (bytemuck::cast_slice(weights), bytemuck::cast_slice(biases)));
    }
}

#[test]
fn numbers_in_the_header_survive() {
    let mut spec = Spec::family("mobilenext").unwrap();
    spec.width = 0.1 + 0.2;
    spec.identity = 1.0 / 3.0;
    spec.preprocessing.mean = [0.1, f32::MIN_POSITIVE, 1.0 / 3.0];
    spec.preprocessing.std = [0.229, f32::MAX, f32::EPSILON];
    spec.classes = 1;
    spec.labels = Some(vec!["\"ß\u{0}\n\u{1f600}".into()]);
    // Such a deviation is for other pixels than those in 0…1: `convert` refuses it, but a file may have it.
    let file = init(&spec, 0).unwrap();
    assert_eq!(Model::from_bytes(file).unwrap().spec(), &spec);
}

#[test]
fn bytes_are_used_in_place_where_they_are_aligned_and_copied_elsewhere() {
    for offset in [0, 1, 4, 32, 63] {
        let bytes = kept_at(&small_file(), offset);
        let model = Model::from_bytes(bytes).unwrap();
        assert_numbered(&model);
        let inside = bytes.as_ptr_range().contains(&model.weights(0).unwrap().0.as_ptr().cast());
        assert_eq!(inside, offset == 0, "at offset {offset}");
    }
}

#[test]
#[cfg_attr(target_os = "wasi", ignore = "WASI has no temporary folder")]
fn files_are_read_and_mapped() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("small.mnx");
    std::fs::write(&path, small_file()).unwrap();
    assert_numbered(&Model::open(&path).unwrap());
    #[cfg(feature = "memmap2")]
    {
        // SAFETY: nobody else knows the file.
        let mapped = unsafe { Model::open_mmap(&path) }.unwrap();
        assert_numbered(&mapped);
        // Another file in its place does not touch the mapping.
        std::fs::write(folder.path().join("other"), b"other").unwrap();
        std::fs::rename(folder.path().join("other"), &path).unwrap();
        assert_numbered(&mapped);
    }
}

/// Files that are large enough are read onto huge pages.
#[test]
#[cfg_attr(target_os = "wasi", ignore = "WASI has no temporary folder")]
fn large_files_are_read_to_the_last_byte() {
    let file = init(&Spec::family("mobilenext").unwrap(), 1).unwrap();
    assert!(file.len() > 8 << 20, "{}", file.len());
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("large.mnx");
    std::fs::write(&path, &file).unwrap();
    let read = Model::open(&path).unwrap();
    std::fs::write(&path, &file[..file.len() - 1]).unwrap();
    let truncated = Model::open(&path).unwrap_err().to_string();
    assert!(truncated.contains("the last tensor"), "{truncated}");
    std::fs::write(&path, [&file[..], &[0]].concat()).unwrap();
    let longer = Model::open(&path).unwrap_err();
    assert!(
        matches!(&longer, Error::InFile(InFile { error, .. }) if matches!(**error, Error::File(FileError::TrailingBytes { .. }))),
        "{longer}"
    );

    let expected = Model::from_bytes(file).unwrap();
    for index in 0..expected.network().layers().count() {
        assert_eq!(read.weights(index).unwrap(), expected.weights(index).unwrap(), "layer {index}");
        assert!(
            <[&[f32]; 2]>::from(read.weights(index).unwrap()).iter().all(|w| (w.as_ptr() as usize).is_multiple_of(64))
        );
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_pipe_can_be_opened() {
    use std::io::Write;
    use std::os::fd::AsRawFd;
    for (extra, good) in [(0, true), (1, false)] {
        let (reader, mut writer) = std::io::pipe().unwrap();
        let thread = std::thread::spawn(move || writer.write_all(&[small_file(), vec![0; extra]].concat()));
        let model = Model::open(format!("/proc/self/fd/{}", reader.as_raw_fd()));
        match model {
            Ok(model) if good => assert_numbered(&model),
            Err(Error::InFile(InFile { error, .. })) if !good => {
                assert!(matches!(*error, Error::File(FileError::TrailingBytes { .. })))
            }
            other => panic!("with {extra} bytes more: {other:?}"),
        }
        thread.join().unwrap().unwrap();
    }
}

#[test]
#[cfg_attr(target_os = "wasi", ignore = "WASI has no temporary folder")]
fn a_path_that_cannot_be_opened_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let empty = folder.path().join("empty.mnx");
    std::fs::write(&empty, b"").unwrap();
    for path in [&folder.path().join("absent.mnx"), folder.path(), &empty] {
        let errors = [
            Model::open(path).unwrap_err(),
            // SAFETY: nobody else knows the file.
            #[cfg(feature = "memmap2")]
            unsafe { Model::open_mmap(path) }.unwrap_err(),
        ];
        for error in errors {
            assert!(matches!(error, Error::InFile { .. }), "{error:?}");
            assert!(error.to_string().starts_with(&path.display().to_string()), "{error}");
            assert_eq!(error.to_string().lines().count(), 1);
        }
    }
    // Of a folder both say the same.
    // SAFETY: there is nothing to map.
    #[cfg(feature = "memmap2")]
    let mapped = unsafe { Model::open_mmap(folder.path()) };
    #[cfg(feature = "memmap2")]
    assert_eq!(mapped.unwrap_err().to_string(), Model::open(folder.path()).unwrap_err().to_string());
}

/// What a caller sees of a file that is absent, and of one that is damaged: a kind, and the system's error as the source.
#[test]
#[cfg_attr(target_os = "wasi", ignore = "WASI has no temporary folder")]
fn errors_have_kinds_and_causes() {
    use std::error::Error as _;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.mnx");
    let absent = Model::open(&path).unwrap_err();
    assert_eq!(absent.kind(), ErrorKind::NotFound);
    let cause = absent.source().unwrap().downcast_ref::<std::io::Error>().unwrap();
    assert_eq!(cause.kind(), std::io::ErrorKind::NotFound);
    // Whoever prints the error alone sees why, too.
    assert!(absent.to_string().contains(&cause.to_string()), "{absent} lacks: {cause}");

    let file = small_file();
    let unknown_version = [&file[..4], &9_u32.to_le_bytes(), &file[8..]].concat();
    for (bytes, kind) in [
        (&file[..file.len() - 1], ErrorKind::InvalidFile),
        (&unknown_version, ErrorKind::Unsupported),
        (b"GIF89a", ErrorKind::InvalidFile),
    ] {
        std::fs::write(&path, bytes).unwrap();
        let error = Model::open(&path).unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.source().is_none(), "{error:?}");
    }
    let mut few = Limits::default();
    few.weights = 1;
    std::fs::write(&path, &file).unwrap();
    let error = Model::open_with(&path, &OpenOptions::new().limits(few)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Limit, "{error}");
}

#[test]
#[cfg_attr(target_os = "wasi", ignore = "WASI has no threads")]
fn a_model_is_shared_between_threads() {
    fn shared<T: Send + Sync + Clone + 'static>(value: &T) -> T {
        value.clone()
    }
    let model = Model::from_bytes(small_file()).unwrap();
    let other = shared(&model);
    std::thread::spawn(move || assert_numbered(&other)).join().unwrap();
    assert_eq!(model.weights(0).unwrap().0.as_ptr(), model.clone().weights(0).unwrap().0.as_ptr());
}

#[test]
fn without_checksums_the_payload_is_taken_as_it_is() {
    let mut file = small_file();
    let start = file.len() - 64 - 4 * 20 * 16;
    file[start + 3] ^= 0x40; // in the first value of the classifier's weight
    let trusting = OpenOptions::new().verify_checksums(false);
    assert!(matches!(Model::from_bytes(file.clone()), Err(Error::File(FileError::Checksum { .. }))));
    let model = Model::from_bytes_with(file, &trusting).unwrap();
    assert_ne!(model.weights(5).unwrap().0[0], Model::from_bytes(small_file()).unwrap().weights(5).unwrap().0[0]);
}

#[test]
fn a_writer_refuses_what_a_reader_would() {
    let spec = small_spec();
    let mut out = Vec::new();
    let mut limits = Limits::default();
    limits.header_bytes = 1000;
    let error = write_model(&spec, &limits, numbered(), &mut out).unwrap_err();
    assert!(matches!(error, Error::Limit { limit: 1000, .. }), "{error}");
    let mut limits = Limits::default();
    limits.tensors = 11;
    let error = write_model(&spec, &limits, numbered(), &mut out).unwrap_err();
    assert!(matches!(error, Error::Limit { limit: 11, .. }), "{error}");

    for (value, length, variant) in
        [(f32::NAN, 0, "File(NotFinite"), (f32::INFINITY, 0, "File(NotFinite"), (0.0, 1, "Conv")]
    {
        let mut source = numbered();
        let spoilt = |layer: &mnx_graph::Layer| {
            let mut weights = source(layer);
            if layer.name == "features.1.conv.3" {
                weights.weight[7] = value;
                weights.weight.truncate(weights.weight.len() - length);
            }
            weights
        };
        let error = write_model(&spec, &Limits::default(), spoilt, &mut out).unwrap_err();
        assert!(format!("{error:?}").starts_with(variant), "{error:?}");
        assert!(error.to_string().contains("features.1.conv.3.weight"), "{error}");
    }
    assert!(out.is_empty());
}

#[test]
fn owned_and_borrowed_bytes_open() {
    assert_numbered(&Model::from_bytes(Cow::Owned(small_file())).unwrap());
    assert_numbered(&Model::from_bytes(kept_at(&small_file(), 0)).unwrap());
}

/// The fuzzer starts from a file that opens; embedded, it is used in place.
#[test]
fn the_fuzzers_seed_is_the_small_file() {
    let bytes = mnx_graph::include_model!("../../../fuzz/seeds/open_model/small.mnx");
    let model = Model::from_bytes(bytes).unwrap();
    assert_numbered(&model);
    assert!(bytes.as_ptr_range().contains(&model.weights(0).unwrap().0.as_ptr().cast()));
}

/// And from one of version 2. `MNX_WRITE_SEEDS=1` writes it anew.
#[test]
fn the_fuzzers_other_seed_is_the_small_int8_file() {
    let path = workspace("fuzz/seeds/open_model/small-int8.mnx");
    if std::env::var_os("MNX_WRITE_SEEDS").is_some() {
        std::fs::write(&path, small_int8_file()).unwrap();
    }
    assert!(std::fs::read(path).unwrap() == small_int8_file(), "other bytes");
}

/// `docs/weight-file.md` shows the first bytes of two files, and rows of their tensor tables.
#[test]
fn the_format_is_documented_with_real_files() {
    let page = std::fs::read_to_string(workspace("docs/weight-file.md")).unwrap();
    let files = ["testdata/weights/every-kind-v1.mnx", "fuzz/seeds/open_model/small-int8.mnx"];
    let files = files.map(|path| std::fs::read(workspace(path)).unwrap());
    let dumped = |file: &[u8], at: usize| {
        let words = file[at..at + 16].chunks(2).map(|word| format!("{:02x}{:02x}", word[0], word[1]));
        format!("{at:08x}: {}", words.collect::<Vec<_>>().join(" "))
    };
    let dump = |file: &[u8]| [0, 16, 32].map(|at| dumped(file, at));
    let is_dump = |line: &&str| line.starts_with("000000");
    let found: Vec<_> = page.lines().filter(is_dump).filter_map(|line| line.split("  ").next()).collect();
    assert_eq!(found, files.each_ref().map(|file| dump(file)).concat());

    let headers = files.map(|file| String::from_utf8_lossy(&file).into_owned());
    let rows: Vec<_> = page.lines().filter(|line| line.starts_with("{\"name\"")).collect();
    assert_eq!(rows.len(), 11);
    for (i, row) in rows.iter().enumerate() {
        assert!(headers[usize::from(i >= 4)].contains(row), "{row}");
    }
}
