//! The model that is expanded: its fields with their columns, its id, and how its rows are placed.
//!
//! It is always complete. A missing attribute has a default; of two attributes the first is used.
//! [`check`](crate::check) reports both. So one mistake is one error, and code that uses the model still compiles.

use proc_macro2::{Ident, Span, TokenStream};
use quote::{ToTokens, quote};
use syn::ext::IdentExt;
use syn::{
    Attribute, Data, DeriveInput, Field as SynField, Fields, FieldsNamed, GenericArgument, LitStr, Meta,
    Path, PathArguments, PathSegment, Type, Visibility,
};

use crate::attr::{FieldAttrs, IdKind, KeyAttr, ParentModel, PlacementAttr, StructAttrs};
use crate::errors::Errors;
use crate::manifest::renamed_runtime;

/// A struct with `#[derive(Sharded)]`.
pub(crate) struct Model {
    pub(crate) ident: Ident,
    pub(crate) vis: Visibility,
    pub(crate) attrs: StructAttrs,
    /// The runtime's path.
    pub(crate) runtime: TokenStream,
    pub(crate) table: Name,
    pub(crate) fields: Vec<Field>,
    /// The index of the id among the fields.
    pub(crate) id: usize,
    pub(crate) id_kind: IdKind,
    /// The index of the version among the fields, if there is one.
    pub(crate) version: Option<usize>,
    pub(crate) shard_source: ShardSource,
    /// Whether no error was found. After an error the code has no assertions, so that one mistake is one error.
    pub(crate) is_valid: bool,
}

/// The part of a row that decides its shard.
pub(crate) enum ShardSource {
    /// The fields with these indices, which are the key. An attribute on a field or on the struct has its placement.
    Own { columns: Vec<usize>, placement: PlacementSite },
    /// The parent's link in this field.
    Link(usize),
    /// The parent's id in this field.
    Bare { column: usize, parent: Path },
    /// Nothing: a reference table has every row on every shard.
    Everywhere,
    /// Unknown after an error, which is reported.
    Nowhere,
}

/// The attribute that has a key's placement.
#[derive(Clone, Copy)]
pub(crate) enum PlacementSite {
    OnField(usize),
    OnStruct,
}

/// A name in SQL, and the tokens that it comes from.
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
    /// The name of the constant for the column.
    pub(crate) constant: Ident,
}

impl Model {
    /// Reads the struct, or reports why it cannot be a model and returns `None`.
    pub(crate) fn read(input: &DeriveInput, errors: &mut Errors) -> Option<Self> {
        let attrs = StructAttrs::read(&input.attrs, errors);
        let fields = named_fields(input, errors)?;
        let fields: Vec<Field> = fields.named.iter().filter_map(|field| Field::read(field, errors)).collect();
        let id = fields.iter().position(|field| field.attrs.id.is_some()).unwrap_or(0);
        let id_kind = fields[id].attrs.id.as_ref().map_or(IdKind::Given, |id| id.kind);
        Some(Model {
            // A version on the id or the key is reported, and is then not used.
            version: find(&fields, |attrs| attrs.version.as_ref().filter(|_| attrs.is_plain()))
                .map(|(index, _)| index),
            shard_source: match &attrs.reference {
                Some(_) => ShardSource::Everywhere,
                None => ShardSource::of(&input.ident, &fields, attrs.key.as_ref()),
            },
            ident: input.ident.clone(),
            vis: input.vis.clone(),
            runtime: runtime_path(attrs.runtime.as_ref(), &input.ident, errors),
            table: Name::of(attrs.table.as_ref(), &input.ident, |name| snake_case(&name)),
            fields,
            id,
            id_kind,
            attrs,
            is_valid: false,
        })
    }

    pub(crate) fn id_field(&self) -> &Field {
        &self.fields[self.id]
    }

