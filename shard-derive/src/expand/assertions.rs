//! What only the compiler can know, since it is about types and constants: obligations, each at the span of
//! what it is about, each saying what to write.

use proc_macro2::{Literal, TokenStream};
use quote::{quote, quote_spanned};

use super::{item_of, place_of};
use crate::attr::{Bound, IdKind, PlacementAttr, RangeAttr};
use crate::model::{Home, Model};

pub(super) fn assertions(model: &Model) -> TokenStream {
    if !model.sound {
        return TokenStream::new();
    }
    let assertions: Vec<TokenStream> = [id_type(model), bare_parent(model), ranges(model)]
        .into_iter()
        .flatten()
        .chain(placed_types(model))
        .chain(collated_types(model))
        .chain(referring_types(model))
        .chain(super::lookups::assertions(model))
        .collect();
    quote!(#(const _: () = #assertions;)*)
}

/// A generated id needs a column that holds it.
fn id_type(model: &Model) -> Option<TokenStream> {
    let (word, kind, example) = match model.id_kind {
        IdKind::Given => return None,
        IdKind::Auto => ("auto", quote!(Integer), "an integer, such as `i64`"),
        IdKind::Sequence => ("sequence", quote!(Integer), "an integer, such as `i64`"),
        IdKind::Uuid => ("uuid", quote!(Uuid), "a `uuid::Uuid`"),
    };
    let ty = &model.id_field().ty;
    let column_type = item_of(ty, "Field", "TYPE");
    let message = format!("`#[id({word})]` gives {example}: change the field's type, or the kind of id");
    Some(quote_spanned! {place_of(ty)=>
        ::core::assert!(
            ::core::matches!(#column_type, __rt::ColumnType::#kind),
            "{}",
            #message,
        )
    })
}

/// A key type that names the shards of its values is placed by that alone, and not by `hash`, `range`, `list` or `with`.
fn placed_types(model: &Model) -> Vec<TokenStream> {
    let Some((way, key)) = model.key_attr().and_then(|key| Some((key.way.as_ref()?, key))) else {
        return Vec::new();
    };
    let columns = model.home_columns();
    let placed = columns.iter().map(|column| {
        let ty = &model.fields[*column].ty;
        let name = quote!(#ty).to_string().replace(' ', "");
        let message = match columns.len() {
            1 => format!("`{name}` names its shards: write `#[{}]`", key.word),
            _ => format!(
                "`{name}` names its shards: make it the only key, with `#[shard_key]`, or take `#[shard(..)]` from its \
                 variants"
            ),
        };
        // The constant of the type's own is found before the trait's, which every type has: a type that cannot be a key
        // has its error elsewhere.
        quote_spanned! {way.span()=>
            {
                #[allow(unused_imports)]
                use __rt::__private::NamesNoShards as _;
                if <#ty>::__NAMES_SHARDS {
                    ::core::panic!("{}", #message)
                }
            }
        }
    });
    placed.collect()
}

/// A collation is of text, whatever the type is called that is stored as text.
fn collated_types(model: &Model) -> impl Iterator<Item = TokenStream> {
    model.fields.iter().filter(|field| field.attrs.collate.is_some()).map(|field| {
        let column_type = item_of(&field.ty, "Storable", "TYPE");
        let message =
            "a collation says how text is compared, and this is not stored as text: take `collate` away";
        quote_spanned! {place_of(&field.ty)=>
            ::core::assert!(::core::matches!(#column_type, __rt::ColumnType::Text), "{}", #message)
        }
    })
}

/// What refers to a row of a reference table holds its id, of whatever type that is.
fn referring_types(model: &Model) -> impl Iterator<Item = TokenStream> {
    model.references().map(|(place, referred)| {
        let ty = &model.fields[place].ty;
        quote! {
            {
                const fn refers_to<M: __rt::Reference, V: __rt::RefersTo<M>>() {}
                refers_to::<#referred, #ty>()
            }
        }
    })
}

/// A bare id places the child only where the parent's id is what places the parent.
fn bare_parent(model: &Model) -> Option<TokenStream> {
    let Home::Bare { parent, .. } = &model.home else { return None };
    Some(quote! {
        {
            const fn id_decides_the_shard_of<P: __rt::IdIsKey>() {}
            id_decides_the_shard_of::<#parent>()
        }
    })
}

/// Whether ranges overlap or leave gaps depends on the bounds' values, which may be constants (R03).
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
    for (place, item) in range.ranges.iter().enumerate() {
        let (index, next) = (Literal::usize_unsuffixed(place), Literal::usize_unsuffixed(place + 1));
        let (lower, upper) = (quote!(ranges[#index].from), quote!(ranges[#index].to));
        if let (Some(from), Some(to)) = (&item.from, &item.to) {
            let message = format!("this range is empty: `{from}` is not less than `{to}`");
            checks.push(check(&lower, &upper, to, quote!(lower.is_less(upper)), message));
        }
        let Some((to, following)) = item.to.as_ref().zip(range.ranges.get(place + 1)) else { continue };
        let Some(from) = &following.from else { continue };
        let start = quote!(ranges[#next].from);
        let message =
            format!("overlap: this range starts at `{from}`, but the one before it goes up to `{to}`");
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
    let assert = quote_spanned!(place_of(at)=> ::core::assert!(#holds, "{}", #message););
    quote! {
        if let (::core::option::Option::Some(lower), ::core::option::Option::Some(upper)) = (#lower, #upper) {
            #assert
        }
    }
}
