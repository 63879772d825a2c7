//! Recognises files that were given by mistake: what is it, if not a weight file or checkpoint?

use std::fmt;

/// What a file should have been.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Wanted {
    /// A weight file, for [`Model::open`](crate::Model::open).
    WeightFile,
    /// A checkpoint, for `convert`.
    Checkpoint,
}

impl Wanted {
    pub(crate) fn form(self) -> &'static str {
        match self {
            Wanted::WeightFile => "an mnx weight file",
            Wanted::Checkpoint => "a safetensors file",
        }
    }
}

impl fmt::Display for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Wanted::WeightFile => "weight file",
            Wanted::Checkpoint => "checkpoint",
        })
    }
}

/// A kind of file that people take for a weight file or a checkpoint. Its first bytes tell which it is.
///
/// It displays as, e.g., `a Git LFS pointer, not the file itself`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FileKind {
    /// What Git has in place of a large file.
    GitLfsPointer,
    /// A web page, often one that says why there is no download.
    Html,
    /// XML, often a storage service's error.
    Xml,
    /// JSON: a configuration, or an index of files.
    Json,
    /// What `torch.save` writes, a zip file.
    PyTorch,
    /// What `torch.save` wrote before PyTorch 1.6, or another pickle.
    Pickle,
    /// One or several NumPy arrays.
    NumPy,
    /// A Keras model, a zip file.
    Keras,
    /// Another zip file, or one whose first bytes are too few to tell.
    Zip,
    /// A gzip file.
    Gzip,
    /// A tar archive.
    Tar,
    /// HDF5, often Keras weights (`.h5`).
    Hdf5,
    /// An ONNX graph.
    Onnx,
    /// A TensorFlow graph.
    SavedModel,
    /// A TensorFlow Lite graph.
    TfLite,
    /// Weights for llama.cpp.
    Gguf,
    /// A safetensors checkpoint.
    Safetensors,
    /// An mnx weight file.
    Mnx,
}

use FileKind::*;

/// Marks of files: offset, bytes and kind. The first row that fits wins.
const MARKS: &[(usize, &[u8], FileKind)] = &[
    (0, b"version https://git-lfs", GitLfsPointer),
    (0, b"MNXW", Mnx),
    (0, b"GGUF", Gguf),
    (4, b"TFL3", TfLite),
    (0, b"\x89HDF\r\n\x1a\n", Hdf5),
    (0, b"\x93NUMPY", NumPy),
    (0, b"\x1f\x8b", Gzip),
    (257, b"ustar", Tar),
    (8, b"{\"", Safetensors),
    (0, b"\x80\x02", Pickle),
    (0, b"\x80\x03", Pickle),
    (0, b"\x80\x04", Pickle),
    (0, b"\x80\x05", Pickle),
];

/// How text files of a kind begin, after white space, in lower case.
const TEXTS: &[(&[u8], FileKind)] =
    &[(b"<!doctype html", Html), (b"<html", Html), (b"<head", Html), (b"<?xml", Xml), (b"{", Json)];

/// Kinds of zip file, by a part of the first member's name.
const MEMBERS: &[(&[u8], FileKind)] = &[
    (b"/data.pkl", PyTorch),
    (b"/data/0", PyTorch),
    (b".npy", NumPy),
    (b"metadata.json", Keras),
    (b"config.json", Keras),
];

/// The bytes in which the first member's name is looked for.
const MEMBER_NAME: std::ops::Range<usize> = 30..286;

impl FileKind {
    /// Recognises a kind by the file's first bytes. 24 bytes tell most kinds, 300 all of them. `None` for unknown files.
    ///
    /// ```
    /// # use mnx_graph as mnx;
    /// use mnx::FileKind;
    ///
    /// assert_eq!(FileKind::of(b"version https://git-lfs.github.com/spec/v1\n"), Some(FileKind::GitLfsPointer));
    /// assert_eq!(FileKind::of(b"something else"), None);
    /// ```
    pub fn of(bytes: &[u8]) -> Option<FileKind> {
        let marked = |&&(at, mark, _): &&(usize, &[u8], FileKind)| bytes.get(at..).is_some_and(|b| b.starts_with(mark));
        if let Some((.., kind)) = MARKS.iter().find(marked) {
            return Some(*kind);
        }
        if bytes.starts_with(b"PK\x03\x04") {
            let name = &bytes[MEMBER_NAME.start.min(bytes.len())..MEMBER_NAME.end.min(bytes.len())];
            let has = |part: &[u8]| name.windows(part.len()).any(|window| window == part);
            return Some(MEMBERS.iter().find(|(part, _)| has(part)).map_or(Zip, |(_, kind)| *kind));
        }
        let text = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes).trim_ascii_start();
        let begins = |start: &[u8]| text.get(..start.len()).is_some_and(|text| text.eq_ignore_ascii_case(start));
        TEXTS.iter().find(|(start, _)| begins(start)).map(|(_, kind)| *kind).or_else(|| protobuf(bytes))
    }

    /// Advice on what to do instead.
    pub(crate) fn advice(self, wanted: Wanted) -> &'static str {
        match (self, wanted) {
            (GitLfsPointer, _) => "`git lfs pull` fetches the file",
            (Html | Xml, _) => "the download went wrong, see what it says",
            (Json, _) => "the weights are in another file",
            (Gzip | Tar | Zip, Wanted::Checkpoint) => "unpack it, if a checkpoint is inside",
            (PyTorch | Pickle, _) => "tools/pth_to_safetensors.py in mnx's sources makes a safetensors file of it",
            (Keras, _) => "tools/keras_to_safetensors.py in mnx's sources makes a safetensors file of it",
            (Hdf5, _) => {
                "save the model as .keras (keras.models.load_model, then save), of which tools/keras_to_safetensors.py in mnx's \
                 sources makes a safetensors file"
            }
            (Onnx, Wanted::Checkpoint) => "the feature `onnx` reads it (`Onnx::open`)",
            (Mnx, Wanted::Checkpoint) => "it is converted already",
            (Safetensors | Onnx, Wanted::WeightFile) => "`mnx-infer convert` makes a weight file from a checkpoint",
            (_, Wanted::WeightFile) => "`mnx-infer convert` makes weight files",
            _ => "save the weights as safetensors: docs/convert.md in mnx's sources shows how",
        }
    }
}

