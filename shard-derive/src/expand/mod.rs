//! The code that is emitted: one file for each thing. Data and one-line methods; whatever has a body lives
//! once in the runtime.

mod assertions;
mod choosers;
mod columns;
mod insert;
mod lookups;
mod projection;
mod relations;
mod rows;
pub(crate) mod stub;
mod table;
mod values;

use proc_macro2::{Ident, Span, TokenStream, TokenTree};
use quote::{ToTokens, quote, quote_spanned};

use crate::attr::IdKind;
use crate::model::{Home, Model};

pub(crate) use projection::projection;
pub(crate) use values::value;

/// Everything that `#[derive(Sharded)]` makes.
pub(crate) fn model(model: &Model) -> TokenStream {
    let ident = &model.ident;
    let columns = columns::columns(model);
    let (id_field, id) = (&model.id_field().ident, &model.id_field().ty);
    let (key, key_at) = (key_type(model), model.home_columns().first().map_or(model.id, |column| *column));
    // At the fields' types, so that a private one is an error there.
    let id_type = quote_spanned!(place_of(id)=> type Id = #id;);
    let key_type = quote_spanned!(place_of(&model.fields[key_at].ty)=> type Key = #key;);
    let table = table::table(model);
    let lookups = lookups::lookups(model);
    let choosers = choosers::choosers(model);
    let rows = rows::rows(model);
    let relations = relations::relations(model);
    let (insert, insert_struct) = (insert::insert(model), insert::insert_struct(model));
    let assertions = assertions::assertions(model);
    let implementations = quote! {
        #columns
        #[automatically_derived]
        impl __rt::Sharded for #ident {
            #id_type
            #key_type
            const TABLE: &'static __rt::Table = #table;
            #lookups
            #[allow(clippy::misnamed_getters)]
            fn id(&self) -> &#id {
                &self.#id_field
            }
            fn set_id(&mut self, id: #id) {
                self.#id_field = id;
            }
            #choosers
            #rows
        }
        #relations
        #insert
        #assertions
    };
    let implementations = within(&model.runtime, implementations);
    quote!(#insert_struct #implementations)
}

/// Code in a scope of its own, where the runtime is `__rt`, whatever it is called outside.
fn within(runtime: &TokenStream, code: TokenStream) -> TokenStream {
    quote! {
        const _: () = {
            use #runtime as __rt;
            #code
        };
    }
}

/// `<Type as Trait>::Item`. Where the type does not have the trait, the error is on the type, from its first
/// token to its last, wherever it is used: so it is reported once.
fn item_of(ty: impl ToTokens, runtime_trait: &str, item: &str) -> TokenStream {
    let (first, last) = ends_of(&ty);
    let (path, item) = (runtime_trait.split("::").map(|word| Ident::new(word, last)), Ident::new(item, last));
    let open = quote_spanned!(first=> <);
    let close = quote_spanned!(last=> as __rt #(::#path)*>::#item);
    quote!(#open #ty #close)
}

/// The places of the first token and the last, for generated code where an error about them should be. It may
/// name items, but neither `self` nor variables, which mean nothing there if the tokens come out of a macro.
fn ends_of(tokens: impl ToTokens) -> (Span, Span) {
    let tokens: Vec<TokenTree> = tokens.to_token_stream().into_iter().collect();
    let place = |token: Option<&TokenTree>| token.map_or_else(Span::call_site, TokenTree::span);
    (place(tokens.first()), place(tokens.last()))
}

/// `self` at a place that may come out of a macro.
fn this(place: Span) -> Ident {
    Ident::new("self", Span::call_site().located_at(place))
}

/// The place of the first token.
fn place_of(tokens: impl ToTokens) -> Span {
    ends_of(tokens).0
}

/// The parent's model, as a type.
fn parent(model: &Model) -> Option<TokenStream> {
    match &model.home {
        Home::Handle(column) => {
            let (first, last) = ends_of(&model.fields[*column].ty);
            let (open, close) =
                (quote_spanned!(first=> <Self as), quote_spanned!(last=> __rt::Child>::Parent));
            Some(quote!(#open #close))
        }
        Home::Bare { parent, .. } => Some(parent.to_token_stream()),
        Home::Own { .. } | Home::Everywhere | Home::Nowhere => None,
    }
}

/// One key field's type, a tuple of several, or the parent's key.
fn key_type(model: &Model) -> TokenStream {
    match (&model.home, parent(model)) {
        (Home::Own { columns, .. }, _) => match &columns[..] {
            [column] => {
                let ty = &model.fields[*column].ty;
                quote!(#ty)
            }
            columns => composite_key(model, columns),
        },
        (Home::Everywhere, _) => quote!(__rt::Everywhere),
        (_, Some(parent)) => item_of(parent, "Sharded", "Key"),
        (_, None) => quote!(i64),
    }
}

fn composite_key(model: &Model, columns: &[usize]) -> TokenStream {
    let types = columns.iter().map(|column| &model.fields[*column].ty);
    quote!((#(#types),*))
}

/// The variant of the runtime's `IdKind`.
fn id_kind(kind: IdKind) -> TokenStream {
    match kind {
        IdKind::Given => quote!(Given),
        IdKind::Auto => quote!(Auto),
        IdKind::Sequence => quote!(Sequence),
        IdKind::Uuid => quote!(Uuid),
    }
}
