//! The columns as typed constants of the model.

use proc_macro2::{Literal, TokenStream};
use quote::quote;
use syn::Visibility;

use super::composite_key;
use crate::attr::PlacementAttr;
use crate::model::{Field, Model, ShardSource};

pub(super) fn columns(model: &Model) -> TokenStream {
    let ident = &model.ident;
    // A duplicate name is reported; a second constant would be another error.
    let composite = composite(model);
    let is_first = |index: usize, field: &Field| {
        let first = model.fields[..index].iter().all(|first| first.constant != field.constant);
        first && (composite.is_none() || field.constant != "SHARD_KEY")
    };
    let fields = model.fields.iter().enumerate().filter(|(index, field)| is_first(*index, field));
    let columns = fields.map(|(index, field)| {
        let Field { vis, ty, constant, .. } = field;
        let doc = format!(" The column `{}`.", field.column.text);
        let kind = column_kind(model, index);
        let kind = match field.attrs.references.as_ref().and_then(|attr| attr.model.as_ref()) {
            Some(referred) => Some(quote!(, __rt::kind::References<#referred #kind>)),
            None => kind,
        };
        let index = Literal::usize_unsuffixed(index);
        quote! {
            #[doc = #doc]
            #vis const #constant: __rt::Column<Self, #ty #kind> = __rt::Column::new(#index);
        }
    });
    quote! {
        #[allow(dead_code)]
        impl #ident {
            #(#columns)*
            #composite
        }
    }
}

/// Returns the marker of the column: whether comparisons with it narrow the shards, and whether an update may set it.
fn column_kind(model: &Model, index: usize) -> Option<TokenStream> {
    match &model.shard_source {
        ShardSource::Own { columns, .. } if columns[..] == [index] => match model.own_placement() {
            Some(PlacementAttr::Range(_)) => Some(quote!(, __rt::kind::RangeKey)),
            _ => Some(quote!(, __rt::kind::Key)),
        },
        ShardSource::Own { columns, .. } if columns.contains(&index) => Some(quote!(, __rt::kind::Fixed)),
        ShardSource::Link(column) | ShardSource::Bare { column, .. } if *column == index => {
            Some(quote!(, __rt::kind::Key))
        }
        _ if Some(index) == model.version => Some(quote!(, __rt::kind::Version)),
        _ if model.lookups().any(|(lookup, _)| lookup == index) => Some(quote!(, __rt::kind::Lookup)),
        _ if index == model.id => Some(quote!(, __rt::kind::Fixed)),
        _ => None,
    }
}

/// Returns the constant of a key of several columns.
fn composite(model: &Model) -> Option<TokenStream> {
    let ShardSource::Own { columns, .. } = &model.shard_source else { return None };
    if columns.len() < 2 {
        return None;
    }
    let key = composite_key(model, columns);
    let vis = narrowest(columns.iter().map(|column| &model.fields[*column].vis));
    let indexes = columns.iter().map(|index| Literal::usize_unsuffixed(*index));
    Some(quote! {
        /// The shard key: all its columns together.
        #vis const SHARD_KEY: __rt::CompositeKey<Self, #key> = __rt::CompositeKey::new(&[#(#indexes),*]);
    })
}

/// Returns the narrowest visibility: the constant of the key is visible only where all its fields are.
fn narrowest<'v>(visibilities: impl Iterator<Item = &'v Visibility>) -> Option<&'v Visibility> {
    visibilities.min_by_key(|vis| match vis {
        Visibility::Inherited => 0,
        Visibility::Restricted(_) => 1,
        _ => 2,
    })
}
