//! Netlink attributes, read from what the kernel sends and written for what it is asked.

/// Bits of the type that say how the value is encoded, not what it is.
const TYPE: u16 = 0x3fff;

const HEADER: usize = 4;

/// A sequence of attributes. Reading stops where the bytes are no attribute: what isn't
/// understood doesn't count as being there.
#[derive(Clone, Copy, Debug)]
pub(super) struct Attributes<'a>(&'a [u8]);

impl<'a> Attributes<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// The value of the first attribute of this type.
    pub(super) fn bytes(self, kind: u16) -> Option<&'a [u8]> {
        self.into_iter().find(|&(found, _)| found == kind).map(|(_, value)| value)
    }

    /// The attributes inside the first attribute of this type.
    pub(super) fn nested(self, kind: u16) -> Option<Self> {
        self.bytes(kind).map(Self)
    }

    /// A number in network byte order, as nf_tables writes them.
    pub(super) fn number(self, kind: u16) -> Option<u32> {
        self.bytes(kind)?.try_into().ok().map(u32::from_be_bytes)
    }

    /// A long number in network byte order.
    pub(super) fn long_number(self, kind: u16) -> Option<u64> {
        self.bytes(kind)?.try_into().ok().map(u64::from_be_bytes)
    }

    /// Whether there is such an attribute, and it is this NUL-terminated text.
    pub(super) fn is_text(self, kind: u16, text: &std::ffi::CStr) -> bool {
        self.bytes(kind) == Some(text.to_bytes_with_nul())
    }
}

impl<'a> Iterator for Attributes<'a> {
    type Item = (u16, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let (length, rest) = self.0.split_first_chunk()?;
        let (kind, _) = rest.split_first_chunk()?;
        let length = usize::from(u16::from_ne_bytes(*length));
        let value = self.0.get(HEADER..length)?;
        // The last attribute may come without its padding.
        self.0 = self.0.get(length.next_multiple_of(HEADER)..).unwrap_or_default();
        Some((u16::from_ne_bytes(*kind) & TYPE, value))
    }
}

/// Appends a text attribute.
pub(super) fn push_text(message: &mut Vec<u8>, kind: u16, text: &std::ffi::CStr) {
    let value = text.to_bytes_with_nul();
    let length = u16::try_from(HEADER + value.len()).expect("our names are short");
    message.extend_from_slice(&length.to_ne_bytes());
    message.extend_from_slice(&kind.to_ne_bytes());
    message.extend_from_slice(value);
    message.resize(message.len().next_multiple_of(HEADER), 0);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sample() -> Vec<u8> {
        let mut bytes = Vec::new();
        push_text(&mut bytes, 1, c"output");
        push_text(&mut bytes, 2, c"abc");
        bytes
    }

    #[test]
    fn reads_what_was_written() {
        let bytes = sample();
        let attributes = Attributes::new(&bytes);
        assert!(attributes.is_text(1, c"output"));
        assert!(attributes.is_text(2, c"abc"));
        assert!(!attributes.is_text(2, c"ab"));
        assert_eq!(attributes.bytes(3), None);
        assert_eq!(attributes.number(2), Some(u32::from_be_bytes(*b"abc\0")));
        assert_eq!(attributes.long_number(2), None);
    }

    #[test]
    fn the_encoding_bits_of_a_type_do_not_count() {
        let mut bytes = sample();
        let nested = 1_u16 | 0x8000;
        bytes[2..4].copy_from_slice(&nested.to_ne_bytes());
        assert!(Attributes::new(&bytes).is_text(1, c"output"));
    }

    #[test]
    fn every_prefix_yields_only_whole_attributes() {
        let bytes = sample();
        for end in 0..bytes.len() {
            let count = Attributes::new(&bytes[..end]).count();
            assert_eq!(count, usize::from(end >= 11), "at {end}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_end(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(Attributes::new(&bytes).count() <= bytes.len() / HEADER);
        }
    }
}
