//! The grammar of the attributes. Each part keeps its tokens, so that every later stage can report errors at them.

mod default;
mod field;
mod placement;
mod projection;
mod settings;

use std::fmt::Display;

use proc_macro2::{Ident, TokenStream, TokenTree};
use quote::ToTokens;
use syn::ext::IdentExt;
use syn::parse::{Parse, ParseStream};
use syn::{Attribute, LitStr, Meta, Path, Token};

use crate::errors::{Errors, did_you_mean};

pub(crate) use default::DefaultAttr;
pub(crate) use field::{FieldAttrs, IdKind, ParentAttr, ParentModel, ReferencesAttr};
pub(crate) use placement::{Bound, KeyAttr, ListAttr, PlacementAttr, RangeAttr};
pub(crate) use projection::{ProjectionAttrs, projected_field};
pub(crate) use settings::StructAttrs;

/// The attribute of settings.
pub(crate) const SHARDED: &str = "sharded";
/// The setting of the runtime's path.
const CRATE: &str = "crate";
/// The setting of a column's name.
const COLUMN: &str = "column";
/// The setting of a column's collation.
const COLLATE: &str = "collate";
/// The collation that ignores the case of ASCII letters. Without the setting, texts are compared byte by byte.
const NOCASE: &str = "nocase";
/// The setting of a column's default value.
const DEFAULT: &str = "default";
/// The roles of fields.
pub(crate) const ID: &str = "id";
pub(crate) const SHARD_KEY: &str = "shard_key";
pub(crate) const SHARD_PARENT: &str = "shard_parent";
pub(crate) const VERSION: &str = "version";
pub(crate) const REFERENCES: &str = "references";
pub(crate) const LOOKUP: &str = "lookup";
/// The attribute of a [`ShardKey`](crate::derive_shard_key) enum's variants.
pub(crate) const SHARD: &str = "shard";
/// The attribute of a [`Field`](crate::derive_field) enum's variants.
pub(crate) const FIELD: &str = "field";

/// The words of an attribute's settings.
#[derive(Clone, Copy)]
pub(crate) struct Words {
    pub(crate) known: &'static [&'static str],
    /// Words of other frameworks, each with what to write here.
    pub(crate) foreign: &'static [(&'static str, &'static str)],
}

impl Words {
    pub(crate) const fn new(known: &'static [&'static str]) -> Self {
        Words { known, foreign: &[] }
    }

    /// Reads one of the known words.
    fn read(self, input: ParseStream) -> syn::Result<Ident> {
        if let Ok(written) = input.fork().call(Ident::parse_any)
            && let Some((word, write)) = self.foreign.iter().find(|(word, _)| written == word)
        {
            let written = input.call(Ident::parse_any)?;
            return mistake(written, format_args!("there is no setting `{word}` here: {write}"));
        }
        word(input, "setting", self.known, &list_of(self.known))
    }
}

/// Reads `#[name(setting, setting, ..)]`. Calls `read` for each setting with a known word, with the input after the word.
/// After an error it continues with the next setting.
pub(crate) fn read_settings(
    attribute: &Attribute,
    words: Words,
    example: &str,
    errors: &mut Errors,
    mut read: impl FnMut(&Ident, ParseStream, &mut Errors) -> syn::Result<()>,
) {
    let list = match &attribute.meta {
        Meta::List(list) if !list.tokens.is_empty() => list,
        empty => return errors.at(empty, format_args!("missing settings: write `{example}`")),
    };
    let read_all = list.parse_args_with(|input: ParseStream| {
        items(input, |input| {
            let mut setting = || {
                let word = words.read(input)?;
                read(&word, input, errors)?;
                if input.is_empty() || input.peek(Token![,]) {
                    Ok(())
                } else {
                    Err(input.error("expected `,`"))
                }
            };
            let setting = setting();
            errors.keep(setting).map_or_else(|| skip_to_comma(input), Ok)
        })
    });
    errors.keep(read_all);
}

