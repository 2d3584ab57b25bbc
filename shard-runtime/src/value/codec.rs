//! The binary form of values: redo records, cursors and the partial values of aggregates. Owns the format; uses only
//! [`Value`].
//!
//! A value is a tag and its content. Lengths and counts are LEB128, numbers are little-endian. Stored or sent bytes
//! begin with [`HEADER`], which ends with the version. Partial values are not stored. They have the form of
//! PostgreSQL's `int8send` and `float8send`: numbers are big-endian, and each value of a set has a length of eight
//! bytes.

use std::borrow::Cow;

use super::Value;

/// The beginning of versioned bytes: an overlong zero, which no LEB128 number of this module is, and the version.
///
/// Redo records of release 0.1 have no header. They begin with a count in LEB128, so that they cannot be confused.
pub(crate) const HEADER: [u8; 3] = [0x80, 0x00, 2];

/// Returns what follows the header; `None` if there is none.
pub(crate) fn without_header(bytes: &[u8]) -> Option<&[u8]> {
    bytes.strip_prefix(&HEADER)
}

mod tag {
    pub(super) const NULL: u8 = 0;
    pub(super) const FALSE: u8 = 1;
    pub(super) const TRUE: u8 = 2;
    pub(super) const INTEGER: u8 = 3;
    pub(super) const REAL: u8 = 4;
    pub(super) const TEXT: u8 = 5;
    pub(super) const BYTES: u8 = 6;
    pub(super) const UUID: u8 = 7;
    pub(super) const TIMESTAMP: u8 = 8;
    pub(super) const JSON: u8 = 9;
    pub(super) const LIST: u8 = 10;
}

/// Appends a value.
pub(crate) fn put_value(value: &Value<'_>, bytes: &mut Vec<u8>) {
    let mut sized = |tag: u8, content: &[u8]| {
        bytes.push(tag);
        put_bytes(content, bytes);
    };
    match value {
        Value::Text(text) => sized(tag::TEXT, text.as_bytes()),
        Value::Json(text) => sized(tag::JSON, text.as_bytes()),
        Value::Bytes(content) => sized(tag::BYTES, content),
        Value::Null => bytes.push(tag::NULL),
        Value::Boolean(false) => bytes.push(tag::FALSE),
        Value::Boolean(true) => bytes.push(tag::TRUE),
        Value::Integer(integer) => {
            bytes.push(tag::INTEGER);
            bytes.extend_from_slice(&integer.to_le_bytes());
        }
        Value::Timestamp(micros) => {
            bytes.push(tag::TIMESTAMP);
            bytes.extend_from_slice(&micros.to_le_bytes());
        }
        Value::Real(real) => {
            bytes.push(tag::REAL);
            bytes.extend_from_slice(&real.to_le_bytes());
        }
        Value::Uuid(uuid) => {
            bytes.push(tag::UUID);
            bytes.extend_from_slice(uuid);
        }
    }
}

/// Appends a list of values.
pub(crate) fn put_list(values: &[Value<'_>], bytes: &mut Vec<u8>) {
    bytes.push(tag::LIST);
    put_number(values.len() as u64, bytes);
    values.iter().for_each(|value| put_value(value, bytes));
}

/// Appends bytes with their length.
pub(crate) fn put_bytes(content: &[u8], bytes: &mut Vec<u8>) {
    put_number(content.len() as u64, bytes);
    bytes.extend_from_slice(content);
}

/// Appends a length or a count.
pub(crate) fn put_number(mut number: u64, bytes: &mut Vec<u8>) {
    while number >= 0x80 {
        bytes.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

/// Reads what the functions above have written. Each method returns `None` if the bytes are damaged.
pub(crate) struct Reader<'b> {
    rest: &'b [u8],
}

impl<'b> Reader<'b> {
    pub(crate) fn new(bytes: &'b [u8]) -> Self {
        Reader { rest: bytes }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    pub(crate) fn value(&mut self) -> Option<Value<'b>> {
        Some(match u8::from_le_bytes(self.array()?) {
            tag::NULL => Value::Null,
            tag::FALSE => Value::Boolean(false),
            tag::TRUE => Value::Boolean(true),
            tag::INTEGER => Value::Integer(i64::from_le_bytes(self.array()?)),
            tag::TIMESTAMP => Value::Timestamp(i64::from_le_bytes(self.array()?)),
            tag::REAL => Value::Real(f64::from_le_bytes(self.array()?)),
            tag::UUID => Value::Uuid(self.array()?),
            tag::TEXT => Value::Text(Cow::Borrowed(self.text()?)),
            tag::JSON => Value::Json(Cow::Borrowed(self.text()?)),
            tag::BYTES => Value::Bytes(Cow::Borrowed(self.bytes()?)),
            _ => return None,
        })
    }

    /// Reads a list. Returns `None`, without reading, if the next value is not a list, and `Some(None)` if the list is
    /// damaged.
    pub(crate) fn list(&mut self) -> Option<Option<Vec<Value<'b>>>> {
        let (&tag::LIST, rest) = self.rest.split_first()? else { return None };
        self.rest = rest;
        let values = self.number().and_then(|count| (0..count).map(|_| self.value()).collect());
        Some(values)
    }

    pub(crate) fn bytes(&mut self) -> Option<&'b [u8]> {
        let length = self.number()?;
        self.take(length)
    }

    pub(crate) fn text(&mut self) -> Option<&'b str> {
        std::str::from_utf8(self.bytes()?).ok()
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    pub(crate) fn number(&mut self) -> Option<usize> {
        let mut number: u64 = 0;
        for shift in (0..64).step_by(7) {
            let [byte] = self.array()?;
            number |= u64::from(byte & 0x7f).checked_shl(shift)?;
            if byte < 0x80 {
                return usize::try_from(number).ok();
            }
        }
        None
    }

    fn take(&mut self, count: usize) -> Option<&'b [u8]> {
        let (taken, rest) = self.rest.split_at_checked(count)?;
        self.rest = rest;
        Some(taken)
    }
}

