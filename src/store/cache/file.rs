//! One cached block as a file: a header that says what it is, and the bytes.
//!
//! Nothing is synchronized to disk, because nothing would be lost. After a power cut a file may hold
//! anything; so header and bytes have sums of their own, and what does not match is not a block.

use std::fs::{File, OpenOptions};
use std::io::{self, IoSlice, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::SystemTime;

use bytes::Bytes;

use crate::store::content::{Content, Sum};

/// Says what the file is, and how the rest is laid out.
const MAGIC: [u8; 8] = *b"scribeB1";

/// Magic, hash of the object, number and length of the block, its sum, and a hash of all that.
pub(crate) const HEADER_BYTES: usize = 8 + 32 + 8 + 8 + 32 + 32;

/// A block that is what it says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Block {
    pub(crate) bytes: Bytes,
    pub(crate) sum: Sum,
}

pub(crate) fn write(path: &Path, content: Content, number: u64, block: &Block) -> io::Result<()> {
    let header = header(content, number, &block.sum);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    let written = file.write_vectored(&[IoSlice::new(&header), IoSlice::new(&block.bytes)])?;
    match written.checked_sub(HEADER_BYTES) {
        Some(written) => file.write_all(&block.bytes[written..]),
        None => Err(io::ErrorKind::WriteZero.into()),
    }
}

/// # Errors
/// `InvalidData`: the file is no such block, or damaged.
pub(crate) fn read(path: &Path, content: Content, number: u64) -> io::Result<Block> {
    let mut file = File::open(path)?;
    let sum = check_header(&mut file, content, number)?;
    let range = content.bytes_of(number);
    let length = range.end - range.start;
    let mut bytes = Vec::with_capacity(usize::try_from(length).map_err(io::Error::other)?);
    file.take(length).read_to_end(&mut bytes)?;
    if bytes.len() as u64 != length || content.sum(number, &bytes) != sum {
        return Err(io::ErrorKind::InvalidData.into());
    }
    Ok(Block { bytes: bytes.into(), sum })
}

/// The sum that stands in the header, without the bytes being looked at.
pub(crate) fn read_sum(path: &Path, content: Content, number: u64) -> io::Result<Sum> {
    check_header(&mut File::open(path)?, content, number)
}

/// Notes that the block was used: what goes first is decided by this time after a restart.
pub(crate) fn touch(path: &Path, now: SystemTime) -> io::Result<()> {
    File::open(path)?.set_modified(now)
}

fn header(content: Content, number: u64, sum: &Sum) -> [u8; HEADER_BYTES] {
    let range = content.bytes_of(number);
    let mut header = [0; HEADER_BYTES];
    let (fields, own_sum) = header.split_at_mut(HEADER_BYTES - 32);
    fields[..8].copy_from_slice(&MAGIC);
    fields[8..40].copy_from_slice(&content.hash);
    fields[40..48].copy_from_slice(&number.to_le_bytes());
    fields[48..56].copy_from_slice(&(range.end - range.start).to_le_bytes());
    fields[56..].copy_from_slice(sum);
    own_sum.copy_from_slice(blake3::hash(fields).as_bytes());
    header
}

fn check_header(file: &mut File, content: Content, number: u64) -> io::Result<Sum> {
    let mut found = [0; HEADER_BYTES];
    file.read_exact(&mut found).map_err(|err| match err.kind() {
        io::ErrorKind::UnexpectedEof => io::ErrorKind::InvalidData.into(),
        _ => err,
    })?;
    let mut sum = Sum::default();
    sum.copy_from_slice(&found[56..88]);
    if found != header(content, number, &sum) {
        return Err(io::ErrorKind::InvalidData.into());
    }
    Ok(sum)
}
