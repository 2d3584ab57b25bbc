//! The canonical text of a JSON document, which is the same on every database.
//!
//! It is the text that PostgreSQL prints for `jsonb`, with one space after `:` and `,`. An object's keys are ordered by
//! length and then by bytes. Numbers have no exponent. SQLite stores this text, and both databases compare documents by
//! its bytes.

#[cfg(feature = "json")]
use std::fmt::Write as _;

use super::ValueError;

/// The greatest depth of nested arrays and objects, which is that of serde_json.
#[cfg(feature = "json")]
const DEPTH: usize = 127;

/// The most digits of a PostgreSQL number before and behind its decimal point.
#[cfg(feature = "json")]
const DIGITS: (usize, usize) = (131_072, 16_383);

/// Returns the canonical text of a document.
///
/// Without the feature `json` no code can parse the document, and the text stays as it is.
pub(crate) fn canonical(text: &str) -> Result<String, ValueError> {
    #[cfg(feature = "json")]
    {
        let read = |error: serde_json::Error| ValueError::new(format!("not JSON: {error}"));
        to_text(&serde_json::from_str(text).map_err(read)?)
    }
    #[cfg(not(feature = "json"))]
    Ok(text.to_owned())
}

/// Returns the canonical text of a document.
#[cfg(feature = "json")]
pub(super) fn to_text(document: &serde_json::Value) -> Result<String, ValueError> {
    let mut text = String::new();
    put(document, DEPTH, &mut text)?;
    Ok(text)
}

#[cfg(feature = "json")]
fn put(document: &serde_json::Value, depth: usize, text: &mut String) -> Result<(), ValueError> {
    use serde_json::Value;
    let inner = || {
        depth.checked_sub(1).ok_or_else(|| {
            ValueError::new(format!("JSON nested more than {DEPTH} levels deep cannot be stored"))
        })
    };
    match document {
        Value::Null => text.push_str("null"),
        Value::Bool(value) => text.push_str(if *value { "true" } else { "false" }),
        Value::Number(number) => put_number(&number.to_string(), text)?,
        Value::String(string) => put_string(string, text)?,
        Value::Array(items) => {
            let inner = inner()?;
            text.push('[');
            for (index, item) in items.iter().enumerate() {
                text.push_str(if index == 0 { "" } else { ", " });
                put(item, inner, text)?;
            }
            text.push(']');
        }
        Value::Object(members) => {
            let inner = inner()?;
            let mut members: Vec<(&String, &Value)> = members.iter().collect();
            members.sort_unstable_by_key(|(key, _)| (key.len(), key.as_bytes()));
            text.push('{');
            for (index, (key, value)) in members.into_iter().enumerate() {
                text.push_str(if index == 0 { "" } else { ", " });
                put_string(key, text)?;
                text.push_str(": ");
                put(value, inner, text)?;
            }
            text.push('}');
        }
    }
    Ok(())
}

#[cfg(feature = "json")]
fn put_string(string: &str, text: &mut String) -> Result<(), ValueError> {
    if string.contains('\0') {
        return Err(ValueError::new("JSON with U+0000 in a string cannot be stored: PostgreSQL refuses it"));
    }
    text.push('"');
    for character in string.chars() {
        match character {
            '"' => text.push_str("\\\""),
            '\\' => text.push_str("\\\\"),
            '\u{8}' => text.push_str("\\b"),
            '\u{c}' => text.push_str("\\f"),
            '\n' => text.push_str("\\n"),
            '\r' => text.push_str("\\r"),
            '\t' => text.push_str("\\t"),
            control if control < ' ' => {
                let _ = write!(text, "\\u{:04x}", u32::from(control));
            }
            character => text.push(character),
        }
    }
    text.push('"');
    Ok(())
}

