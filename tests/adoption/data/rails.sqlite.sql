CREATE TABLE "ar_internal_metadata" ("key" varchar NOT NULL PRIMARY KEY, "value" varchar, "created_at" datetime(6) NOT NULL, "updated_at" datetime(6) NOT NULL);
CREATE TABLE "cities" ("geoname_id" integer PRIMARY KEY AUTOINCREMENT NOT NULL, "continent" varchar NOT NULL, "name" varchar NOT NULL, "country" varchar NOT NULL, "latitude" float NOT NULL, "longitude" float NOT NULL, "population" integer NOT NULL, "timezone" varchar NOT NULL, "mean_celsius" float);
INSERT INTO "cities" VALUES(1816670,'Asia','Beijing','China',39.9075,116.39723,18960744,'Asia/Shanghai',NULL);
INSERT INTO "cities" VALUES(1850147,'Asia','Tokyo','Japan',35.6895,139.69171,8336599,'Asia/Tokyo',15.4);
INSERT INTO "cities" VALUES(2147714,'Oceania','Sydney','Australia',-33.86785,151.20732,4627345,'Australia/Sydney',17.7);
INSERT INTO "cities" VALUES(2643743,'Europe','London','United Kingdom',51.50853,-0.12574,8961989,'Europe/London',11.3);
INSERT INTO "cities" VALUES(3448439,'South America','São Paulo','Brazil',-23.5475,-46.63611,12400232,'America/Sao_Paulo',NULL);
INSERT INTO "cities" VALUES(5128581,'North America','New York City','United States',40.71427,-74.00597,8804190,'America/New_York',12.9);
CREATE TABLE "observations" ("id" integer NOT NULL PRIMARY KEY, "city_id" integer NOT NULL, "station" varchar NOT NULL, "observed_at" datetime(6) NOT NULL, "celsius" float NOT NULL, "humidity" float NOT NULL, "wind_kmh" float DEFAULT NULL, "pressure_hpa" float DEFAULT NULL, CONSTRAINT "fk_rails_78be39254f"
FOREIGN KEY ("city_id")
  REFERENCES "cities" ("geoname_id")
);
INSERT INTO "observations" VALUES(1,5128581,'EWR','2013-01-01 05:00:00',3.9,59.37,16.6,1012.0);
INSERT INTO "observations" VALUES(2,5128581,'JFK','2013-01-01 05:00:00',4.15,59.37,16.6,NULL);
INSERT INTO "observations" VALUES(3,5128581,'LGA','2013-01-01 05:00:00',4.4,59.37,16.6,NULL);
INSERT INTO "observations" VALUES(4,5128581,'EWR','2013-01-01 06:00:00',4.65,59.37,16.6,NULL);
INSERT INTO "observations" VALUES(5,5128581,'JFK','2013-01-01 06:00:00',4.9,59.37,16.6,1012.0);
INSERT INTO "observations" VALUES(6,5128581,'LGA','2013-01-01 06:00:00',5.15,59.37,NULL,NULL);
INSERT INTO "observations" VALUES(7,5128581,'EWR','2013-01-01 07:00:00',5.4,59.37,16.6,NULL);
INSERT INTO "observations" VALUES(8,5128581,'JFK','2013-01-01 07:00:00',5.65,59.37,16.6,NULL);
INSERT INTO "observations" VALUES(9,5128581,'LGA','2013-01-01 07:00:00',5.9,59.37,16.6,1012.0);
INSERT INTO "observations" VALUES(10,5128581,'EWR','2013-01-01 08:00:00',6.15,59.37,16.6,NULL);
INSERT INTO "observations" VALUES(11,5128581,'JFK','2013-01-01 08:00:00',6.4,59.37,16.6,NULL);
INSERT INTO "observations" VALUES(12,5128581,'LGA','2013-01-01 08:00:00',6.65,59.37,16.6,NULL);
INSERT INTO "observations" VALUES(13,2643743,'LHR','2013-01-01 06:30:00.250000',7.5,80.0,10.0,NULL);
CREATE TABLE "schema_migrations" ("version" varchar NOT NULL PRIMARY KEY);
CREATE INDEX "index_cities_on_name" ON "cities" ("name");
CREATE INDEX "index_cities_on_continent_and_population" ON "cities" ("continent", "population");
CREATE INDEX "index_observations_on_city_id" ON "observations" ("city_id");
CREATE UNIQUE INDEX "index_observations_on_city_id_and_station_and_observed_at" ON "observations" ("city_id", "station", "observed_at");
