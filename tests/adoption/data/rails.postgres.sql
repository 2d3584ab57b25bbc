CREATE TABLE ar_internal_metadata (
    key character varying NOT NULL,
    value character varying,
    created_at timestamp(6) without time zone NOT NULL,
    updated_at timestamp(6) without time zone NOT NULL
);
CREATE TABLE cities (
    geoname_id bigint NOT NULL,
    continent character varying NOT NULL,
    name character varying NOT NULL,
    country character varying NOT NULL,
    latitude double precision NOT NULL,
    longitude double precision NOT NULL,
    population integer NOT NULL,
    timezone character varying NOT NULL,
    mean_celsius double precision
);
CREATE SEQUENCE cities_geoname_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE cities_geoname_id_seq OWNED BY cities.geoname_id;
CREATE TABLE observations (
    id bigint NOT NULL,
    city_id bigint NOT NULL,
    station character varying NOT NULL,
    observed_at timestamp(6) without time zone NOT NULL,
    celsius double precision NOT NULL,
    humidity double precision NOT NULL,
    wind_kmh double precision,
    pressure_hpa double precision
);
CREATE SEQUENCE observations_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE observations_id_seq OWNED BY observations.id;
CREATE TABLE schema_migrations (
    version character varying NOT NULL
);
ALTER TABLE ONLY cities ALTER COLUMN geoname_id SET DEFAULT nextval('cities_geoname_id_seq'::regclass);
ALTER TABLE ONLY observations ALTER COLUMN id SET DEFAULT nextval('observations_id_seq'::regclass);
INSERT INTO cities VALUES (5128581, 'North America', 'New York City', 'United States', 40.71427, -74.00597, 8804190, 'America/New_York', 12.9);
INSERT INTO cities VALUES (2643743, 'Europe', 'London', 'United Kingdom', 51.50853, -0.12574, 8961989, 'Europe/London', 11.3);
INSERT INTO cities VALUES (1850147, 'Asia', 'Tokyo', 'Japan', 35.6895, 139.69171, 8336599, 'Asia/Tokyo', 15.4);
INSERT INTO cities VALUES (1816670, 'Asia', 'Beijing', 'China', 39.9075, 116.39723, 18960744, 'Asia/Shanghai', NULL);
INSERT INTO cities VALUES (2147714, 'Oceania', 'Sydney', 'Australia', -33.86785, 151.20732, 4627345, 'Australia/Sydney', 17.7);
INSERT INTO cities VALUES (3448439, 'South America', 'São Paulo', 'Brazil', -23.5475, -46.63611, 12400232, 'America/Sao_Paulo', NULL);
INSERT INTO observations VALUES (1, 5128581, 'EWR', '2013-01-01 05:00:00', 3.9, 59.37, 16.6, 1012);
INSERT INTO observations VALUES (2, 5128581, 'JFK', '2013-01-01 05:00:00', 4.15, 59.37, 16.6, NULL);
INSERT INTO observations VALUES (3, 5128581, 'LGA', '2013-01-01 05:00:00', 4.4, 59.37, 16.6, NULL);
INSERT INTO observations VALUES (4, 5128581, 'EWR', '2013-01-01 06:00:00', 4.65, 59.37, 16.6, NULL);
INSERT INTO observations VALUES (5, 5128581, 'JFK', '2013-01-01 06:00:00', 4.9, 59.37, 16.6, 1012);
INSERT INTO observations VALUES (6, 5128581, 'LGA', '2013-01-01 06:00:00', 5.15, 59.37, NULL, NULL);
INSERT INTO observations VALUES (7, 5128581, 'EWR', '2013-01-01 07:00:00', 5.4, 59.37, 16.6, NULL);
INSERT INTO observations VALUES (8, 5128581, 'JFK', '2013-01-01 07:00:00', 5.65, 59.37, 16.6, NULL);
INSERT INTO observations VALUES (9, 5128581, 'LGA', '2013-01-01 07:00:00', 5.9, 59.37, 16.6, 1012);
INSERT INTO observations VALUES (10, 5128581, 'EWR', '2013-01-01 08:00:00', 6.15, 59.37, 16.6, NULL);
INSERT INTO observations VALUES (11, 5128581, 'JFK', '2013-01-01 08:00:00', 6.4, 59.37, 16.6, NULL);
INSERT INTO observations VALUES (12, 5128581, 'LGA', '2013-01-01 08:00:00', 6.65, 59.37, 16.6, NULL);
INSERT INTO observations VALUES (13, 2643743, 'LHR', '2013-01-01 06:30:00.25', 7.5, 80, 10, NULL);
SELECT pg_catalog.setval('cities_geoname_id_seq', 1, false);
SELECT pg_catalog.setval('observations_id_seq', 13, true);
ALTER TABLE ONLY ar_internal_metadata
    ADD CONSTRAINT ar_internal_metadata_pkey PRIMARY KEY (key);
ALTER TABLE ONLY cities
    ADD CONSTRAINT cities_pkey PRIMARY KEY (geoname_id);
ALTER TABLE ONLY observations
    ADD CONSTRAINT observations_pkey PRIMARY KEY (id);
ALTER TABLE ONLY schema_migrations
    ADD CONSTRAINT schema_migrations_pkey PRIMARY KEY (version);
CREATE INDEX index_cities_on_continent_and_population ON cities USING btree (continent, population);
CREATE INDEX index_cities_on_name ON cities USING btree (name);
CREATE INDEX index_observations_on_city_id ON observations USING btree (city_id);
CREATE UNIQUE INDEX index_observations_on_city_id_and_station_and_observed_at ON observations USING btree (city_id, station, observed_at);
ALTER TABLE ONLY observations
    ADD CONSTRAINT fk_rails_78be39254f FOREIGN KEY (city_id) REFERENCES cities(geoname_id);
