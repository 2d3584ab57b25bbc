//! The input of `#[derive(Projection)]`: a struct whose fields are columns of a model. The compiler checks that the model
//! has such columns, of such types.

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
    /// Reads the struct, or reports why it cannot be a projection and returns `None`. After an error in a field the
    /// projection has no fields, so that one mistake is one error.
    pub(crate) fn read(input: &DeriveInput, errors: &mut Errors) -> Option<Self> {
        let attrs = ProjectionAttrs::read(&input.attrs, errors);
        let Some(model) = attrs.model else {
            let write =
                "missing model: write `#[sharded(model = City)]`, with the model that has these columns";
            // An invalid setting is reported already.
            return if errors.is_empty() { errors.refuse(&input.ident, write) } else { None };
        };
        for parameter in &input.generics.params {
            errors.at(parameter, "not supported: a column has one type; write a projection for each");
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
        let runtime = runtime_path(attrs.runtime.as_ref(), &input.ident, errors);
        Some(Projection { ident: input.ident.clone(), runtime, model, fields })
    }
}

fn refuse_shape<T>(input: &DeriveInput, errors: &mut Errors) -> Option<T> {
    errors.refuse(&input.ident, "a projection has some columns of a model: write a struct with named fields")
}

impl Projected {
    fn read(field: &SynField, errors: &mut Errors) -> Option<Self> {
        let ident = field.ident.clone()?;
        let named = projected_field(&field.attrs, errors);
        let constant = constant_name(named.as_ref().unwrap_or(&ident));
        Some(Projected { constant, ty: field.ty.clone(), ident })
    }
}
