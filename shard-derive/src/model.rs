//! The model that is expanded: fields with their columns, the id, and what decides a row's shard.
//!
//! It is always complete. Where the attributes leave something open or say it twice, the first that was said
//! is taken, or the next best thing; [`check`](crate::check) reports it. So one mistake gives one error, and
//! the code that uses the model goes on to compile.

use proc_macro2::{Ident, TokenStream};
use quote::{ToTokens, quote};
use syn::ext::IdentExt;
use syn::{
    Attribute, Data, DeriveInput, Field as SynField, Fields, FieldsNamed, GenericArgument, LitStr, Meta,
    Path, PathArguments, Type, Visibility,
};

use crate::attr::{FieldAttrs, IdKind, KeyAttr, ParentModel, PlacementAttr, StructAttrs};
use crate::errors::Errors;

/// A struct with `#[derive(Sharded)]`.
pub(crate) struct Model {
    pub(crate) ident: Ident,
    pub(crate) vis: Visibility,
    pub(crate) attrs: StructAttrs,
    /// The runtime's path.
    pub(crate) runtime: TokenStream,
    pub(crate) table: Name,
    pub(crate) fields: Vec<Field>,
    /// The place of the id among the fields.
    pub(crate) id: usize,
    pub(crate) id_kind: IdKind,
    /// The place of the version among the fields, where there is one.
    pub(crate) version: Option<usize>,
    pub(crate) home: Home,
    /// Whether no mistake was found: otherwise nothing is asserted, so that one mistake gives one error.
    pub(crate) sound: bool,
}

/// What decides a row's shard.
pub(crate) enum Home {
    /// The fields at these places, placed as the attribute says that stands on this field or the struct.
    Own { columns: Vec<usize>, placement: Placed },
    /// The parent's handle in this field.
    Handle(usize),
    /// The parent's bare id in this field.
    Bare { column: usize, parent: Path },
    /// Nothing: every row lives on every shard.
    Everywhere,
    /// Nothing that was said; a mistake is reported.
    Nowhere,
}

/// Where a key's placement is written.
#[derive(Clone, Copy)]
pub(crate) enum Placed {
    OnField(usize),
    OnStruct,
}

/// A name as SQL will have it, and the tokens that it comes from.
pub(crate) struct Name {
    pub(crate) text: String,
    pub(crate) tokens: TokenStream,
}

impl Name {
    fn of(given: Option<&LitStr>, otherwise: &Ident, default: impl FnOnce(String) -> String) -> Self {
        match given {
            Some(name) => Name { text: name.value(), tokens: name.to_token_stream() },
            None => {
                Name { text: default(otherwise.unraw().to_string()), tokens: otherwise.to_token_stream() }
            }
        }
    }
}

/// A field and its column.
pub(crate) struct Field {
    pub(crate) ident: Ident,
    pub(crate) vis: Visibility,
    pub(crate) ty: Type,
    pub(crate) docs: Vec<Attribute>,
    pub(crate) attrs: FieldAttrs,
    pub(crate) column: Name,
    /// The name of the column's constant.
    pub(crate) constant: Ident,
}

impl Model {
    /// The struct as a model, or `None` where it cannot be one, which is reported.
    pub(crate) fn read(input: &DeriveInput, errors: &mut Errors) -> Option<Self> {
        let attrs = StructAttrs::read(&input.attrs, errors);
        let fields = named_fields(input, errors)?;
        let fields: Vec<Field> = fields.named.iter().filter_map(|field| Field::read(field, errors)).collect();
        let id = fields.iter().position(|field| field.attrs.id.is_some()).unwrap_or(0);
        let id_kind = fields[id].attrs.id.as_ref().map_or(IdKind::Given, |id| id.kind);
        Some(Model {
            // What is on the id or the key is reported, and no version then.
            version: find(&fields, |attrs| attrs.version.as_ref().filter(|_| attrs.is_plain()))
                .map(|(place, _)| place),
            home: match &attrs.reference {
                Some(_) => Home::Everywhere,
                None => Home::of(&input.ident, &fields, attrs.key.as_ref()),
            },
            ident: input.ident.clone(),
            vis: input.vis.clone(),
            runtime: runtime_path(attrs.runtime.as_ref()),
            table: Name::of(attrs.table.as_ref(), &input.ident, |name| snake_case(&name)),
            fields,
            id,
            id_kind,
            attrs,
            sound: false,
        })
    }

    pub(crate) fn id_field(&self) -> &Field {
        &self.fields[self.id]
    }

    /// Whether the id alone decides the shard.
    pub(crate) fn id_is_key(&self) -> bool {
        match &self.home {
            Home::Own { columns, .. } => columns[..] == [self.id],
            Home::Bare { column, .. } => *column == self.id,
            Home::Handle(_) | Home::Everywhere | Home::Nowhere => false,
        }
    }

