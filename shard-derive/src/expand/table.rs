//! The definition of the table: name, columns, key, placement, indexes, parent and references.

use proc_macro2::{Literal, Span, TokenStream};
use quote::{ToTokens, quote, quote_spanned};
use syn::ext::IdentExt;
use syn::{Ident, Path, Type};

use super::{column_item, first_span, id_kind, item_of};
use crate::attr::{ListAttr, PlacementAttr, RangeAttr};
use crate::model::{Field, Model, ShardSource};

pub(super) fn table(model: &Model) -> TokenStream {
    let name = model.ident.unraw().to_string();
    let table = &model.table.text;
    let columns = model.fields.iter().enumerate().map(|(index, Field { column, attrs, .. })| {
        let (column, shape) = (&column.text, column_item(model, index, "COLUMN"));
        let collated = attrs.collate.as_ref().map(|_| quote!(.collated(__rt::Collation::NoCase)));
        let default = attrs.default.as_ref().filter(|_| model.is_valid).map(|default| {
            let (value, ty) = (default.value.constant(), &model.fields[index].ty);
            let of_type = quote_spanned!(first_span(ty)=> __rt::default_of::<#ty>);
            quote!(.with_default(__rt::ColumnDefault::#value, #of_type))
        });
        quote!(__rt::ColumnDef::new(#column, #shape)#collated #default)
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
    if let ShardSource::Link(column) = model.shard_source {
        let column = Literal::usize_unsuffixed(column);
        return quote!(Parent(#column));
    }
    let columns = model.shard_columns().iter().map(|column| Literal::usize_unsuffixed(*column));
    quote!(Columns(&[#(#columns),*]))
}

fn parent(model: &Model) -> Option<TokenStream> {
    match (super::parent(model), model.shard_columns()) {
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
    let references: Vec<TokenStream> = references.filter(|_| model.is_valid).collect();
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
    let key: Vec<&Type> = model.shard_columns().iter().map(|column| &model.fields[*column].ty).collect();
    match (model.own_placement(), &key[..]) {
        // After an error the key's type is not used, so that it gives no further errors.
        _ if !model.is_valid => quote!(__rt::Placement::Hash),
        (Some(PlacementAttr::Bare), [_]) => quote!(__rt::KeyColumn::<Self>::PLACEMENT),
        (Some(PlacementAttr::List(list)), [key]) => list_placement(key, list),
        (Some(PlacementAttr::Range(range)), [key]) => range_placement(key, range),
        (None, []) if matches!(model.shard_source, ShardSource::Everywhere) => {
            quote!(__rt::Placement::Everywhere)
        }
        (Some(PlacementAttr::With(chooser)), key) => custom_placement(key, chooser),
        _ => quote!(__rt::Placement::Hash),
    }
}

/// Returns a literal or a bound of the user as a constant. A value of another type than the key's is a type error.
fn constant(key: &Type, value: impl ToTokens) -> TokenStream {
    let literal = item_of(key, "ShardKey", "Literal");
    // A struct literal, not a function call: the type error is then reported on the value.
    quote!(__rt::Literal::<#literal> { 0: #value }.constant())
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

/// Returns a closure without captures, which is a plain function. It calls the user's function with the key's columns.
fn custom_placement(key: &[&Type], chooser: &Path) -> TokenStream {
    let (values, shards) = (Ident::new("key", Span::mixed_site()), Ident::new("shards", Span::mixed_site()));
    let at = first_span(chooser);
    let own = quote_spanned!(at=> <Self as __rt::Sharded>::Key);
    let (function, types) = match key {
        [_, _] => ("choose2", quote!(#(#key),*)),
        [_, _, _] => ("choose3", quote!(#(#key),*)),
        [_, _, _, _] => ("choose4", quote!(#(#key),*)),
        _ => ("choose", own),
    };
    let parts = key.iter().enumerate().map(|(index, ty)| {
        let index = Literal::usize_unsuffixed(index);
        let part = match key.len() {
            1 => quote_spanned!(at=> __rt::KeyColumn::<Self>::part),
            _ => quote_spanned!(at=> __rt::key_part::<#ty>),
        };
        quote_spanned!(at=> &#part(#values, #index)?)
    });
    let function = Ident::new(function, at);
    let chosen = quote_spanned!(at=> __rt::#function::<#types, _>(#chooser, #(#parts,)* #shards));
    quote!(__rt::Placement::Custom(|#values, #shards| ::core::result::Result::Ok(#chosen)))
}

fn option(value: Option<impl ToTokens>) -> TokenStream {
    match value {
        Some(value) => quote!(::core::option::Option::Some(#value)),
        None => quote!(::core::option::Option::None),
    }
}
