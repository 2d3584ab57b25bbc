//! The rules about several attributes: one function for each, with its reason. All of them always run, so that every
//! mistake is reported at once.

mod reference;

use std::collections::HashMap;

use quote::quote;
use syn::Type;
use syn::ext::IdentExt;

use crate::attr::{
    Bound, FieldAttrs, IdKind, ListAttr, ParentAttr, ParentModel, PlacementAttr, RangeAttr, list_of,
};
use crate::errors::{Errors, did_you_mean};
use crate::model::{Field, Model, Name, ShardSource, argument_of};

/// The greatest length of a name in PostgreSQL, in bytes. PostgreSQL truncates longer names.
const LONGEST_NAME: usize = 63;

/// Names of system columns of SQLite or PostgreSQL.
const RESERVED_COLUMNS: &[&str] =
    &["rowid", "oid", "_rowid_", "tableoid", "ctid", "xmin", "xmax", "cmin", "cmax"];

/// The greatest number of fields that form a key together.
const MOST_KEY_FIELDS: usize = 4;

/// Reports all errors of the model.
pub(crate) fn check(model: &Model, errors: &mut Errors) {
    owned_fields(model, errors);
    one_id(model, errors);
    one_shard_source(model, errors);
    one_key(model, errors);
    one_version(model, errors);
    lookups(model, errors);
    key_of_several_fields(model, errors);
    placements(model, errors);
    collations(model, errors);
    defaults(model, errors);
    id_before_placement(model, errors);
    not_its_own_parent(model, errors);
    links(model, errors);
    reference::table(model, errors);
    reference::references(model, errors);
    table_name(model, errors);
    column_names(model, errors);
    constants(model, errors);
    index_fields(model, errors);
    unique_over_the_cluster(model, errors);
    insert_struct(model, errors);
}

/// Reports borrowed fields: a row outlives the statement that read it.
fn owned_fields(model: &Model, errors: &mut Errors) {
    for field in &model.fields {
        if let Type::Reference(reference) = &field.ty {
            errors.at(reference, "a row owns its values: write `String` for text, or `Vec<u8>` for bytes");
        }
    }
}

/// Reports a missing or a second id: rows are read again, updated and deleted by their id.
fn one_id(model: &Model, errors: &mut Errors) {
    let mut ids = model.fields.iter().filter_map(|field| field.attrs.id.as_ref());
    if ids.next().is_none() {
        let kinds = "`#[id]` (given by the caller), `#[id(sequence)]`, `#[id(uuid)]` or `#[id(auto)]`";
        errors.at(&model.ident, format_args!("missing id: mark a field with {kinds}"));
    }
    for second in ids {
        errors.at(&second.word, "second id: keep `#[id]` on one field, and use `unique(..)` for others");
    }
}

/// Reports a missing or a second part that decides the shard. With a key and a parent, the key could name another shard
/// than the parent's.
fn one_shard_source(model: &Model, errors: &mut Errors) {
    if model.attrs.reference.is_some() {
        return;
    }
    let mut parents = model.fields.iter().filter_map(|field| field.attrs.parent.as_ref());
    let parent = parents.next();
    for second in parents {
        let hint = "keep one, and store the other's id in a plain field";
        errors.at(&second.word, format_args!("second parent: {hint}"));
    }
    let mut keys = model.fields.iter().filter_map(|field| field.attrs.key.as_ref());
    match (parent, keys.next()) {
        (None, None) if model.attrs.key.is_none() => errors.at(
            &model.ident,
            "missing shard key: mark a field `#[shard_key]`, or a `Parent<..>` field `#[shard_parent]`",
        ),
        (Some(_), Some(key)) => errors.at(
            &key.word,
            "a model has a key or a parent, not both: remove `#[shard_key]` or `#[shard_parent]`",
        ),
        (Some(_), None) => {
            if let Some(key) = &model.attrs.key {
                errors.at(
                    &key.word,
                    "a model has a key or a parent, not both: remove `shard_key` or `#[shard_parent]`",
                );
            }
        }
        _ => {}
    }
}

