-- The tables that the framework makes for its models: its program refuses to run if they differ.
CREATE TABLE "accounts" ("id" INTEGER PRIMARY KEY, "owner" TEXT NOT NULL, "cents" INTEGER NOT NULL) STRICT;
CREATE TABLE "stations" ("id" INTEGER PRIMARY KEY, "region" TEXT NOT NULL, "name" TEXT NOT NULL, "height" INTEGER NOT NULL) STRICT;
CREATE TABLE "measurements" ("id" INTEGER PRIMARY KEY, "at" INTEGER NOT NULL, "celsius" REAL NOT NULL, "place" TEXT NOT NULL) STRICT;
CREATE TABLE "readings" ("id" INTEGER PRIMARY KEY AUTOINCREMENT, "station_id" INTEGER NOT NULL REFERENCES "stations" ("id"), "at" INTEGER NOT NULL, "celsius" REAL NOT NULL, "remark" TEXT NOT NULL) STRICT;
CREATE INDEX "measurements(at)" ON "measurements" ("at");
CREATE INDEX "readings(station_id)" ON "readings" ("station_id");
