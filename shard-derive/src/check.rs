//! What must hold across fields: one function for each rule, with the reason. All of them run, whatever the
//! others find, so that every mistake is seen at once.

mod reference;

use std::collections::HashMap;

use syn::Type;
use syn::ext::IdentExt;

use crate::attr::{
    Bound, FieldAttrs, IdKind, ListAttr, ParentAttr, ParentModel, PlacementAttr, RangeAttr, list_of,
};
use crate::errors::{Errors, did_you_mean};
use crate::model::{Field, Home, Model, Name};

/// How long PostgreSQL lets a name be, in bytes; a longer one it would cut off.
const LONGEST_NAME: usize = 63;

/// Names that one of the databases keeps for itself.
const RESERVED_COLUMNS: &[&str] =
    &["rowid", "oid", "_rowid_", "tableoid", "ctid", "xmin", "xmax", "cmin", "cmax"];

/// How many fields the runtime takes as one key.
const MOST_KEY_FIELDS: usize = 4;

/// Reports everything that is wrong with the model.
pub(crate) fn check(model: &Model, errors: &mut Errors) {
    owned_fields(model, errors);
    one_id(model, errors);
    one_home(model, errors);
    one_key(model, errors);
    one_version(model, errors);
    lookups(model, errors);
    key_of_several_fields(model, errors);
    placements(model, errors);
    collations(model, errors);
    id_before_placement(model, errors);
    not_its_own_parent(model, errors);
    reference::table(model, errors);
    reference::references(model, errors);
    table_name(model, errors);
    column_names(model, errors);
    constants(model, errors);
    index_fields(model, errors);
    unique_over_the_cluster(model, errors);
    insert_struct(model, errors);
}

/// A row outlives the statement that read it, so its fields borrow nothing.
fn owned_fields(model: &Model, errors: &mut Errors) {
    for field in &model.fields {
        if let Type::Reference(reference) = &field.ty {
            errors.at(reference, "a row owns its values: write `String` for text, `Vec<u8>` for bytes");
        }
    }
}

/// Without an id a row cannot be read again, changed or removed; two would be two identities.
fn one_id(model: &Model, errors: &mut Errors) {
    let mut ids = model.fields.iter().filter_map(|field| field.attrs.id.as_ref());
    if ids.next().is_none() {
        let kinds = "`#[id]` (yours), `#[id(sequence)]`, `#[id(uuid)]` or `#[id(auto)]`";
        errors.at(&model.ident, format_args!("no id: mark the field that names a row with {kinds}"));
    }
    for second in ids {
        errors.at(&second.word, "a second id: keep `#[id]` on one field; for another one use `unique(..)`");
    }
}

/// One thing decides where a row lives. With none the row has no place; a key beside a parent could
/// contradict it, and the row would not be found where its parent is.
fn one_home(model: &Model, errors: &mut Errors) {
    if model.attrs.reference.is_some() {
        return;
    }
    let mut parents = model.fields.iter().filter_map(|field| field.attrs.parent.as_ref());
    let parent = parents.next();
    for second in parents {
        let hint = "a row lives with one; hold the other's id in a plain field";
        errors.at(&second.word, format_args!("a second parent: {hint}"));
    }
    let mut keys = model.fields.iter().filter_map(|field| field.attrs.key.as_ref());
    match (parent, keys.next()) {
        (None, None) if model.attrs.key.is_none() => errors.at(
            &model.ident,
            "nothing says which shard a row lives on: mark a field `#[shard_key]`, or the parent's `#[shard_parent]`",
        ),
        (Some(_), Some(key)) => errors.at(
            &key.word,
            "both a key and a parent: a row lives where its parent lives, so take `#[shard_key]` or \
             `#[shard_parent]` away",
        ),
        (Some(_), None) => {
            if let Some(key) = &model.attrs.key {
                errors.at(&key.word, "both a key and a parent: a row lives where its parent lives");
            }
        }
        _ => {}
    }
}

