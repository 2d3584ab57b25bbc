//! The queries that the compile-fail cases have slightly wrong.

use shard_runtime::{Filter, Parent, Projection, Result, Session, ShardKey, Sharded, Sql, Stored, Unrouted, With};

#[derive(ShardKey, Clone, Copy, Debug, PartialEq)]
enum Continent {
    #[shard("asia")]
    Asia,
    #[shard("europe")]
    Europe,
}

#[derive(Sharded, Clone, Debug)]
struct City {
    #[id(sequence)]
    id: i64,
    #[shard_key]
    continent: Continent,
    name: String,
}

#[derive(Sharded, Clone, Debug)]
struct Report {
    #[id(auto)]
    id: i64,
    #[shard_parent]
    city: Parent<City>,
    temperature: f64,
}

#[derive(Sharded, Clone, Debug)]
struct Remark {
    #[id(auto)]
    id: i64,
    #[shard_parent]
    report: Parent<Report>,
    text: String,
}

#[derive(Sharded, Clone, Debug)]
#[sharded(shard_key(hash))]
struct Device {
    #[id(uuid)]
    id: uuid::Uuid,
    #[shard_key]
    tenant: i64,
    #[shard_key]
    serial: String,
    #[sharded(column = "born")]
    year: i32,
}

#[derive(Sharded, Clone, Debug)]
struct Event {
    #[id]
    id: i64,
    #[shard_key(range("asia" => ..1_000, "europe" => 1_000..))]
    number: i64,
}

#[derive(Projection, Debug)]
#[sharded(model = Report)]
struct Reading {
    temperature: f64,
    #[sharded(column = city)]
    of: Parent<City>,
}

fn run(session: &mut Session, tokyo: &Stored<City>) -> Result<()> {
    session.all(City::select().filter(City::CONTINENT.eq(Continent::Asia)))?;
    session.all(City::select().filter(City::CONTINENT.is_in([Continent::Asia, Continent::Europe])))?;
    session.all(City::select().filter(City::NAME.eq("Tokyo")).all_shards())?;
    session.all(City::select().filter(City::NAME.eq("Tokyo")).on(Continent::Asia))?;
    session.first(City::select().on_shard("asia").order_by(City::NAME.desc()))?;
    session.one(City::select().all_shards().count())?;
    session.all(Sql::new("SELECT name FROM {cities} WHERE id = ?1").bind(5).all_shards())?;
    session.all(Sql::new("SELECT name FROM {cities}").on::<City>(Continent::Asia))?;
    session.all(Sql::new("SELECT 1 FROM {cities} WHERE id IN rarray(?1)").bind_list(vec![1, 2]).on_shard("asia"))?;
    session.execute(Sql::new("DELETE FROM {cities} WHERE name = ?1").bind("Tokyo").on::<Report>(Continent::Asia))?;
    session.one(City::select().filter(City::CONTINENT.eq(Continent::Asia)).exists())?;
    let readings = session.all(Report::select().on(Continent::Asia).columns(Reading::COLUMNS).distinct())?;
    let _: Option<(f64, &Parent<City>)> = readings.first().map(|reading| (reading.temperature, &reading.of));
    session.get::<City>(1)?;
    session.get(Report::by_id(1).on(Continent::Asia))?;

    let report = session.add(NewReport { city: tokyo.link(), temperature: 80.0 })?;
    session.all(tokyo.children::<Report>().order_by(Report::TEMPERATURE.desc()))?;
    session.all(Report::select().filter(Report::CITY.eq(&report.city)))?;
    session.execute(Report::update().set(Report::TEMPERATURE, 81.0).on(Continent::Asia))?;
    session.execute(City::delete().filter(City::CONTINENT.eq(Continent::Asia) & City::NAME.starts_with("T")))?;

    session.all(Report::select().filter(Report::has_parent(City::CONTINENT.eq(Continent::Asia))))?;
    session.all(City::select().filter(City::has_child(Report::CITY.eq(tokyo))))?;
    let asian = Remark::has_parent(Report::has_parent(City::CONTINENT.eq(Continent::Asia)));
    session.all(Remark::select().filter(asian & Remark::TEXT.eq("x")).with_parent())?;
    let remarked: Filter<City, Unrouted> =
        !City::has_child(Report::CITY.eq(tokyo) & Report::has_child(Filter::<Remark, _>::everything()));
    session.all(City::select().filter(remarked).all_shards())?;
    for (city, reports) in session.all_with::<With<Report, Remark>>(City::select().on(Continent::Asia))? {
        let (_, remarks): &(Stored<Report>, Vec<Stored<Remark>>) = &reports[0];
        let _: (&Stored<City>, &Vec<Stored<Remark>>) = (&city, remarks);
    }

    session.all(Device::select().filter(Device::SHARD_KEY.eq((1, "x".to_owned()))))?;
    session.execute(Device::update().set(Device::YEAR, 2000).all_shards())?;
    session.all(Event::select().filter(Event::NUMBER.lt(500)))?;
    session.all(Event::select().filter(Event::NUMBER.between(10, 2_000)))?;
    session.add(Event { id: 1, number: 2 })?;
    Ok(())
}

fn main() {
    let _ = run;
}
