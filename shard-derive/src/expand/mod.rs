//! The generated code, one module for each part. It is data and methods of one line; longer code is in the runtime.

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
use crate::model::{Model, ShardSource};

pub(crate) use projection::projection;
pub(crate) use values::value;

/// Returns all code of `#[derive(Sharded)]`.
pub(crate) fn model(model: &Model) -> TokenStream {
    let ident = &model.ident;
    let columns = columns::columns(model);
    let (id_field, id) = (&model.id_field().ident, &model.id_field().ty);
    let (key, key_at) = (key_type(model), model.shard_columns().first().map_or(model.id, |column| *column));
    // With the spans of the fields' types, so that an error about a type is reported there.
    let id_type = quote_spanned!(first_span(id)=> type Id = #id;);
    let key_type = quote_spanned!(first_span(&model.fields[key_at].ty)=> type Key = #key;);
    let table = table::table(model);
    let lookups = lookups::lookups(model);
    let choosers = choosers::choosers(model);
    let rows = rows::rows(model);
    let relations = relations::relations(model);
    let (insert, insert_struct) = (insert::insert(model), insert::insert_struct(model));
    let assertions = assertions::assertions(model);
    let identified = relations::identified(model);
    let (above, parent_is_model) = relations::parent_is_model(model).unzip();
    let unchecked = above.is_some().then(|| {
        quote!(
            #[allow(unused_imports)]
            use __rt::UncheckedParents as _;
        )
    });
    let implementations = quote! {
        #unchecked
        #columns
        #identified
        #[automatically_derived]
        impl #above __rt::Sharded for #ident #parent_is_model {
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
    let implementations = in_scope(&model.runtime, implementations);
    quote!(#insert_struct #implementations)
}

/// Wraps the code in a scope in which `__rt` is the part of the runtime for generated code.
fn in_scope(runtime: &TokenStream, code: TokenStream) -> TokenStream {
    quote! {
        const _: () = {
            use #runtime::__private as __rt;
            #code
        };
    }
}

/// Returns `<Type as Trait>::Item` with the span of the type. If the type does not implement the trait, all uses give the
/// same error at the same span, which the compiler prints once.
fn item_of(ty: impl ToTokens, runtime_trait: &str, item: &str) -> TokenStream {
    let (first, last) = end_spans(&ty);
    let (runtime_trait, item) = (Ident::new(runtime_trait, last), Ident::new(item, last));
    let open = quote_spanned!(first=> <);
    let close = quote_spanned!(last=> as __rt::#runtime_trait>::#item);
    quote!(#open #ty #close)
}

/// Returns the path of an item of the runtime for the column of a field: by the field's role, or by its type.
fn column_item(model: &Model, index: usize, item: &str) -> TokenStream {
    let ty = &model.fields[index].ty;
    let Some(role) = model.role_column(index) else {
        return item_of(ty, "Storable", item);
    };
    let (first, last) = end_spans(ty);
    let (role, item) = (Ident::new(role, first), Ident::new(item, last));
    let open = quote_spanned!(first=> __rt::#role);
    quote_spanned!(last=> #open::<Self>::#item)
}

/// Returns the spans of the first and the last token, for generated code whose errors belong there. Such code must not
/// name `self` or variables: if the tokens come from a macro, hygiene hides these.
fn end_spans(tokens: impl ToTokens) -> (Span, Span) {
    let tokens: Vec<TokenTree> = tokens.to_token_stream().into_iter().collect();
    let span = |token: Option<&TokenTree>| token.map_or_else(Span::call_site, TokenTree::span);
    (span(tokens.first()), span(tokens.last()))
}

/// Returns `self` at a span that may come from a macro.
fn self_at(span: Span) -> Ident {
    Ident::new("self", Span::call_site().located_at(span))
}

/// Returns the span of the first token.
fn first_span(tokens: impl ToTokens) -> Span {
    end_spans(tokens).0
}

/// Returns the parent's model, as a type.
fn parent(model: &Model) -> Option<TokenStream> {
    match &model.shard_source {
        ShardSource::Link(_) => Some(relations::above()),
        ShardSource::Bare { parent, .. } => Some(parent.to_token_stream()),
        ShardSource::Own { .. } | ShardSource::Everywhere | ShardSource::Nowhere => None,
    }
}

/// Returns the type of the key: of one field, a tuple of several fields, or the parent's key.
fn key_type(model: &Model) -> TokenStream {
    match (&model.shard_source, parent(model)) {
        (ShardSource::Own { columns, .. }, _) => match &columns[..] {
            [column] => model.fields[*column].ty.to_token_stream(),
            columns => composite_key(model, columns),
        },
        (ShardSource::Everywhere, _) => quote!(__rt::Everywhere),
        (_, Some(parent)) => item_of(parent, "Sharded", "Key"),
        (_, None) => quote!(i64),
    }
}

fn composite_key(model: &Model, columns: &[usize]) -> TokenStream {
    let types = columns.iter().map(|column| &model.fields[*column].ty);
    quote!((#(#types),*))
}

/// Returns the variant of the runtime's `IdKind`.
fn id_kind(kind: IdKind) -> TokenStream {
    match kind {
        IdKind::Given => quote!(Given),
        IdKind::Auto => quote!(Auto),
        IdKind::Sequence => quote!(Sequence),
        IdKind::Uuid => quote!(Uuid),
    }
}
