//! Walks through a scan's entropy-coded data, block by block, without making pixels of it.

use super::frame::{Frame, ScanHeader};
use super::huffman::{Bits, Table};

const SHORT: &str = "damaged data (it ends before the picture does)";
const ABSENT: &str = "a scan without its tables";
const UNKNOWN: &str = "damaged data (a code that is in no table)";
const LONG: &str = "damaged data (a block of more than 64 coefficients)";
const BEYOND: &str = "damaged data (a coefficient beyond all bounds)";

/// The largest coefficient that is accepted. It is at most 8 times the largest sample, 128; the limit is twice that, for
/// generous encoders. Larger ones overflow in some decoders, each in its own way.
const BOUND: i64 = 2 * 8 * 128;

/// A code table: the number of codes of each length, and their symbols.
type Codes<'a> = (&'a [u8; 16], &'a [u8]);

/// The tables of a file that have come so far.
#[derive(Default)]
pub(super) struct Tables<'a> {
    /// Code tables for the first coefficient and for the others.
    codes: [[Option<Codes<'a>>; 4]; 2],
    /// What each coefficient is a multiple of, in the order of the file.
    steps: [Option<[u16; 64]>; 4],
}

impl<'a> Tables<'a> {
    /// Takes the code tables of a segment. `None` if it is malformed.
    pub(super) fn define_codes(&mut self, mut rest: &'a [u8]) -> Option<()> {
        while let Some((&place, table)) = rest.split_first() {
            let (counts, symbols) = table.split_first_chunk::<16>()?;
            let length = counts.iter().map(|&count| usize::from(count)).sum();
            let (symbols, next) = symbols.split_at_checked(length)?;
            let kind = self.codes.get_mut(usize::from(place >> 4))?;
            *kind.get_mut(usize::from(place & 15))? = Some((counts, symbols));
            rest = next;
        }
        Some(())
    }

    /// As [`define_codes`](Self::define_codes), for quantization tables.
    pub(super) fn define_steps(&mut self, mut rest: &[u8]) -> Option<()> {
        while let Some((&place, table)) = rest.split_first() {
            let wide = match place >> 4 {
                0 => false,
                1 => true,
                _ => return None,
            };
            let (table, next) = table.split_at_checked(if wide { 128 } else { 64 })?;
            let step =
                |i: usize| if wide { u16::from_be_bytes([table[2 * i], table[2 * i + 1]]) } else { table[i].into() };
            *self.steps.get_mut(usize::from(place & 15))? = Some(std::array::from_fn(step));
            rest = next;
        }
        Some(())
    }

    pub(super) fn no_codes(&self) -> bool {
        self.codes.iter().flatten().all(Option::is_none)
    }

    /// Whether a code consists of ones only, which the standard forbids.
    pub(super) fn codes_of_ones(&self) -> bool {
        let full = |counts: &[u8; 16]| {
            let used: u32 = counts.iter().zip(1..).map(|(&count, length)| u32::from(count) << (16 - length)).sum();
            used >= 1 << 16
        };
        self.codes.iter().flatten().flatten().any(|(counts, _)| full(counts))
    }

    fn table(&self, kind: usize, place: usize) -> Result<Table, String> {
        let (counts, symbols) = self.codes[kind].get(place).copied().flatten().ok_or(ABSENT)?;
        Table::new(counts, symbols).ok_or_else(|| "damaged data (more codes than can be told apart)".into())
    }
}

/// One channel's part of a unit.
struct Part {
    blocks: usize,
    /// Codes of the first coefficient.
    first: Table,
    /// Codes of the others. None in a scan of first coefficients only.
    others: Option<Table>,
    steps: [u16; 64],
    /// By coefficient: values of so many bits are within the bound, whatever they are.
    fits: [u8; 64],
}

/// How to walk through a scan.
pub(super) struct Walk {
    parts: Vec<Part>,
    /// Lowest bit of the values.
    low: u8,
}

impl Walk {
    /// `None` if the scan uses the standard's tables or refines what came before.
    pub(super) fn new(frame: &Frame, scan: &ScanHeader, tables: &Tables) -> Result<Option<Self>, String> {
        if tables.no_codes() || (frame.progressive && !scan.begins) {
            return Ok(None);
        }
        let mut parts = Vec::new();
        for &(place, first, others) in &scan.channels {
            let first = tables.table(0, first)?;
            let others = if frame.progressive { None } else { Some(tables.table(1, others)?) };
            let steps = tables.steps[frame.component(place).steps].ok_or(ABSENT)?;
            let fits = steps.map(|step| (BOUND / i64::from(step.max(1)) + 1).ilog2() as u8);
            parts.push(Part { blocks: frame.blocks_of(scan, place), first, others, steps, fits });
        }
        Ok(Some(Walk { parts, low: scan.low }))
    }

    /// Whether `data`, which ends with a marker, has all blocks of this many units.
    pub(super) fn check(&self, data: &[u8], units: usize) -> Result<(), String> {
        let mut bits = Bits::new(data);
        let mut values = [0_i32; 4];
        for _ in 0..units {
            for (part, value) in self.parts.iter().zip(&mut values) {
                for _ in 0..part.blocks {
                    let size = bits.symbol(&part.first).ok_or(UNKNOWN)?;
                    // Where the quantization step is 0, no sum is out of bounds.
                    *value = value.saturating_add(bits.signed(size)?);
                    part.bound(0, *value << self.low)?;
                    if let Some(table) = &part.others {
                        part.walk(table, &mut bits)?;
                    }
                }
            }
            if bits.overrun() {
                return Err(SHORT.into());
            }
        }
        Ok(())
    }
}

impl Part {
    /// Walks through all coefficients of a block except the first.
    fn walk(&self, table: &Table, bits: &mut Bits) -> Result<(), &'static str> {
        let mut next = 1;
        while next < 64 {
            let symbol = bits.symbol(table).ok_or(UNKNOWN)?;
            let (run, size) = (usize::from(symbol >> 4), symbol & 15);
            match (run, size) {
                (15, 0) => next += 16,
                (_, 0) => break,
                _ => {
                    next += run + 1;
                    if size <= *self.fits.get(next - 1).ok_or(LONG)? {
                        bits.skip(size.into());
                    } else {
                        self.bound(next - 1, bits.signed(size)?)?;
                    }
                }
            }
        }
        Ok(())
    }

    fn bound(&self, coefficient: usize, value: i32) -> Result<(), &'static str> {
        let step = i64::from(self.steps[coefficient]);
        if (i64::from(value) * step).abs() > BOUND + step { Err(BEYOND) } else { Ok(()) }
    }
}
