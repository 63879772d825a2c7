//! Reads and checks a weight file: first what precedes the payload, then the payload. No allocation has the size that an
//! unchecked field says.

use mnx_tensor::{Arithmetic, Element};

use super::layout::Role;
use super::{ALIGNMENT, Entry, Header, Layout, MAGIC, PREFIX_LEN, Tensor, VERSION_1, VERSIONS};
use crate::kind::{FileKind, Wanted};
use crate::text::{NAME, SENTENCE, shown};
use crate::{ClassifierDtype, Error, FileError, Limits, Network, Spec};

/// What precedes the payload, after it was checked.
pub(crate) struct Front {
    pub(crate) spec: Spec,
    pub(crate) network: Network,
    /// One per layer.
    pub(crate) arithmetic: Vec<Arithmetic>,
    pub(crate) layout: Layout,
    /// Where in the file the payload starts.
    pub(crate) payload_start: usize,
}

/// Reads a file from its start up to the payload. `more(n)` returns the next `n` bytes, or as many as are left.
pub(crate) fn front<B: AsRef<[u8]>>(
    limits: &Limits,
    mut more: impl FnMut(usize) -> Result<B, Error>,
) -> Result<Front, Error> {
    let bytes = more(PREFIX_LEN)?;
    let prefix = prefix(bytes.as_ref(), limits)?;
    let header_end = PREFIX_LEN + prefix.header_len;
    let payload_start = header_end.next_multiple_of(ALIGNMENT);

    let bytes = more(payload_start - PREFIX_LEN)?;
    let bytes = bytes.as_ref();
    if bytes.len() < payload_start - PREFIX_LEN {
        let found = (PREFIX_LEN + bytes.len()) as u64;
        return Err(Error::File(FileError::Truncated { what: "the header", expected: payload_start as u64, found }));
    }
    let (header, padding) = bytes.split_at(prefix.header_len);
    check_crc("header", prefix.crc32, header)?;
    check_zero("the header", padding, header_end)?;

    // The message quotes keys.
    let refuse = |e: serde_json::Error| FileError::Header { message: shown(&e.to_string(), SENTENCE) };
    let header: Header = serde_json::from_slice(header).map_err(refuse)?;
    if prefix.version == VERSION_1 && header.spec.detector.is_some() {
        let message = "unknown field `spec.detector`, which version 1 lacks".into();
        return Err(Error::File(FileError::Header { message }));
    }
    let network = Network::new_with(&header.spec, limits)?;
    let arithmetic = arithmetic(prefix.version, header.arithmetic, &network)?;
    let classifier = classifier_dtype(prefix.version, &network, &header.tensors);
    let mut layout = Layout::new(&network, &arithmetic, classifier, limits)?;
    check_table(prefix.version, &mut layout.tensors, &header.tensors)?;
    payload_start.checked_add(layout.payload_len).ok_or(Error::Limit {
        what: "bytes of the file".into(),
        limit: usize::MAX as u64,
        found: u64::MAX,
    })?;
    Ok(Front { spec: header.spec, network, arithmetic, layout, payload_start })
}

struct Prefix {
    version: u32,
    header_len: usize,
    crc32: u32,
}

fn prefix(bytes: &[u8], limits: &Limits) -> Result<Prefix, Error> {
    // A short file of another kind is called foreign, not short.
    let magic = &bytes[..bytes.len().min(MAGIC.len())];
    if !MAGIC.starts_with(magic) || bytes.is_empty() {
        if let Some(found) = FileKind::of(bytes) {
            return Err(Error::WrongKind { expected: Wanted::WeightFile, found });
        }
        return Err(Error::File(FileError::Foreign { found: magic.to_vec() }));
    }
    let Some(bytes) = bytes.first_chunk::<PREFIX_LEN>() else {
        let (expected, found) = (PREFIX_LEN as u64, bytes.len() as u64);
        return Err(Error::File(FileError::Truncated { what: "the file's first fields", expected, found }));
    };
    let word = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
    let version = word(4);
    if !VERSIONS.contains(&version) {
        return Err(Error::File(FileError::Version { understood: VERSIONS, found: version }));
    }
    let header_len = u64::from(word(12)) << 32 | u64::from(word(8));
    // Whatever the caller's limit is, the rounded end of the header must fit an index.
    let limit = limits.header_bytes.min(isize::MAX as u64 - (PREFIX_LEN + ALIGNMENT) as u64);
    if header_len > limit {
        return Err(Error::Limit { what: "bytes of the weight file's header".into(), limit, found: header_len });
    }
    check_zero("the header's checksum", &bytes[20..], 20)?;
    Ok(Prefix { version, header_len: header_len as usize, crc32: word(16) })
}

