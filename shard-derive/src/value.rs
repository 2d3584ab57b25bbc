//! The input of `#[derive(ShardKey)]` and `#[derive(Field)]`: types that are one column. These are newtypes, and enums
//! without data, which are stored as text.

use std::collections::HashMap;

use proc_macro2::{Ident, TokenStream};
use quote::ToTokens;
use syn::ext::IdentExt;
use syn::parse::ParseStream;
use syn::spanned::Spanned;
use syn::{Attribute, Data, DeriveInput, Fields, LitStr, Meta, Token, Type, Variant as SynVariant};

use crate::attr::{FIELD, SHARD, SHARDED, Words, expect, mistake, path_of, put_once, read_settings, text_of};
use crate::errors::Errors;
use crate::model::runtime_path;

/// The derive that is expanded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// `#[derive(ShardKey)]`: a key.
    ShardKey,
    /// `#[derive(Field)]`: a plain column.
    Field,
}

impl Role {
    fn attribute(self) -> &'static str {
        match self {
            Role::ShardKey => SHARD,
            Role::Field => FIELD,
        }
    }
}

/// A type that is one column.
pub(crate) struct ValueType {
    pub(crate) role: Role,
    pub(crate) ident: Ident,
    pub(crate) runtime: TokenStream,
    pub(crate) shape: Shape,
}

pub(crate) enum Shape {
    /// `struct TenantId(i64);`
    Newtype(Box<Type>),
    /// An enum without data.
    Text(Vec<Variant>),
}

/// A variant and the text that it is stored as.
pub(crate) struct Variant {
    pub(crate) ident: Ident,
    /// Whether it holds data; this is reported.
    pub(crate) has_data: bool,
    pub(crate) text: String,
    /// The tokens of the text, for errors about it.
    text_tokens: TokenStream,
    pub(crate) shard: Option<LitStr>,
    /// Whether its attribute is invalid; this is reported.
    is_wrong: bool,
}

impl ValueType {
    /// Reads the type. A type that cannot be a column is reported, and treated as an enum without variants. Returns `None`
    /// for a type with parameters, which is reported, too: the code would need bounds for them.
    pub(crate) fn read(input: &DeriveInput, role: Role, errors: &mut Errors) -> Option<Self> {
        let runtime = runtime(&input.attrs, &input.ident, role, errors);
        for parameter in &input.generics.params {
            errors.at(parameter, "not supported: a column has one type; write one for each");
        }
        let shape = shape(input, role, errors).unwrap_or(Shape::Text(Vec::new()));
        let ident = input.ident.clone();
        if input.generics.params.is_empty() { Some(ValueType { role, ident, runtime, shape }) } else { None }
    }
}

/// Reads the runtime's path from the type's attributes, and reports attributes that belong on variants.
fn runtime(attributes: &[Attribute], ident: &Ident, role: Role, errors: &mut Errors) -> TokenStream {
    let mut path = None;
    for attribute in attributes {
        if attribute.path().is_ident(SHARDED) {
            let example = "#[sharded(crate = some::path)]";
            read_settings(attribute, Words::new(&["crate"]), example, errors, |word, input, errors| {
                put_once(&mut path, path_of(word, input, "some::path")?, word, errors);
                Ok(())
            });
        }
        if attribute.path().is_ident(role.attribute()) {
            let word = role.attribute();
            errors.at(
                &attribute.meta,
                format_args!("`#[{word}(..)]` belongs on each variant of an enum: move it there"),
            );
        }
    }
    runtime_path(path.as_ref(), ident, errors)
}

fn shape(input: &DeriveInput, role: Role, errors: &mut Errors) -> Option<Shape> {
    let what = match role {
        Role::ShardKey => "a shard key",
        Role::Field => "a column's value",
    };
    let write =
        format!("{what} is one value: write an enum without data, or a newtype, as `struct TenantId(i64);`");
    match &input.data {
        Data::Enum(data) if data.variants.is_empty() => {
            errors.refuse(&input.ident, "an enum without variants has no values to store: add variants")
        }
        Data::Enum(data) => {
            let variants: Vec<Variant> =
                data.variants.iter().map(|variant| Variant::read(variant, role, errors)).collect();
            all_or_no_shards(&variants, role, errors);
            distinct_texts(&variants, errors);
            Some(Shape::Text(variants))
        }
        Data::Struct(data) => match &data.fields {
            Fields::Unnamed(fields) if fields.unnamed.len() == 1 => {
                fields.unnamed.first().map(|field| Shape::Newtype(Box::new(field.ty.clone())))
            }
            Fields::Unnamed(fields) => errors.refuse(fields, write),
            Fields::Named(_) | Fields::Unit => errors.refuse(&input.ident, write),
        },
        Data::Union(data) => errors.refuse(data.union_token, write),
    }
}