    /// Returns the type of the runtime through which the code uses an id or a key, or `None` for other fields. It uses the
    /// field's type through the model, so that a type which cannot have the role is one error.
    pub(crate) fn role_column(&self, index: usize) -> Option<&'static str> {
        match &self.shard_source {
            _ if self.fields[index].is_no_link() => Some("InvalidColumn"),
            ShardSource::Link(column) | ShardSource::Bare { column, .. } if *column == index => None,
            ShardSource::Own { columns, .. } if columns[..] == [index] => Some("KeyColumn"),
            ShardSource::Own { columns, .. } if columns.contains(&index) => None,
            _ if index == self.id => Some("IdColumn"),
            _ => None,
        }
    }

    /// Returns whether the id alone decides the shard.
    pub(crate) fn id_is_key(&self) -> bool {
        match &self.shard_source {
            ShardSource::Own { columns, .. } => columns[..] == [self.id],
            ShardSource::Bare { column, .. } => *column == self.id,
            ShardSource::Link(_) | ShardSource::Everywhere | ShardSource::Nowhere => false,
        }
    }

    /// Returns whether code can be generated that compiles. It cannot if the id is a parent's link, or if a field is
    /// borrowed.
    pub(crate) fn can_be_expanded(&self) -> bool {
        let id_is_handle = matches!(self.shard_source, ShardSource::Link(column) if column == self.id);
        !id_is_handle && !self.fields.iter().any(|field| matches!(field.ty, Type::Reference(_)))
    }

    /// Returns the indices of the fields that decide the shard.
    pub(crate) fn shard_columns(&self) -> &[usize] {
        match &self.shard_source {
            ShardSource::Own { columns, .. } => columns,
            ShardSource::Link(column) | ShardSource::Bare { column, .. } => std::slice::from_ref(column),
            ShardSource::Everywhere | ShardSource::Nowhere => &[],
        }
    }

    /// Returns the placement of the model's own key.
    pub(crate) fn own_placement(&self) -> Option<&PlacementAttr> {
        self.key_attr().map(|key| &key.placement)
    }

    /// Returns the `#[shard_key(..)]` that has the placement of the model's own key.
    pub(crate) fn key_attr(&self) -> Option<&KeyAttr> {
        match &self.shard_source {
            ShardSource::Own { placement: PlacementSite::OnField(field), .. } => {
                self.fields[*field].attrs.key.as_ref()
            }
            ShardSource::Own { placement: PlacementSite::OnStruct, .. } => self.attrs.key.as_ref(),
            _ => None,
        }
    }

    /// Returns the indices of the fields that refer to rows of reference tables, each with that table's model.
    pub(crate) fn references(&self) -> impl Iterator<Item = (usize, &Path)> {
        let fields = self.fields.iter().enumerate();
        fields.filter_map(|(index, field)| Some((index, field.attrs.references.as_ref()?.model.as_ref()?)))
    }

    /// Returns the fields with a lookup, and their indices.
    pub(crate) fn lookups(&self) -> impl Iterator<Item = (usize, &Field)> {
        // A lookup on the id, the key or the version is reported, and is then not used.
        let is_lookup = |field: &Field| {
            self.attrs.reference.is_none()
                && field.attrs.lookup.is_some()
                && field.attrs.version.is_none()
                && field.attrs.is_plain()
        };
        self.fields.iter().enumerate().filter(move |(_, field)| is_lookup(field))
    }

    /// Returns the name of the table with the entries of a field's lookup.
    pub(crate) fn entries_of(&self, field: &Field) -> String {
        format!("sharded_lookup_{}_{}", self.table.text, field.column.text)
    }

    /// Returns the index of the field with this name.
    pub(crate) fn field_named(&self, name: &Ident) -> Option<usize> {
        self.fields.iter().position(|field| field.ident.unraw() == name.unraw())
    }
}

impl ShardSource {
    fn of(model: &Ident, fields: &[Field], on_struct: Option<&KeyAttr>) -> Self {
        if let Some((column, parent)) = find(fields, |attrs| attrs.parent.as_ref()) {
            return match &parent.model {
                _ if fields[column].links_to(model) || fields[column].is_no_link() => ShardSource::Nowhere,
                ParentModel::OfType => ShardSource::Link(column),
                ParentModel::Named(parent) => ShardSource::Bare { column, parent: parent.clone() },
                ParentModel::Unreadable => ShardSource::Nowhere,
            };
        }
        let Some((first, _)) = find(fields, |attrs| attrs.key.as_ref()) else { return ShardSource::Nowhere };
        if on_struct.is_none() {
            return ShardSource::Own { columns: vec![first], placement: PlacementSite::OnField(first) };
        }
        let marked = fields.iter().enumerate().filter(|(_, field)| field.attrs.key.is_some());
        ShardSource::Own {
            columns: marked.map(|(index, _)| index).collect(),
            placement: PlacementSite::OnStruct,
        }
    }
}

