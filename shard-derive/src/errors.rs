//! Collects the errors of one derive, so that all are reported at once.

use std::fmt::Display;

use proc_macro2::TokenStream;
use quote::ToTokens;

/// The errors found so far, each with the span of its tokens.
#[derive(Default)]
#[must_use = "errors are reported only if they are emitted"]
pub(crate) struct Errors(Vec<syn::Error>);

impl Errors {
    /// Records an error on these tokens. The message ends with what to write instead.
    pub(crate) fn at(&mut self, tokens: impl ToTokens, message: impl Display) {
        self.0.push(syn::Error::new_spanned(tokens, message));
    }

    /// Records an error on these tokens, and returns `None`.
    pub(crate) fn refuse<T>(&mut self, tokens: impl ToTokens, message: impl Display) -> Option<T> {
        self.at(tokens, message);
        None
    }

    /// Returns the value, or records the error and returns `None`.
    pub(crate) fn keep<T>(&mut self, result: syn::Result<T>) -> Option<T> {
        result.map_err(|error| self.0.push(error)).ok()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns one `compile_error!` for each error, in the order in which they were recorded.
    pub(crate) fn into_tokens(self) -> TokenStream {
        self.0.iter().map(syn::Error::to_compile_error).collect()
    }
}

/// Returns a hint to the known word that is most similar, or an empty text if none is.
pub(crate) fn did_you_mean<'a>(written: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    let limit = written.chars().count().max(3) / 3;
    known
        .into_iter()
        .map(|word| (edit_distance(written, word), word))
        .filter(|(distance, _)| *distance <= limit)
        .min_by_key(|(distance, _)| *distance)
        .map_or_else(String::new, |(_, word)| format!("; did you mean `{word}`?"))
}

/// Counts the insertions, deletions, replacements and swaps of neighbours that turn one word into the other
/// (Damerau–Levenshtein distance).
fn edit_distance(from: &str, to: &str) -> usize {
    let (from, to): (Vec<char>, Vec<char>) = (from.chars().collect(), to.chars().collect());
    let mut before = Vec::new();
    let mut above: Vec<usize> = (0..=to.len()).collect();
    for (i, a) in from.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, b) in to.iter().enumerate() {
            let mut least = (above[j] + usize::from(a != b)).min(above[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && *a == to[j - 1] && from[i - 1] == *b {
                least = least.min(before[j - 1] + 1);
            }
            row.push(least);
        }
        before = std::mem::replace(&mut above, row);
    }
    above[to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_near_word_is_suggested_and_a_far_one_is_not() {
        let known = ["table", "index", "unique"];
        assert_eq!(did_you_mean("tabel", known), "; did you mean `table`?");
        assert_eq!(did_you_mean("uniqe", known), "; did you mean `unique`?");
        assert_eq!(did_you_mean("colour", known), "");
        assert_eq!(did_you_mean("", known), "");
    }

    #[test]
    fn distance_counts_single_edits() {
        assert_eq!(edit_distance("hash", "hash"), 0);
        assert_eq!(edit_distance("hsah", "hash"), 1);
        assert_eq!(edit_distance("has", "hash"), 1);
        assert_eq!(edit_distance("", "hash"), 4);
    }

    #[test]
    fn every_error_is_emitted() {
        let mut errors = Errors::default();
        errors.at(quote::quote!(here), "first");
        assert!(errors.keep::<()>(Err(syn::Error::new_spanned(quote::quote!(there), "second"))).is_none());
        let tokens = errors.into_tokens().to_string();
        assert!(tokens.contains("first") && tokens.contains("second"), "{tokens}");
    }
}
