//! Some columns of a model as a struct: their places, and their reader.

use proc_macro2::{Ident, Literal, Span, TokenStream};
use quote::{quote, quote_spanned};

use super::{ends_of, within};
use crate::projection::{Projected, Projection};

/// Everything that `#[derive(Projection)]` makes.
pub(crate) fn projection(projection: &Projection) -> TokenStream {
    let Projection { ident, runtime, model, fields } = projection;
    let (row, first) = (Ident::new("row", Span::mixed_site()), Ident::new("first", Span::mixed_site()));
    let places = fields.iter().map(
        |Projected { constant, .. }| quote!(__rt::__private::place_of::<#model, _, _>(<#model>::#constant)),
    );
    let reads = fields.iter().enumerate().map(|(place, Projected { ident, ty, constant })| {
        let place = Literal::usize_unsuffixed(place);
        // At the field's type, which is what is wrong where it is not the column's.
        let (open, close) = ends_of(ty);
        let read = quote_spanned!(open=> __rt::__private::read_column::<);
        let read = quote_spanned!(close=> #read #ty, #model, _, _>);
        quote!(#ident: #read(<#model>::#constant, #row, #first, #place)?)
    });
    // After a mistake, which is reported, there are no fields to read.
    let read = match fields.is_empty() {
        true => quote!(::core::panic!()),
        false => quote!(::core::result::Result::Ok(Self { #(#reads),* })),
    };
    let implementation = quote! {
        #[automatically_derived]
        impl __rt::Projection for #ident {
            type Model = #model;
            const PLACES: &'static [usize] = &[#(#places),*];
            fn read(#row: &__rt::Row<'_>, #first: usize) -> __rt::Result<Self> {
                #read
            }
        }
    };
    within(runtime, implementation)
}