impl Variant {
    fn read(variant: &SynVariant, role: Role, errors: &mut Errors) -> Self {
        let ident = &variant.ident;
        let has_data = !matches!(variant.fields, Fields::Unit);
        if has_data {
            let message =
                "the enum is stored as text, so variants hold no data: store it in a field of its own";
            errors.at(&variant.fields, message);
        }
        let (mut written, mut is_wrong) = (None, false);
        for attribute in variant.attrs.iter().filter(|attribute| attribute.path().is_ident(role.attribute()))
        {
            // An invalid attribute is reported; the missing shard is then no second error.
            let words = errors.keep(words(attribute, role)).unwrap_or_else(|| {
                is_wrong = true;
                (None, None)
            });
            let attribute = Ident::new(role.attribute(), attribute.path().span());
            put_once(&mut written, words, &attribute, errors);
        }
        let (shard, text) = written.unwrap_or((None, None));
        if let Some(text) = text.as_ref().filter(|text| text.value().contains('\0')) {
            errors.at(text, "a stored text must not contain NUL");
        }
        let (text, text_tokens) = match text {
            Some(text) => (text.value(), text.to_token_stream()),
            None => (ident.unraw().to_string(), ident.to_token_stream()),
        };
        Variant { ident: ident.clone(), has_data, text, text_tokens, shard, is_wrong }
    }
}

/// Reads the shard and the text of `#[shard("name", text = "text")]` or `#[field("text")]`.
fn words(attribute: &Attribute, role: Role) -> syn::Result<(Option<LitStr>, Option<LitStr>)> {
    let usage = match role {
        Role::ShardKey => {
            "write `#[shard(\"asia\")]`, or with another stored text `#[shard(\"asia\", text = \"Asia\")]`"
        }
        Role::Field => "write `#[field(\"stored text\")]`",
    };
    let list = match &attribute.meta {
        Meta::List(list) if !list.tokens.is_empty() => list,
        other => return mistake(other, usage),
    };
    list.parse_args_with(|input: ParseStream| {
        let mut text = None;
        if role == Role::ShardKey && input.peek(syn::Ident) {
            let word: Ident = input.parse()?;
            text = if word == "text" {
                Some(text_of(&word, input, "Asia")?)
            } else {
                return mistake(word, usage);
            };
            input.parse::<Option<Token![,]>>()?;
            return if input.is_empty() { Ok((None, text)) } else { Err(input.error(usage)) };
        }
        let first: LitStr = expect(input, usage)?;
        if role == Role::ShardKey && first.value().is_empty() {
            return mistake(first, "a shard's name must not be empty");
        }
        if role == Role::ShardKey && input.peek(Token![,]) && input.peek2(syn::Ident) {
            input.parse::<Token![,]>()?;
            let word: Ident = input.parse()?;
            text = Some(if word == "text" {
                text_of(&word, input, "Asia")?
            } else {
                return mistake(word, usage);
            });
        }
        input.parse::<Option<Token![,]>>()?;
        match (role, input.is_empty()) {
            (_, false) => Err(input.error(usage)),
            (Role::ShardKey, true) => Ok((Some(first), text)),
            (Role::Field, true) => Ok((None, Some(first))),
        }
    })
}

/// Reports an enum that names the shards of some variants only. If it names none, the model places it, as by `hash`.
fn all_or_no_shards(variants: &[Variant], role: Role, errors: &mut Errors) {
    if role != Role::ShardKey || variants.iter().all(|variant| variant.shard.is_none()) {
        return;
    }
    for variant in variants.iter().filter(|variant| variant.shard.is_none() && !variant.is_wrong) {
        let message = "this variant has no shard: write `#[shard(\"..\")]` with the shard's name before it";
        errors.at(&variant.ident, message);
    }
}

/// Reports two variants with the same text: a read could not distinguish them.
fn distinct_texts(variants: &[Variant], errors: &mut Errors) {
    let mut seen = HashMap::new();
    for variant in variants {
        if let Some(first) = seen.insert(&variant.text, &variant.ident) {
            let text = &variant.text;
            let message =
                format_args!("`{first}` is already stored as \"{text}\": give this variant another text");
            errors.at(&variant.text_tokens, message);
        }
    }
}
