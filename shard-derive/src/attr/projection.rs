//! A projection's settings: `#[sharded(model = City)]` on the struct, `#[sharded(column = name)]` on a field.

use proc_macro2::Ident;
use syn::ext::IdentExt;
use syn::parse::ParseStream;
use syn::{Attribute, Path, Token};

use super::{COLUMN, CRATE, SHARDED, Words, mistake, path_of, put_once, read_settings};
use crate::errors::Errors;

const MODEL: &str = "model";
const FIELD_SETTINGS: Words = Words {
    known: &[COLUMN],
    foreign: &[("rename", "write `column = field`, the model's field without quotes")],
};

/// The settings in `#[sharded(..)]` on the struct.
#[derive(Default)]
pub(crate) struct ProjectionAttrs {
    pub(crate) model: Option<Path>,
    /// The runtime's path, if it is not `::shard_runtime`.
    pub(crate) runtime: Option<Path>,
}

impl ProjectionAttrs {
    pub(crate) fn read(attributes: &[Attribute], errors: &mut Errors) -> Self {
        let mut attrs = ProjectionAttrs::default();
        for attribute in attributes.iter().filter(|attribute| attribute.path().is_ident(SHARDED)) {
            let example = "#[sharded(model = City)]";
            read_settings(attribute, Words::new(&[MODEL, CRATE]), example, errors, |word, input, errors| {
                let (slot, example) = match word == MODEL {
                    true => (&mut attrs.model, "City"),
                    false => (&mut attrs.runtime, "some::path"),
                };
                put_once(slot, path_of(word, input, example)?, word, errors);
                Ok(())
            });
        }
        attrs
    }
}

/// Reads the model's field whose column this field is, if the attribute names one.
pub(crate) fn projected_field(attributes: &[Attribute], errors: &mut Errors) -> Option<Ident> {
    let mut field = None;
    for attribute in attributes.iter().filter(|attribute| attribute.path().is_ident(SHARDED)) {
        read_settings(
            attribute,
            FIELD_SETTINGS,
            "#[sharded(column = name)]",
            errors,
            |word, input, errors| {
                put_once(&mut field, field_of(word, input)?, word, errors);
                Ok(())
            },
        );
    }
    field
}

fn field_of(word: &Ident, input: ParseStream) -> syn::Result<Ident> {
    let usage = format!("name the model's field, without quotes: `{word} = name`");
    let Ok(_) = input.parse::<Token![=]>() else { return mistake(word, usage) };
    input.call(Ident::parse_any).map_err(|error| syn::Error::new(error.span(), usage))
}
