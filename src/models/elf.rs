//! Named constant data of a shared library, read as a file: nothing of the library is run.

/// A little-endian ELF64 file with a table of dynamic symbols.
pub(crate) struct Library<'a> {
    bytes: &'a [u8],
    /// Where dynamic symbols and their names lie.
    symbols: &'a [u8],
    names: &'a [u8],
    /// Address, place in the file and length of each loaded segment.
    segments: Vec<(u64, u64, u64)>,
}

const SYMBOL_BYTES: usize = 24;
const DYNAMIC_SYMBOLS: u32 = 11;
const LOADED: u32 = 1;

impl<'a> Library<'a> {
    /// `None` where it is no such file.
    pub(crate) fn parse(bytes: &'a [u8]) -> Option<Self> {
        if !bytes.starts_with(b"\x7fELF\x02\x01") {
            return None;
        }
        let table = |offset: u64, size: u16, count: u16| {
            (0..usize::from(count)).map_while(move |at| {
                let start = usize::try_from(offset).ok()? + at * usize::from(size);
                bytes.get(start..start + usize::from(size))
            })
        };
        let segments = table(u64_at(bytes, 32)?, u16_at(bytes, 54)?, u16_at(bytes, 56)?)
            .filter(|header| u32_at(header, 0) == Some(LOADED))
            .filter_map(|it| Some((u64_at(it, 16)?, u64_at(it, 8)?, u64_at(it, 32)?)));
        let sections: Vec<&[u8]> =
            table(u64_at(bytes, 40)?, u16_at(bytes, 58)?, u16_at(bytes, 60)?).collect();
        let content = |section: &[u8]| {
            let start = usize::try_from(u64_at(section, 24)?).ok()?;
            let length = usize::try_from(u64_at(section, 32)?).ok()?;
            bytes.get(start..start.checked_add(length)?)
        };
        let symbols = sections.iter().find(|it| u32_at(it, 4) == Some(DYNAMIC_SYMBOLS))?;
        let names = sections.get(usize::try_from(u32_at(symbols, 40)?).ok()?)?;
        let (symbols, names) = (content(symbols)?, content(names)?);
        Some(Self { bytes, symbols, names, segments: segments.collect() })
    }

    /// The bytes of the symbol of that (mangled) name.
    pub(crate) fn data(&self, name: &str) -> Option<&'a [u8]> {
        let is_it = |symbol: &&[u8]| {
            let at = u32_at(symbol, 0).and_then(|at| usize::try_from(at).ok());
            let text = at.and_then(|at| self.names.get(at..));
            text.and_then(|text| text.strip_prefix(name.as_bytes()))
                .is_some_and(|rest| rest.first() == Some(&0))
        };
        let symbol = self.symbols.chunks_exact(SYMBOL_BYTES).find(is_it)?;
        let (address, length) = (u64_at(symbol, 8)?, u64_at(symbol, 16)?);
        let (from, place, _) = self.segments.iter().find(|(from, _, size)| {
            *from <= address && address.saturating_add(length) <= from.saturating_add(*size)
        })?;
        let start = usize::try_from(place + address - from).ok()?;
        self.bytes.get(start..start.checked_add(usize::try_from(length).ok()?)?)
    }
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}