/// Reports a second version, and a version on an id or a key, which never change. Every change increments a row's one
/// version.
fn one_version(model: &Model, errors: &mut Errors) {
    let mut versions = model.fields.iter().filter(|field| field.attrs.version.is_some());
    let first = versions.next();
    for second in versions.filter_map(|field| field.attrs.version.as_ref()) {
        errors.at(second, "second version: keep `#[version]` on one field");
    }
    let Some((first, word)) = first.and_then(|first| Some((first, first.attrs.version.as_ref()?))) else {
        return;
    };
    if !first.attrs.is_plain() {
        let stays = if first.attrs.id.is_some() { "an id" } else { "a shard key" };
        let hint = "use another field, `#[version] version: i64`";
        errors.at(
            word,
            format_args!("{stays} never changes, and every change of a row increments its version: {hint}"),
        );
    }
}

/// Reports lookups that are not needed or not possible. Keys and links decide the shard without one, `get` reads rows
/// by id, and a version is not unique.
fn lookups(model: &Model, errors: &mut Errors) {
    for field in &model.fields {
        let Some(word) = &field.attrs.lookup else { continue };
        let reason = if field.attrs.key.is_some() {
            "a shard key decides the shard without a lookup"
        } else if field.attrs.parent.is_some() {
            "a parent's link decides the shard without a lookup"
        } else if field.attrs.id.is_some() {
            "rows are read by id with `session.get(id)`, without a lookup"
        } else if field.attrs.version.is_some() {
            "a version is not unique"
        } else if model.attrs.reference.is_some() {
            "a reference table is read on any shard, without a lookup (`#[sharded(unique(..))]` makes values unique)"
        } else {
            name(
                &Name { text: model.entries_of(field), tokens: field.column.tokens.clone() },
                "lookup's table",
                errors,
            );
            continue;
        };
        errors.at(word, format_args!("{reason}: remove `#[lookup]`"));
    }
}

/// Reports a second `#[shard_key]` that the struct does not declare as part of one key: it may be a mistake.
fn one_key(model: &Model, errors: &mut Errors) {
    let is_decided = model.attrs.key.is_some() || model.attrs.reference.is_some();
    if is_decided || model.fields.iter().any(|field| field.attrs.parent.is_some()) {
        return;
    }
    for second in model.fields.iter().filter_map(|field| field.attrs.key.as_ref()).skip(1) {
        let hint = "if the fields are one key together, write `#[sharded(shard_key(hash))]` on the struct";
        errors.at(&second.word, format_args!("second key: {hint}"));
    }
}

/// Checks a key of several fields: the struct has its placement, and ranges and lists place single values only.
fn key_of_several_fields(model: &Model, errors: &mut Errors) {
    let Some(key) = model.attrs.key.as_ref().filter(|_| model.attrs.reference.is_none()) else { return };
    let marked: Vec<_> = model.fields.iter().filter_map(|field| field.attrs.key.as_ref()).collect();
    if marked.is_empty() && !model.fields.iter().any(|field| field.attrs.parent.is_some()) {
        errors.at(&key.word, "this key has no fields: mark them with `#[shard_key]`");
    }
    if let Some(extra) = marked.get(MOST_KEY_FIELDS) {
        errors.at(&extra.word, format_args!("too many fields: keep at most {MOST_KEY_FIELDS} in the key"));
    }
    for field in marked {
        if !matches!(field.placement, PlacementAttr::Bare) {
            let hint = "write `#[shard_key]` alone";
            errors.at(&field.word, format_args!("the struct has the placement of the key: {hint}"));
        }
    }
    let single = match &key.placement {
        PlacementAttr::Range(range) => &range.word,
        PlacementAttr::List(list) => &list.word,
        _ => return,
    };
    let hint = "use `hash` or `with = path::to::chooser`, or write this on the one field that is the key";
    errors.at(single, format_args!("`{single}` places single values, not several fields: {hint}"));
}

