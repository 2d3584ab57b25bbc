//! What the model is to others: a child of its parent, a parent by its bare id, a row named by its id alone.

use proc_macro2::{Literal, TokenStream};
use quote::{ToTokens, quote, quote_spanned};

use super::{item_of, place_of, this};
use crate::attr::IdKind;
use crate::model::{Field, Home, Model};

pub(super) fn relations(model: &Model) -> TokenStream {
    let ident = &model.ident;
    let child = child(model);
    let unique_id = (model.id_kind != IdKind::Auto).then(|| {
        quote! {
            impl __rt::UniqueId for #ident {}
        }
    });
    let id_is_key = model.id_is_key().then(|| {
        quote! {
            impl __rt::IdIsKey for #ident {}
        }
    });
    let known_id = matches!(model.id_kind, IdKind::Given | IdKind::Uuid).then(|| {
        quote! {
            impl __rt::KnownId for #ident {}
        }
    });
    let sequence_id = (model.id_kind == IdKind::Sequence).then(|| {
        quote! {
            impl __rt::SequenceId for #ident {}
        }
    });
    let reference = matches!(model.home, Home::Everywhere).then(|| {
        quote! {
            impl __rt::Reference for #ident {}
        }
    });
    quote! { #child #unique_id #id_is_key #known_id #sequence_id #reference }
}

fn child(model: &Model) -> Option<TokenStream> {
    let ident = &model.ident;
    let parent = super::parent(model)?;
    let place = *model.home_columns().first()?;
    let Field { ident: name, ty, .. } = &model.fields[place];
    let (this, mut name) = (this(place_of(ty)), name.clone());
    name.set_span(place_of(ty));
    // All of it is at the type or the path that names the parent, so that a wrong one is one error, there.
    let (span, parent_type, parent_id) = match &model.home {
        Home::Bare { parent, .. } => {
            (place_of(parent), parent.to_token_stream(), quote_spanned!(place_of(ty)=> &#this.#name))
        }
        _ => {
            let link = item_of(ty, "__private::ParentLink", "Parent");
            (place_of(ty), link, quote_spanned!(place_of(ty)=> #this.#name.id()))
        }
    };
    let parent_type = quote_spanned!(span=> type Parent = #parent_type;);
    let id = item_of(&parent, "Sharded", "Id");
    let parent_id = quote_spanned!(span=> fn parent_id(&#this) -> &#id { #parent_id });
    let place = Literal::usize_unsuffixed(place);
    Some(quote! {
        #[automatically_derived]
        impl __rt::Child for #ident {
            #parent_type
            const PARENT_COLUMN: usize = #place;
            #parent_id
        }
    })
}
