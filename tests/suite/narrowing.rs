//! The shards that a query reads: R12 to R18.

use shard_runtime::{Filter, Routed, Select, Sharded, Stored};

use crate::backend::{Backend, CONTINENTS, LETTERS, Watched, shards_of};
use crate::models::*;

on_every_dialect! {
    r12_a_key_comparison_reads_its_shard,
    r12_and_intersects_and_or_unites,
    r12_not_is_the_complement,
    r12_a_condition_that_proves_nothing_reads_all_shards,
    r12_ranges_narrow_by_order,
    r12_prefixes_of_text_narrow,
    r12_composite_keys_narrow_when_whole,
    r12_no_connection_is_needed,
    r13_few_values_between_bounds_read_only_their_shards,
    r14_contradiction_reads_no_shard,
    r14_limit_zero_reads_no_shard,
    r15_a_shard_is_read_once,
    r16_each_shard_gets_only_its_own_values,
    r17_a_distributed_key_is_one_shard,
    r18_filters_at_run_time_are_narrowed_too,
    many_shards,
}

on_every_dialect_at_length! {
    r16_lists_of_composite_keys_are_split,
}

/// A cluster in which every shard's file has a city of *every* continent. The key `Asia` (like each of the others) is on every
/// shard, so that the returned rows name the shards that were read.
fn everywhere(backend: &Backend) -> (Watched, bool) {
    let cluster = backend.create::<City>(&CONTINENTS);
    let rows = ["North America", "Asia", "Oceania", "Europe", "SouthAmerica"];
    let rows: Vec<String> =
        (1..).zip(rows).map(|(id, continent)| format!("({id}, '{continent}', '{{shard}}', {id})")).collect();
    let planted =
        backend.plant(&CONTINENTS, "cities", &format!("INSERT INTO {{table}} VALUES {}", rows.join(", ")));
    (cluster, planted)
}

/// Returns the shards that a query reads; the sentinel rows must name the same.
fn asked(cluster: &Watched, planted: bool, query: Select<City, Routed>) -> Vec<String> {
    let (rows, asked) = cluster.asked(|| cluster.session().all(query).unwrap());
    if planted {
        let mut read: Vec<&str> = shards_of(&rows);
        read.dedup();
        assert_eq!(read, asked, "the sentinels say otherwise");
        assert!(rows.iter().all(|row: &Stored<City>| row.name == row.shard().name()));
    }
    asked
}

fn r12_a_key_comparison_reads_its_shard(backend: &Backend) {
    let (cluster, planted) = everywhere(backend);
    let homes = ["north_america", "asia", "asia", "europe", "south_america"];
    for (continent, home) in Continent::ALL.into_iter().zip(homes) {
        let query = City::select().filter(City::CONTINENT.eq(continent));
        assert_eq!(asked(&cluster, planted, query), [home]);
    }
}

fn r12_and_intersects_and_or_unites(backend: &Backend) {
    let (cluster, planted) = everywhere(backend);
    let is = |continent| City::CONTINENT.eq(continent);
    let asked = |filter| asked(&cluster, planted, City::select().filter(filter).all_shards());
    let big = || City::POPULATION.ge(0);
    use Continent::*;
    assert_eq!(asked(is(Asia) & big()), ["asia"]);
    assert_eq!(asked(big() & is(Asia)), ["asia"]);
    assert_eq!(asked(is(Europe) | is(Asia)), ["asia", "europe"]);
    assert_eq!(asked(City::CONTINENT.is_in([Europe, Asia, SouthAmerica]) & is(Europe)), ["europe"]);
    let (two, three) = (City::CONTINENT.is_in([Europe, Asia]), City::CONTINENT.is_in([Europe, NorthAmerica]));
    assert_eq!(asked(two.clone() & three.clone()), ["europe"]);
    assert_eq!(asked(two | three), ["north_america", "asia", "europe"]);
    assert_eq!(asked((is(Asia) & big()) | (is(Europe) & City::NAME.ne("x"))), ["asia", "europe"]);
}