fn placements(model: &Model, errors: &mut Errors) {
    for key in model.fields.iter().filter_map(|field| field.attrs.key.as_ref()) {
        match &key.placement {
            PlacementAttr::Range(range) if range.is_complete => range_is_closed(range, errors),
            PlacementAttr::List(list) => list_is_distinct(list, errors),
            _ => {}
        }
    }
}

/// Reports missing bounds of ranges, which would leave keys without a shard. The compiler compares the other bounds,
/// which may be constants.
fn range_is_closed(range: &RangeAttr, errors: &mut Errors) {
    for pair in range.ranges.windows(2) {
        let [before, behind] = pair else { continue };
        let open = if before.to.is_none() { Some(before) } else { None };
        if let Some(open) = open.or(Some(behind).filter(|behind| behind.from.is_none())) {
            let message = "only the first range may omit its lower bound, and only the last its upper bound: write the \
                           ranges in ascending order, without overlap";
            return errors.at(open.dots, message);
        }
    }
    let (Some(first), Some(last), false) = (range.ranges.first(), range.ranges.last(), range.gaps) else {
        return;
    };
    let no_shard = |keys: String, write: String| {
        format!("keys {keys} have no shard: write `{write}`, or allow it with `range(.., gaps)`")
    };
    let text = |bound: &Option<Bound>| bound.as_ref().map_or_else(String::new, Bound::to_string);
    if let Some(from) = &first.from {
        errors.at(from, no_shard(format!("below `{from}`"), format!("..{}", text(&first.to))));
    }
    if let Some(to) = &last.to {
        errors.at(to, no_shard(format!("from `{to}` on"), format!("{}..", text(&last.from))));
    }
}

/// Reports keys that a list contains twice: each key has one shard.
fn list_is_distinct(list: &ListAttr, errors: &mut Errors) {
    let mut seen = HashMap::new();
    for (value, shard) in &list.entries {
        if let Some(first) = seen.insert(value.canonical(), shard.value()) {
            errors.at(value, format_args!("this key is already listed for `{first}`: keep one"));
        }
    }
    if list.entries.is_empty() && list.otherwise.is_some() {
        errors.at(
            &list.word,
            "a list of `_` alone places all keys on one shard: list keys, or write `range(\"a\" => ..)`",
        );
    }
}

/// Reports collations of ids and keys. Sessions compare ids byte by byte, and keys are placed by their bytes. Under a
/// collation two spellings would be equal to the database, but two ids or two keys to the runtime.
fn collations(model: &Model, errors: &mut Errors) {
    for FieldAttrs { id, key, parent, collate, .. } in model.fields.iter().map(|field| &field.attrs) {
        let Some(collate) = collate else { continue };
        let reason = if key.is_some() {
            "a shard key has no collation: two spellings of one key could be placed on two shards"
        } else if parent.is_some() {
            "a parent's link has no collation, as the parent's id has none"
        } else if id.is_some() {
            "an id has no collation: two spellings would be one row to the database, and two to a session"
        } else {
            continue;
        };
        errors.at(collate, format_args!("{reason}; remove it, and store the text in one spelling"));
    }
}

/// Reports defaults that cannot be used. A program without the column adds rows with its default, but it has ids, keys
/// and links, and the values of a lookup are unique. SQLite cannot add a foreign key with a default to an existing
/// table.
fn defaults(model: &Model, errors: &mut Errors) {
    for attrs in model.fields.iter().map(|field| &field.attrs) {
        let Some(default) = &attrs.default else { continue };
        let reason = if attrs.id.is_some() {
            "each row has an id of its own"
        } else if attrs.key.is_some() {
            "a row is placed by its key, which is always given"
        } else if attrs.parent.is_some() {
            "a row has the parent that it is added with"
        } else if attrs.lookup.is_some() {
            "the values of a lookup are unique"
        } else if attrs.references.is_some() {
            "SQLite adds no column with a foreign key and a default to a table that exists; make the field an `Option`"
        } else {
            continue;
        };
        errors.at(&default.word, format_args!("{reason}; remove `default`"));
    }
}

