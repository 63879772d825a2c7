//! The segments of a JPEG file. They tell what kind it is and whether it is whole. The picture is written again as a stream
//! that leaves decoders nothing to guess.

use image::metadata::Orientation;

use super::frame::{Colours, Frame, ScanHeader, malformed};
use super::huffman::has_0xff;
use super::scan::{Tables, Walk};
use crate::picture::memory::{Door, decoded_bytes};
use crate::picture::orientation;
use crate::picture::refusal::Refusal;

const CUT: &str = "a file that is cut off (no end-of-image marker)";
const RESTARTS: &str = "damaged data (restart markers are missing or out of order)";

/// Files of up to this many bytes have their data walked through. That costs little, and in a small picture damage is a large
/// part.
const SMALL: usize = 4096;

/// Most scans of a picture. Encoders make about ten. Each may cost as much time as decoding the whole picture once, and
/// takes a few bytes of the file only.
const MOST_SCANS: usize = 100;

/// Most restart intervals of all scans together. A picture of 200 megapixels has 780,000 where each ends after 16 x 16 pixels. After
/// each the stream may have a [`FENCE`] that the file has not.
const MOST_INTERVALS: usize = 1 << 22;

/// Ones that are put after entropy-coded data. No code consists of ones only, so a decoder that reads on because data is
/// missing runs into them and reports it. A marker would just make it stop.
const FENCE: [u8; 16] = [0xFF, 0, 0xFF, 0, 0xFF, 0, 0xFF, 0, 0xFF, 0, 0xFF, 0, 0xFF, 0, 0xFF, 0];

/// What the file around a JPEG tells.
#[derive(Clone, Copy)]
pub(in crate::picture) struct Around {
    pub(in crate::picture) colours: Colours,
    /// The place that there is for it.
    pub(in crate::picture) width: u64,
    pub(in crate::picture) height: u64,
}

/// A file that is whole and of a kind that one of the decoders gets right.
pub(in crate::picture) struct Structure {
    pub(super) frame: Frame,
    pub(super) colours: Colours,
    pub(super) orientation: Orientation,
    /// Whether the fast decoder gets it right.
    pub(super) plain: bool,
    /// The picture alone, without metadata, thumbnails and garbage; see [`FENCE`].
    pub(super) stream: Vec<u8>,
    /// Bytes of the fences in it.
    pub(super) fences: u64,
}

impl Structure {
    /// Reads all segments up to the end-of-image marker. Segments are skipped by their length, so a thumbnail inside one does
    /// not count.
    pub(super) fn read(bytes: &[u8], door: Door<'_>) -> Result<Self, Refusal> {
        Structure::read_as(bytes, door, None)
    }

    /// The same of a JPEG inside another file.
    pub(in crate::picture) fn read_inside(bytes: &[u8], door: Door<'_>, around: Around) -> Result<Self, Refusal> {
        Structure::read_as(bytes, door, Some(around))
    }

    fn read_as(bytes: &[u8], door: Door<'_>, around: Option<Around>) -> Result<Self, Refusal> {
        let mut reader = Reader::new(bytes, door, around)?;
        loop {
            match reader.marker()? {
                0xD9 => return Ok(reader.finish()?),
                // Markers without a segment.
                0x01 | 0xD0..=0xD8 => {}
                marker => {
                    let segment = reader.segment()?;
                    reader.take(marker, segment)?;
                }
            }
        }
    }
}

/// The message for a segment that contradicts itself.
/// The rest of the file, and what came before it.
struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    door: Door<'a>,
    around: Option<Around>,
    /// How many scans there were, and restart intervals in them.
    scans: usize,
    intervals: usize,
    tables: Tables<'a>,
    /// Units between two restart markers; 0 if there are none.
    restart: usize,
    frame: Option<Frame>,
    /// Known from the first scan on: colours, and whether the fast decoder gets the file right.
    kind: Option<(Colours, bool)>,
    jfif: bool,
    /// Adobe's number for how channels become colours.
    adobe: Option<u8>,
    exif: Option<&'a [u8]>,
    xmp: Option<&'a [u8]>,
    stream: Vec<u8>,
    fences: usize,
}

