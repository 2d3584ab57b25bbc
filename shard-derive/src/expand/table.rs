//! The table: its name, its columns, its key, its indexes, its parent, what it refers to.

use proc_macro2::{Literal, Span, TokenStream};
use quote::{ToTokens, quote, quote_spanned};
use syn::ext::IdentExt;
use syn::{Ident, Path, Type};

use super::{id_kind, item_of, place_of};
use crate::attr::{ListAttr, PlacementAttr, RangeAttr};
use crate::model::{Field, Home, Model};

pub(super) fn table(model: &Model) -> TokenStream {
    let name = model.ident.unraw().to_string();
    let table = &model.table.text;
    let columns = model.fields.iter().map(|Field { ty, column, attrs, .. }| {
        let (column, shape) = (&column.text, item_of(ty, "Storable", "COLUMN"));
        let collated = attrs.collate.as_ref().map(|_| quote!(.collated(__rt::Collation::NoCase)));
        quote!(__rt::ColumnDef::new(#column, #shape)#collated)
    });
    let id = Literal::usize_unsuffixed(model.id);
    let id_kind = id_kind(model.id_kind);
    let (key, placement) = (key_columns(model), placement(model));
    let (indexes, parent, references) = (indexes(model), parent(model), references(model));
    let is_whole = [&indexes, &parent, &references].iter().all(|message| message.is_some());
    let rest = (!is_whole).then(|| quote!(..__rt::Table::PLAIN));
    quote! {
        &__rt::Table {
            model: #name,
            name: #table,
            columns: &[#(#columns),*],
            id: #id,
            id_kind: __rt::IdKind::#id_kind,
            key: __rt::KeyColumns::#key,
            placement: #placement,
            #indexes
            #parent
            #references
            #rest
        }
    }
}

fn key_columns(model: &Model) -> TokenStream {
    if let Home::Handle(column) = model.home {
        let column = Literal::usize_unsuffixed(column);
        return quote!(Parent(#column));
    }
    let columns = model.home_columns().iter().map(|column| Literal::usize_unsuffixed(*column));
    quote!(Columns(&[#(#columns),*]))
}

fn parent(model: &Model) -> Option<TokenStream> {
    match (super::parent(model), model.home_columns()) {
        (Some(parent), [column]) => {
            let column = Literal::usize_unsuffixed(*column);
            let table = item_of(parent, "Sharded", "TABLE");
            Some(quote! {
                parent: ::core::option::Option::Some(__rt::ParentDef { table: #table, column: #column }),
            })
        }
        _ => None,
    }
}

fn references(model: &Model) -> Option<TokenStream> {
    let references = model.references().map(|(column, referred)| {
        let (column, table) = (Literal::usize_unsuffixed(column), item_of(referred, "Sharded", "TABLE"));
        quote!(__rt::ReferenceDef { table: #table, column: #column })
    });
    let references: Vec<TokenStream> = references.filter(|_| model.sound).collect();
    (!references.is_empty()).then(|| quote!(references: &[#(#references),*],))
}

fn indexes(model: &Model) -> Option<TokenStream> {
    let indexes = model.attrs.indexes.iter().map(|index| {
        let fields = index.fields.iter().filter_map(|field| model.field_named(field));
        let fields = fields.map(Literal::usize_unsuffixed);
        let unique = index.unique;
        quote!(__rt::Index { columns: &[#(#fields),*], unique: #unique })
    });
    let indexes: Vec<TokenStream> = indexes.chain(super::lookups::indexes(model)).collect();
    (!indexes.is_empty()).then(|| quote!(indexes: &[#(#indexes),*],))
}

fn placement(model: &Model) -> TokenStream {
    if let Some(parent) = super::parent(model) {
        let table = item_of(parent, "Sharded", "TABLE");
        return quote!(#table.placement);
    }
    let key: Vec<&Type> = model.home_columns().iter().map(|column| &model.fields[*column].ty).collect();
    match (model.own_placement(), &key[..]) {
        // After a mistake nothing is said about the key, so that its type gives no more errors.
        _ if !model.sound => quote!(__rt::Placement::Hash),
        (Some(PlacementAttr::Bare), [key]) => {
            let entries = item_of(key, "PlacedKey", "ENTRIES");
            quote!(__rt::Placement::List { entries: #entries, otherwise: ::core::option::Option::None })
        }
        (Some(PlacementAttr::List(list)), [key]) => list_placement(key, list),
        (Some(PlacementAttr::Range(range)), [key]) => range_placement(key, range),
        (None, []) if matches!(model.home, Home::Everywhere) => quote!(__rt::Placement::Everywhere),
        (Some(PlacementAttr::With(chooser)), key) => custom_placement(key, chooser),
        _ => quote!(__rt::Placement::Hash),
    }
}

/// A literal or a bound of the user's as a constant: a value of the key's literal type, or a type error on it.
fn constant(key: &Type, value: impl ToTokens) -> TokenStream {
    let literal = item_of(key, "ShardKey", "Literal");
    // As a struct with its field `0`: a wrong type is then that of the value, not of a function's argument.
    quote!(__rt::__private::Literal::<#literal> { 0: #value }.constant())
}

fn list_placement(key: &Type, list: &ListAttr) -> TokenStream {
    let entries = list.entries.iter().map(|(value, shard)| {
        let value = constant(key, value);
        quote!((#value, #shard))
    });
    let otherwise = option(list.otherwise.as_ref());
    quote!(__rt::Placement::List { entries: &[#(#entries),*], otherwise: #otherwise })
}

fn range_placement(key: &Type, range: &RangeAttr) -> TokenStream {
    let ranges = range.ranges.iter().map(|item| {
        let from = option(item.from.as_ref().map(|from| constant(key, from)));
        let to = option(item.to.as_ref().map(|to| constant(key, to)));
        let shard = &item.shard;
        quote!(__rt::Range { from: #from, to: #to, shard: #shard })
    });
    quote!(__rt::Placement::Range(&[#(#ranges),*]))
}

/// The closure has no captures, so it is a plain function, and takes the key's columns apart for the user's.
fn custom_placement(key: &[&Type], chooser: &Path) -> TokenStream {
    let (values, shards) = (Ident::new("key", Span::mixed_site()), Ident::new("shards", Span::mixed_site()));
    let parts = key.iter().enumerate().map(|(place, ty)| {
        let place = Literal::usize_unsuffixed(place);
        quote_spanned!(place_of(chooser)=> &__rt::__private::key_part::<#ty>(#values, #place)?)
    });
    let chosen = quote_spanned!(place_of(chooser)=> #chooser(#(#parts,)* #shards));
    quote! {
        __rt::Placement::Custom(|#values, #shards| {
            ::core::result::Result::Ok(__rt::__private::chosen(#chosen))
        })
    }
}

fn option(value: Option<impl ToTokens>) -> TokenStream {
    match value {
        Some(value) => quote!(::core::option::Option::Some(#value)),
        None => quote!(::core::option::Option::None),
    }
}