/// Reports ids that are generated after the shard is chosen and decide it. An id that is the parent's is not generated
/// with the child.
fn id_before_placement(model: &Model, errors: &mut Errors) {
    let Some(id) = model.fields[model.id].attrs.id.as_ref() else { return };
    if !model.shard_columns().contains(&model.id) {
        return;
    }
    match (&model.shard_source, id.kind) {
        (ShardSource::Own { .. }, IdKind::Auto) => errors.at(
            &id.word,
            "the database generates this id after the shard is chosen, so it cannot be the key: write `#[id(sequence)]`, \
             `#[id(uuid)]` or `#[id]`",
        ),
        (ShardSource::Bare { .. }, IdKind::Auto | IdKind::Sequence | IdKind::Uuid) => {
            errors.at(&id.word, "this id is the parent's, and is not generated with the child: write `#[id]`");
        }
        (ShardSource::Link(_), _) => errors.at(
            &id.word,
            "a parent's link cannot be an id: write `#[id] #[shard_parent(Company)] company_id: i64`, or another field \
             with `#[id]`",
        ),
        _ => {}
    }
}

/// Reports a model that is its own parent: its first row would have no shard. (The compiler reports longer cycles.)
fn not_its_own_parent(model: &Model, errors: &mut Errors) {
    for field in &model.fields {
        let message = "a model cannot be its own parent: write a `#[shard_key]`, and store the other row's id in a plain \
                       field";
        match &field.attrs.parent {
            Some(ParentAttr { model: ParentModel::Named(path), .. }) if field.links_to(&model.ident) => {
                errors.at(path, message);
            }
            Some(_) if field.links_to(&model.ident) => errors.at(&field.ty, message),
            _ => {}
        }
    }
}

