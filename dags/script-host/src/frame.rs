//! Frames: four bytes of length, big endian, then that much JSON.

use std::io::{self, Read, Write};

/// The largest frame in bytes, without its length.
pub const FRAME_BYTES_MAX: usize = 8 << 20;
/// The largest answer in bytes, cut into several frames.
pub const ANSWER_BYTES_MAX: usize = 32 << 20;
/// The bytes of an answer in one frame; escaped as a text they can double.
pub const PART_BYTES_MAX: usize = 3 << 20;

/// Why a frame can't be read or written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The other side announces more than is allowed.
    #[error("a frame of {0} bytes; at most {FRAME_BYTES_MAX} are allowed")]
    TooLarge(usize),
    /// The pipe broke.
    #[error("the pipe broke")]
    Io(#[source] io::Error),
}

/// Reads one frame; none at the end of the stream.
pub fn read(input: &mut impl Read) -> Result<Option<Vec<u8>>, Error> {
    let mut length = [0; 4];
    match input.read_exact(&mut length) {
        Ok(()) => {}
        Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(e) => return Err(Error::Io(e)),
    }
    let length = u32::from_be_bytes(length) as usize;
    if length > FRAME_BYTES_MAX {
        return Err(Error::TooLarge(length));
    }
    let mut bytes = Vec::new();
    // Grows with what arrives, so that an announcement alone reserves nothing.
    let read = input.take(length as u64).read_to_end(&mut bytes).map_err(Error::Io)?;
    if read < length {
        return Err(Error::Io(io::ErrorKind::UnexpectedEof.into()));
    }
    Ok(Some(bytes))
}

/// Writes one frame.
pub fn write(output: &mut impl Write, bytes: &[u8]) -> Result<(), Error> {
    if bytes.len() > FRAME_BYTES_MAX {
        return Err(Error::TooLarge(bytes.len()));
    }
    let length = u32::try_from(bytes.len()).map_err(|_| Error::TooLarge(bytes.len()))?;
    output.write_all(&length.to_be_bytes()).map_err(Error::Io)?;
    output.write_all(bytes).map_err(Error::Io)?;
    output.flush().map_err(Error::Io)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_survives_the_pipe() {
        let mut pipe = Vec::new();
        write(&mut pipe, b"{}").unwrap();
        write(&mut pipe, b"").unwrap();
        let mut input = pipe.as_slice();
        assert_eq!(read(&mut input).unwrap().as_deref(), Some(&b"{}"[..]));
        assert_eq!(read(&mut input).unwrap().as_deref(), Some(&b""[..]));
        assert!(read(&mut input).unwrap().is_none());
    }

    #[test]
    fn frames_over_the_limit_and_broken_ones_are_refused() {
        let mut nine = (9_u32 << 20).to_be_bytes().to_vec();
        nine.resize(100, 0);
        assert!(matches!(read(&mut nine.as_slice()), Err(Error::TooLarge(_))));
        assert!(matches!(read(&mut &[0, 0, 0, 9, 1][..]), Err(Error::Io(_))));
        assert!(matches!(write(&mut Vec::new(), &vec![0; FRAME_BYTES_MAX + 1]), Err(Error::TooLarge(_))));
    }
}
