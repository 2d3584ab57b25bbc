//! The traits that describe a model's relations and its id: `Child`, `IdIsKey`, `UniqueId`, `KnownId`, `SequenceId` and
//! `Reference`.

use proc_macro2::{Literal, TokenStream};
use quote::{ToTokens, quote, quote_spanned};

use super::{column_item, first_span, item_of, self_at};
use crate::attr::IdKind;
use crate::model::{Field, Model, ShardSource};

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
    let reference = matches!(model.shard_source, ShardSource::Everywhere).then(|| {
        quote! {
            impl __rt::Reference for #ident {}
        }
    });
    quote! { #child #unique_id #id_is_key #known_id #sequence_id #reference }
}

fn child(model: &Model) -> Option<TokenStream> {
    let ident = &model.ident;
    let parent = super::parent(model)?;
    let place = *model.shard_columns().first()?;
    let Field { ident: name, ty, .. } = &model.fields[place];
    let (this, mut name) = (self_at(first_span(ty)), name.clone());
    name.set_span(first_span(ty));
    // All spans are those of the type or path that names the parent, so that errors about it are reported there.
    let (span, parent_type, parent_id) = match &model.shard_source {
        ShardSource::Bare { parent, .. } => {
            (first_span(parent), parent.to_token_stream(), quote_spanned!(first_span(ty)=> &#this.#name))
        }
        _ => {
            let link = item_of(ty, "ParentLink", "Parent");
            let id = column_item(model, place, "parent_id");
            (first_span(ty), link, quote_spanned!(first_span(ty)=> #id(&#this.#name)))
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