/// Appends a value to a set of values in PostgreSQL's form.
pub(crate) fn put_in_set(content: &[u8], set: &mut Vec<u8>) {
    set.extend((content.len() as u64).to_be_bytes());
    set.extend(content);
}

/// Returns the values of a set in PostgreSQL's form; `None` if the bytes are damaged.
pub(crate) fn set(mut bytes: &[u8]) -> Option<Vec<&[u8]>> {
    let mut values = Vec::new();
    while !bytes.is_empty() {
        let (length, rest) = bytes.split_first_chunk::<8>()?;
        let (value, rest) = rest.split_at_checked(u64::from_be_bytes(*length).try_into().ok()?)?;
        values.push(value);
        bytes = rest;
    }
    Some(values)
}

/// Returns three numbers in PostgreSQL's form.
pub(crate) fn moments(rows: u64, mean: f64, squares: f64) -> [u8; 24] {
    let mut bytes = [0; 24];
    let numbers = [rows.to_be_bytes(), mean.to_be_bytes(), squares.to_be_bytes()];
    bytes.copy_from_slice(numbers.as_flattened());
    bytes
}

/// Reads three numbers in PostgreSQL's form.
pub(crate) fn read_moments(bytes: &[u8]) -> Option<(u64, f64, f64)> {
    let ([rows, mean, squares], []) = bytes.as_chunks::<8>() else { return None };
    Some((u64::from_be_bytes(*rows), f64::from_be_bytes(*mean), f64::from_be_bytes(*squares)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_value_is_read_as_it_was_written() {
        let values = [
            Value::Null,
            Value::Boolean(true),
            Value::Boolean(false),
            Value::Integer(i64::MIN),
            Value::Timestamp(-1),
            Value::Real(-0.5),
            Value::Text("Zürich".into()),
            Value::Json("{}".into()),
            Value::Bytes(vec![7; 300].into()),
            Value::Uuid([9; 16]),
        ];
        let mut bytes = HEADER.to_vec();
        put_list(&values, &mut bytes);
        values.iter().for_each(|value| put_value(value, &mut bytes));
        let mut reader = Reader::new(without_header(&bytes).unwrap());
        assert_eq!(reader.list(), Some(Some(values.to_vec())));
        for value in &values {
            assert_eq!(reader.list(), None);
            assert_eq!(reader.value().as_ref(), Some(value));
        }
        assert!(reader.is_empty());
    }

    #[test]
    fn no_count_looks_like_the_header() {
        for number in [0, 127, 128, 255, 16_384, u64::MAX] {
            let mut bytes = Vec::new();
            put_number(number, &mut bytes);
            bytes.extend([0, HEADER[2], 0]);
            assert_eq!(without_header(&bytes), None, "{number}");
        }
    }

    #[test]
    fn partial_values_have_the_form_of_postgresql() {
        let mut bytes = Vec::new();
        put_in_set(b"ab", &mut bytes);
        put_in_set(b"", &mut bytes);
        assert_eq!(bytes, b"\0\0\0\0\0\0\0\x02ab\0\0\0\0\0\0\0\0");
        assert_eq!(set(&bytes), Some(vec![&b"ab"[..], b""]));
        assert_eq!(set(&bytes[..9]), None);
        let bytes = moments(3, 1.5, 0.25);
        assert_eq!((bytes[7], bytes[8]), (3, 0x3f));
        assert_eq!(read_moments(&bytes), Some((3, 1.5, 0.25)));
        assert_eq!(read_moments(&bytes[..23]), None);
    }
}