/// One number says whether a row was changed. An id and a key stay as they are, and a version does not.
fn one_version(model: &Model, errors: &mut Errors) {
    let mut versions = model.fields.iter().filter(|field| field.attrs.version.is_some());
    let first = versions.next();
    for second in versions.filter_map(|field| field.attrs.version.as_ref()) {
        errors.at(second, "a second version: every change of the row raises the one; keep it on one field");
    }
    let Some((first, word)) = first.and_then(|first| Some((first, first.attrs.version.as_ref()?))) else {
        return;
    };
    if !first.attrs.is_plain() {
        let stays = if first.attrs.id.is_some() { "an id" } else { "what decides the shard" };
        let hint = "give the version a field of its own, `#[version] version: i64`";
        errors.at(word, format_args!("{stays} stays as it is, and every change raises a version: {hint}"));
    }
}

/// A lookup says where a row lives that only its value is known of. What decides the shard says that already, an id has
/// its own way to be looked up, and a version is no name of a row.
fn lookups(model: &Model, errors: &mut Errors) {
    for field in &model.fields {
        let Some(word) = &field.attrs.lookup else { continue };
        let reason = if field.attrs.key.is_some() {
            "a shard key says where its rows live: no lookup is needed"
        } else if field.attrs.parent.is_some() {
            "a row lives with its parent: no lookup is needed"
        } else if field.attrs.id.is_some() {
            "a row is looked up by its id with `session.get(id)`: an id has no lookup"
        } else if field.attrs.version.is_some() {
            "a version names no row: it has no lookup"
        } else if model.attrs.reference.is_some() {
            "a reference table is read on any shard: no lookup is needed (`#[sharded(unique(..))]` makes values unique)"
        } else {
            name(
                &Name { text: model.entries_of(field), tokens: field.column.tokens.clone() },
                "lookup's table",
                errors,
            );
            continue;
        };
        errors.at(word, format_args!("{reason}; take `#[lookup]` away"));
    }
}

/// Two keys may be meant as one key together, or one of them may be a slip: it has to be said.
fn one_key(model: &Model, errors: &mut Errors) {
    let is_decided = model.attrs.key.is_some() || model.attrs.reference.is_some();
    if is_decided || model.fields.iter().any(|field| field.attrs.parent.is_some()) {
        return;
    }
    for second in model.fields.iter().filter_map(|field| field.attrs.key.as_ref()).skip(1) {
        let hint = "if they form one key together, say so on the struct: `#[sharded(shard_key(hash))]`";
        errors.at(&second.word, format_args!("a second key: {hint}"));
    }
}

/// Fields that form one key are placed together, as the struct says; ranges and lists are for single values.
fn key_of_several_fields(model: &Model, errors: &mut Errors) {
    let Some(key) = model.attrs.key.as_ref().filter(|_| model.attrs.reference.is_none()) else { return };
    let marked: Vec<_> = model.fields.iter().filter_map(|field| field.attrs.key.as_ref()).collect();
    if marked.is_empty() && !model.fields.iter().any(|field| field.attrs.parent.is_some()) {
        errors.at(&key.word, "no field forms this key: mark its fields with `#[shard_key]`");
    }
    if let Some(extra) = marked.get(MOST_KEY_FIELDS) {
        errors.at(&extra.word, format_args!("at most {MOST_KEY_FIELDS} fields form a key together"));
    }
    for field in marked {
        if !matches!(field.placement, PlacementAttr::Bare) {
            let hint = "write `#[shard_key]` alone";
            errors.at(&field.word, format_args!("the struct says how the key is placed: {hint}"));
        }
    }
    let single = match &key.placement {
        PlacementAttr::Range(range) => &range.word,
        PlacementAttr::List(list) => &list.word,
        _ => return,
    };
    let hint =
        "place them by `hash` or `with = path::to::chooser`, or write this on the one field that is the key";
    errors.at(single, format_args!("`{single}` places single values, not several fields: {hint}"));
}

fn placements(model: &Model, errors: &mut Errors) {
    for key in model.fields.iter().filter_map(|field| field.attrs.key.as_ref()) {
        match &key.placement {
            PlacementAttr::Range(range) if range.whole => range_is_closed(range, errors),
            PlacementAttr::List(list) => list_is_distinct(list, errors),
            _ => {}
        }
    }
}

