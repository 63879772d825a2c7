//! What the headers of a JPEG file's frame and scans say.

use crate::picture::memory::PIXEL;

/// Bytes that decoders take for a sample of a row of units: coefficients, samples, and those of neighbours for scaling.
const ROW: u64 = 16;
/// Bytes that decoders take for tables.
const TABLES: u64 = 1 << 20;

/// How channels become red, green and blue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::picture) enum Colours {
    Grey,
    Rgb,
    YCbCr,
    /// CMYK or YCCK.
    Inks,
}

impl Colours {
    pub(super) fn channels(self) -> u64 {
        match self {
            Colours::Grey => 1,
            Colours::Rgb | Colours::YCbCr => 3,
            Colours::Inks => 4,
        }
    }
}

/// A channel.
pub(super) struct Component {
    id: u8,
    /// Sampling factors: samples of this channel per unit, along a row and along a column.
    across: usize,
    down: usize,
    /// Index of its quantization table.
    pub(super) steps: usize,
    /// For each coefficient the lowest bit that has come. `None` before the first scan that has the coefficient.
    low: [Option<u8>; 64],
}

/// The picture as a whole.
pub(super) struct Frame {
    pub(super) width: u16,
    pub(super) height: u16,
    pub(super) progressive: bool,
    components: Vec<Component>,
}

/// Which part of the picture a scan holds.
pub(super) struct ScanHeader {
    /// For each channel: its index in the frame, and the tables of codes for the first coefficient and for the others.
    pub(super) channels: Vec<(usize, usize, usize)>,
    /// Lowest bit of the values in this scan.
    pub(super) low: u8,
    /// Whether the scan has the first coefficient, and the first bits of its values.
    pub(super) begins: bool,
    /// The header written again, with the channel names of [`Frame::segment`].
    pub(super) segment: Vec<u8>,
}

impl Frame {
    pub(super) fn read(marker: u8, segment: &[u8]) -> Result<Self, String> {
        let kind = match marker {
            0xC0..=0xC2 => "",
            0xC3 => "lossless JPEG",
            0xC5..=0xC7 | 0xCD..=0xCF => "hierarchical JPEG",
            0xF7 => "JPEG-LS",
            _ => "arithmetic coding",
        };
        if !kind.is_empty() {
            return Err(kind.into());
        }
        let &[precision, h, height, w, width, channels, ref rest @ ..] = segment else {
            return Err(malformed("frame header"));
        };
        let (width, height) = (u16::from_be_bytes([w, width]), u16::from_be_bytes([h, height]));
        if precision != 8 {
            return Err(format!("samples of {precision} bits"));
        }
        if height == 0 {
            return Err("a height that comes after the pixels (DNL)".into());
        }
        if width == 0 {
            return Err(format!("{width} x {height} pixels"));
        }
        if !matches!(channels, 1 | 3 | 4) {
            return Err(format!("{channels} channels"));
        }
        if rest.len() != 3 * usize::from(channels) {
            return Err(malformed("frame header"));
        }
        let mut components: Vec<Component> = Vec::new();
        for channel in rest.chunks_exact(3) {
            let (across, down) = (usize::from(channel[1] >> 4), usize::from(channel[1] & 15));
            if !(1..=4).contains(&across) || !(1..=4).contains(&down) || channel[2] > 3 {
                return Err(malformed("frame header"));
            }
            if components.iter().any(|other| other.id == channel[0]) {
                return Err("two channels of one name".into());
            }
            // A single channel has as many samples as the picture has pixels.
            let (across, down) = if channels == 1 { (1, 1) } else { (across, down) };
            components.push(Component { id: channel[0], across, down, steps: channel[2].into(), low: [None; 64] });
        }
        Ok(Frame { width, height, progressive: marker == 0xC2, components })
    }

