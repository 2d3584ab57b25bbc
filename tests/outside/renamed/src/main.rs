//! Uses the models of a crate in which the runtime has another name.

use renamed::{
    Acre, Crop, Farm, Farmer, Harvest, NewAcre, NewHarvest, NewTool, Road, Season, Stall, Tons, Tool, Well, Year,
};
use sharding::{Cluster, Projection, Result, Sharded};

/// A model in a crate that has a prelude: the runtime's new name is enough.
#[derive(Sharded, Clone, Debug, PartialEq)]
#[sharded(crate = sharding, table = "markets")]
struct Market {
    #[id]
    #[shard_key(hash)]
    name: String,
}

fn main() -> Result<()> {
    let builder = Cluster::builder().shard("a", "sqlite::memory:").shard("b", "sqlite::memory:");
    let cluster = builder.create::<(Farm, Market)>()?;
    let mut session = cluster.session();
    let acre = session.add(NewAcre { season: Season::Wet, crop: Crop::Rice, yearly: Some(Tons(2.5)) })?;
    session.add(NewHarvest { acre: acre.link(), r#yield: 3 })?;
    session.add(Farmer { id: 7, name: "Ngozi".into() })?;
    session.add(NewTool { farmer_id: 7 })?;
    session.add(Stall { id: 1, town: "Lagos".into(), place: 4 })?;
    session.add(Road { number: 99 })?;
    session.add(Well { id: 1, water: "salty".into() })?;
    session.add(Market { name: "Onitsha".into() })?;
    session.commit()?;

    let harvest = session.one(acre.children::<Harvest>().filter(Harvest::YIELD.ge(3)))?;
    println!("a harvest of {} on {}", harvest.r#yield, harvest.shard());
    let year = session.one(acre.children::<Harvest>().columns(Year::COLUMNS))?;
    println!("harvest {}: {}", year.number, year.r#yield);
    let rice =
        session.one(Acre::select().filter(Acre::SEASON.eq(Season::Wet) & Acre::CROP.eq(Crop::Rice)))?;
    println!("{:?} of {:?}", rice.yearly, rice.crop);
    let tool = session.one(Tool::select().filter(Tool::FARMER_ID.eq(7)))?;
    println!("a tool of {} on {}", session.parent(&tool)?.name, tool.shard());
    let stall = Stall::select().filter(Stall::SHARD_KEY.eq(("Lagos".to_owned(), 4)));
    println!("one stall: {}", session.one(stall.count())?);
    println!("asks {:?}", cluster.explain(&Road::select().filter(Road::NUMBER.lt(100_u16)))?.shards());
    println!("asks {:?}", cluster.explain(&Well::select().filter(Well::WATER.eq("salty")))?.shards());
    println!("a market: {}", session.get::<Market>("Onitsha".to_owned())?.is_some());
    Ok(())
}