    /// Whether code can be made that compiles, mistakes or not: not with an id that is a parent's handle, and
    /// not with borrowed fields.
    pub(crate) fn can_be_expanded(&self) -> bool {
        let id_is_handle = matches!(self.home, Home::Handle(column) if column == self.id);
        !id_is_handle && !self.fields.iter().any(|field| matches!(field.ty, Type::Reference(_)))
    }

    /// The places of the fields that decide the shard.
    pub(crate) fn home_columns(&self) -> &[usize] {
        match &self.home {
            Home::Own { columns, .. } => columns,
            Home::Handle(column) | Home::Bare { column, .. } => std::slice::from_ref(column),
            Home::Everywhere | Home::Nowhere => &[],
        }
    }

    /// How the model's own key is placed, as it is written.
    pub(crate) fn own_placement(&self) -> Option<&PlacementAttr> {
        self.key_attr().map(|key| &key.placement)
    }

    /// The `#[shard_key(..)]` that places the model's own key.
    pub(crate) fn key_attr(&self) -> Option<&KeyAttr> {
        match &self.home {
            Home::Own { placement: Placed::OnField(field), .. } => self.fields[*field].attrs.key.as_ref(),
            Home::Own { placement: Placed::OnStruct, .. } => self.attrs.key.as_ref(),
            _ => None,
        }
    }

    /// The places of the fields that refer to rows of reference tables, each with that table's model.
    pub(crate) fn references(&self) -> impl Iterator<Item = (usize, &Path)> {
        let fields = self.fields.iter().enumerate();
        fields.filter_map(|(place, field)| Some((place, field.attrs.references.as_ref()?.model.as_ref()?)))
    }

    /// The fields that have a lookup, with their places.
    pub(crate) fn lookups(&self) -> impl Iterator<Item = (usize, &Field)> {
        // What is on the id, the key or the version is reported, and no lookup then.
        let is_lookup = |field: &Field| {
            self.attrs.reference.is_none()
                && field.attrs.lookup.is_some()
                && field.attrs.version.is_none()
                && field.attrs.is_plain()
        };
        self.fields.iter().enumerate().filter(move |(_, field)| is_lookup(field))
    }

    /// The name of the table that holds the entries of a field's lookup.
    pub(crate) fn entries_of(&self, field: &Field) -> String {
        format!("sharded_lookup_{}_{}", self.table.text, field.column.text)
    }

    /// The place of the field of this name.
    pub(crate) fn field_named(&self, name: &Ident) -> Option<usize> {
        self.fields.iter().position(|field| field.ident.unraw() == name.unraw())
    }
}

impl Home {
    fn of(model: &Ident, fields: &[Field], on_struct: Option<&KeyAttr>) -> Self {
        if let Some((column, parent)) = find(fields, |attrs| attrs.parent.as_ref()) {
            return match &parent.model {
                _ if fields[column].links_to(model) => Home::Nowhere,
                ParentModel::OfType => Home::Handle(column),
                ParentModel::Named(parent) => Home::Bare { column, parent: parent.clone() },
                ParentModel::Unreadable => Home::Nowhere,
            };
        }
        let Some((first, _)) = find(fields, |attrs| attrs.key.as_ref()) else { return Home::Nowhere };
        if on_struct.is_none() {
            return Home::Own { columns: vec![first], placement: Placed::OnField(first) };
        }
        let marked = fields.iter().enumerate().filter(|(_, field)| field.attrs.key.is_some());
        Home::Own { columns: marked.map(|(place, _)| place).collect(), placement: Placed::OnStruct }
    }
}

fn find<T>(fields: &[Field], role: impl Fn(&FieldAttrs) -> Option<&T>) -> Option<(usize, &T)> {
    fields.iter().enumerate().find_map(|(place, field)| Some((place, role(&field.attrs)?)))
}

impl Field {
    fn read(field: &SynField, errors: &mut Errors) -> Option<Self> {
        let ident = field.ident.clone()?;
        let attrs = FieldAttrs::read(&field.attrs, errors);
        let handle = attrs.parent.as_ref().is_some_and(|parent| matches!(parent.model, ParentModel::OfType));
        Some(Field {
            column: Name::of(attrs.column.as_ref(), &ident, |name| if handle { name + "_id" } else { name }),
            constant: constant_name(&ident),
            vis: field.vis.clone(),
            ty: field.ty.clone(),
            docs: doc_comments(&field.attrs),
            attrs,
            ident,
        })
    }