/// The arithmetic of every layer, as the header says.
fn arithmetic(version: u32, names: Option<Vec<String>>, network: &Network) -> Result<Vec<Arithmetic>, Error> {
    let count = network.layers().count();
    let names = match (version, names) {
        (VERSION_1, None) => return Ok(vec![Arithmetic::F32; count]),
        (VERSION_1, Some(_)) => {
            return Err(Error::File(FileError::Header {
                message: "unknown field `arithmetic`, which version 1 lacks".into(),
            }));
        }
        (_, None) => {
            return Err(Error::File(FileError::Header {
                message: format!("missing field `arithmetic` of version {version}"),
            }));
        }
        (_, Some(names)) => names,
    };
    if names.len() != count {
        return Err(Error::File(FileError::LayerCount { expected: count, found: names.len() }));
    }
    let parsed = network.layers().zip(names).map(|(layer, name)| {
        let unknown = || {
            let (layer, found) = (layer.name.clone(), shown(&name, NAME));
            Error::File(FileError::Arithmetic { layer, understood: Arithmetic::ALL, found })
        };
        Arithmetic::parse(&name).ok_or_else(unknown)
    });
    parsed.collect()
}

/// The type of the classifier's weights. The table says it; it is compared with all that follows.
fn classifier_dtype(version: u32, network: &Network, entries: &[Entry]) -> ClassifierDtype {
    let name = network.classifier().filter(|_| version > VERSION_1).map(|layer| format!("{}.weight", layer.name));
    let entry = name.and_then(|name| entries.iter().find(|entry| entry.name == name));
    entry.and_then(|entry| entry.dtype.parse().ok()).unwrap_or_default()
}

/// Compares the table with the tensors that follow from spec, arithmetic and the classifier's type, and takes the checksums from it.
fn check_table(version: u32, tensors: &mut [Tensor], entries: &[Entry]) -> Result<(), Error> {
    if tensors.len() != entries.len() {
        return Err(Error::File(FileError::TensorCount { expected: tensors.len(), found: entries.len() }));
    }
    for (index, (tensor, found)) in tensors.iter_mut().zip(entries).enumerate() {
        tensor.crc32 = found.crc32;
        let expected = tensor.entry();
        if &expected != found {
            let tensor = tensor.name.clone();
            if version > VERSION_1 && Element::parse(&found.dtype).is_none() {
                let found = shown(&found.dtype, NAME);
                return Err(Error::File(FileError::Element { index, tensor, understood: Element::ALL, found }));
            }
            let (field, expected, found) = difference(&expected, found);
            let found = shown(&found, NAME);
            return Err(Error::File(FileError::TensorEntry { index, tensor, field, expected, found }));
        }
    }
    Ok(())
}

/// The first field in which two entries differ, with both values.
fn difference(expected: &Entry, found: &Entry) -> (&'static str, String, String) {
    let fields = |e: &Entry| {
        [
            ("name", format!("{:?}", e.name)),
            ("dtype", format!("{:?}", e.dtype)),
            ("dims", format!("{:?}", e.dims)),
            ("packing", format!("{:?}", e.packing)),
            ("offset", e.offset.to_string()),
            ("length", e.length.to_string()),
        ]
    };
    let pairs = fields(expected).into_iter().zip(fields(found));
    let mut different = pairs.filter(|(e, f)| e != f).map(|((field, e), (_, f))| (field, e, f));
    different.next().unwrap_or(("crc32", expected.crc32.to_string(), found.crc32.to_string()))
}

/// Checks a payload of the right length. Padding bytes, unused lanes and scales are always checked; checksums and weights
/// only if `verify` is set.
pub(crate) fn check_payload(front: &Front, payload: &[u8], verify: bool) -> Result<(), Error> {
    let Layout { tensors, payload_len, .. } = &front.layout;
    for (i, tensor) in tensors.iter().enumerate() {
        let bytes = &payload[tensor.range.clone()];
        let next = tensors.get(i + 1).map_or(*payload_len, |t| t.range.start);
        let end = tensor.range.end;
        check_zero(&tensor.name, &payload[end..next], front.payload_start + end)?;
        if verify {
            check_crc(&tensor.name, tensor.crc32, bytes)?;
        }
        tensor.check_unused_lanes(bytes)?;
        if verify || tensor.role == Role::Scale {
            tensor.check_values(bytes)?;
        }
    }
    Ok(())
}

fn check_crc(what: &str, expected: u32, bytes: &[u8]) -> Result<(), Error> {
    let found = crc32fast::hash(bytes);
    if found == expected {
        Ok(())
    } else {
        Err(Error::File(FileError::Checksum { what: what.into(), expected, found }))
    }
}

/// Refuses `bytes` that are not all zero. They start at byte `start` of the file; `after` names what precedes them.
fn check_zero(after: &str, bytes: &[u8], start: usize) -> Result<(), Error> {
    match bytes.iter().position(|&b| b != 0) {
        None => Ok(()),
        Some(i) => {
            Err(Error::File(FileError::NotZero { after: after.into(), offset: (start + i) as u64, found: bytes[i] }))
        }
    }
}