impl<'a> Reader<'a> {
    fn new(bytes: &'a [u8], door: Door<'a>, around: Option<Around>) -> Result<Self, Refusal> {
        let mut stream = Vec::new();
        // A fence after each scan, and the signs of how to understand the colours.
        make_room(&mut stream, bytes.len() + MOST_SCANS * FENCE.len() + 64)?;
        stream.extend([0xFF, 0xD8]);
        Ok(Reader {
            bytes,
            at: 2,
            door,
            around,
            scans: 0,
            intervals: 0,
            tables: Tables::default(),
            restart: 0,
            frame: None,
            kind: None,
            jfif: false,
            adobe: None,
            exif: None,
            xmp: None,
            stream,
            fences: 0,
        })
    }

    fn take(&mut self, marker: u8, segment: &'a [u8]) -> Result<(), Refusal> {
        let progressive = self.frame.as_ref().is_some_and(|frame| frame.progressive);
        if !progressive && self.frame.as_ref().is_some_and(Frame::is_complete) {
            // Decoders stop here, and the rest adds nothing.
            return Ok(());
        }
        match marker {
            0xC4 => self.tables.define_codes(segment).ok_or_else(|| malformed("table of Huffman codes"))?,
            0xDB if progressive && self.kind.is_some() => {
                return Err("quantization tables that change between the scans".to_owned().into());
            }
            0xDB => self.tables.define_steps(segment).ok_or_else(|| malformed("quantization table"))?,
            0xC0..=0xCF | 0xF7 => return self.begin(marker, segment),
            0xDD => {
                let &[high, low] = segment else { return Err(malformed("restart interval").into()) };
                self.restart = usize::from(u16::from_be_bytes([high, low]));
            }
            0xDA => return self.scan(segment),
            0xE0 => self.jfif |= segment.starts_with(b"JFIF\0"),
            0xE1 => {
                self.exif = self.exif.or(segment.strip_prefix(b"Exif\0\0"));
                self.xmp = self.xmp.or(segment.strip_prefix(b"http://ns.adobe.com/xap/1.0/\0"));
            }
            0xEE if segment.starts_with(b"Adobe") => self.adobe = segment.get(11).copied(),
            _ => {}
        }
        if matches!(marker, 0xC4 | 0xDB | 0xDD) {
            self.copy(marker, segment);
        }
        Ok(())
    }

    fn begin(&mut self, marker: u8, segment: &[u8]) -> Result<(), Refusal> {
        if self.frame.is_some() {
            return Err("a second frame".to_owned().into());
        }
        let frame = Frame::read(marker, segment)?;
        let (width, height) = (frame.width.into(), frame.height.into());
        match self.around {
            None => self.door.check(width, height, decoded_bytes(width, height))?,
            Some(around) if u64::from(width) > around.width || u64::from(height) > around.height => {
                return Err("damaged data (a JPEG that is larger than its strip or tile)".to_owned().into());
            }
            // The size of the whole was checked.
            Some(_) => {}
        }
        self.frame = Some(frame);
        Ok(())
    }

    fn scan(&mut self, segment: &[u8]) -> Result<(), Refusal> {
        self.scans += 1;
        if self.scans > MOST_SCANS {
            return Err(format!("more than {MOST_SCANS} scans").into());
        }
        let mut frame = self.frame.take().ok_or_else(|| malformed("order of segments"))?;
        let first = self.kind.is_none();
        let colours = match (self.kind, self.around) {
            (Some((colours, _)), _) => colours,
            (None, Some(around)) if around.colours.channels() == frame.channels() => around.colours,
            (None, Some(_)) => return Err(format!("a JPEG of {} channels inside", frame.channels()).into()),
            (None, None) => frame.colours(self.jfif, self.adobe)?,
        };
        let scan = frame.scan(segment, colours)?;
        if first {
            self.kind = Some((colours, frame.is_plain(&scan)?));
            self.copy_frame(&frame, colours);
        }
        self.copy(0xDA, &scan.segment);
        self.data(&frame, &scan, first)?;
        self.frame = Some(frame);
        Ok(())
    }

    fn finish(mut self) -> Result<Structure, String> {
        let (Some(frame), Some((colours, plain))) = (self.frame, self.kind) else {
            return Err("a file without pixels".into());
        };
        if !frame.is_complete() {
            let progressive = "a progressive picture that is not finished";
            return Err(if frame.progressive { progressive } else { "a channel without a scan" }.into());
        }
        self.stream.extend([0xFF, 0xD9]);
        let orientation = orientation::find(self.exif, self.xmp);
        let fences = self.fences as u64;
        Ok(Structure { frame, colours, orientation, plain, stream: self.stream, fences })
    }