    /// The header written again, with channel names from which decoders understand the colours.
    pub(super) fn segment(&self, colours: Colours) -> Vec<u8> {
        let [h, height] = self.height.to_be_bytes();
        let [w, width] = self.width.to_be_bytes();
        let mut segment = vec![8, h, height, w, width, self.components.len() as u8];
        for (place, channel) in self.components.iter().enumerate() {
            let sampling = channel.across * 16 + channel.down;
            segment.extend([name(place, colours), sampling as u8, channel.steps as u8]);
        }
        segment
    }

    /// The colours, by libjpeg-turbo's rules.
    pub(super) fn colours(&self, jfif: bool, adobe: Option<u8>) -> Result<Colours, String> {
        let ids: Vec<u8> = self.components.iter().map(|channel| channel.id).collect();
        Ok(match (ids.len(), adobe) {
            (1, _) => Colours::Grey,
            (3, _) if jfif => Colours::YCbCr,
            (3, Some(0)) => Colours::Rgb,
            (3, None) if ids == *b"RGB" => Colours::Rgb,
            (3, _) => Colours::YCbCr,
            (_, Some(_)) => Colours::Inks,
            (_, None) => {
                return Err("four channels (CMYK) without Adobe's marker, which says how they are meant".into());
            }
        })
    }

    /// The largest sampling factors of any channel, along a row and along a column.
    fn most(&self) -> (usize, usize) {
        let across = self.components.iter().map(|channel| channel.across).max();
        let down = self.components.iter().map(|channel| channel.down).max();
        (across.unwrap_or(1), down.unwrap_or(1))
    }

    /// The sampling factors of each channel.
    pub(super) fn sampling(&self) -> String {
        let each: Vec<String> = self.components.iter().map(|c| format!("{}x{}", c.across, c.down)).collect();
        each.join(", ")
    }

    pub(super) fn is_subsampled(&self) -> bool {
        let most = self.most();
        self.components.iter().any(|channel| (channel.across, channel.down) != most)
    }

    /// Whether a channel has half as many samples as the one with four, which decoders do not always get.
    pub(super) fn has_two_of_four(&self) -> bool {
        let (across, down) = self.most();
        self.components.iter().any(|channel| (across, channel.across) == (4, 2) || (down, channel.down) == (4, 2))
    }

    /// Whether the fast decoder gets such a file right. `Err` if neither decoder does.
    pub(super) fn is_plain(&self, first: &ScanHeader) -> Result<bool, String> {
        let (across, down) = self.most();
        if self.components.iter().any(|channel| across % channel.across != 0 || down % channel.down != 0) {
            return Err(format!("sampling factors that do not divide each other ({})", self.sampling()));
        }
        let leads = self.components.first().is_some_and(|channel| (channel.across, channel.down) == (across, down));
        let usual = leads && self.components.iter().all(|channel| channel.across != 3);
        let places = first.channels.iter().map(|&(place, ..)| place);
        Ok(usual && (self.progressive || places.eq(0..self.components.len())))
    }

    /// Whether everything that pixels need has come. (If the lowest coefficients of a progressive file are missing,
    /// libjpeg-turbo smooths the picture. Higher ones may be left out.)
    pub(super) fn is_complete(&self) -> bool {
        self.components.iter().all(|channel| channel.low[..6].iter().all(|&low| low == Some(0)))
    }