/// Reads one of the known words.
fn word(input: ParseStream, what: &str, known: &[&str], known_text: &str) -> syn::Result<Ident> {
    let word = input.call(Ident::parse_any);
    let word =
        word.map_err(|error| syn::Error::new(error.span(), format!("expected a {what}: {known_text}")))?;
    let text = word.to_string();
    if known.contains(&text.as_str()) {
        return Ok(word);
    }
    let hint = did_you_mean(&text, known.iter().copied());
    mistake(word, format_args!("unknown {what} `{text}`{hint} (known: {known_text})"))
}

/// Returns the words as text: `` `a`, `b` ``.
pub(crate) fn list_of(words: &[&str]) -> String {
    words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ")
}

/// Returns an error on these tokens.
pub(crate) fn mistake<T>(tokens: impl ToTokens, message: impl Display) -> syn::Result<T> {
    Err(syn::Error::new_spanned(tokens, message))
}

/// Reads the next item, or returns an error at it that names what was expected.
pub(crate) fn expect<T: Parse>(input: ParseStream, expected: impl Display) -> syn::Result<T> {
    input.parse().map_err(|error| syn::Error::new(error.span(), expected))
}

/// Reads items with commas between them, to the end.
fn items(input: ParseStream, mut read: impl FnMut(ParseStream) -> syn::Result<()>) -> syn::Result<()> {
    while !input.is_empty() {
        read(input)?;
        if !input.is_empty() {
            expect::<Token![,]>(input, "expected `,`")?;
        }
    }
    Ok(())
}

/// Reads the items in `word(..)`; there must be at least one. After an error it skips the rest, so that no more errors
/// follow.
fn items_of(
    word: &Ident,
    usage: &str,
    input: ParseStream,
    read: impl FnMut(ParseStream) -> syn::Result<()>,
) -> syn::Result<()> {
    if !input.peek(syn::token::Paren) {
        return mistake(word, usage);
    }
    let content;
    syn::parenthesized!(content in input);
    let result = if content.is_empty() { mistake(word, usage) } else { items(&content, read) };
    if result.is_err() {
        content.parse::<TokenStream>()?;
    }
    result
}

fn skip_to_comma(input: ParseStream) -> syn::Result<()> {
    tokens_until(input, |_| false).map(drop)
}

/// Reads the tokens up to a `,`, to the end, or to the first token for which `stop` returns `true`.
fn tokens_until(input: ParseStream, stop: impl Fn(ParseStream) -> bool) -> syn::Result<TokenStream> {
    let mut tokens = TokenStream::new();
    while !input.is_empty() && !input.peek(Token![,]) && !stop(input) {
        input.parse::<TokenTree>()?.to_tokens(&mut tokens);
    }
    Ok(tokens)
}

/// Reads the text in `word = "text"`.
pub(crate) fn text_of(word: &Ident, input: ParseStream, example: &str) -> syn::Result<LitStr> {
    let usage = format!("write `{word} = \"{example}\"`");
    let Ok(_) = input.parse::<Token![=]>() else { return mistake(word, usage) };
    expect(input, usage)
}

/// Reads the path in `word = some::path`.
pub(crate) fn path_of(word: &Ident, input: ParseStream, example: &str) -> syn::Result<Path> {
    let usage = format!("write `{word} = {example}`");
    let Ok(_) = input.parse::<Token![=]>() else { return mistake(word, usage) };
    input.call(Path::parse_mod_style).map_err(|error| syn::Error::new(error.span(), usage))
}

/// Stores a setting, and reports a second one.
pub(crate) fn put_once<T>(slot: &mut Option<T>, value: T, word: &Ident, errors: &mut Errors) {
    match slot {
        Some(_) => errors.at(word, format_args!("`{word}` is given twice: keep one")),
        None => *slot = Some(value),
    }
}