/// A key that is in no range, or in two, would have no shard, or two. Here the ends are looked at; what the
/// bounds' values say is for the compiler, since they may be constants.
fn range_is_closed(range: &RangeAttr, errors: &mut Errors) {
    for pair in range.ranges.windows(2) {
        let [before, behind] = pair else { continue };
        let open = if before.to.is_none() { Some(before) } else { None };
        if let Some(open) = open.or(Some(behind).filter(|behind| behind.from.is_none())) {
            let message = "ranges stand in ascending order without overlap: only the first has no lower bound, \
                           only the last no upper";
            return errors.at(open.dots, message);
        }
    }
    let (Some(first), Some(last), false) = (range.ranges.first(), range.ranges.last(), range.gaps) else {
        return;
    };
    let no_shard = |keys: String, write: String| {
        format!("keys {keys} are placed on no shard: write `{write}`, or declare it: `range(.., gaps)`")
    };
    let text = |bound: &Option<Bound>| bound.as_ref().map_or_else(String::new, Bound::to_string);
    if let Some(from) = &first.from {
        errors.at(from, no_shard(format!("below `{from}`"), format!("..{}", text(&first.to))));
    }
    if let Some(to) = &last.to {
        errors.at(to, no_shard(format!("from `{to}` on"), format!("{}..", text(&last.from))));
    }
}

/// A key that is listed twice would have two shards.
fn list_is_distinct(list: &ListAttr, errors: &mut Errors) {
    let mut seen = HashMap::new();
    for (value, shard) in &list.entries {
        if let Some(first) = seen.insert(value.canonical(), shard.value()) {
            errors.at(value, format_args!("this key is listed twice: it is on `{first}` already; keep one"));
        }
    }
    if list.entries.is_empty() && list.otherwise.is_some() {
        errors.at(
            &list.word,
            "a list of `_` alone is one shard for all: list the keys, or use `range(\"a\" => ..)`",
        );
    }
}

/// What names a row or places it is compared byte by byte everywhere: two spellings that a collation makes one value
/// would be two ids to a session, and two keys on two shards.
fn collations(model: &Model, errors: &mut Errors) {
    for FieldAttrs { id, key, parent, collate, .. } in model.fields.iter().map(|field| &field.attrs) {
        let Some(collate) = collate else { continue };
        let reason = if key.is_some() {
            "a shard key has no collation: two spellings would be one key on two shards"
        } else if parent.is_some() {
            "a parent's link has no collation: it is the parent's id, whose spellings are other ids"
        } else if id.is_some() {
            "an id has no collation: two spellings would be one row to the database and two to a session"
        } else {
            continue;
        };
        errors.at(collate, format_args!("{reason}; take it away, and store the text in one spelling"));
    }
}

/// The shard is chosen before the database is asked, so what decides it cannot come from the database;
/// and a parent's id is not generated with the child.
fn id_before_placement(model: &Model, errors: &mut Errors) {
    let Some(id) = model.fields[model.id].attrs.id.as_ref() else { return };
    if !model.home_columns().contains(&model.id) {
        return;
    }
    match (&model.home, id.kind) {
        (Home::Own { .. }, IdKind::Auto) => errors.at(
            &id.word,
            "the database counts this id only after the shard is chosen, so it cannot decide it: \
             write `#[id(sequence)]`, `#[id(uuid)]` or `#[id]`",
        ),
        (Home::Bare { .. }, IdKind::Auto | IdKind::Sequence | IdKind::Uuid) => {
            errors.at(&id.word, "this id is the parent's, which is not generated here: write `#[id]`");
        }
        (Home::Handle(_), _) => errors.at(
            &id.word,
            "a parent's handle is no id: hold the bare id, `#[id] #[shard_parent(Company)] company_id: i64`, \
             or give the row an id of its own",
        ),
        _ => {}
    }
}

/// A row that lives where another row of its table lives has no place to begin with. (Longer cycles are
/// found by the compiler.)
fn not_its_own_parent(model: &Model, errors: &mut Errors) {
    for field in &model.fields {
        let message = "a model cannot be its own parent: give it a `#[shard_key]`, and hold the other row's id in \
                       a plain field";
        match &field.attrs.parent {
            Some(ParentAttr { model: ParentModel::Named(path), .. }) if field.links_to(&model.ident) => {
                errors.at(path, message);
            }
            Some(_) if field.links_to(&model.ident) => errors.at(&field.ty, message),
            _ => {}
        }
    }
}