fn r12_not_is_the_complement(backend: &Backend) {
    let (cluster, planted) = everywhere(backend);
    let asked = |filter| asked(&cluster, planted, City::select().filter(filter).all_shards());
    use Continent::*;
    // Asia's shard holds Oceania as well.
    assert_eq!(asked(City::CONTINENT.ne(Asia)), CONTINENTS);
    assert_eq!(asked(City::CONTINENT.ne(Europe)), ["north_america", "asia", "south_america"]);
    assert_eq!(asked(!City::CONTINENT.eq(Europe)), ["north_america", "asia", "south_america"]);
    let both = || City::CONTINENT.is_in([Asia, Oceania]);
    assert_eq!(asked(!both()), ["north_america", "europe", "south_america"]);
    assert_eq!(asked(!!both()), ["asia"]);
    // De Morgan: NOT (asia AND big) proves nothing, NOT (asia OR oceania OR big) excludes Asia's shard.
    assert_eq!(asked(!(both() & City::POPULATION.lt(0))), CONTINENTS);
    assert_eq!(asked(!(both() | City::POPULATION.lt(0))), ["north_america", "europe", "south_america"]);
    // On another column, which may be NULL, it proves nothing.
    assert_eq!(asked(!City::POPULATION.lt(0)), CONTINENTS);
}

fn r12_a_condition_that_proves_nothing_reads_all_shards(backend: &Backend) {
    let (cluster, planted) = everywhere(backend);
    let asked = |query| asked(&cluster, planted, query);
    assert_eq!(asked(City::select().all_shards()), CONTINENTS);
    assert_eq!(asked(City::select().filter(City::POPULATION.ge(0)).all_shards()), CONTINENTS);
    let asia_or_big = City::CONTINENT.eq(Continent::Asia) | City::POPULATION.ge(0);
    assert_eq!(asked(City::select().filter(asia_or_big).all_shards()), CONTINENTS);
    // The text of an enum's values has an order, but their shards have none: exact all the same.
    assert_eq!(asked(City::select().filter(City::CONTINENT.lt(Continent::Europe)).all_shards()), ["asia"]);
}

fn r12_ranges_narrow_by_order(backend: &Backend) {
    let cluster = backend.create::<Account>(&LETTERS);
    let numbers = [-5, 999, 1000, 1500, 1999, 2000, 9000];
    let rows: Vec<String> = numbers.iter().map(|n| format!("({}, {n}, '{{shard}}')", n + 10)).collect();
    let planted =
        backend.plant(&LETTERS, "accounts", &format!("INSERT INTO {{table}} VALUES {}", rows.join(", ")));
    let asked = |filter| {
        let query = Account::select().filter(filter).order_by(Account::OWNER.asc());
        let (rows, asked) = cluster.asked(|| cluster.session().all(query).unwrap());
        let mut owners: Vec<&str> = rows.iter().map(|row| row.owner.as_str()).collect();
        owners.dedup();
        assert!(!planted || owners == asked, "{owners:?}, asked {asked:?}");
        asked
    };
    let number = Account::NUMBER;
    assert_eq!(asked(number.lt(1000)), ["a"]);
    assert_eq!(asked(number.le(1000)), ["a", "b"]);
    assert_eq!(asked(number.gt(1998)), ["b", "c"]);
    assert_eq!(asked(number.gt(1999)), ["c"]);
    assert_eq!(asked(number.ge(1999)), ["b", "c"]);
    assert_eq!(asked(number.between(999, 1000)), ["a", "b"]);
    assert_eq!(asked(number.between(1000, 1999)), ["b"]);
    assert_eq!(asked(number.gt(500) & number.lt(1500)), ["a", "b"]);
    assert_eq!(asked(number.lt(0) | number.gt(2500)), ["a", "c"]);
    assert_eq!(asked(number.ge(i32::MIN)), LETTERS);
    assert_eq!(asked(number.eq(1500)), ["b"] as [&str; 1]);
}

fn r12_prefixes_of_text_narrow(backend: &Backend) {
    let cluster = backend.create::<Word>(&LETTERS);
    backend.plant(&LETTERS, "words", "INSERT INTO {table} VALUES ('apple', '{shard}'), ('zebra', '{shard}')");
    let asked = |filter| cluster.asked(|| cluster.session().all(Word::select().filter(filter)).unwrap()).1;
    assert_eq!(asked(Word::TEXT.starts_with("ap")), ["a"]);
    assert_eq!(asked(Word::TEXT.starts_with("g") | Word::TEXT.starts_with("pz")), ["a", "c"]);
    assert_eq!(asked(Word::TEXT.starts_with("")), LETTERS);
    assert_eq!(asked(Word::TEXT.ge("h") & Word::TEXT.lt("p")), ["b"]);
    assert_eq!(asked(Word::TEXT.lt("é") & Word::TEXT.gt("o")), ["b", "c"]);
    let like = |pattern: &str| {
        let query = Word::select().filter(Word::TEXT.like(pattern)).all_shards();
        cluster.asked(|| cluster.session().all(query).unwrap()).1
    };
    assert_eq!(like("ap%"), ["a"]);
    assert_eq!(like(r"ap\%%"), ["a"]);
    assert_eq!(like(r"\i%"), ["b"]);
    assert_eq!(like("%le"), LETTERS);
    assert_eq!(like("i_"), ["b"]);
}

