//! The code of `#[derive(Projection)]`: the columns' indices, and the reader.

use proc_macro2::{Ident, Literal, Span, TokenStream};
use quote::{quote, quote_spanned};

use super::{end_spans, in_scope};
use crate::projection::{Projected, Projection};

/// Returns all code of `#[derive(Projection)]`.
pub(crate) fn projection(projection: &Projection) -> TokenStream {
    let Projection { ident, runtime, model, fields } = projection;
    let (row, first) = (Ident::new("row", Span::mixed_site()), Ident::new("first", Span::mixed_site()));
    let indexes = fields
        .iter()
        .map(|Projected { constant, .. }| quote!(__rt::column_index::<#model, _, _>(<#model>::#constant)));
    let reads = fields.iter().enumerate().map(|(index, Projected { ident, ty, constant })| {
        let index = Literal::usize_unsuffixed(index);
        // An error about the column's type is reported at the field's type.
        let (open, close) = end_spans(ty);
        let read = quote_spanned!(open=> __rt::read_column::<);
        let read = quote_spanned!(close=> #read #ty, #model, _, _>);
        quote!(#ident: #read(<#model>::#constant, #row, #first, #index)?)
    });
    // After an error, which is reported, there are no fields.
    let read = match fields.is_empty() {
        true => quote!(::core::panic!()),
        false => quote!(::core::result::Result::Ok(Self { #(#reads),* })),
    };
    let implementation = quote! {
        #[automatically_derived]
        impl __rt::Projection for #ident {
            type Model = #model;
            const INDEXES: &'static [usize] = &[#(#indexes),*];
            fn read(#row: &__rt::Row<'_>, #first: usize) -> __rt::Result<Self> {
                #read
            }
        }
    };
    in_scope(runtime, implementation)
}
