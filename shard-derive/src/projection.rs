//! The structs whose fields are columns of a model: what `#[derive(Projection)]` reads. Whether the model has such
//! columns, of such types, is for the compiler to say.

use proc_macro2::{Ident, TokenStream};
use syn::{Data, DeriveInput, Field as SynField, Fields, Path, Type};

use crate::attr::{ProjectionAttrs, projected_field};
use crate::errors::Errors;
use crate::model::{constant_name, runtime_path};

/// A struct with `#[derive(Projection)]`.
pub(crate) struct Projection {
    pub(crate) ident: Ident,
    /// The runtime's path.
    pub(crate) runtime: TokenStream,
    pub(crate) model: Path,
    pub(crate) fields: Vec<Projected>,
}

/// A field and the constant of its column.
pub(crate) struct Projected {
    pub(crate) ident: Ident,
    pub(crate) ty: Type,
    pub(crate) constant: Ident,
}

impl Projection {
    /// The struct as a projection, or `None` where it cannot be one, which is reported. After a mistake in a field
    /// it has no fields, so that one mistake gives one error.
    pub(crate) fn read(input: &DeriveInput, errors: &mut Errors) -> Option<Self> {
        let attrs = ProjectionAttrs::read(&input.attrs, errors);
        let Some(model) = attrs.model else {
            let write = "say whose columns the fields are: `#[sharded(model = City)]`";
            // Where the setting could not be read, that is reported.
            return if errors.is_empty() { errors.refuse(&input.ident, write) } else { None };
        };
        for parameter in &input.generics.params {
            errors.at(parameter, "not supported: a projection's fields are columns, which have one type");
        }
        let fields = match &input.data {
            Data::Struct(data) if input.generics.params.is_empty() => match &data.fields {
                Fields::Named(fields) if !fields.named.is_empty() => fields,
                _ => return refuse_shape(input, errors),
            },
            Data::Struct(_) => return None,
            _ => return refuse_shape(input, errors),
        };
        let mut fields: Vec<Projected> =
            fields.named.iter().filter_map(|field| Projected::read(field, errors)).collect();
        if !errors.is_empty() {
            fields.clear();
        }
        let runtime = runtime_path(attrs.runtime.as_ref());
        Some(Projection { ident: input.ident.clone(), runtime, model, fields })
    }
}

fn refuse_shape<T>(input: &DeriveInput, errors: &mut Errors) -> Option<T> {
    errors.refuse(&input.ident, "a projection is a struct with named fields, each a column of the model")
}

impl Projected {
    fn read(field: &SynField, errors: &mut Errors) -> Option<Self> {
        let ident = field.ident.clone()?;
        let named = projected_field(&field.attrs, errors);
        let constant = constant_name(named.as_ref().unwrap_or(&ident));
        Some(Projected { constant, ty: field.ty.clone(), ident })
    }
}