/// What no database takes as a name, or takes and changes.
fn name(name: &Name, what: &str, errors: &mut Errors) {
    let Name { text, tokens } = name;
    if text.is_empty() {
        errors.at(tokens, format_args!("a {what}'s name is not empty"));
    }
    if text.contains('\0') {
        errors.at(tokens, format_args!("a {what}'s name has no NUL in it"));
    }
    if text.len() > LONGEST_NAME {
        let length = text.len();
        let hint = "PostgreSQL cuts it off behind that";
        errors.at(
            tokens,
            format_args!("a {what}'s name has at most {LONGEST_NAME} bytes, this one {length}: {hint}"),
        );
    }
}

/// The databases keep some names for their own tables, and so does the runtime.
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

/// The databases keep some columns for themselves, and compare names without regard to case.
fn column_names(model: &Model, errors: &mut Errors) {
    let mut seen: HashMap<String, &Field> = HashMap::new();
    for field in &model.fields {
        let Name { text, tokens } = &field.column;
        name(&field.column, "column", errors);
        let text = text.to_lowercase();
        let hint = "write `#[sharded(column = \"..\")]` with another name";
        if RESERVED_COLUMNS.contains(&text.as_str()) {
            errors.at(tokens, format_args!("a database keeps the column `{text}` for itself: {hint}"));
        }
        if text.starts_with("sharded_") {
            errors.at(tokens, format_args!("columns that start with `sharded_` are reserved: {hint}"));
        }
        if let Some(first) = seen.get(&text) {
            let first = &first.ident;
            errors.at(tokens, format_args!("the column `{text}` is the field `{first}`'s already: {hint}"));
        } else {
            seen.insert(text, field);
        }
    }
}

/// Each column has a constant, so two fields cannot differ by case alone.
fn constants(model: &Model, errors: &mut Errors) {
    let composite = matches!(&model.home, Home::Own { columns, .. } if columns.len() > 1);
    for (place, field) in model.fields.iter().enumerate() {
        let constant = &field.constant;
        if let Some(first) = model.fields[..place].iter().find(|first| first.constant == *constant) {
            let first = &first.ident;
            let message = format_args!(
                "this field and `{first}` would both have the constant `{constant}`: rename one"
            );
            errors.at(&field.ident, message);
        } else if composite && constant == "SHARD_KEY" {
            let message = "the key of several fields has the constant `SHARD_KEY`, which this field would have: rename it";
            errors.at(&field.ident, message);
        }
    }
}

/// An index names fields of the struct, each once.
fn index_fields(model: &Model, errors: &mut Errors) {
    let known: Vec<String> = model.fields.iter().map(|field| field.ident.unraw().to_string()).collect();
    let known: Vec<&str> = known.iter().map(String::as_str).collect();
    for index in &model.attrs.indexes {
        for (place, field) in index.fields.iter().enumerate() {
            if model.field_named(field).is_none() {
                let hint = did_you_mean(&field.unraw().to_string(), known.iter().copied());
                errors.at(field, format_args!("there is no field `{field}`{hint}"));
            } else if index.fields[..place].contains(field) {
                errors.at(field, format_args!("`{field}` is in this index already; keep one"));
            }
        }
    }
}

/// A database sees only its own shard. With what decides the shard among the columns, equal rows meet on one
/// shard, and the index holds over the cluster; without it, it would not, and nobody would notice.
fn unique_over_the_cluster(model: &Model, errors: &mut Errors) {
    for index in model.attrs.indexes.iter().filter(|index| index.unique) {
        let has = |place: &usize| index.fields.iter().any(|field| model.field_named(field) == Some(*place));
        let missing = model.home_columns().iter().filter(|place| !has(place));
        let missing: Vec<String> =
            missing.map(|place| model.fields[*place].ident.unraw().to_string()).collect();
        if !missing.is_empty() {
            let missing = list_of(&missing.iter().map(String::as_str).collect::<Vec<_>>());
            let reason = "each shard sees only its own rows, so this would not be unique over the cluster";
            errors.at(&index.word, format_args!("{reason}: add what decides the shard, {missing}"));
        }
    }
}

/// Where nothing is generated, the struct itself is what is added.
fn insert_struct(model: &Model, errors: &mut Errors) {
    let Some(insert) = &model.attrs.insert else { return };
    if model.id_kind == IdKind::Given {
        errors
            .at(&insert.word, "the id is yours, so rows are added as they are and there is no insert struct");
    }
    if insert.name.as_ref() == Some(&model.ident) {
        errors.at(&insert.name, "this is the model's own name: write another one");
    }
}
