//! The shards of each kind of query, and the reasons: `Cluster::explain` gives them without running a statement.

use std::io::Write;

use shard_runtime::{Cluster, Explainable, Sharded};

use crate::chart::WIDTH;
use crate::failure::Result;
use crate::model::{City, Continent, NEW_YORK, Observation};
use crate::text::wrapped;

/// Prints each kind of query with the shards that it would read, the reason, and the SQL.
pub fn run(cluster: &Cluster, out: &mut dyn Write) -> Result<()> {
    let mut page = Page { cluster, out, separator: "" };
    let (asia, europe) = (Continent::Asia, Continent::Europe);
    let on = |continent| City::select().filter(City::CONTINENT.eq(continent));

    page.show("A continent's cities: the key names the shard", &on(asia))?;
    page.show(
        "Asia's cities of ten million: one condition narrows, both are sent",
        &on(asia).filter(City::POPULATION.gt(10_000_000_u32)),
    )?;
    page.show(
        "Two continents on two shards",
        &City::select().filter(City::CONTINENT.is_in([asia, europe])).count(),
    )?;
    page.show(
        "Two continents that share a shard",
        &City::select()
            .filter(City::CONTINENT.is_in([Continent::NorthAmerica, Continent::SouthAmerica]))
            .count(),
    )?;
    page.show(
        "In Asia and in Europe at once: no shard has to be read",
        &on(asia).filter(City::CONTINENT.eq(europe)),
    )?;
    page.show(
        "The world's largest cities: all shards, and the answers are merged",
        &City::select().all_shards().order_by(City::POPULATION.desc()).limit(5),
    )?;
    page.show("A shard by its name", &City::select().on_shard("rest").count())?;
    page.show(
        "A name without a continent: it runs only with `.all_shards()`",
        &City::select().filter(City::NAME.eq("Wellington")).count(),
    )?;
    let mut session = cluster.session();
    if let Some(new_york) = session.get(City::by_id(NEW_YORK).on(Continent::NorthAmerica))? {
        let observations = new_york.children::<Observation>().filter(Observation::CELSIUS.gt(35.0));
        page.show(
            "New York's hot hours: observations are on the shard of their city",
            &observations.count(),
        )?;
    }
    page.show(
        "Rename a city: writes are narrowed in the same way",
        &City::update()
            .filter(City::CONTINENT.eq(asia) & City::NAME.eq("Calcutta"))
            .set(City::NAME, "Kolkata"),
    )?;
    Ok(())
}

struct Page<'a> {
    cluster: &'a Cluster,
    out: &'a mut dyn Write,
    separator: &'static str,
}

impl Page<'_> {
    fn show(&mut self, title: &str, query: &impl Explainable) -> Result<()> {
        writeln!(self.out, "{}{title}", self.separator)?;
        self.separator = "\n";
        for line in self.cluster.explain(query)?.to_string().lines() {
            // `├─ asia SELECT ..`: the rest continues below, with the branch drawn on.
            let below = match line.chars().next() {
                Some('├') => "  │      ",
                _ => "         ",
            };
            for (position, part) in wrapped(line, WIDTH - below.chars().count()).iter().enumerate() {
                let indent = if position == 0 { "  " } else { below };
                writeln!(self.out, "{indent}{part}")?;
            }
        }
        Ok(())
    }
}
