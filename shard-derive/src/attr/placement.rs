//! The grammar of `#[shard_key(..)]`, on a field and in the struct's settings.

use std::fmt;

use proc_macro2::{Ident, TokenStream};
use quote::ToTokens;
use syn::parse::ParseStream;
use syn::{Attribute, Lit, LitStr, Meta, Path, Token};

use super::{expect, items_of, mistake, path_of, skip_to_comma, tokens_until, word};
use crate::errors::Errors;

const HASH: &str = "hash";
const RANGE: &str = "range";
const LIST: &str = "list";
const WITH: &str = "with";
const GAPS: &str = "gaps";

const WAYS: &str = "`hash`, `range(\"a\" => ..1000, \"b\" => 1000..)`, `list(\"Asia\" => \"asia\", ..)` \
                    or `with = path::to::chooser`";

/// `#[shard_key]` and what stands in it.
pub(crate) struct KeyAttr {
    /// The word `shard_key`.
    pub(crate) word: Ident,
    /// The word of the placement: `hash`, `range`, `list` or `with`.
    pub(crate) way: Option<Ident>,
    pub(crate) placement: PlacementAttr,
}

/// How a key says it is placed.
pub(crate) enum PlacementAttr {
    /// Nothing is said: the key's type says it, or other fields' settings do.
    Bare,
    Hash,
    Range(RangeAttr),
    List(ListAttr),
    /// The user's function.
    With(Path),
}

/// `range(..)`.
pub(crate) struct RangeAttr {
    pub(crate) word: Ident,
    pub(crate) ranges: Vec<RangeItem>,
    /// Whether keys outside of every range are declared to be placed nowhere.
    pub(crate) gaps: bool,
    /// Whether every range could be read: if not, that is reported, and nothing follows from what is missing.
    pub(crate) whole: bool,
}

/// `"shard" => from..to`.
pub(crate) struct RangeItem {
    pub(crate) shard: LitStr,
    pub(crate) from: Option<Bound>,
    pub(crate) dots: Token![..],
    pub(crate) to: Option<Bound>,
}

/// A bound's expression, whose value only the compiler knows.
pub(crate) struct Bound(TokenStream);

impl ToTokens for Bound {
    fn to_tokens(&self, tokens: &mut TokenStream) {
        self.0.to_tokens(tokens);
    }
}

/// As it was written, more or less.
impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.to_string().replace(" :: ", "::").replace("- ", "-"))
    }
}

/// `list(..)`.
pub(crate) struct ListAttr {
    pub(crate) word: Ident,
    pub(crate) entries: Vec<(ListValue, LitStr)>,
    /// The declared fallback: `_ => "shard"`.
    pub(crate) otherwise: Option<LitStr>,
}

/// A key's value in a list: text, or an integer with its sign.
pub(crate) struct ListValue {
    pub(crate) minus: Option<Token![-]>,
    pub(crate) literal: Lit,
}

impl ListValue {
    /// The value in one way of writing, to find the same value written twice.
    pub(crate) fn canonical(&self) -> String {
        let minus = if self.minus.is_some() { "-" } else { "" };
        match &self.literal {
            Lit::Int(integer) => format!("{minus}{}", integer.base10_digits()),
            Lit::Str(text) => format!("{:?}", text.value()),
            other => other.to_token_stream().to_string(),
        }
    }
}

impl ToTokens for ListValue {
    fn to_tokens(&self, tokens: &mut TokenStream) {
        self.minus.to_tokens(tokens);
        self.literal.to_tokens(tokens);
    }
}

impl KeyAttr {
    /// Reads the attribute on a field.
    pub(crate) fn of_attribute(word: Ident, attribute: &Attribute, errors: &mut Errors) -> Self {
        let (way, placement) = match &attribute.meta {
            Meta::Path(_) => (None, PlacementAttr::Bare),
            Meta::List(list) => {
                let read = list.parse_args_with(|input: ParseStream| placement(&word, input, errors));
                errors.keep(read).unwrap_or((None, PlacementAttr::Hash))
            }
            Meta::NameValue(pair) => {
                errors.at(pair, format_args!("a key's placement stands in parentheses: {WAYS}"));
                (None, PlacementAttr::Hash)
            }
        };
        KeyAttr { word, way, placement }
    }

    /// Reads the setting on the struct, behind its word.
    pub(crate) fn of_setting(word: &Ident, input: ParseStream, errors: &mut Errors) -> syn::Result<Self> {
        let usage = "write `shard_key(hash)` or `shard_key(with = path::to::chooser)`";
        let mut found = None;
        items_of(word, usage, input, |input| {
            found = Some(placement(word, input, errors)?);
            Ok(())
        })?;
        let (way, placement) = found.unwrap_or((None, PlacementAttr::Hash));
        Ok(KeyAttr { word: word.clone(), way, placement })
    }
}