/// Writes a number without an exponent. A number with a fraction or an exponent keeps a fraction, so that it is read as
/// a float again. Zero has no sign.
#[cfg(feature = "json")]
fn put_number(number: &str, text: &mut String) -> Result<(), ValueError> {
    let too_long =
        || ValueError::new(format!("the JSON number {number} has more digits than PostgreSQL stores"));
    let (sign, digits) = number.strip_prefix('-').map_or(("", number), |digits| ("-", digits));
    let (mantissa, exponent) = digits.split_once(['e', 'E']).unwrap_or((digits, "0"));
    let is_integer = !digits.contains(['.', 'e', 'E']);
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let exponent: isize = exponent.parse().map_err(|_| too_long())?;
    let point = isize::try_from(whole.len()).ok().and_then(|whole| whole.checked_add(exponent));
    let point = point.ok_or_else(too_long)?;
    let is_zero = !mantissa.contains(|digit: char| ('1'..='9').contains(&digit));
    if is_zero {
        text.push_str(if is_integer { "0" } else { "0.0" });
        return Ok(());
    }
    let digits = [whole, fraction].concat();
    let (before, behind) = match usize::try_from(point) {
        Ok(point) if point > DIGITS.0 => return Err(too_long()),
        Ok(point) if point >= digits.len() => (format!("{digits:0<point$}"), String::new()),
        Ok(point) => (digits[..point].to_owned(), digits[point..].to_owned()),
        Err(_) if point.unsigned_abs() > DIGITS.1 => return Err(too_long()),
        Err(_) => (String::new(), format!("{}{digits}", "0".repeat(point.unsigned_abs()))),
    };
    let (before, behind) = (before.trim_start_matches('0'), behind.trim_end_matches('0'));
    if behind.len() > DIGITS.1 {
        return Err(too_long());
    }
    text.push_str(sign);
    text.push_str(if before.is_empty() { "0" } else { before });
    if !is_integer {
        text.push('.');
        text.push_str(if behind.is_empty() { "0" } else { behind });
    }
    Ok(())
}

#[cfg(all(test, feature = "json"))]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_document_has_one_text() {
        for (document, text) in [
            ("null", "null"),
            (r#"{"bb":1,"a":[true,{}],"aa":[]}"#, r#"{"a": [true, {}], "aa": [], "bb": 1}"#),
            (r#"{"a":1,"a":2}"#, r#"{"a": 2}"#),
            (r#""\u0001\n\u00e4\/\"\\""#, "\"\\u0001\\nä/\\\"\\\\\""),
            ("[-0.0, -0, 1.50, 1e2, 1E-7, 1.25e1, -5e-324]", ""),
        ] {
            let found = canonical(document).unwrap();
            if !text.is_empty() {
                assert_eq!(found, text);
            }
            assert_eq!(canonical(&found).unwrap(), found, "{document}");
        }
        assert_eq!(
            canonical("[-0.0, 1.50, 1e2, 1E-7, 1.25e1]").unwrap(),
            "[0.0, 1.5, 100.0, 0.0000001, 12.5]"
        );
        assert_eq!(canonical("1e16").unwrap(), "10000000000000000.0");
        assert_eq!(canonical("18446744073709551615").unwrap(), "18446744073709551615");
    }

    #[test]
    fn written_documents_are_read_back() {
        let edges =
            [f64::MAX, f64::MIN, f64::MIN_POSITIVE, 5e-324, 0.1, 1e15, 1e16, 1e21, 1.0 / 3.0, 123456.789e-7];
        for edge in edges.into_iter().flat_map(|edge| [edge, -edge]) {
            let document = json!({ "edge": [edge] });
            let text = to_text(&document).unwrap();
            assert!(!text.contains('e') || text.contains("edge"), "{text}");
            assert_eq!(serde_json::from_str::<serde_json::Value>(&text).unwrap(), document, "{text}");
        }
    }

    #[test]
    fn documents_that_a_database_cannot_store_are_refused() {
        for wrong in [json!("\0"), json!({ "\0": 1 })] {
            assert!(to_text(&wrong).is_err());
        }
        let nested = |depth: usize| (0..depth).fold(json!(1), |inner, _| json!([inner]));
        let text = to_text(&nested(DEPTH)).unwrap();
        assert_eq!(serde_json::from_str::<serde_json::Value>(&text).unwrap(), nested(DEPTH));
        assert!(to_text(&nested(DEPTH + 1)).is_err());
        let mut text = String::new();
        for number in ["1e131073", "1e-16384", "1e99999999999999999999"] {
            assert!(put_number(number, &mut text).is_err(), "{number}");
        }
    }
}