fn r12_composite_keys_narrow_when_whole(backend: &Backend) {
    let cluster = backend.create::<Event>(&LETTERS);
    let mut session = cluster.session();
    let new = |tenant, day: &str| NewEvent { tenant, day: day.into(), what: String::new() };
    let days = ["mon", "tue", "wed", "thu", "fri"];
    let mut homes = Vec::new();
    for (tenant, day) in (1..4).flat_map(|tenant| days.map(|day| (tenant, day))) {
        homes.push((tenant, day, session.add(new(tenant, day)).unwrap().shard().clone()));
    }
    session.commit().unwrap();
    for (tenant, day, home) in &homes {
        let whole = Event::select().filter(Event::SHARD_KEY.eq((*tenant, day.to_string())));
        let (found, asked) = cluster.asked(|| session.one(whole).unwrap());
        assert_eq!((found.tenant, found.day.as_str()), (*tenant, *day));
        assert_eq!(asked, [home.name()]);
        // The parts together have the same meaning, in any order.
        let parts =
            Event::select().filter(Event::DAY.eq(*day)).filter(Event::TENANT.eq(*tenant)).all_shards();
        assert_eq!(cluster.asked(|| session.one(parts).unwrap()).1, [home.name()]);
        let pinned = Event::select().on((*tenant, day.to_string()));
        assert_eq!(cluster.asked(|| session.all(pinned).unwrap()).1, [home.name()]);
    }
    // A part alone decides nothing.
    let part = Event::select().filter(Event::TENANT.eq(1)).all_shards();
    let (found, asked) = cluster.asked(|| session.all(part).unwrap());
    assert_eq!((found.len(), asked.len()), (5, 3));
    // Several keys read the shards of those keys: `(1, mon) OR (2, tue)` is not `(1 OR 2) AND (mon OR tue)`.
    for pair in homes.windows(2) {
        let keys = pair.iter().map(|(tenant, day, _)| (*tenant, day.to_string()));
        let query = Event::select().filter(Event::SHARD_KEY.is_in(keys));
        let (found, asked) = cluster.asked(|| session.all(query).unwrap());
        assert_eq!(found.len(), 2);
        let mut expected: Vec<_> = pair.iter().map(|(.., home)| (home.index(), home.name())).collect();
        expected.sort_unstable();
        expected.dedup();
        assert_eq!(asked, expected.into_iter().map(|(_, name)| name).collect::<Vec<_>>());
    }
}

fn r16_lists_of_composite_keys_are_split(backend: &Backend) {
    let cluster = backend.create::<Event>(&LETTERS);
    let keys: Vec<(i64, String)> =
        (0..100_000).map(|number| (number % 200, (number / 200).to_string())).collect();
    // Every shard holds a row for every key of two tenants; only the rows of its own keys are read.
    let planted = backend.plant(
        &LETTERS,
        "events",
        "INSERT INTO {table} \
         WITH RECURSIVE number(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM number WHERE n < 199) \
         SELECT n, n % 2, n / 2, '{shard}' FROM number",
    );
    let mut session = cluster.session();
    let query = Event::select().filter(Event::SHARD_KEY.is_in(keys.clone()));
    let (rows, counts) = cluster.counted(|| session.all(query).unwrap());
    assert_eq!(counts, LETTERS.map(|shard| (shard.to_owned(), 1)));
    assert_eq!(rows.len(), if planted { 200 } else { 0 });
    for row in &rows {
        assert_eq!(row.what, row.shard().name());
        assert_eq!(row.shard_chooser(cluster.shards()).unwrap(), row.shard().index());
    }
    // Two keys of one shard read that shard, also a few thousand keys, and the text does not grow.
    let of_a: Vec<(i64, String)> = keys
        .into_iter()
        .take(20_000)
        .filter(|key| cluster.explain(&Event::select().on(key.clone())).unwrap().shards() == ["a"])
        .collect();
    for count in [2, 5_000] {
        let some = Event::SHARD_KEY.is_in(of_a[..count].to_vec());
        let explain = cluster.explain(&Event::select().filter(some.clone())).unwrap();
        assert_eq!(explain.shards(), ["a"]);
        assert!(explain.to_string().len() < 1_000, "{explain}");
        // The key's parts narrow it further.
        let contradiction = some & Event::TENANT.eq(-1);
        assert!(cluster.explain(&Event::select().filter(contradiction)).unwrap().shards().is_empty());
    }
    let others = !Event::SHARD_KEY.is_in(of_a);
    let others = session.one(Event::select().filter(others).on_shard("a").count()).unwrap();
    assert_eq!(
        others,
        if planted { 200 - rows.iter().filter(|row| row.what == "a").count() as u64 } else { 0 }
    );
}