    /// Reads a scan's header and notes what comes with it.
    pub(super) fn scan(&mut self, segment: &[u8], colours: Colours) -> Result<ScanHeader, String> {
        let bad = || malformed("scan header");
        let (&count, rest) = segment.split_first().ok_or_else(bad)?;
        let (each, rest) = rest.split_at_checked(2 * usize::from(count)).ok_or_else(bad)?;
        let &[start, end, bits] = rest else { return Err(bad()) };
        let (mut high, mut low) = (bits >> 4, bits & 15);
        let (mut start, mut end) = (usize::from(start), usize::from(end));
        let fits = if start == 0 { end == 0 } else { start <= end && end < 64 && count == 1 };
        if !self.progressive {
            (start, end, high, low) = (0, 63, 0, 0);
        } else if !fits || low > 13 || (high != 0 && high != low + 1) {
            return Err(bad());
        }
        let mut channels = Vec::new();
        for pair in each.chunks_exact(2) {
            let place = self.components.iter().position(|channel| channel.id == pair[0]).ok_or_else(bad)?;
            let before = if high == 0 { None } else { Some(high) };
            for coefficient in &mut self.components[place].low[start..=end] {
                if *coefficient != before {
                    return Err("the same part of the picture in two scans".into());
                }
                *coefficient = Some(low);
            }
            channels.push((place, usize::from(pair[1] >> 4), usize::from(pair[1] & 15)));
        }
        if !(1..=4).contains(&channels.len()) {
            return Err(bad());
        }
        // The standard's limit, and libjpeg-turbo's.
        if channels.len() > 1 && channels.iter().map(|&(place, ..)| self.blocks(place)).sum::<usize>() > 10 {
            return Err("more than 10 blocks in a unit".into());
        }
        let mut renamed = segment.to_vec();
        for (index, &(place, ..)) in channels.iter().enumerate() {
            renamed[1 + 2 * index] = name(place, colours);
        }
        Ok(ScanHeader { channels, low, begins: start == 0 && high == 0, segment: renamed })
    }

    /// Blocks of a channel in a unit that has several channels.
    fn blocks(&self, place: usize) -> usize {
        self.components[place].across * self.components[place].down
    }

    pub(super) fn component(&self, place: usize) -> &Component {
        &self.components[place]
    }

    /// The number of units in a scan. With several channels a unit has as many blocks of each as its sampling factors say.
    /// With one channel a unit is one block.
    pub(super) fn units(&self, scan: &ScanHeader) -> usize {
        let (across, down) = self.most();
        let (width, height) = (usize::from(self.width), usize::from(self.height));
        match scan.channels[..] {
            [(place, ..)] => {
                let channel = &self.components[place];
                let samples = ((width * channel.across).div_ceil(across), (height * channel.down).div_ceil(down));
                samples.0.div_ceil(8) * samples.1.div_ceil(8)
            }
            _ => width.div_ceil(8 * across) * height.div_ceil(8 * down),
        }
    }

    pub(super) fn channels(&self) -> u64 {
        self.components.len() as u64
    }

    /// What decoding takes. Afterwards, `turning` the picture takes so many bytes besides it.
    pub(super) fn memory(&self, plain: bool, turning: u64) -> u64 {
        let (across, down) = self.most();
        let (width, height) = (usize::from(self.width), usize::from(self.height));
        let units = [width.div_ceil(8 * across), height.div_ceil(8 * down)].map(|units| units as u64);
        let blocks: u64 = (0..self.components.len()).map(|place| self.blocks(place) as u64).sum();
        let samples = units[0] * units[1] * blocks * 64;
        let pixels = (width * height) as u64 * PIXEL;
        // Decoders work on a few rows of units at a time.
        let rows = units[0] * blocks * 64 * ROW + TABLES;
        let coefficients = match (plain, self.progressive) {
            (true, false) => 0,
            (true, true) => 2 * samples,
            // With the samples before they are scaled. If the picture is grey, its pixels are there in one byte each, too.
            (false, _) => 3 * samples + pixels / PIXEL,
        };
        pixels + (coefficients + rows).max(turning)
    }

    /// How many blocks of this channel one of the scan's units has.
    pub(super) fn blocks_of(&self, scan: &ScanHeader, place: usize) -> usize {
        if scan.channels.len() == 1 { 1 } else { self.blocks(place) }
    }
}

/// The name of a channel.
fn name(place: usize, colours: Colours) -> u8 {
    if colours == Colours::Rgb { b"RGB"[place] } else { place as u8 + 1 }
}

pub(super) fn malformed(what: &str) -> String {
    format!("damaged data (a malformed {what})")
}
