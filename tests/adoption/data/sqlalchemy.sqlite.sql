CREATE TABLE cities (
	geoname_id INTEGER NOT NULL,
	continent VARCHAR(20) NOT NULL,
	name VARCHAR(200) NOT NULL,
	country VARCHAR(100) NOT NULL,
	latitude DOUBLE NOT NULL,
	longitude DOUBLE NOT NULL,
	population INTEGER NOT NULL,
	timezone VARCHAR(40) NOT NULL,
	mean_celsius DOUBLE,
	PRIMARY KEY (geoname_id)
);
INSERT INTO "cities" VALUES(1816670,'Asia','Beijing','China',39.9075,116.39723,18960744,'Asia/Shanghai',NULL);
INSERT INTO "cities" VALUES(1850147,'Asia','Tokyo','Japan',35.6895,139.69171,8336599,'Asia/Tokyo',15.4);
INSERT INTO "cities" VALUES(2147714,'Oceania','Sydney','Australia',-33.86785,151.20732,4627345,'Australia/Sydney',17.7);
INSERT INTO "cities" VALUES(2643743,'Europe','London','United Kingdom',51.50853,-0.12574,8961989,'Europe/London',11.3);
INSERT INTO "cities" VALUES(3448439,'South America','São Paulo','Brazil',-23.5475,-46.63611,12400232,'America/Sao_Paulo',NULL);
INSERT INTO "cities" VALUES(5128581,'North America','New York City','United States',40.71427,-74.00597,8804190,'America/New_York',12.9);
CREATE TABLE observations (
	id INTEGER NOT NULL,
	city_id INTEGER NOT NULL,
	station VARCHAR(3) NOT NULL,
	observed_at DATETIME NOT NULL,
	celsius DOUBLE NOT NULL,
	humidity DOUBLE NOT NULL,
	wind_kmh DOUBLE,
	pressure_hpa DOUBLE,
	PRIMARY KEY (id),
	UNIQUE (city_id, station, observed_at),
	FOREIGN KEY(city_id) REFERENCES cities (geoname_id)
);
INSERT INTO "observations" VALUES(1,5128581,'EWR','2013-01-01 05:00:00.000000',3.9,59.37,16.6,1012.0);
INSERT INTO "observations" VALUES(2,5128581,'JFK','2013-01-01 05:00:00.000000',4.15,59.37,16.6,NULL);
INSERT INTO "observations" VALUES(3,5128581,'LGA','2013-01-01 05:00:00.000000',4.4,59.37,16.6,NULL);
INSERT INTO "observations" VALUES(4,5128581,'EWR','2013-01-01 06:00:00.000000',4.65,59.37,16.6,NULL);
INSERT INTO "observations" VALUES(5,5128581,'JFK','2013-01-01 06:00:00.000000',4.9,59.37,16.6,1012.0);
INSERT INTO "observations" VALUES(6,5128581,'LGA','2013-01-01 06:00:00.000000',5.15,59.37,NULL,NULL);
INSERT INTO "observations" VALUES(7,5128581,'EWR','2013-01-01 07:00:00.000000',5.4,59.37,16.6,NULL);
INSERT INTO "observations" VALUES(8,5128581,'JFK','2013-01-01 07:00:00.000000',5.65,59.37,16.6,NULL);
INSERT INTO "observations" VALUES(9,5128581,'LGA','2013-01-01 07:00:00.000000',5.9,59.37,16.6,1012.0);
INSERT INTO "observations" VALUES(10,5128581,'EWR','2013-01-01 08:00:00.000000',6.15,59.37,16.6,NULL);
INSERT INTO "observations" VALUES(11,5128581,'JFK','2013-01-01 08:00:00.000000',6.4,59.37,16.6,NULL);
INSERT INTO "observations" VALUES(12,5128581,'LGA','2013-01-01 08:00:00.000000',6.65,59.37,16.6,NULL);
INSERT INTO "observations" VALUES(13,2643743,'LHR','2013-01-01 06:30:00.250000',7.5,80.0,10.0,NULL);
CREATE INDEX ix_cities_name ON cities (name);
CREATE INDEX ix_cities_continent_population ON cities (continent, population);
CREATE INDEX ix_observations_city_id ON observations (city_id);
