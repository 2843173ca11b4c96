//! Bytes of a fixed length that are written in hexadecimal.

use std::fmt;
use std::str::FromStr;

/// `N` bytes; shown as `2 * N` lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Bytes<const N: usize>(pub [u8; N]);

/// A SHA-256 hash.
pub type Hash = Bytes<32>;

/// A text isn't the expected number of hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected {digits} hexadecimal digits")]
pub struct NotHexadecimal {
    /// How many there should be.
    pub digits: usize,
}

impl<const N: usize> fmt::Display for Bytes<N> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(formatter, "{byte:02x}"))
    }
}

impl<const N: usize> fmt::Debug for Bytes<N> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

impl<const N: usize> FromStr for Bytes<N> {
    type Err = NotHexadecimal;

    fn from_str(text: &str) -> Result<Bytes<N>, NotHexadecimal> {
        let wrong = NotHexadecimal { digits: 2 * N };
        let mut digits = text.bytes().map(|digit| char::from(digit).to_digit(16));
        let mut bytes = [0; N];
        for byte in &mut bytes {
            let (Some(Some(high)), Some(Some(low))) = (digits.next(), digits.next()) else {
                return Err(wrong);
            };
            *byte = u8::try_from(high * 16 + low).map_err(|_| wrong)?;
        }
        if digits.next().is_some() { Err(wrong) } else { Ok(Bytes(bytes)) }
    }
}

impl<const N: usize> From<[u8; N]> for Bytes<N> {
    fn from(bytes: [u8; N]) -> Bytes<N> {
        Bytes(bytes)
    }
}

impl<const N: usize> TryFrom<&[u8]> for Bytes<N> {
    type Error = std::array::TryFromSliceError;

    fn try_from(bytes: &[u8]) -> Result<Bytes<N>, Self::Error> {
        Ok(Bytes(bytes.try_into()?))
    }
}
