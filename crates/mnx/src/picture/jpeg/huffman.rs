//! Huffman codes of a JPEG file, and its entropy-coded bits.

/// Bits that one look-up resolves. Few codes are longer.
const SHORT: u32 = 10;

/// A Huffman table: codes of 1 to 16 bits, each for a symbol of 8 bits.
#[derive(Clone)]
pub(super) struct Table {
    /// Symbol and length of a code, indexed by the next bits. The length is 0 if the code is longer than [`SHORT`].
    short: [(u8, u8); 1 << SHORT],
    /// For each length: the first number, left-aligned in 16 bits, that is no code of that length or shorter.
    ends: [u32; 17],
    /// For each length: what to add to a code to get the index of its symbol.
    offsets: [i32; 17],
    symbols: Vec<u8>,
}

impl Table {
    /// A table with `counts[n]` codes of n + 1 bits; `symbols` are in the order of the codes. `None` if there are more codes
    /// than bits can tell apart.
    pub(super) fn new(counts: &[u8; 16], symbols: &[u8]) -> Option<Self> {
        let mut table =
            Table { short: [(0, 0); 1 << SHORT], ends: [0; 17], offsets: [0; 17], symbols: symbols.to_vec() };
        let (mut code, mut place) = (0u32, 0);
        for length in 1..=16u32 {
            table.offsets[length as usize] = place as i32 - code as i32;
            for &symbol in symbols.get(place..place + usize::from(counts[length as usize - 1]))? {
                if code >= 1 << length {
                    return None;
                }
                if length <= SHORT {
                    let spare = SHORT - length;
                    table.short[(code << spare) as usize..((code + 1) << spare) as usize].fill((symbol, length as u8));
                }
                code += 1;
                place += 1;
            }
            table.ends[length as usize] = code << (16 - length);
            code <<= 1;
        }
        Some(table)
    }
}

/// The bits of a scan. After the last bit come zeros; [`overrun`](Bits::overrun) says whether any were read.
pub(super) struct Bits<'a> {
    bytes: &'a [u8],
    at: usize,
    /// The next bits, the highest first.
    buffer: u64,
    /// Bits in the buffer.
    count: u32,
    /// How many of them the file does not have.
    made_up: u32,
}

impl<'a> Bits<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Bits { bytes, at: 0, buffer: 0, count: 0, made_up: 0 }
    }

    /// Whether more bits were taken than there are before the next marker.
    #[inline(always)]
    pub(super) fn overrun(&self) -> bool {
        self.made_up > self.count
    }

    /// Makes sure that 32 bits are there: enough for a code of 16 bits and a value of 15.
    #[inline(always)]
    fn refill(&mut self) {
        if self.count >= 32 {
            return;
        }
        if let Some(bytes) = self.bytes.get(self.at..self.at + 8) {
            let word = u64::from_be_bytes(bytes.try_into().expect("eight bytes"));
            if !has_0xff(word) {
                // Bits below `count` may be set already. Then they are these same bits.
                self.buffer |= word >> self.count;
                self.at += ((63 - self.count) / 8) as usize;
                self.count |= 56;
                return;
            }
        }
        self.refill_bytewise();
    }

    #[cold]
    fn refill_bytewise(&mut self) {
        while self.count <= 56 {
            let byte = match self.bytes.get(self.at..) {
                Some([0xFF, 0, ..]) => {
                    self.at += 2;
                    0xFF
                }
                Some(&[byte, ..]) if byte != 0xFF => {
                    self.at += 1;
                    byte
                }
                _ => {
                    self.made_up += 8;
                    0
                }
            };
            self.buffer |= u64::from(byte) << (56 - self.count);
            self.count += 8;
        }
    }

    /// Passes at most 15 bits, of which [`symbol`](Bits::symbol) has made sure.
    #[inline(always)]
    pub(super) fn skip(&mut self, bits: u32) {
        self.buffer <<= bits;
        self.count -= bits;
    }

    /// A value of this many bits, which [`symbol`](Bits::symbol) has made sure are there. Values that begin with a 0 bit are
    /// negative. `Err` if the value is too large for a picture of 8 bits.
    #[inline(always)]
    pub(super) fn signed(&mut self, size: u8) -> Result<i32, &'static str> {
        let bits = u32::from(size);
        if bits > 15 {
            return Err("damaged data (a value of too many bits)");
        }
        let value = ((self.buffer >> 32) >> (32 - bits)) as i32;
        self.skip(bits);
        Ok(if bits > 0 && value < 1 << (bits - 1) { value - (1 << bits) + 1 } else { value })
    }

    /// The next symbol. `None` if no code begins with these bits.
    #[inline(always)]
    pub(super) fn symbol(&mut self, table: &Table) -> Option<u8> {
        self.refill();
        let (symbol, length) = table.short[(self.buffer >> (64 - SHORT)) as usize];
        if length != 0 {
            self.skip(u32::from(length));
            return Some(symbol);
        }
        self.long_symbol(table)
    }

    #[cold]
    fn long_symbol(&mut self, table: &Table) -> Option<u8> {
        let next = (self.buffer >> 48) as u32;
        let length = (SHORT + 1..=16).find(|&length| next < table.ends[length as usize])?;
        let place = (next >> (16 - length)) as i32 + table.offsets[length as usize];
        self.skip(length);
        table.symbols.get(usize::try_from(place).ok()?).copied()
    }
}

/// Whether one of eight bytes is 0xFF. The complement of such a byte is zero, and taking 1 from zero borrows.
#[inline(always)]
pub(super) fn has_0xff(word: u64) -> bool {
    !word.wrapping_add(0x0101_0101_0101_0101) & word & 0x8080_8080_8080_8080 != 0
}