    /// Whether this is a link to the model itself, as far as that can be seen.
    pub(crate) fn links_to(&self, model: &Ident) -> bool {
        let is_model = |path: &Path| path.get_ident().is_some_and(|ident| ident == model || ident == "Self");
        match self.attrs.parent.as_ref().map(|parent| &parent.model) {
            Some(ParentModel::Named(path)) => is_model(path),
            Some(ParentModel::OfType) => {
                matches!(parent_argument(&self.ty), Some(Type::Path(ty)) if ty.qself.is_none() && is_model(&ty.path))
            }
            _ => false,
        }
    }
}

/// The `P` of something that is written `Parent<P>`.
fn parent_argument(ty: &Type) -> Option<&Type> {
    let Type::Path(path) = ty else { return None };
    let last = path.path.segments.last().filter(|last| last.ident == "Parent")?;
    let PathArguments::AngleBracketed(arguments) = &last.arguments else { return None };
    arguments.args.iter().find_map(|argument| match argument {
        GenericArgument::Type(ty) => Some(ty),
        _ => None,
    })
}

fn named_fields<'i>(input: &'i DeriveInput, errors: &mut Errors) -> Option<&'i FieldsNamed> {
    for parameter in &input.generics.params {
        let message = match parameter {
            syn::GenericParam::Lifetime(_) => {
                "not supported: a row owns its values; write `String` and `Vec<u8>`"
            }
            _ => "not supported: a table's columns have one type; write a struct for each",
        };
        errors.at(parameter, message);
    }
    let what = "a model is a struct, whose fields are its columns";
    let data = match &input.data {
        Data::Struct(data) => data,
        Data::Enum(data) => {
            let hint = "the enum that is a key has `#[derive(ShardKey)]`";
            return errors.refuse(data.enum_token, format_args!("{what}; {hint}"));
        }
        Data::Union(data) => return errors.refuse(data.union_token, what),
    };
    let write = "columns need names: write a struct with named fields, `{ id: i64, .. }`";
    match &data.fields {
        Fields::Named(fields) if fields.named.is_empty() => {
            errors.refuse(&input.ident, "a model needs columns: at least the `#[id]` and the `#[shard_key]`")
        }
        Fields::Named(fields) => Some(fields).filter(|_| input.generics.params.is_empty()),
        Fields::Unnamed(fields) => errors.refuse(fields, write),
        Fields::Unit => errors.refuse(&input.ident, write),
    }
}

/// The runtime's path: as given, or `::shard_runtime`.
pub(crate) fn runtime_path(given: Option<&Path>) -> TokenStream {
    given.map_or_else(|| quote!(::shard_runtime), ToTokens::to_token_stream)
}

fn doc_comments(attributes: &[Attribute]) -> Vec<Attribute> {
    let is_doc = |attribute: &&Attribute| match &attribute.meta {
        Meta::NameValue(pair) => pair.path.is_ident("doc"),
        _ => false,
    };
    attributes.iter().filter(is_doc).cloned().collect()
}

/// The field's name in capitals, which is a constant's name wherever the field's is a field's.
pub(crate) fn constant_name(field: &Ident) -> Ident {
    let name = field.unraw().to_string().to_uppercase();
    match syn::parse_str::<Ident>(&name) {
        Ok(_) => Ident::new(&name, field.span()),
        Err(_) => field.clone(),
    }
}

/// `WeatherReport` as `weather_report`, `HTTPServer` as `http_server`.
pub(crate) fn snake_case(name: &str) -> String {
    let letters: Vec<char> = name.chars().collect();
    let mut snake = String::new();
    for (place, letter) in letters.iter().enumerate() {
        let before = place.checked_sub(1).and_then(|place| letters.get(place));
        let starts_word = letter.is_uppercase()
            && before.is_some_and(|before| {
                let ends_capitals = letters.get(place + 1).is_some_and(|next| next.is_lowercase());
                *before != '_' && (!before.is_uppercase() || ends_capitals)
            });
        if starts_word {
            snake.push('_');
        }
        snake.extend(letter.to_lowercase());
    }
    snake
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_named_in_snake_case() {
        let names = ["Report", "WeatherReport", "HTTPServer", "Sha256Sum", "with_line", "X", "TenantID"];
        let tables = ["report", "weather_report", "http_server", "sha256_sum", "with_line", "x", "tenant_id"];
        assert_eq!(names.map(snake_case), tables);
    }

    #[test]
    fn constants_are_named_in_capitals() {
        let constant = |name: &str| constant_name(&syn::parse_str::<Ident>(name).unwrap()).to_string();
        assert_eq!(["city", "r#type", "größe", "_x"].map(constant), ["CITY", "TYPE", "GRÖSSE", "_X"]);
    }
}
