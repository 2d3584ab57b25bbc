CREATE TABLE cities (
    geoname_id bigint NOT NULL,
    continent character varying(20) NOT NULL,
    name character varying(200) NOT NULL,
    country character varying(100) NOT NULL,
    latitude double precision NOT NULL,
    longitude double precision NOT NULL,
    population integer NOT NULL,
    timezone character varying(40) NOT NULL,
    mean_celsius double precision
);
CREATE TABLE observations (
    id integer NOT NULL,
    city_id bigint NOT NULL,
    station character varying(3) NOT NULL,
    observed_at timestamp without time zone NOT NULL,
    celsius double precision NOT NULL,
    humidity double precision NOT NULL,
    wind_kmh double precision,
    pressure_hpa double precision
);
CREATE SEQUENCE observations_id_seq
    AS integer
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE observations_id_seq OWNED BY observations.id;
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
SELECT pg_catalog.setval('observations_id_seq', 13, true);
ALTER TABLE ONLY cities
    ADD CONSTRAINT cities_pkey PRIMARY KEY (geoname_id);
ALTER TABLE ONLY observations
    ADD CONSTRAINT observations_city_id_station_observed_at_key UNIQUE (city_id, station, observed_at);
ALTER TABLE ONLY observations
    ADD CONSTRAINT observations_pkey PRIMARY KEY (id);
CREATE INDEX ix_cities_continent_population ON cities USING btree (continent, population);
CREATE INDEX ix_cities_name ON cities USING btree (name);
CREATE INDEX ix_observations_city_id ON observations USING btree (city_id);
ALTER TABLE ONLY observations
    ADD CONSTRAINT observations_city_id_fkey FOREIGN KEY (city_id) REFERENCES cities(geoname_id);