fn r12_no_connection_is_needed(backend: &Backend) {
    let (cluster, _) = everywhere(backend);
    let filter = City::CONTINENT.is_in([Continent::Europe, Continent::Oceania]) & City::NAME.ne("x");
    let shards = City::execute_chooser(filter.predicate(), cluster.shards()).unwrap();
    assert_eq!(shards.names(cluster.shards()), ["asia", "europe"]);
    let everything = Filter::<City, _>::all(Vec::<Filter<City, Routed>>::new());
    let shards = City::execute_chooser(everything.predicate(), cluster.shards()).unwrap();
    assert_eq!(shards.names(cluster.shards()), CONTINENTS);
}

fn r13_few_values_between_bounds_read_only_their_shards(backend: &Backend) {
    let cluster = backend.create::<Company>(&LETTERS);
    let mut session = cluster.session();
    let companies = session.add_all((0..40).map(|id| Company { id, name: String::new() })).unwrap();
    session.commit().unwrap();
    for from in 0..38 {
        let query = Company::select().filter(Company::ID.gt(from) & Company::ID.le(from + 2)).all_shards();
        let (found, asked) = cluster.asked(|| session.all(query).unwrap());
        assert_eq!(found.len(), 2.min(39 - from as usize));
        let mut expected: Vec<usize> =
            companies.iter().filter(|c| c.id > from && c.id <= from + 2).map(|c| c.shard().index()).collect();
        expected.sort_unstable();
        expected.dedup();
        assert_eq!(asked, expected.into_iter().map(|at| LETTERS[at]).collect::<Vec<_>>(), "{from}");
    }
}

fn r14_contradiction_reads_no_shard(backend: &Backend) {
    let (cluster, planted) = everywhere(backend);
    use Continent::*;
    let is = |continent| City::CONTINENT.eq(continent);
    let contradictions = || {
        [
            City::select().filter(is(Asia) & is(Europe)),
            // Two keys of one shard: a contradiction between values, not between shards.
            City::select().filter(is(Asia) & is(Oceania)),
            City::select().filter(is(Asia)).filter(is(Europe)),
            City::select().filter(City::CONTINENT.is_in(Vec::<Continent>::new())),
            City::select().filter(City::CONTINENT.is_in([Asia, Europe]) & is(NorthAmerica)),
            City::select().filter(is(Asia) & !is(Asia)),
            City::select().filter(is(Asia) & City::CONTINENT.ne(Asia)),
            City::select().filter(City::CONTINENT.is_null()).all_shards(),
            City::select().filter(Filter::any(Vec::<Filter<City, Routed>>::new())),
            City::select().filter(City::ID.is_in(Vec::<i64>::new())).all_shards(),
        ]
    };
    for (position, query) in contradictions().into_iter().enumerate() {
        let run = || cluster.session().all(query.clone().order_by(City::NAME.asc())).unwrap();
        let (rows, asked) = cluster.asked(run);
        assert!(rows.is_empty() && asked.is_empty(), "contradiction {position} asks {asked:?}");
        let (count, asked) = cluster.asked(|| cluster.session().one(query.clone().count()).unwrap());
        assert!(count == 0 && asked.is_empty(), "counting contradiction {position} asks {asked:?}");
        assert!(cluster.explain(&query).unwrap().shards().is_empty());
    }
    let delete = City::delete().filter(is(Asia) & is(Europe));
    let update =
        City::update().set(City::NAME, "gone").filter(City::CONTINENT.is_in(Vec::<Continent>::new()));
    let mut session = cluster.session();
    let (affected, asked) = cluster.asked(|| {
        let affected = session.execute(delete).unwrap() + session.execute(update).unwrap();
        session.commit().unwrap();
        affected
    });
    assert!(affected == 0 && asked.is_empty());
    if planted {
        let left: i64 = backend.peek("asia", "cities", "SELECT count(*) FROM {table} WHERE name = 'asia'");
        assert_eq!(left, 5);
    }
}

fn r14_limit_zero_reads_no_shard(backend: &Backend) {
    let (cluster, _) = everywhere(backend);
    let none = || City::select().all_shards().order_by(City::NAME.asc()).limit(0);
    let (rows, asked) = cluster.asked(|| cluster.session().all(none()).unwrap());
    assert!(rows.is_empty() && asked.is_empty());
    let (first, asked) = cluster.asked(|| cluster.session().first(none()).unwrap());
    assert!(first.is_none() && asked.is_empty());
    let (count, asked) = cluster.asked(|| cluster.session().one(none().count()).unwrap());
    assert!(count == 0 && asked.is_empty());
}