/// Recognises graphs, which are protocol buffers without a mark. ONNX begins with its version, 2 to 31 so far; TensorFlow
/// begins with a 1. In both, one of a few possible fields follows.
fn protobuf(bytes: &[u8]) -> Option<FileKind> {
    match bytes {
        [8, 1, 0x12, ..] => Some(SavedModel),
        [8, 2..=31, 0x12 | 0x1a | 0x22 | 0x28 | 0x32 | 0x3a | 0x42, ..] => Some(Onnx),
        _ => None,
    }
}

impl fmt::Display for FileKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            GitLfsPointer => "a Git LFS pointer, not the file itself",
            Html => "an HTML page",
            Xml => "an XML document",
            Json => "JSON text",
            PyTorch => "a PyTorch checkpoint (.pth, .pt)",
            Pickle => "a Python pickle (an older .pth, .pt)",
            NumPy => "arrays of NumPy (.npy, .npz)",
            Keras => "a Keras model (.keras)",
            Zip => "a zip file (a PyTorch checkpoint is one)",
            Gzip => "a gzip file",
            Tar => "a tar archive",
            Hdf5 => "an HDF5 file (Keras's .h5)",
            Onnx => "an ONNX graph",
            SavedModel => "a TensorFlow graph (.pb)",
            TfLite => "a TensorFlow Lite graph",
            Gguf => "a GGUF file",
            Safetensors => "a safetensors checkpoint",
            Mnx => "an mnx weight file",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_told_by_their_first_bytes() {
        let zip = |name: &str| [&b"PK\x03\x04\0\0\x08\x08\0\0"[..], &[0; 20], name.as_bytes(), &[0; 40]].concat();
        let mut tar = vec![b'a'; 600];
        tar[257..262].copy_from_slice(b"ustar");
        let cases = [
            (&b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n"[..], GitLfsPointer),
            (b"<!DOCTYPE html><html>", Html),
            (b"\xef\xbb\xbf\r\n  <!doctype HTML>", Html),
            (b"<HTML>", Html),
            (b"<?xml version=\"1.0\"?><Error>", Xml),
            (b"{\n \"architectures\"", Json),
            (&zip("archive/data.pkl"), PyTorch),
            (&zip("my model/data.pkl"), PyTorch),
            (&zip("arr_0.npy"), NumPy),
            (&zip("metadata.json"), Keras),
            (&zip("notes.txt"), Zip),
            (&zip("archive/data.pkl")[..24], Zip),
            (b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.", Pickle),
            (b"\x80\x04\x95", Pickle),
            (b"\x93NUMPY\x01\0", NumPy),
            (b"\x1f\x8b\x08\0", Gzip),
            (&tar, Tar),
            (b"\x89HDF\r\n\x1a\n\0", Hdf5),
            (b"\x08\x07\x12\x07pytorch\x1a\x05", Onnx),
            (b"\x08\x0a:\x80\x01", Onnx),
            (b"\x08\x01\x12\xff\x01", SavedModel),
            (b"\x1c\0\0\0TFL3\x14\0", TfLite),
            (b"GGUF\x03\0\0\0", Gguf),
            (b"\x10\x01\0\0\0\0\0\0{\"conv1.weight\":", Safetensors),
            (b"MNXW\x01\0\0\0", Mnx),
        ];
        for (bytes, kind) in cases {
            assert_eq!(FileKind::of(bytes), Some(kind), "{}", bytes.escape_ascii());
        }
        for bytes in [&b""[..], b"P", b"no checkpoint at all", &[0xff; 64], &[0; 64], b"\x08", b"<body"] {
            assert_eq!(FileKind::of(bytes), None, "{}", bytes.escape_ascii());
        }
    }

    #[test]
    fn what_to_do_is_said_in_one_line() {
        let line = |expected, found| crate::Error::WrongKind { expected, found }.to_string();
        assert_eq!(
            line(Wanted::Checkpoint, GitLfsPointer),
            "checkpoint: expected a safetensors file, found a Git LFS pointer, not the file itself: `git lfs pull` fetches the file"
        );
        assert_eq!(
            line(Wanted::WeightFile, Safetensors),
            "weight file: expected an mnx weight file, found a safetensors checkpoint: `mnx-infer convert` makes a weight file from a checkpoint"
        );
        assert!(
            line(Wanted::Checkpoint, PyTorch)
                .ends_with("pth_to_safetensors.py in mnx's sources makes a safetensors file of it")
        );
        assert!(line(Wanted::Checkpoint, Mnx).ends_with("it is converted already"));
    }
}