/// Checks the types of parents' links. A link holds the parent's shard, so it is a `Parent<..>`, and never missing. The
/// parent's id alone is enough only if it is the parent's key.
fn links(model: &Model, errors: &mut Errors) {
    for field in model.fields.iter().filter(|field| field.is_no_link()) {
        let ty = &field.ty;
        if argument_of(ty, "Option").is_some() {
            let hint = "for an optional relation write a `#[shard_key]`, and store the other row's id in a plain field";
            errors.at(
                ty,
                format_args!(
                    "the parent decides the shard, so it cannot be missing: write `Parent<..>`; {hint}"
                ),
            );
        } else if let Some(parent) = ["Box", "Arc", "Rc"].iter().find_map(|name| argument_of(ty, name)) {
            let parent = quote!(#parent).to_string().replace(' ', "");
            errors.at(ty, format_args!("a parent's link is stored without a pointer: write `{parent}`"));
        } else {
            let ty = quote!(#ty).to_string().replace(' ', "");
            errors.at(
                &field.ty,
                format_args!(
                    "not a link to a parent: write `Parent<Model>`; or, if the parent's id is its shard key, \
                     `#[shard_parent(Model)] {}: {ty}`",
                    field.ident
                ),
            );
        }
    }
}

/// Reports a name that some database refuses or truncates.
fn name(name: &Name, what: &str, errors: &mut Errors) {
    let Name { text, tokens } = name;
    if text.is_empty() {
        errors.at(tokens, format_args!("a {what}'s name must not be empty"));
    }
    if text.contains('\0') {
        errors.at(tokens, format_args!("a {what}'s name must not contain NUL"));
    }
    if text.len() > LONGEST_NAME {
        let length = text.len();
        let hint = "shorten it, since PostgreSQL would truncate it";
        errors.at(
            tokens,
            format_args!("a {what}'s name has at most {LONGEST_NAME} bytes, this one has {length}: {hint}"),
        );
    }
}

/// Reports names of tables with a prefix that the databases or the runtime reserve.
fn table_name(model: &Model, errors: &mut Errors) {
    name(&model.table, "table", errors);
    let text = model.table.text.to_lowercase();
    for prefix in ["sqlite_", "pg_", "sharded_"] {
        if text.starts_with(prefix) {
            let hint = "write `#[sharded(table = \"..\")]` with another name";
            errors.at(
                &model.table.tokens,
                format_args!("tables that start with `{prefix}` are reserved: {hint}"),
            );
        }
    }
}

/// Reports names of columns that the databases reserve, and names that differ by case alone: databases ignore the case.
fn column_names(model: &Model, errors: &mut Errors) {
    let mut seen: HashMap<String, &Field> = HashMap::new();
    for field in &model.fields {
        let Name { text, tokens } = &field.column;
        name(&field.column, "column", errors);
        let text = text.to_lowercase();
        let hint = "write `#[sharded(column = \"..\")]` with another name";
        if RESERVED_COLUMNS.contains(&text.as_str()) {
            errors.at(tokens, format_args!("`{text}` is a system column of a database: {hint}"));
        }
        if text.starts_with("sharded_") {
            errors.at(tokens, format_args!("columns that start with `sharded_` are reserved: {hint}"));
        }
        if let Some(first) = seen.get(&text) {
            let first = &first.ident;
            errors.at(tokens, format_args!("`{text}` is already the column of the field `{first}`: {hint}"));
        } else {
            seen.insert(text, field);
        }
    }
}

/// Reports fields whose names in capitals are equal: each field has a constant with that name.
fn constants(model: &Model, errors: &mut Errors) {
    let composite = matches!(&model.shard_source, ShardSource::Own { columns, .. } if columns.len() > 1);
    for (index, field) in model.fields.iter().enumerate() {
        let constant = &field.constant;
        if let Some(first) = model.fields[..index].iter().find(|first| first.constant == *constant) {
            let first = &first.ident;
            let message =
                format_args!("this field and `{first}` have the same constant `{constant}`: rename one");
            errors.at(&field.ident, message);
        } else if composite && constant == "SHARD_KEY" {
            let message = "`SHARD_KEY` is the constant of the key of several fields: rename this field";
            errors.at(&field.ident, message);
        }
    }
}

/// Reports unknown and repeated fields of indexes.
fn index_fields(model: &Model, errors: &mut Errors) {
    let known: Vec<String> = model.fields.iter().map(|field| field.ident.unraw().to_string()).collect();
    let known: Vec<&str> = known.iter().map(String::as_str).collect();
    for index in &model.attrs.indexes {
        for (position, field) in index.fields.iter().enumerate() {
            if model.field_named(field).is_none() {
                let hint = did_you_mean(&field.unraw().to_string(), known.iter().copied());
                errors.at(field, format_args!("unknown field `{field}`{hint}"));
            } else if index.fields[..position].contains(field) {
                errors.at(field, format_args!("`{field}` is given twice in this index: keep one"));
            }
        }
    }
}

/// Reports unique indexes without the fields that decide the shard: a database compares only the rows of its own shard.
/// With these fields equal rows are on the same shard, so that the index holds over the cluster.
fn unique_over_the_cluster(model: &Model, errors: &mut Errors) {
    for index in model.attrs.indexes.iter().filter(|index| index.unique) {
        let has = |column: &usize| index.fields.iter().any(|field| model.field_named(field) == Some(*column));
        let missing = model.shard_columns().iter().filter(|column| !has(column));
        let missing: Vec<String> =
            missing.map(|column| model.fields[*column].ident.unraw().to_string()).collect();
        if !missing.is_empty() {
            let missing = list_of(&missing.iter().map(String::as_str).collect::<Vec<_>>());
            let reason = "each shard compares only its own rows, so this is not unique over the cluster";
            errors.at(&index.word, format_args!("{reason}: add the fields that decide the shard, {missing}"));
        }
    }
}

/// Reports names of an insert struct that cannot be used. If the id is not generated, `add` takes the model, and there
/// is no insert struct.
fn insert_struct(model: &Model, errors: &mut Errors) {
    let Some(insert) = &model.attrs.insert else { return };
    if model.id_kind == IdKind::Given {
        errors.at(&insert.word, "the id is not generated, so there is no insert struct: remove `insert`");
    }
    if insert.name.as_ref() == Some(&model.ident) {
        errors.at(&insert.name, "this is the model's name: write another one");
    }
}