fn find<T>(fields: &[Field], role: impl Fn(&FieldAttrs) -> Option<&T>) -> Option<(usize, &T)> {
    fields.iter().enumerate().find_map(|(index, field)| Some((index, role(&field.attrs)?)))
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

    /// Returns whether the field is marked as a parent's link, and has a common type that is not a link. Only the
    /// compiler resolves aliases, and checks other types.
    pub(crate) fn is_no_link(&self) -> bool {
        const NO_LINKS: [&str; 19] = [
            "Option", "String", "Vec", "Box", "Arc", "Rc", "bool", "i8", "i16", "i32", "i64", "i128", "u8",
            "u16", "u32", "u64", "u128", "usize", "Uuid",
        ];
        let of_type =
            self.attrs.parent.as_ref().is_some_and(|parent| matches!(parent.model, ParentModel::OfType));
        of_type && last_segment(&self.ty).is_some_and(|last| NO_LINKS.iter().any(|name| last.ident == name))
    }

    /// Returns whether the type or the attribute names the model itself as the parent. An alias of it is not recognized.
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

/// Returns `P` of a type that is written `Parent<P>`.
fn parent_argument(ty: &Type) -> Option<&Type> {
    argument_of(ty, "Parent")
}

/// Returns `T` of a type that is written `Name<T>`.
pub(crate) fn argument_of<'t>(ty: &'t Type, name: &str) -> Option<&'t Type> {
    let last = last_segment(ty).filter(|last| last.ident == name)?;
    let PathArguments::AngleBracketed(arguments) = &last.arguments else { return None };
    arguments.args.iter().find_map(|argument| match argument {
        GenericArgument::Type(ty) => Some(ty),
        _ => None,
    })
}

fn last_segment(ty: &Type) -> Option<&PathSegment> {
    match ty {
        Type::Path(path) if path.qself.is_none() => path.path.segments.last(),
        _ => None,
    }
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
    let what = "a model's fields are its columns: write a struct";
    let data = match &input.data {
        Data::Struct(data) => data,
        Data::Enum(data) => {
            let hint = "for an enum that is a key, write `#[derive(ShardKey)]`";
            return errors.refuse(data.enum_token, format_args!("{what}; {hint}"));
        }
        Data::Union(data) => return errors.refuse(data.union_token, what),
    };
    let write = "a model has named fields: write `{ id: i64, .. }`";
    match &data.fields {
        Fields::Named(fields) if fields.named.is_empty() => errors
            .refuse(&input.ident, "a model needs columns: write at least an `#[id]` and a `#[shard_key]`"),
        Fields::Named(fields) => Some(fields).filter(|_| input.generics.params.is_empty()),
        Fields::Unnamed(fields) => errors.refuse(fields, write),
        Fields::Unit => errors.refuse(&input.ident, write),
    }
}

/// Returns the runtime's path: as given, or `::shard_runtime`. If the dependency has another name, the path has to be
/// given; the code then uses that name, so that this is one error.
pub(crate) fn runtime_path(given: Option<&Path>, derived: &Ident, errors: &mut Errors) -> TokenStream {
    match (given, renamed_runtime()) {
        (Some(path), _) => path.to_token_stream(),
        (None, None) => quote!(::shard_runtime),
        (None, Some(name)) => {
            let hint = format_args!("write `#[sharded(crate = {name})]` on each type with a derive");
            errors.at(derived, format_args!("this crate's name for `shard-runtime` is `{name}`: {hint}"));
            let name = Ident::new(name, Span::call_site());
            quote!(::#name)
        }
    }
}

fn doc_comments(attributes: &[Attribute]) -> Vec<Attribute> {
    let is_doc = |attribute: &&Attribute| match &attribute.meta {
        Meta::NameValue(pair) => pair.path.is_ident("doc"),
        _ => false,
    };
    attributes.iter().filter(is_doc).cloned().collect()
}

/// Returns the field's name in capitals, or as it is if that is not an identifier.
pub(crate) fn constant_name(field: &Ident) -> Ident {
    let name = field.unraw().to_string().to_uppercase();
    match syn::parse_str::<Ident>(&name) {
        Ok(_) => Ident::new(&name, field.span()),
        Err(_) => field.clone(),
    }
}

/// Converts `WeatherReport` to `weather_report`, and `HTTPServer` to `http_server`.
pub(crate) fn snake_case(name: &str) -> String {
    let letters: Vec<char> = name.chars().collect();
    let mut snake = String::new();
    for (index, letter) in letters.iter().enumerate() {
        let before = index.checked_sub(1).and_then(|index| letters.get(index));
        let starts_word = letter.is_uppercase()
            && before.is_some_and(|before| {
                let ends_capitals = letters.get(index + 1).is_some_and(|next| next.is_lowercase());
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