    /// The next marker: the byte after a 0xFF that is neither filling nor an escape.
    fn marker(&mut self) -> Result<u8, String> {
        loop {
            let rest = self.bytes.get(self.at..).unwrap_or_default();
            self.at += find_0xff(rest).ok_or(CUT)?;
            match self.bytes.get(self.at + 1) {
                None => return Err(CUT.into()),
                Some(0x00) => self.at += 2,
                Some(0xFF) => self.at += 1,
                Some(&marker) => {
                    self.at += 2;
                    return Ok(marker);
                }
            }
        }
    }

    /// The segment's contents: what follows marker and length.
    fn segment(&mut self) -> Result<&'a [u8], String> {
        let rest = &self.bytes[self.at..];
        let &[high, low, ..] = rest else { return Err(CUT.into()) };
        let length = usize::from(u16::from_be_bytes([high, low])).max(2);
        let segment = rest.get(2..length).ok_or(CUT)?;
        self.at += length;
        Ok(segment)
    }

    fn copy(&mut self, marker: u8, segment: &[u8]) {
        self.stream.extend([0xFF, marker]);
        self.stream.extend((segment.len() as u16 + 2).to_be_bytes());
        self.stream.extend(segment);
    }

    /// Writes the frame, with signs from which both decoders understand the colours as libjpeg-turbo does.
    fn copy_frame(&mut self, frame: &Frame, colours: Colours) {
        if self.tables.no_codes() {
            // Frames of films (MJPEG) leave the standard's tables out. This name makes decoders use them.
            self.copy(0xE0, b"AVI1\0\0\0\0");
        }
        if colours == Colours::Inks {
            let transform = if self.adobe == Some(0) { 0 } else { 2 };
            self.copy(0xEE, &[&b"Adobe\0\x64\0\0\0\0"[..], &[transform]].concat());
        }
        let marker = if frame.progressive { 0xC2 } else { 0xC1 };
        self.copy(marker, &frame.segment(colours));
    }

    /// Copies a scan's entropy-coded data, and checks what can be checked cheaply.
    fn data(&mut self, frame: &Frame, scan: &ScanHeader, first: bool) -> Result<(), Refusal> {
        let plain = self.kind.is_some_and(|(_, plain)| plain);
        // In progressive files a scan is one step of many. Only scans that begin coefficients are walked through.
        let walked = if frame.progressive { scan.begins } else { !plain || self.bytes.len() - self.at <= SMALL };
        let walk = if walked || self.tables.codes_of_ones() { Walk::new(frame, scan, &self.tables)? } else { None };
        // The fast decoder needs a marker at the end of the first progressive scan. The other decoder needs one at the end of
        // every interval.
        let fence = if plain && frame.progressive && first { &[] } else { &FENCE[..] };
        let units = frame.units(scan);
        let interval = if self.restart == 0 { units } else { self.restart };
        let intervals = units.div_ceil(interval);
        self.intervals = self.intervals.saturating_add(intervals);
        if self.intervals > MOST_INTERVALS {
            return Err(format!("more than {MOST_INTERVALS} restart intervals").into());
        }
        let fences = fence.len() * if plain { intervals } else { 1 };
        self.fences += fences;
        make_room(&mut self.stream, self.bytes.len() - self.at + fences)?;
        for index in 0..intervals {
            let start = self.at;
            let marker = self.marker()?;
            let data = &self.bytes[start..self.at - 2];
            if let Some(walk) = &walk {
                walk.check(data, interval.min(units - index * interval))?;
            }
            self.stream.extend(data);
            let last = (index + 1) * interval >= units;
            if plain || last {
                self.stream.extend(fence);
            }
            if last {
                // What comes next no longer belongs to this scan.
                self.at -= 2;
            } else if marker == 0xD0 + (index % 8) as u8 {
                self.stream.extend([0xFF, marker]);
            } else {
                return Err(RESTARTS.to_owned().into());
            }
        }
        Ok(())
    }
}

fn make_room(stream: &mut Vec<u8>, more: usize) -> Result<(), Refusal> {
    stream.try_reserve_exact(more).map_err(|_| Refusal::Memory { bytes: more as u64 })
}

/// The index of the first byte of 0xFF. It searches in words, because such bytes are rare.
fn find_0xff(bytes: &[u8]) -> Option<usize> {
    let words = bytes.chunks_exact(8);
    let without =
        words.take_while(|word| !has_0xff(u64::from_ne_bytes((*word).try_into().expect("eight bytes")))).count();
    let rest = &bytes[without * 8..];
    rest.iter().position(|&byte| byte == 0xFF).map(|at| without * 8 + at)
}
