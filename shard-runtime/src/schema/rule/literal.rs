//! The literals in the lines of a recorded rule. Owns their text form; uses `value`.

use crate::value::{ColumnType, Value};

/// The part of a line that is not yet read.
pub(super) struct Literals<'l>(&'l str);

impl<'l> Literals<'l> {
    pub(super) fn new(line: &'l str) -> Self {
        Literals(line)
    }

    /// Reads this text. Returns whether the line continued with it.
    pub(super) fn word(&mut self, word: &str) -> bool {
        let rest = self.0.strip_prefix(word);
        self.0 = rest.unwrap_or(self.0);
        rest.is_some()
    }

    /// Reads a number after a text.
    pub(super) fn number(&mut self, after: &str) -> Option<usize> {
        self.word(after).then_some(())?;
        self.take(|letter| letter.is_ascii_digit())?.parse().ok()
    }

    /// Returns the name of the shard, which ends the line.
    pub(super) fn shard(self) -> Option<&'l str> {
        self.0.strip_prefix(" => ")
    }

    /// Reads a value of this type.
    pub(super) fn value(&mut self, kind: ColumnType) -> Option<Value<'static>> {
        match kind {
            ColumnType::Integer => {
                let integer = self.take(|letter| letter.is_ascii_digit() || letter == '-')?;
                Some(Value::Integer(integer.parse().ok()?))
            }
            ColumnType::Text => Some(Value::Text(self.text()?.into())),
            ColumnType::Bytes => Some(Value::Bytes(self.bytes()?.into())),
            ColumnType::Uuid => Some(Value::Uuid(self.bytes()?.try_into().ok()?)),
            // No other type is a `ShardKey`.
            ColumnType::Boolean | ColumnType::Real | ColumnType::Timestamp | ColumnType::Json => None,
        }
    }

    fn take(&mut self, is_part: impl Fn(char) -> bool) -> Option<&'l str> {
        let end = self.0.find(|letter| !is_part(letter)).unwrap_or(self.0.len());
        let (taken, rest) = self.0.split_at_checked(end).filter(|(taken, _)| !taken.is_empty())?;
        self.0 = rest;
        Some(taken)
    }

    /// Reads a text in quotation marks. A doubled one is part of the text.
    fn text(&mut self) -> Option<String> {
        let mut rest = self.0.strip_prefix('\'')?;
        let mut text = String::new();
        loop {
            let (part, after) = rest.split_once('\'')?;
            text.push_str(part);
            match after.strip_prefix('\'') {
                Some(after) => {
                    text.push('\'');
                    rest = after;
                }
                None => {
                    self.0 = after;
                    return Some(text);
                }
            }
        }
    }

    /// Reads bytes as `x'00ff'`.
    fn bytes(&mut self) -> Option<Vec<u8>> {
        let (digits, rest) = self.0.strip_prefix("x'")?.split_once('\'')?;
        let digits: Option<Vec<u8>> =
            digits.chars().map(|digit| digit.to_digit(16)?.try_into().ok()).collect();
        let (pairs, []) = digits.as_deref()?.as_chunks::<2>() else { return None };
        self.0 = rest;
        Some(pairs.iter().map(|[high, low]| high << 4 | low).collect())
    }
}

/// Returns a value as the text that [`Literals::value`] reads.
pub(crate) fn literal(value: &Value<'_>) -> String {
    let hex = |bytes: &[u8]| {
        let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        format!("x'{digits}'")
    };
    match value {
        Value::Text(text) => format!("'{}'", text.replace('\'', "''")),
        Value::Bytes(bytes) => hex(bytes),
        Value::Uuid(uuid) => hex(uuid),
        other => other.to_string(),
    }
}
