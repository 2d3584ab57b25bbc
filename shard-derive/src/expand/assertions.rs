//! Checks that only the compiler can make, since they depend on types and constants. Each is an assertion with the span
//! of the wrong tokens; its message ends with the remedy.

use proc_macro2::{Literal, TokenStream};
use quote::{ToTokens, quote, quote_spanned};

use super::{first_span, item_of};
use crate::attr::{Bound, IdKind, PlacementAttr, RangeAttr};
use crate::model::{Model, ShardSource};

pub(super) fn assertions(model: &Model) -> TokenStream {
    if !model.is_valid {
        return TokenStream::new();
    }
    let assertions: Vec<TokenStream> = [id_type(model), bare_parent(model), ranges(model)]
        .into_iter()
        .flatten()
        .chain(placed_types(model))
        .chain(collated_types(model))
        .chain(default_types(model))
        .chain(referring_types(model))
        .chain(super::lookups::assertions(model))
        .chain(super::relations::assertions(model))
        .collect();
    quote!(#(const _: () = #assertions;)*)
}

/// Checks that the id's column can hold generated ids.
fn id_type(model: &Model) -> Option<TokenStream> {
    let (word, kind, example) = match model.id_kind {
        IdKind::Given => return None,
        IdKind::Auto => ("auto", quote!(Integer), "an integer, such as `i64`"),
        IdKind::Sequence => ("sequence", quote!(Integer), "an integer, such as `i64`"),
        IdKind::Uuid => ("uuid", quote!(Uuid), "a `uuid::Uuid`"),
    };
    let ty = &model.id_field().ty;
    let ident = &model.ident;
    let column_type = match model.role_column(model.id) {
        // The path does not go through the model: the compiler cannot resolve it if its parent is not a model.
        Some("IdColumn") if matches!(model.shard_source, ShardSource::Link(_)) => {
            item_of(ty, "Field", "TYPE")
        }
        Some("IdColumn") => quote_spanned!(first_span(ty)=> __rt::IdColumn::<#ident>::TYPE),
        _ => item_of(ty, "Field", "TYPE"),
    };
    let message = format!("`#[id({word})]` generates {example}: change the field's type, or the kind of id");
    Some(quote_spanned! {first_span(ty)=>
        ::core::assert!(
            ::core::matches!(#column_type, __rt::ColumnType::#kind),
            "{}",
            #message,
        )
    })
}

/// Checks that each key has one placement: a type that names the shards of its values, or the attribute.
fn placed_types(model: &Model) -> Vec<TokenStream> {
    let Some(key) = model.key_attr() else { return Vec::new() };
    let (ident, columns) = (&model.ident, model.shard_columns());
    let placed = columns.iter().enumerate().map(|(index, column)| {
        let ty = &model.fields[*column].ty;
        let name = quote!(#ty).to_string().replace(' ', "");
        let index = Literal::usize_unsuffixed(index);
        let names_shards = quote!(__rt::KeyColumn::<#ident>::names_shards(#index));
        let Some(method) = &key.method else {
            let message = format!(
                "`{name}` does not name the shards of its values: place them with `#[shard_key(hash)]`, \
                 `#[shard_key(range(\"a\" => ..1000, \"b\" => 1000..))]`, `#[shard_key(list(\"Asia\" => \"asia\", ..))]` or \
                 `#[shard_key(with = path::to::chooser)]`; or write `#[shard(\"name\")]` on each variant of an enum with \
                 `#[derive(ShardKey)]`"
            );
            return quote_spanned!(first_span(ty)=> ::core::assert!(#names_shards, "{}", #message));
        };
        let message = match columns.len() {
            1 => format!("`{name}` names its shards: write `#[{}]`", key.word),
            _ => format!(
                "`{name}` names its shards: make it the only key, with `#[shard_key]`, or take `#[shard(..)]` from its \
                 variants"
            ),
        };
        quote_spanned!(method.span()=> ::core::assert!(!#names_shards, "{}", #message))
    });
    placed.collect()
}

/// Checks that columns with a collation are text. The type may be an alias or a newtype of text.
fn collated_types(model: &Model) -> impl Iterator<Item = TokenStream> {
    model.fields.iter().filter(|field| field.attrs.collate.is_some()).map(|field| {
        let column_type = item_of(&field.ty, "Storable", "TYPE");
        let message = "this column does not store text, and only text has a collation: remove `collate`";
        quote_spanned! {first_span(&field.ty)=>
            ::core::assert!(::core::matches!(#column_type, __rt::ColumnType::Text), "{}", #message)
        }
    })
}

/// Checks that a default has the kind of its column.
fn default_types(model: &Model) -> impl Iterator<Item = TokenStream> {
    model.fields.iter().filter_map(|field| {
        let value = &field.attrs.default.as_ref()?.value;
        let (kind, named) = value.kind();
        let column_type = item_of(&field.ty, "Storable", "TYPE");
        let message = format!(
            "this default is {named}, and the column stores another kind of value: write one of its kind"
        );
        let at = value.to_token_stream();
        Some(quote_spanned! {first_span(&at)=>
            ::core::assert!(::core::matches!(#column_type, __rt::ColumnType::#kind), "{}", #message)
        })
    })
}

/// Checks that a field with `#[references(..)]` has the type of the reference table's id.
fn referring_types(model: &Model) -> impl Iterator<Item = TokenStream> {
    model.references().map(|(index, referred)| {
        let ty = &model.fields[index].ty;
        quote! {
            {
                const fn refers_to<M: __rt::Reference, V: __rt::RefersTo<M>>() {}
                refers_to::<#referred, #ty>()
            }
        }
    })
}

/// Checks that a parent's bare id is its shard key: only then it decides the child's shard.
fn bare_parent(model: &Model) -> Option<TokenStream> {
    let ShardSource::Bare { column, parent } = &model.shard_source else { return None };
    let (name, field) = (quote!(#parent).to_string().replace(' ', ""), &model.fields[*column].ident);
    let message = format!(
        "the id of `{name}` does not decide its shard: hold the parent's handle, `#[shard_parent] {field}: Parent<{name}>`, or \
         make the id the shard key, with `#[id] #[shard_key(..)]` on one field of `{name}`"
    );
    let table = item_of(parent, "Sharded", "TABLE");
    Some(quote_spanned! {first_span(parent)=>
        ::core::assert!(__rt::id_decides_shard(#table), "{}", #message)
    })
}

/// Checks that ranges neither overlap nor leave gaps (R03). The bounds may be constants, so the compiler compares them.
fn ranges(model: &Model) -> Option<TokenStream> {
    let Some(PlacementAttr::Range(range)) = model.own_placement() else { return None };
    let ident = &model.ident;
    let checks = range_checks(range);
    Some(quote! {
        if let __rt::Placement::Range(ranges) = <#ident as __rt::Sharded>::TABLE.placement {
            #(#checks)*
        }
    })
}

fn range_checks(range: &RangeAttr) -> Vec<TokenStream> {
    let mut checks = Vec::new();
    for (position, item) in range.ranges.iter().enumerate() {
        let (index, next) = (Literal::usize_unsuffixed(position), Literal::usize_unsuffixed(position + 1));
        let (lower, upper) = (quote!(ranges[#index].from), quote!(ranges[#index].to));
        if let (Some(from), Some(to)) = (&item.from, &item.to) {
            let message =
                format!("this range is empty: `{from}` is not less than `{to}`: write a greater upper bound");
            checks.push(check(&lower, &upper, to, quote!(lower.is_less(upper)), message));
        }
        let Some((to, following)) = item.to.as_ref().zip(range.ranges.get(position + 1)) else { continue };
        let Some(from) = &following.from else { continue };
        let start = quote!(ranges[#next].from);
        let message = format!(
            "overlap: this range starts at `{from}`, but the one before it ends at `{to}`: start at `{to}`"
        );
        checks.push(check(&upper, &start, from, quote!(!upper.is_less(lower)), message));
        if !range.gaps {
            let message = format!(
                "gap: keys from `{to}` up to `{from}` are placed on no shard: start at `{to}`, or declare it: \
                 `range(.., gaps)`"
            );
            checks.push(check(&upper, &start, from, quote!(!lower.is_less(upper)), message));
        }
    }
    checks
}

fn check(
    lower: &TokenStream,
    upper: &TokenStream,
    at: &Bound,
    holds: TokenStream,
    message: String,
) -> TokenStream {
    let assert = quote_spanned!(first_span(at)=> ::core::assert!(#holds, "{}", #message););
    quote! {
        if let (::core::option::Option::Some(lower), ::core::option::Option::Some(upper)) = (#lower, #upper) {
            #assert
        }
    }
}
