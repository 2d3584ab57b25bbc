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

const PLACEMENTS: &str = "`hash`, `range(\"a\" => ..1000, \"b\" => 1000..)`, `list(\"Asia\" => \"asia\", ..)` \
                    or `with = path::to::chooser`";

/// `#[shard_key]` and its arguments.
pub(crate) struct KeyAttr {
    /// The word `shard_key`.
    pub(crate) word: Ident,
    /// The word of the placement: `hash`, `range`, `list` or `with`.
    pub(crate) method: Option<Ident>,
    pub(crate) placement: PlacementAttr,
}

/// How a key is placed.
pub(crate) enum PlacementAttr {
    /// Not by this attribute: by the key's type, or by the struct's settings.
    Bare,
    Hash,
    Range(RangeAttr),
    List(ListAttr),
    /// By a function of the user.
    With(Path),
}

/// `range(..)`.
pub(crate) struct RangeAttr {
    pub(crate) word: Ident,
    pub(crate) ranges: Vec<RangeItem>,
    /// Whether `gaps` is given: keys outside of all ranges have no shard.
    pub(crate) gaps: bool,
    /// Whether all ranges were valid. If not, the error is reported, and the ends are not checked.
    pub(crate) is_complete: bool,
}

/// `"shard" => from..to`.
pub(crate) struct RangeItem {
    pub(crate) shard: LitStr,
    pub(crate) from: Option<Bound>,
    pub(crate) dots: Token![..],
    pub(crate) to: Option<Bound>,
}

/// The expression of a bound. Only the compiler evaluates it.
pub(crate) struct Bound(TokenStream);

impl ToTokens for Bound {
    fn to_tokens(&self, tokens: &mut TokenStream) {
        self.0.to_tokens(tokens);
    }
}

/// Prints the expression about as it was written.
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
    /// Returns the value in a normal form, to find equal values that are written differently.
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
        let (method, placement) = match &attribute.meta {
            Meta::Path(_) => (None, PlacementAttr::Bare),
            Meta::List(list) => {
                let read = list.parse_args_with(|input: ParseStream| placement(&word, input, errors));
                errors.keep(read).unwrap_or((None, PlacementAttr::Hash))
            }
            Meta::NameValue(pair) => {
                errors.at(pair, format_args!("write the placement in parentheses: {PLACEMENTS}"));
                (None, PlacementAttr::Hash)
            }
        };
        KeyAttr { word, method, placement }
    }

    /// Reads the setting on the struct, after its word.
    pub(crate) fn of_setting(word: &Ident, input: ParseStream, errors: &mut Errors) -> syn::Result<Self> {
        let usage = "write `shard_key(hash)` or `shard_key(with = path::to::chooser)`";
        let mut found = None;
        items_of(word, usage, input, |input| {
            found = Some(placement(word, input, errors)?);
            Ok(())
        })?;
        let (method, placement) = found.unwrap_or((None, PlacementAttr::Hash));
        Ok(KeyAttr { word: word.clone(), method, placement })
    }
}

/// Reads exactly one placement, and its word. Errors inside of a `range` or `list` are recorded, and reading continues.
fn placement(
    attribute: &Ident,
    input: ParseStream,
    errors: &mut Errors,
) -> syn::Result<(Option<Ident>, PlacementAttr)> {
    if input.is_empty() {
        return mistake(attribute, format_args!("missing placement: write {PLACEMENTS}"));
    }
    let word = word(input, "placement", &[HASH, RANGE, LIST, WITH], PLACEMENTS)?;
    let method = Some(word.clone());
    let placement = match word.to_string().as_str() {
        RANGE => PlacementAttr::Range(range(word, input, errors)?),
        LIST => PlacementAttr::List(list(word, input, errors)?),
        WITH => PlacementAttr::With(path_of(&word, input, "path::to::chooser")?),
        _ => PlacementAttr::Hash,
    };
    input.parse::<Option<Token![,]>>()?;
    match input.is_empty() {
        true => Ok((method, placement)),
        false => Err(input.error("a key has one placement: keep one")),
    }
}

/// Reads the items of a range or a list; after an error it continues with the next item. Returns whether all were valid.
fn each(
    word: &Ident,
    example: &str,
    input: ParseStream,
    errors: &mut Errors,
    mut read: impl FnMut(ParseStream) -> syn::Result<()>,
) -> syn::Result<bool> {
    let mut is_complete = true;
    items_of(word, &format!("write `{word}({example})`"), input, |input| {
        let item = read(input);
        is_complete &= item.is_ok();
        errors.keep(item).map_or_else(|| skip_to_comma(input), Ok)
    })?;
    Ok(is_complete)
}

fn range(word: Ident, input: ParseStream, errors: &mut Errors) -> syn::Result<RangeAttr> {
    let (mut ranges, mut gaps) = (Vec::new(), false);
    let is_complete = each(&word, "\"a\" => ..1000, \"b\" => 1000..", input, errors, |input| {
        if !input.peek(syn::Ident) {
            ranges.push(range_item(input)?);
            return Ok(());
        }
        let flag: Ident = input.parse()?;
        gaps = true;
        if flag == GAPS { Ok(()) } else { mistake(flag, "expected `\"shard\" => from..to`, or `gaps`") }
    })?;
    Ok(RangeAttr { word, ranges, gaps, is_complete })
}

fn range_item(input: ParseStream) -> syn::Result<RangeItem> {
    let shard = shard_name(input, "expected the shard's name, as in `\"a\" => ..1000`")?;
    arrow(&shard, input)?;
    let bound = |tokens: TokenStream| if tokens.is_empty() { None } else { Some(Bound(tokens)) };
    let from = bound(tokens_until(input, |input| input.peek(Token![..]))?);
    if input.peek(Token![..=]) || input.peek(Token![...]) {
        return Err(input.error("upper bounds are exclusive: write `..`, with the first key after the range"));
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
            let shard = shard_name(input, "expected the name of the shard of every other key")?;
            let second = otherwise.replace(shard).is_some();
            return if second { mistake(underscore, "`_` is given twice: keep one") } else { Ok(()) };
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
    if name.value().is_empty() { mistake(name, "a shard's name must not be empty") } else { Ok(name) }
}

fn arrow(behind: impl ToTokens, input: ParseStream) -> syn::Result<()> {
    let arrow = input.parse::<Token![=>]>();
    arrow.map(drop).or_else(|_| mistake(behind, "expected `=>` after this"))
}