/// Reads exactly one way of placing, and its word. Mistakes inside of a `range` or `list` are recorded and passed over.
fn placement(
    attribute: &Ident,
    input: ParseStream,
    errors: &mut Errors,
) -> syn::Result<(Option<Ident>, PlacementAttr)> {
    if input.is_empty() {
        return mistake(attribute, format_args!("this places nothing: write {WAYS}"));
    }
    let word = word(input, "placement", &[HASH, RANGE, LIST, WITH], WAYS)?;
    let way = Some(word.clone());
    let placement = match word.to_string().as_str() {
        RANGE => PlacementAttr::Range(range(word, input, errors)?),
        LIST => PlacementAttr::List(list(word, input, errors)?),
        WITH => PlacementAttr::With(path_of(&word, input, "path::to::chooser")?),
        _ => PlacementAttr::Hash,
    };
    input.parse::<Option<Token![,]>>()?;
    match input.is_empty() {
        true => Ok((way, placement)),
        false => Err(input.error("a key is placed in one way; keep one placement")),
    }
}

/// Reads the items of a range or a list; after a mistake the next item is read. Whether there was none.
fn each(
    word: &Ident,
    example: &str,
    input: ParseStream,
    errors: &mut Errors,
    mut read: impl FnMut(ParseStream) -> syn::Result<()>,
) -> syn::Result<bool> {
    let mut whole = true;
    items_of(word, &format!("write `{word}({example})`"), input, |input| {
        let item = read(input);
        whole &= item.is_ok();
        errors.keep(item).map_or_else(|| skip_to_comma(input), Ok)
    })?;
    Ok(whole)
}

fn range(word: Ident, input: ParseStream, errors: &mut Errors) -> syn::Result<RangeAttr> {
    let (mut ranges, mut gaps) = (Vec::new(), false);
    let whole = each(&word, "\"a\" => ..1000, \"b\" => 1000..", input, errors, |input| {
        if !input.peek(syn::Ident) {
            ranges.push(range_item(input)?);
            return Ok(());
        }
        let flag: Ident = input.parse()?;
        gaps = true;
        if flag == GAPS { Ok(()) } else { mistake(flag, "expected `\"shard\" => from..to`, or `gaps`") }
    })?;
    Ok(RangeAttr { word, ranges, gaps, whole })
}

fn range_item(input: ParseStream) -> syn::Result<RangeItem> {
    let shard = shard_name(input, "expected the shard's name, as in `\"a\" => ..1000`")?;
    arrow(&shard, input)?;
    let bound = |tokens: TokenStream| if tokens.is_empty() { None } else { Some(Bound(tokens)) };
    let from = bound(tokens_until(input, |input| input.peek(Token![..]))?);
    if input.peek(Token![..=]) || input.peek(Token![...]) {
        return Err(input.error("the upper bound is the first key that is not in the range: write `..`"));
    }
    let expected = "expected a range: `..1000`, `1000..2000` or `2000..`";
    let Ok(dots) = input.parse() else {
        return from.map_or_else(|| mistake(&shard, expected), |from| mistake(from, expected));
    };
    let to = bound(tokens_until(input, |_| false)?);
    Ok(RangeItem { shard, from, dots, to })
}

fn list(word: Ident, input: ParseStream, errors: &mut Errors) -> syn::Result<ListAttr> {
    let (mut entries, mut otherwise) = (Vec::new(), None);
    each(&word, "\"Asia\" => \"asia\", \"Europe\" => \"europe\"", input, errors, |input| {
        if let Ok(underscore) = input.parse::<Token![_]>() {
            arrow(underscore, input)?;
            let shard = shard_name(input, "expected the name of the shard that takes every other key")?;
            let second = otherwise.replace(shard).is_some();
            return if second { mistake(underscore, "`_` is given twice; keep one") } else { Ok(()) };
        }
        let expected = "expected a key: text, an integer, or `_` for every other one";
        let value = ListValue { minus: input.parse()?, literal: expect(input, expected)? };
        if !matches!(value.literal, Lit::Int(_) | Lit::Str(_)) {
            return mistake(value, expected);
        }
        arrow(&value, input)?;
        let shard = shard_name(input, "expected the shard's name, as in `\"Asia\" => \"asia\"`")?;
        entries.push((value, shard));
        Ok(())
    })?;
    Ok(ListAttr { word, entries, otherwise })
}

fn shard_name(input: ParseStream, expected: &str) -> syn::Result<LitStr> {
    let name: LitStr = expect(input, expected)?;
    if name.value().is_empty() { mistake(name, "a shard's name is not empty") } else { Ok(name) }
}

fn arrow(behind: impl ToTokens, input: ParseStream) -> syn::Result<()> {
    let arrow = input.parse::<Token![=>]>();
    arrow.map(drop).or_else(|_| mistake(behind, "expected `=>` behind this"))
}