fn r15_a_shard_is_read_once(backend: &Backend) {
    let (cluster, planted) = everywhere(backend);
    use Continent::*;
    let is = |continent| City::CONTINENT.eq(continent);
    let queries = [
        City::select().filter(City::CONTINENT.is_in([Asia, Asia, Asia])),
        City::select().filter(is(Asia) | is(Asia)),
        City::select().filter(Filter::any(vec![is(Asia); 5])),
        City::select().filter(is(Asia)).filter(is(Asia)).on(Asia).on(Asia).on_shard("asia"),
    ];
    for (position, query) in queries.into_iter().enumerate() {
        let (rows, counts) = cluster.counted(|| cluster.session().all(query).unwrap());
        assert_eq!(counts, [("asia".to_owned(), 1)], "query {position}");
        assert_eq!(rows.len(), usize::from(planted), "query {position}");
    }
    // Two keys of one shard are one statement.
    let query = City::select().filter(City::CONTINENT.is_in([Asia, Oceania]));
    let (_, counts) = cluster.counted(|| cluster.session().all(query).unwrap());
    assert_eq!(counts, [("asia".to_owned(), 1)]);
}

fn r16_each_shard_gets_only_its_own_values(backend: &Backend) {
    let (cluster, planted) = everywhere(backend);
    let query = City::select()
        .filter(City::CONTINENT.is_in([Continent::Europe, Continent::Oceania, Continent::Asia]))
        .order_by(City::ID.asc());
    let (rows, asked) = cluster.asked(|| cluster.session().all(query).unwrap());
    assert_eq!(asked, ["asia", "europe"]);
    if planted {
        // A shard that had got all three values would have answered with the sentinels of the others' keys.
        let read: Vec<_> = rows.iter().map(|row| (row.shard().name(), row.continent)).collect();
        assert_eq!(
            read,
            [("asia", Continent::Asia), ("asia", Continent::Oceania), ("europe", Continent::Europe)]
        );
    }
}

fn r17_a_distributed_key_is_one_shard(backend: &Backend) {
    let (cluster, planted) = everywhere(backend);
    let asia = || City::CONTINENT.eq(Continent::Asia);
    let filter = (asia() & City::NAME.ne("x")) | (asia() & City::POPULATION.ge(0));
    assert_eq!(asked(&cluster, planted, City::select().filter(filter)), ["asia"]);
    let absorbed = asia() & (City::CONTINENT.eq(Continent::Europe) | asia());
    assert_eq!(asked(&cluster, planted, City::select().filter(absorbed)), ["asia"]);
}

fn r18_filters_at_run_time_are_narrowed_too(backend: &Backend) {
    let (cluster, planted) = everywhere(backend);
    let mut filters: Vec<Filter<City, _>> = vec![City::POPULATION.ge(0)];
    let query = |filters: &[Filter<City, _>]| {
        City::select().filter(Filter::all(filters.iter().cloned())).all_shards()
    };
    assert_eq!(asked(&cluster, planted, query(&filters)), CONTINENTS);
    filters.push(City::CONTINENT.eq(Continent::Europe).into());
    assert_eq!(asked(&cluster, planted, query(&filters)), ["europe"]);
    let any = Filter::any([City::CONTINENT.eq(Continent::Europe), City::CONTINENT.eq(Continent::Asia)]);
    assert_eq!(asked(&cluster, planted, City::select().filter(any)), ["asia", "europe"]);
}

fn many_shards(backend: &Backend) {
    let names: Vec<String> = (0..24).map(|position| format!("s{position}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let cluster = backend.create::<Company>(&names);
    let mut session = cluster.session();
    let companies = session.add_all((0..300).map(|id| Company { id, name: id.to_string() })).unwrap();
    let (_, counts) = cluster.counted(|| session.commit().unwrap());
    assert_eq!(counts.len(), 24, "300 keys are on 24 shards");
    assert!(counts.iter().all(|(_, statements)| *statements == 1));
    for company in companies.iter().step_by(17) {
        let (found, asked) = cluster.asked(|| session.get::<Company>(company.id).unwrap());
        assert_eq!((found.as_ref(), asked), (Some(company), vec![company.shard().name().to_owned()]));
    }
    let query = Company::select().all_shards().order_by(Company::ID.desc()).limit(3).offset(5);
    let (found, asked) = cluster.asked(|| session.all(query).unwrap());
    assert!(found.iter().map(|company| company.id).eq([294, 293, 292]));
    assert_eq!(asked, names);
}
