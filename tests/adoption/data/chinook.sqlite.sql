CREATE TABLE [Album]
(
    [AlbumId] INTEGER  NOT NULL,
    [Title] NVARCHAR(160)  NOT NULL,
    [ArtistId] INTEGER  NOT NULL,
    CONSTRAINT [PK_Album] PRIMARY KEY  ([AlbumId]),
    FOREIGN KEY ([ArtistId]) REFERENCES [Artist] ([ArtistId])
		ON DELETE NO ACTION ON UPDATE NO ACTION
);
INSERT INTO "Album" VALUES(1,'For Those About To Rock We Salute You',1);
INSERT INTO "Album" VALUES(2,'Balls to the Wall',2);
INSERT INTO "Album" VALUES(3,'Restless and Wild',2);
INSERT INTO "Album" VALUES(4,'Let There Be Rock',1);
INSERT INTO "Album" VALUES(5,'Big Ones',3);
INSERT INTO "Album" VALUES(6,'Jagged Little Pill',4);
INSERT INTO "Album" VALUES(7,'Facelift',5);
INSERT INTO "Album" VALUES(8,'Warner 25 Anos',6);
INSERT INTO "Album" VALUES(9,'Plays Metallica By Four Cellos',7);
INSERT INTO "Album" VALUES(10,'Audioslave',8);
INSERT INTO "Album" VALUES(11,'Out Of Exile',8);
INSERT INTO "Album" VALUES(34,'Chill: Brazil (Disc 2)',6);
INSERT INTO "Album" VALUES(271,'Revelations',8);
CREATE TABLE [Artist]
(
    [ArtistId] INTEGER  NOT NULL,
    [Name] NVARCHAR(120),
    CONSTRAINT [PK_Artist] PRIMARY KEY  ([ArtistId])
);
INSERT INTO "Artist" VALUES(1,'AC/DC');
INSERT INTO "Artist" VALUES(2,'Accept');
INSERT INTO "Artist" VALUES(3,'Aerosmith');
INSERT INTO "Artist" VALUES(4,'Alanis Morissette');
INSERT INTO "Artist" VALUES(5,'Alice In Chains');
INSERT INTO "Artist" VALUES(6,'Antônio Carlos Jobim');
INSERT INTO "Artist" VALUES(7,'Apocalyptica');
INSERT INTO "Artist" VALUES(8,'Audioslave');
CREATE TABLE [Customer]
(
    [CustomerId] INTEGER  NOT NULL,
    [FirstName] NVARCHAR(40)  NOT NULL,
    [LastName] NVARCHAR(20)  NOT NULL,
    [Company] NVARCHAR(80),
    [Address] NVARCHAR(70),
    [City] NVARCHAR(40),
    [State] NVARCHAR(40),
    [Country] NVARCHAR(40),
    [PostalCode] NVARCHAR(10),
    [Phone] NVARCHAR(24),
    [Fax] NVARCHAR(24),
    [Email] NVARCHAR(60)  NOT NULL,
    [SupportRepId] INTEGER,
    CONSTRAINT [PK_Customer] PRIMARY KEY  ([CustomerId]),
    FOREIGN KEY ([SupportRepId]) REFERENCES [Employee] ([EmployeeId])
		ON DELETE NO ACTION ON UPDATE NO ACTION
);
INSERT INTO "Customer" VALUES(1,'Luís','Gonçalves','Embraer - Empresa Brasileira de Aeronáutica S.A.','Av. Brigadeiro Faria Lima, 2170','São José dos Campos','SP','Brazil','12227-000','+55 (12) 3923-5555','+55 (12) 3923-5566','luisg@embraer.com.br',3);
INSERT INTO "Customer" VALUES(2,'Leonie','Köhler',NULL,'Theodor-Heuss-Straße 34','Stuttgart',NULL,'Germany','70174','+49 0711 2842222',NULL,'leonekohler@surfeu.de',5);
INSERT INTO "Customer" VALUES(3,'François','Tremblay',NULL,'1498 rue Bélanger','Montréal','QC','Canada','H2G 1A7','+1 (514) 721-4711',NULL,'ftremblay@gmail.com',3);
INSERT INTO "Customer" VALUES(4,'Bjørn','Hansen',NULL,'Ullevålsveien 14','Oslo',NULL,'Norway','0171','+47 22 44 22 22',NULL,'bjorn.hansen@yahoo.no',4);
INSERT INTO "Customer" VALUES(5,'František','Wichterlová','JetBrains s.r.o.','Klanova 9/506','Prague',NULL,'Czech Republic','14700','+420 2 4172 5555','+420 2 4172 5555','frantisekw@jetbrains.com',4);
INSERT INTO "Customer" VALUES(6,'Helena','Holý',NULL,'Rilská 3174/6','Prague',NULL,'Czech Republic','14300','+420 2 4177 0449',NULL,'hholy@gmail.com',5);
INSERT INTO "Customer" VALUES(7,'Astrid','Gruber',NULL,'Rotenturmstraße 4, 1010 Innere Stadt','Vienne',NULL,'Austria','1010','+43 01 5134505',NULL,'astrid.gruber@apple.at',5);
INSERT INTO "Customer" VALUES(8,'Daan','Peeters',NULL,'Grétrystraat 63','Brussels',NULL,'Belgium','1000','+32 02 219 03 03',NULL,'daan_peeters@apple.be',4);
INSERT INTO "Customer" VALUES(9,'Kara','Nielsen',NULL,'Sønder Boulevard 51','Copenhagen',NULL,'Denmark','1720','+453 3331 9991',NULL,'kara.nielsen@jubii.dk',4);
INSERT INTO "Customer" VALUES(10,'Eduardo','Martins','Woodstock Discos','Rua Dr. Falcão Filho, 155','São Paulo','SP','Brazil','01007-010','+55 (11) 3033-5446','+55 (11) 3033-4564','eduardo@woodstock.com.br',4);
INSERT INTO "Customer" VALUES(11,'Alexandre','Rocha','Banco do Brasil S.A.','Av. Paulista, 2022','São Paulo','SP','Brazil','01310-200','+55 (11) 3055-3278','+55 (11) 3055-8131','alero@uol.com.br',5);
INSERT INTO "Customer" VALUES(12,'Roberto','Almeida','Riotur','Praça Pio X, 119','Rio de Janeiro','RJ','Brazil','20040-020','+55 (21) 2271-7000','+55 (21) 2271-7070','roberto.almeida@riotur.gov.br',3);
CREATE TABLE [Employee]
(
    [EmployeeId] INTEGER  NOT NULL,
    [LastName] NVARCHAR(20)  NOT NULL,
    [FirstName] NVARCHAR(20)  NOT NULL,
    [Title] NVARCHAR(30),
    [ReportsTo] INTEGER,
    [BirthDate] DATETIME,
    [HireDate] DATETIME,
    [Address] NVARCHAR(70),
    [City] NVARCHAR(40),
    [State] NVARCHAR(40),
    [Country] NVARCHAR(40),
    [PostalCode] NVARCHAR(10),
    [Phone] NVARCHAR(24),
    [Fax] NVARCHAR(24),
    [Email] NVARCHAR(60),
    CONSTRAINT [PK_Employee] PRIMARY KEY  ([EmployeeId]),
    FOREIGN KEY ([ReportsTo]) REFERENCES [Employee] ([EmployeeId])
		ON DELETE NO ACTION ON UPDATE NO ACTION
);
INSERT INTO "Employee" VALUES(1,'Adams','Andrew','General Manager',NULL,'1962-02-18 00:00:00','2002-08-14 00:00:00','11120 Jasper Ave NW','Edmonton','AB','Canada','T5K 2N1','+1 (780) 428-9482','+1 (780) 428-3457','andrew@chinookcorp.com');
INSERT INTO "Employee" VALUES(2,'Edwards','Nancy','Sales Manager',1,'1958-12-08 00:00:00','2002-05-01 00:00:00','825 8 Ave SW','Calgary','AB','Canada','T2P 2T3','+1 (403) 262-3443','+1 (403) 262-3322','nancy@chinookcorp.com');
INSERT INTO "Employee" VALUES(3,'Peacock','Jane','Sales Support Agent',2,'1973-08-29 00:00:00','2002-04-01 00:00:00','1111 6 Ave SW','Calgary','AB','Canada','T2P 5M5','+1 (403) 262-3443','+1 (403) 262-6712','jane@chinookcorp.com');
INSERT INTO "Employee" VALUES(4,'Park','Margaret','Sales Support Agent',2,'1947-09-19 00:00:00','2003-05-03 00:00:00','683 10 Street SW','Calgary','AB','Canada','T2P 5G3','+1 (403) 263-4423','+1 (403) 263-4289','margaret@chinookcorp.com');
INSERT INTO "Employee" VALUES(5,'Johnson','Steve','Sales Support Agent',2,'1965-03-03 00:00:00','2003-10-17 00:00:00','7727B 41 Ave','Calgary','AB','Canada','T3B 1Y7','1 (780) 836-9987','1 (780) 836-9543','steve@chinookcorp.com');
INSERT INTO "Employee" VALUES(6,'Mitchell','Michael','IT Manager',1,'1973-07-01 00:00:00','2003-10-17 00:00:00','5827 Bowness Road NW','Calgary','AB','Canada','T3B 0C5','+1 (403) 246-9887','+1 (403) 246-9899','michael@chinookcorp.com');
INSERT INTO "Employee" VALUES(7,'King','Robert','IT Staff',6,'1970-05-29 00:00:00','2004-01-02 00:00:00','590 Columbia Boulevard West','Lethbridge','AB','Canada','T1K 5N8','+1 (403) 456-9986','+1 (403) 456-8485','robert@chinookcorp.com');
INSERT INTO "Employee" VALUES(8,'Callahan','Laura','IT Staff',6,'1968-01-09 00:00:00','2004-03-04 00:00:00','923 7 ST NW','Lethbridge','AB','Canada','T1H 1Y8','+1 (403) 467-3351','+1 (403) 467-8772','laura@chinookcorp.com');
CREATE TABLE [Genre]
(
    [GenreId] INTEGER  NOT NULL,
    [Name] NVARCHAR(120),
    CONSTRAINT [PK_Genre] PRIMARY KEY  ([GenreId])
);
INSERT INTO "Genre" VALUES(1,'Rock');
INSERT INTO "Genre" VALUES(2,'Jazz');
INSERT INTO "Genre" VALUES(3,'Metal');
INSERT INTO "Genre" VALUES(4,'Alternative & Punk');
INSERT INTO "Genre" VALUES(5,'Rock And Roll');
INSERT INTO "Genre" VALUES(6,'Blues');
INSERT INTO "Genre" VALUES(7,'Latin');
INSERT INTO "Genre" VALUES(8,'Reggae');
INSERT INTO "Genre" VALUES(9,'Pop');
INSERT INTO "Genre" VALUES(10,'Soundtrack');
INSERT INTO "Genre" VALUES(11,'Bossa Nova');
INSERT INTO "Genre" VALUES(12,'Easy Listening');
INSERT INTO "Genre" VALUES(13,'Heavy Metal');
INSERT INTO "Genre" VALUES(14,'R&B/Soul');
INSERT INTO "Genre" VALUES(15,'Electronica/Dance');
INSERT INTO "Genre" VALUES(16,'World');
INSERT INTO "Genre" VALUES(17,'Hip Hop/Rap');
INSERT INTO "Genre" VALUES(18,'Science Fiction');
INSERT INTO "Genre" VALUES(19,'TV Shows');
INSERT INTO "Genre" VALUES(20,'Sci Fi & Fantasy');
INSERT INTO "Genre" VALUES(21,'Drama');
INSERT INTO "Genre" VALUES(22,'Comedy');
INSERT INTO "Genre" VALUES(23,'Alternative');
INSERT INTO "Genre" VALUES(24,'Classical');
INSERT INTO "Genre" VALUES(25,'Opera');
CREATE TABLE [Invoice]
(
    [InvoiceId] INTEGER  NOT NULL,
    [CustomerId] INTEGER  NOT NULL,
    [InvoiceDate] DATETIME  NOT NULL,
    [BillingAddress] NVARCHAR(70),
    [BillingCity] NVARCHAR(40),
    [BillingState] NVARCHAR(40),
    [BillingCountry] NVARCHAR(40),
    [BillingPostalCode] NVARCHAR(10),
    [Total] NUMERIC(10,2)  NOT NULL,
    CONSTRAINT [PK_Invoice] PRIMARY KEY  ([InvoiceId]),
    FOREIGN KEY ([CustomerId]) REFERENCES [Customer] ([CustomerId])
		ON DELETE NO ACTION ON UPDATE NO ACTION
);
INSERT INTO "Invoice" VALUES(1,2,'2021-01-01 00:00:00','Theodor-Heuss-Straße 34','Stuttgart',NULL,'Germany','70174',1.98);
INSERT INTO "Invoice" VALUES(2,4,'2021-01-02 00:00:00','Ullevålsveien 14','Oslo',NULL,'Norway','0171',3.96);
INSERT INTO "Invoice" VALUES(3,8,'2021-01-03 00:00:00','Grétrystraat 63','Brussels',NULL,'Belgium','1000',5.94);
INSERT INTO "Invoice" VALUES(12,2,'2021-02-11 00:00:00','Theodor-Heuss-Straße 34','Stuttgart',NULL,'Germany','70174',13.86);
INSERT INTO "Invoice" VALUES(24,4,'2021-04-06 00:00:00','Ullevålsveien 14','Oslo',NULL,'Norway','0171',5.94);
INSERT INTO "Invoice" VALUES(25,10,'2021-04-09 00:00:00','Rua Dr. Falcão Filho, 155','São Paulo','SP','Brazil','01007-010',8.91);
INSERT INTO "Invoice" VALUES(34,12,'2021-05-23 00:00:00','Praça Pio X, 119','Rio de Janeiro','RJ','Brazil','20040-020',0.99);
INSERT INTO "Invoice" VALUES(46,6,'2021-07-11 00:00:00','Rilská 3174/6','Prague',NULL,'Czech Republic','14300',8.91);
INSERT INTO "Invoice" VALUES(55,8,'2021-08-24 00:00:00','Grétrystraat 63','Brussels',NULL,'Belgium','1000',0.99);
INSERT INTO "Invoice" VALUES(56,9,'2021-09-06 00:00:00','Sønder Boulevard 51','Copenhagen',NULL,'Denmark','1720',1.98);
INSERT INTO "Invoice" VALUES(57,11,'2021-09-06 00:00:00','Av. Paulista, 2022','São Paulo','SP','Brazil','01310-200',1.98);
INSERT INTO "Invoice" VALUES(67,2,'2021-10-12 00:00:00','Theodor-Heuss-Straße 34','Stuttgart',NULL,'Germany','70174',8.91);
INSERT INTO "Invoice" VALUES(68,11,'2021-10-17 00:00:00','Av. Paulista, 2022','São Paulo','SP','Brazil','01310-200',13.86);
INSERT INTO "Invoice" VALUES(76,4,'2021-11-25 00:00:00','Ullevålsveien 14','Oslo',NULL,'Norway','0171',0.99);
INSERT INTO "Invoice" VALUES(77,5,'2021-12-08 00:00:00','Klanova 9/506','Prague',NULL,'Czech Republic','14700',1.98);
INSERT INTO "Invoice" VALUES(78,7,'2021-12-08 00:00:00','Rotenturmstraße 4, 1010 Innere Stadt','Vienne',NULL,'Austria','1010',1.98);
INSERT INTO "Invoice" VALUES(79,9,'2021-12-09 00:00:00','Sønder Boulevard 51','Copenhagen',NULL,'Denmark','1720',3.96);
INSERT INTO "Invoice" VALUES(89,7,'2022-01-18 00:00:00','Rotenturmstraße 4, 1010 Innere Stadt','Vienne',NULL,'Austria','1010',18.86);
INSERT INTO "Invoice" VALUES(98,1,'2022-03-11 00:00:00','Av. Brigadeiro Faria Lima, 2170','São José dos Campos','SP','Brazil','12227-000',3.98);
INSERT INTO "Invoice" VALUES(99,3,'2022-03-11 00:00:00','1498 rue Bélanger','Montréal','QC','Canada','H2G 1A7',3.98);
INSERT INTO "Invoice" VALUES(100,5,'2022-03-12 00:00:00','Klanova 9/506','Prague',NULL,'Czech Republic','14700',3.96);
INSERT INTO "Invoice" VALUES(101,9,'2022-03-13 00:00:00','Sønder Boulevard 51','Copenhagen',NULL,'Denmark','1720',5.94);
INSERT INTO "Invoice" VALUES(110,3,'2022-04-21 00:00:00','1498 rue Bélanger','Montréal','QC','Canada','H2G 1A7',13.86);
INSERT INTO "Invoice" VALUES(121,1,'2022-06-13 00:00:00','Av. Brigadeiro Faria Lima, 2170','São José dos Campos','SP','Brazil','12227-000',3.96);
INSERT INTO "Invoice" VALUES(122,5,'2022-06-14 00:00:00','Klanova 9/506','Prague',NULL,'Czech Republic','14700',5.94);
INSERT INTO "Invoice" VALUES(123,11,'2022-06-17 00:00:00','Av. Paulista, 2022','São Paulo','SP','Brazil','01310-200',8.91);
INSERT INTO "Invoice" VALUES(143,1,'2022-09-15 00:00:00','Av. Brigadeiro Faria Lima, 2170','São José dos Campos','SP','Brazil','12227-000',5.94);
INSERT INTO "Invoice" VALUES(144,7,'2022-09-18 00:00:00','Rotenturmstraße 4, 1010 Innere Stadt','Vienne',NULL,'Austria','1010',8.91);
INSERT INTO "Invoice" VALUES(153,9,'2022-11-01 00:00:00','Sønder Boulevard 51','Copenhagen',NULL,'Denmark','1720',0.99);
INSERT INTO "Invoice" VALUES(154,10,'2022-11-14 00:00:00','Rua Dr. Falcão Filho, 155','São Paulo','SP','Brazil','01007-010',1.98);
INSERT INTO "Invoice" VALUES(155,12,'2022-11-14 00:00:00','Praça Pio X, 119','Rio de Janeiro','RJ','Brazil','20040-020',1.98);
INSERT INTO "Invoice" VALUES(165,3,'2022-12-20 00:00:00','1498 rue Bélanger','Montréal','QC','Canada','H2G 1A7',8.91);
INSERT INTO "Invoice" VALUES(166,12,'2022-12-25 00:00:00','Praça Pio X, 119','Rio de Janeiro','RJ','Brazil','20040-020',13.86);
INSERT INTO "Invoice" VALUES(174,5,'2023-02-02 00:00:00','Klanova 9/506','Prague',NULL,'Czech Republic','14700',0.99);
INSERT INTO "Invoice" VALUES(175,6,'2023-02-15 00:00:00','Rilská 3174/6','Prague',NULL,'Czech Republic','14300',1.98);
INSERT INTO "Invoice" VALUES(176,8,'2023-02-15 00:00:00','Grétrystraat 63','Brussels',NULL,'Belgium','1000',1.98);
INSERT INTO "Invoice" VALUES(177,10,'2023-02-16 00:00:00','Rua Dr. Falcão Filho, 155','São Paulo','SP','Brazil','01007-010',3.96);
INSERT INTO "Invoice" VALUES(187,8,'2023-03-28 00:00:00','Grétrystraat 63','Brussels',NULL,'Belgium','1000',13.86);
INSERT INTO "Invoice" VALUES(195,1,'2023-05-06 00:00:00','Av. Brigadeiro Faria Lima, 2170','São José dos Campos','SP','Brazil','12227-000',0.99);
INSERT INTO "Invoice" VALUES(196,2,'2023-05-19 00:00:00','Theodor-Heuss-Straße 34','Stuttgart',NULL,'Germany','70174',1.98);
INSERT INTO "Invoice" VALUES(197,4,'2023-05-19 00:00:00','Ullevålsveien 14','Oslo',NULL,'Norway','0171',1.98);
INSERT INTO "Invoice" VALUES(198,6,'2023-05-20 00:00:00','Rilská 3174/6','Prague',NULL,'Czech Republic','14300',3.96);
INSERT INTO "Invoice" VALUES(199,10,'2023-05-21 00:00:00','Rua Dr. Falcão Filho, 155','São Paulo','SP','Brazil','01007-010',5.94);
INSERT INTO "Invoice" VALUES(208,4,'2023-06-29 00:00:00','Ullevålsveien 14','Oslo',NULL,'Norway','0171',15.86);
INSERT INTO "Invoice" VALUES(219,2,'2023-08-21 00:00:00','Theodor-Heuss-Straße 34','Stuttgart',NULL,'Germany','70174',3.96);
INSERT INTO "Invoice" VALUES(220,6,'2023-08-22 00:00:00','Rilská 3174/6','Prague',NULL,'Czech Republic','14300',5.94);
INSERT INTO "Invoice" VALUES(221,12,'2023-08-25 00:00:00','Praça Pio X, 119','Rio de Janeiro','RJ','Brazil','20040-020',8.91);
INSERT INTO "Invoice" VALUES(241,2,'2023-11-23 00:00:00','Theodor-Heuss-Straße 34','Stuttgart',NULL,'Germany','70174',5.94);
INSERT INTO "Invoice" VALUES(242,8,'2023-11-26 00:00:00','Grétrystraat 63','Brussels',NULL,'Belgium','1000',8.91);
INSERT INTO "Invoice" VALUES(251,10,'2024-01-09 00:00:00','Rua Dr. Falcão Filho, 155','São Paulo','SP','Brazil','01007-010',0.99);
INSERT INTO "Invoice" VALUES(252,11,'2024-01-22 00:00:00','Av. Paulista, 2022','São Paulo','SP','Brazil','01310-200',1.98);
INSERT INTO "Invoice" VALUES(263,4,'2024-02-27 00:00:00','Ullevålsveien 14','Oslo',NULL,'Norway','0171',8.91);
INSERT INTO "Invoice" VALUES(272,6,'2024-04-11 00:00:00','Rilská 3174/6','Prague',NULL,'Czech Republic','14300',0.99);
INSERT INTO "Invoice" VALUES(273,7,'2024-04-24 00:00:00','Rotenturmstraße 4, 1010 Innere Stadt','Vienne',NULL,'Austria','1010',1.98);
INSERT INTO "Invoice" VALUES(274,9,'2024-04-24 00:00:00','Sønder Boulevard 51','Copenhagen',NULL,'Denmark','1720',1.98);
INSERT INTO "Invoice" VALUES(275,11,'2024-04-25 00:00:00','Av. Paulista, 2022','São Paulo','SP','Brazil','01310-200',3.96);
INSERT INTO "Invoice" VALUES(285,9,'2024-06-04 00:00:00','Sønder Boulevard 51','Copenhagen',NULL,'Denmark','1720',13.86);
INSERT INTO "Invoice" VALUES(293,2,'2024-07-13 00:00:00','Theodor-Heuss-Straße 34','Stuttgart',NULL,'Germany','70174',0.99);
INSERT INTO "Invoice" VALUES(294,3,'2024-07-26 00:00:00','1498 rue Bélanger','Montréal','QC','Canada','H2G 1A7',1.98);
INSERT INTO "Invoice" VALUES(295,5,'2024-07-26 00:00:00','Klanova 9/506','Prague',NULL,'Czech Republic','14700',1.98);
INSERT INTO "Invoice" VALUES(296,7,'2024-07-27 00:00:00','Rotenturmstraße 4, 1010 Innere Stadt','Vienne',NULL,'Austria','1010',3.96);
INSERT INTO "Invoice" VALUES(297,11,'2024-07-28 00:00:00','Av. Paulista, 2022','São Paulo','SP','Brazil','01310-200',5.94);
INSERT INTO "Invoice" VALUES(306,5,'2024-09-05 00:00:00','Klanova 9/506','Prague',NULL,'Czech Republic','14700',16.86);
INSERT INTO "Invoice" VALUES(316,1,'2024-10-27 00:00:00','Av. Brigadeiro Faria Lima, 2170','São José dos Campos','SP','Brazil','12227-000',1.98);
INSERT INTO "Invoice" VALUES(317,3,'2024-10-28 00:00:00','1498 rue Bélanger','Montréal','QC','Canada','H2G 1A7',3.96);
INSERT INTO "Invoice" VALUES(318,7,'2024-10-29 00:00:00','Rotenturmstraße 4, 1010 Innere Stadt','Vienne',NULL,'Austria','1010',5.94);
INSERT INTO "Invoice" VALUES(327,1,'2024-12-07 00:00:00','Av. Brigadeiro Faria Lima, 2170','São José dos Campos','SP','Brazil','12227-000',13.86);
INSERT INTO "Invoice" VALUES(339,3,'2025-01-30 00:00:00','1498 rue Bélanger','Montréal','QC','Canada','H2G 1A7',5.94);
INSERT INTO "Invoice" VALUES(340,9,'2025-02-02 00:00:00','Sønder Boulevard 51','Copenhagen',NULL,'Denmark','1720',8.91);
INSERT INTO "Invoice" VALUES(349,11,'2025-03-18 00:00:00','Av. Paulista, 2022','São Paulo','SP','Brazil','01310-200',0.99);
INSERT INTO "Invoice" VALUES(350,12,'2025-03-31 00:00:00','Praça Pio X, 119','Rio de Janeiro','RJ','Brazil','20040-020',1.98);
INSERT INTO "Invoice" VALUES(361,5,'2025-05-06 00:00:00','Klanova 9/506','Prague',NULL,'Czech Republic','14700',8.91);
INSERT INTO "Invoice" VALUES(370,7,'2025-06-19 00:00:00','Rotenturmstraße 4, 1010 Innere Stadt','Vienne',NULL,'Austria','1010',0.99);
INSERT INTO "Invoice" VALUES(371,8,'2025-07-02 00:00:00','Grétrystraat 63','Brussels',NULL,'Belgium','1000',1.98);
INSERT INTO "Invoice" VALUES(372,10,'2025-07-02 00:00:00','Rua Dr. Falcão Filho, 155','São Paulo','SP','Brazil','01007-010',1.98);
INSERT INTO "Invoice" VALUES(373,12,'2025-07-03 00:00:00','Praça Pio X, 119','Rio de Janeiro','RJ','Brazil','20040-020',3.96);
INSERT INTO "Invoice" VALUES(382,1,'2025-08-07 00:00:00','Av. Brigadeiro Faria Lima, 2170','São José dos Campos','SP','Brazil','12227-000',8.91);
INSERT INTO "Invoice" VALUES(383,10,'2025-08-12 00:00:00','Rua Dr. Falcão Filho, 155','São Paulo','SP','Brazil','01007-010',13.86);
INSERT INTO "Invoice" VALUES(391,3,'2025-09-20 00:00:00','1498 rue Bélanger','Montréal','QC','Canada','H2G 1A7',0.99);
INSERT INTO "Invoice" VALUES(392,4,'2025-10-03 00:00:00','Ullevålsveien 14','Oslo',NULL,'Norway','0171',1.98);
INSERT INTO "Invoice" VALUES(393,6,'2025-10-03 00:00:00','Rilská 3174/6','Prague',NULL,'Czech Republic','14300',1.98);
INSERT INTO "Invoice" VALUES(394,8,'2025-10-04 00:00:00','Grétrystraat 63','Brussels',NULL,'Belgium','1000',3.96);
INSERT INTO "Invoice" VALUES(395,12,'2025-10-05 00:00:00','Praça Pio X, 119','Rio de Janeiro','RJ','Brazil','20040-020',5.94);
INSERT INTO "Invoice" VALUES(404,6,'2025-11-13 00:00:00','Rilská 3174/6','Prague',NULL,'Czech Republic','14300',25.86);
CREATE TABLE [InvoiceLine]
(
    [InvoiceLineId] INTEGER  NOT NULL,
    [InvoiceId] INTEGER  NOT NULL,
    [TrackId] INTEGER  NOT NULL,
    [UnitPrice] NUMERIC(10,2)  NOT NULL,
    [Quantity] INTEGER  NOT NULL,
    CONSTRAINT [PK_InvoiceLine] PRIMARY KEY  ([InvoiceLineId]),
    FOREIGN KEY ([InvoiceId]) REFERENCES [Invoice] ([InvoiceId])
		ON DELETE NO ACTION ON UPDATE NO ACTION,
    FOREIGN KEY ([TrackId]) REFERENCES [Track] ([TrackId])
		ON DELETE NO ACTION ON UPDATE NO ACTION
);
INSERT INTO "InvoiceLine" VALUES(1,1,2,0.99,1);
INSERT INTO "InvoiceLine" VALUES(2,1,4,0.99,1);
INSERT INTO "InvoiceLine" VALUES(3,2,6,0.99,1);
INSERT INTO "InvoiceLine" VALUES(4,2,8,0.99,1);
INSERT INTO "InvoiceLine" VALUES(5,2,10,0.99,1);
INSERT INTO "InvoiceLine" VALUES(6,2,12,0.99,1);
INSERT INTO "InvoiceLine" VALUES(7,3,16,0.99,1);
INSERT INTO "InvoiceLine" VALUES(8,3,20,0.99,1);
INSERT INTO "InvoiceLine" VALUES(9,3,24,0.99,1);
INSERT INTO "InvoiceLine" VALUES(10,3,28,0.99,1);
INSERT INTO "InvoiceLine" VALUES(11,3,32,0.99,1);
INSERT INTO "InvoiceLine" VALUES(12,3,36,0.99,1);
INSERT INTO "InvoiceLine" VALUES(67,12,394,0.99,1);
INSERT INTO "InvoiceLine" VALUES(68,12,403,0.99,1);
INSERT INTO "InvoiceLine" VALUES(592,110,76,0.99,1);
INSERT INTO "InvoiceLine" VALUES(593,110,85,0.99,1);
INSERT INTO "InvoiceLine" VALUES(594,110,94,0.99,1);
INSERT INTO "InvoiceLine" VALUES(595,110,103,0.99,1);
INSERT INTO "InvoiceLine" VALUES(1132,208,3396,0.99,1);
CREATE TABLE [MediaType]
(
    [MediaTypeId] INTEGER  NOT NULL,
    [Name] NVARCHAR(120),
    CONSTRAINT [PK_MediaType] PRIMARY KEY  ([MediaTypeId])
);
INSERT INTO "MediaType" VALUES(1,'MPEG audio file');
INSERT INTO "MediaType" VALUES(2,'Protected AAC audio file');
INSERT INTO "MediaType" VALUES(3,'Protected MPEG-4 video file');
INSERT INTO "MediaType" VALUES(4,'Purchased AAC audio file');
INSERT INTO "MediaType" VALUES(5,'AAC audio file');
CREATE TABLE [Playlist]
(
    [PlaylistId] INTEGER  NOT NULL,
    [Name] NVARCHAR(120),
    CONSTRAINT [PK_Playlist] PRIMARY KEY  ([PlaylistId])
);
INSERT INTO "Playlist" VALUES(1,'Music');
INSERT INTO "Playlist" VALUES(2,'Movies');
INSERT INTO "Playlist" VALUES(3,'TV Shows');
CREATE TABLE [PlaylistTrack]
(
    [PlaylistId] INTEGER  NOT NULL,
    [TrackId] INTEGER  NOT NULL,
    CONSTRAINT [PK_PlaylistTrack] PRIMARY KEY  ([PlaylistId], [TrackId]),
    FOREIGN KEY ([PlaylistId]) REFERENCES [Playlist] ([PlaylistId])
		ON DELETE NO ACTION ON UPDATE NO ACTION,
    FOREIGN KEY ([TrackId]) REFERENCES [Track] ([TrackId])
		ON DELETE NO ACTION ON UPDATE NO ACTION
);
INSERT INTO "PlaylistTrack" VALUES(1,9);
INSERT INTO "PlaylistTrack" VALUES(1,18);
INSERT INTO "PlaylistTrack" VALUES(1,27);
INSERT INTO "PlaylistTrack" VALUES(1,36);
INSERT INTO "PlaylistTrack" VALUES(1,45);
INSERT INTO "PlaylistTrack" VALUES(1,54);
INSERT INTO "PlaylistTrack" VALUES(1,63);
INSERT INTO "PlaylistTrack" VALUES(1,72);
INSERT INTO "PlaylistTrack" VALUES(1,81);
INSERT INTO "PlaylistTrack" VALUES(1,90);
INSERT INTO "PlaylistTrack" VALUES(1,99);
INSERT INTO "PlaylistTrack" VALUES(1,108);
INSERT INTO "PlaylistTrack" VALUES(1,396);
INSERT INTO "PlaylistTrack" VALUES(1,405);
INSERT INTO "PlaylistTrack" VALUES(1,3393);
INSERT INTO "PlaylistTrack" VALUES(1,3402);
CREATE TABLE [Track]
(
    [TrackId] INTEGER  NOT NULL,
    [Name] NVARCHAR(200)  NOT NULL,
    [AlbumId] INTEGER,
    [MediaTypeId] INTEGER  NOT NULL,
    [GenreId] INTEGER,
    [Composer] NVARCHAR(220),
    [Milliseconds] INTEGER  NOT NULL,
    [Bytes] INTEGER,
    [UnitPrice] NUMERIC(10,2)  NOT NULL,
    CONSTRAINT [PK_Track] PRIMARY KEY  ([TrackId]),
    FOREIGN KEY ([AlbumId]) REFERENCES [Album] ([AlbumId])
		ON DELETE NO ACTION ON UPDATE NO ACTION,
    FOREIGN KEY ([GenreId]) REFERENCES [Genre] ([GenreId])
		ON DELETE NO ACTION ON UPDATE NO ACTION,
    FOREIGN KEY ([MediaTypeId]) REFERENCES [MediaType] ([MediaTypeId])
		ON DELETE NO ACTION ON UPDATE NO ACTION
);
INSERT INTO "Track" VALUES(1,'For Those About To Rock (We Salute You)',1,1,1,'Angus Young, Malcolm Young, Brian Johnson',343719,11170334,0.99);
INSERT INTO "Track" VALUES(2,'Balls to the Wall',2,2,1,'U. Dirkschneider, W. Hoffmann, H. Frank, P. Baltes, S. Kaufmann, G. Hoffmann',342562,5510424,0.99);
INSERT INTO "Track" VALUES(3,'Fast As a Shark',3,2,1,'F. Baltes, S. Kaufman, U. Dirkscneider & W. Hoffman',230619,3990994,0.99);
INSERT INTO "Track" VALUES(4,'Restless and Wild',3,2,1,'F. Baltes, R.A. Smith-Diesel, S. Kaufman, U. Dirkscneider & W. Hoffman',252051,4331779,0.99);
INSERT INTO "Track" VALUES(5,'Princess of the Dawn',3,2,1,'Deaffy & R.A. Smith-Diesel',375418,6290521,0.99);
INSERT INTO "Track" VALUES(6,'Put The Finger On You',1,1,1,'Angus Young, Malcolm Young, Brian Johnson',205662,6713451,0.99);
INSERT INTO "Track" VALUES(7,'Let''s Get It Up',1,1,1,'Angus Young, Malcolm Young, Brian Johnson',233926,7636561,0.99);
INSERT INTO "Track" VALUES(8,'Inject The Venom',1,1,1,'Angus Young, Malcolm Young, Brian Johnson',210834,6852860,0.99);
INSERT INTO "Track" VALUES(9,'Snowballed',1,1,1,'Angus Young, Malcolm Young, Brian Johnson',203102,6599424,0.99);
INSERT INTO "Track" VALUES(10,'Evil Walks',1,1,1,'Angus Young, Malcolm Young, Brian Johnson',263497,8611245,0.99);
INSERT INTO "Track" VALUES(11,'C.O.D.',1,1,1,'Angus Young, Malcolm Young, Brian Johnson',199836,6566314,0.99);
INSERT INTO "Track" VALUES(12,'Breaking The Rules',1,1,1,'Angus Young, Malcolm Young, Brian Johnson',263288,8596840,0.99);
INSERT INTO "Track" VALUES(13,'Night Of The Long Knives',1,1,1,'Angus Young, Malcolm Young, Brian Johnson',205688,6706347,0.99);
INSERT INTO "Track" VALUES(14,'Spellbound',1,1,1,'Angus Young, Malcolm Young, Brian Johnson',270863,8817038,0.99);
INSERT INTO "Track" VALUES(15,'Go Down',4,1,1,'AC/DC',331180,10847611,0.99);
INSERT INTO "Track" VALUES(16,'Dog Eat Dog',4,1,1,'AC/DC',215196,7032162,0.99);
INSERT INTO "Track" VALUES(17,'Let There Be Rock',4,1,1,'AC/DC',366654,12021261,0.99);
INSERT INTO "Track" VALUES(18,'Bad Boy Boogie',4,1,1,'AC/DC',267728,8776140,0.99);
INSERT INTO "Track" VALUES(19,'Problem Child',4,1,1,'AC/DC',325041,10617116,0.99);
INSERT INTO "Track" VALUES(20,'Overdose',4,1,1,'AC/DC',369319,12066294,0.99);
INSERT INTO "Track" VALUES(21,'Hell Ain''t A Bad Place To Be',4,1,1,'AC/DC',254380,8331286,0.99);
INSERT INTO "Track" VALUES(22,'Whole Lotta Rosie',4,1,1,'AC/DC',323761,10547154,0.99);
INSERT INTO "Track" VALUES(23,'Walk On Water',5,1,1,'Steven Tyler, Joe Perry, Jack Blades, Tommy Shaw',295680,9719579,0.99);
INSERT INTO "Track" VALUES(24,'Love In An Elevator',5,1,1,'Steven Tyler, Joe Perry',321828,10552051,0.99);
INSERT INTO "Track" VALUES(25,'Rag Doll',5,1,1,'Steven Tyler, Joe Perry, Jim Vallance, Holly Knight',264698,8675345,0.99);
INSERT INTO "Track" VALUES(26,'What It Takes',5,1,1,'Steven Tyler, Joe Perry, Desmond Child',310622,10144730,0.99);
INSERT INTO "Track" VALUES(27,'Dude (Looks Like A Lady)',5,1,1,'Steven Tyler, Joe Perry, Desmond Child',264855,8679940,0.99);
INSERT INTO "Track" VALUES(28,'Janie''s Got A Gun',5,1,1,'Steven Tyler, Tom Hamilton',330736,10869391,0.99);
INSERT INTO "Track" VALUES(29,'Cryin''',5,1,1,'Steven Tyler, Joe Perry, Taylor Rhodes',309263,10056995,0.99);
INSERT INTO "Track" VALUES(30,'Amazing',5,1,1,'Steven Tyler, Richie Supa',356519,11616195,0.99);
INSERT INTO "Track" VALUES(31,'Blind Man',5,1,1,'Steven Tyler, Joe Perry, Taylor Rhodes',240718,7877453,0.99);
INSERT INTO "Track" VALUES(32,'Deuces Are Wild',5,1,1,'Steven Tyler, Jim Vallance',215875,7074167,0.99);
INSERT INTO "Track" VALUES(33,'The Other Side',5,1,1,'Steven Tyler, Jim Vallance',244375,7983270,0.99);
INSERT INTO "Track" VALUES(34,'Crazy',5,1,1,'Steven Tyler, Joe Perry, Desmond Child',316656,10402398,0.99);
INSERT INTO "Track" VALUES(35,'Eat The Rich',5,1,1,'Steven Tyler, Joe Perry, Jim Vallance',251036,8262039,0.99);
INSERT INTO "Track" VALUES(36,'Angel',5,1,1,'Steven Tyler, Desmond Child',307617,9989331,0.99);
INSERT INTO "Track" VALUES(37,'Livin'' On The Edge',5,1,1,'Steven Tyler, Joe Perry, Mark Hudson',381231,12374569,0.99);
INSERT INTO "Track" VALUES(38,'All I Really Want',6,1,1,'Alanis Morissette & Glenn Ballard',284891,9375567,0.99);
INSERT INTO "Track" VALUES(39,'You Oughta Know',6,1,1,'Alanis Morissette & Glenn Ballard',249234,8196916,0.99);
INSERT INTO "Track" VALUES(40,'Perfect',6,1,1,'Alanis Morissette & Glenn Ballard',188133,6145404,0.99);
INSERT INTO "Track" VALUES(41,'Hand In My Pocket',6,1,1,'Alanis Morissette & Glenn Ballard',221570,7224246,0.99);
INSERT INTO "Track" VALUES(42,'Right Through You',6,1,1,'Alanis Morissette & Glenn Ballard',176117,5793082,0.99);
INSERT INTO "Track" VALUES(43,'Forgiven',6,1,1,'Alanis Morissette & Glenn Ballard',300355,9753256,0.99);
INSERT INTO "Track" VALUES(44,'You Learn',6,1,1,'Alanis Morissette & Glenn Ballard',239699,7824837,0.99);
INSERT INTO "Track" VALUES(45,'Head Over Feet',6,1,1,'Alanis Morissette & Glenn Ballard',267493,8758008,0.99);
INSERT INTO "Track" VALUES(46,'Mary Jane',6,1,1,'Alanis Morissette & Glenn Ballard',280607,9163588,0.99);
INSERT INTO "Track" VALUES(47,'Ironic',6,1,1,'Alanis Morissette & Glenn Ballard',229825,7598866,0.99);
INSERT INTO "Track" VALUES(48,'Not The Doctor',6,1,1,'Alanis Morissette & Glenn Ballard',227631,7604601,0.99);
INSERT INTO "Track" VALUES(49,'Wake Up',6,1,1,'Alanis Morissette & Glenn Ballard',293485,9703359,0.99);
INSERT INTO "Track" VALUES(50,'You Oughta Know (Alternate)',6,1,1,'Alanis Morissette & Glenn Ballard',491885,16008629,0.99);
INSERT INTO "Track" VALUES(51,'We Die Young',7,1,1,'Jerry Cantrell',152084,4925362,0.99);
INSERT INTO "Track" VALUES(52,'Man In The Box',7,1,1,'Jerry Cantrell, Layne Staley',286641,9310272,0.99);
INSERT INTO "Track" VALUES(53,'Sea Of Sorrow',7,1,1,'Jerry Cantrell',349831,11316328,0.99);
INSERT INTO "Track" VALUES(54,'Bleed The Freak',7,1,1,'Jerry Cantrell',241946,7847716,0.99);
INSERT INTO "Track" VALUES(55,'I Can''t Remember',7,1,1,'Jerry Cantrell, Layne Staley',222955,7302550,0.99);
INSERT INTO "Track" VALUES(56,'Love, Hate, Love',7,1,1,'Jerry Cantrell, Layne Staley',387134,12575396,0.99);
INSERT INTO "Track" VALUES(57,'It Ain''t Like That',7,1,1,'Jerry Cantrell, Michael Starr, Sean Kinney',277577,8993793,0.99);
INSERT INTO "Track" VALUES(58,'Sunshine',7,1,1,'Jerry Cantrell',284969,9216057,0.99);
INSERT INTO "Track" VALUES(59,'Put You Down',7,1,1,'Jerry Cantrell',196231,6420530,0.99);
INSERT INTO "Track" VALUES(60,'Confusion',7,1,1,'Jerry Cantrell, Michael Starr, Layne Staley',344163,11183647,0.99);
INSERT INTO "Track" VALUES(61,'I Know Somethin (Bout You)',7,1,1,'Jerry Cantrell',261955,8497788,0.99);
INSERT INTO "Track" VALUES(62,'Real Thing',7,1,1,'Jerry Cantrell, Layne Staley',243879,7937731,0.99);
INSERT INTO "Track" VALUES(63,'Desafinado',8,1,2,NULL,185338,5990473,0.99);
INSERT INTO "Track" VALUES(64,'Garota De Ipanema',8,1,2,NULL,285048,9348428,0.99);
INSERT INTO "Track" VALUES(65,'Samba De Uma Nota Só (One Note Samba)',8,1,2,NULL,137273,4535401,0.99);
INSERT INTO "Track" VALUES(66,'Por Causa De Você',8,1,2,NULL,169900,5536496,0.99);
INSERT INTO "Track" VALUES(67,'Ligia',8,1,2,NULL,251977,8226934,0.99);
INSERT INTO "Track" VALUES(68,'Fotografia',8,1,2,NULL,129227,4198774,0.99);
INSERT INTO "Track" VALUES(69,'Dindi (Dindi)',8,1,2,NULL,253178,8149148,0.99);
INSERT INTO "Track" VALUES(70,'Se Todos Fossem Iguais A Você (Instrumental)',8,1,2,NULL,134948,4393377,0.99);
INSERT INTO "Track" VALUES(71,'Falando De Amor',8,1,2,NULL,219663,7121735,0.99);
INSERT INTO "Track" VALUES(72,'Angela',8,1,2,NULL,169508,5574957,0.99);
INSERT INTO "Track" VALUES(73,'Corcovado (Quiet Nights Of Quiet Stars)',8,1,2,NULL,205662,6687994,0.99);
INSERT INTO "Track" VALUES(74,'Outra Vez',8,1,2,NULL,126511,4110053,0.99);
INSERT INTO "Track" VALUES(75,'O Boto (Bôto)',8,1,2,NULL,366837,12089673,0.99);
INSERT INTO "Track" VALUES(76,'Canta, Canta Mais',8,1,2,NULL,271856,8719426,0.99);
INSERT INTO "Track" VALUES(77,'Enter Sandman',9,1,3,'Apocalyptica',221701,7286305,0.99);
INSERT INTO "Track" VALUES(78,'Master Of Puppets',9,1,3,'Apocalyptica',436453,14375310,0.99);
INSERT INTO "Track" VALUES(79,'Harvester Of Sorrow',9,1,3,'Apocalyptica',374543,12372536,0.99);
INSERT INTO "Track" VALUES(80,'The Unforgiven',9,1,3,'Apocalyptica',322925,10422447,0.99);
INSERT INTO "Track" VALUES(81,'Sad But True',9,1,3,'Apocalyptica',288208,9405526,0.99);
INSERT INTO "Track" VALUES(82,'Creeping Death',9,1,3,'Apocalyptica',308035,10110980,0.99);
INSERT INTO "Track" VALUES(83,'Wherever I May Roam',9,1,3,'Apocalyptica',369345,12033110,0.99);
INSERT INTO "Track" VALUES(84,'Welcome Home (Sanitarium)',9,1,3,'Apocalyptica',350197,11406431,0.99);
INSERT INTO "Track" VALUES(85,'Cochise',10,1,1,'Audioslave/Chris Cornell',222380,5339931,0.99);
INSERT INTO "Track" VALUES(86,'Show Me How to Live',10,1,1,'Audioslave/Chris Cornell',277890,6672176,0.99);
INSERT INTO "Track" VALUES(87,'Gasoline',10,1,1,'Audioslave/Chris Cornell',279457,6709793,0.99);
INSERT INTO "Track" VALUES(88,'What You Are',10,1,1,'Audioslave/Chris Cornell',249391,5988186,0.99);
INSERT INTO "Track" VALUES(89,'Like a Stone',10,1,1,'Audioslave/Chris Cornell',294034,7059624,0.99);
INSERT INTO "Track" VALUES(90,'Set It Off',10,1,1,'Audioslave/Chris Cornell',263262,6321091,0.99);
INSERT INTO "Track" VALUES(91,'Shadow on the Sun',10,1,1,'Audioslave/Chris Cornell',343457,8245793,0.99);
INSERT INTO "Track" VALUES(92,'I am the Highway',10,1,1,'Audioslave/Chris Cornell',334942,8041411,0.99);
INSERT INTO "Track" VALUES(93,'Exploder',10,1,1,'Audioslave/Chris Cornell',206053,4948095,0.99);
INSERT INTO "Track" VALUES(94,'Hypnotize',10,1,1,'Audioslave/Chris Cornell',206628,4961887,0.99);
INSERT INTO "Track" VALUES(95,'Bring''em Back Alive',10,1,1,'Audioslave/Chris Cornell',329534,7911634,0.99);
INSERT INTO "Track" VALUES(96,'Light My Way',10,1,1,'Audioslave/Chris Cornell',303595,7289084,0.99);
INSERT INTO "Track" VALUES(97,'Getaway Car',10,1,1,'Audioslave/Chris Cornell',299598,7193162,0.99);
INSERT INTO "Track" VALUES(98,'The Last Remaining Light',10,1,1,'Audioslave/Chris Cornell',317492,7622615,0.99);
INSERT INTO "Track" VALUES(99,'Your Time Has Come',11,1,4,'Cornell, Commerford, Morello, Wilk',255529,8273592,0.99);
INSERT INTO "Track" VALUES(100,'Out Of Exile',11,1,4,'Cornell, Commerford, Morello, Wilk',291291,9506571,0.99);
INSERT INTO "Track" VALUES(101,'Be Yourself',11,1,4,'Cornell, Commerford, Morello, Wilk',279484,9106160,0.99);
INSERT INTO "Track" VALUES(102,'Doesn''t Remind Me',11,1,4,'Cornell, Commerford, Morello, Wilk',255869,8357387,0.99);
INSERT INTO "Track" VALUES(103,'Drown Me Slowly',11,1,4,'Cornell, Commerford, Morello, Wilk',233691,7609178,0.99);
INSERT INTO "Track" VALUES(104,'Heaven''s Dead',11,1,4,'Cornell, Commerford, Morello, Wilk',276688,9006158,0.99);
INSERT INTO "Track" VALUES(105,'The Worm',11,1,4,'Cornell, Commerford, Morello, Wilk',237714,7710800,0.99);
INSERT INTO "Track" VALUES(106,'Man Or Animal',11,1,4,'Cornell, Commerford, Morello, Wilk',233195,7542942,0.99);
INSERT INTO "Track" VALUES(107,'Yesterday To Tomorrow',11,1,4,'Cornell, Commerford, Morello, Wilk',273763,8944205,0.99);
INSERT INTO "Track" VALUES(108,'Dandelion',11,1,4,'Cornell, Commerford, Morello, Wilk',278125,9003592,0.99);
INSERT INTO "Track" VALUES(109,'#1 Zero',11,1,4,'Cornell, Commerford, Morello, Wilk',299102,9731988,0.99);
INSERT INTO "Track" VALUES(110,'The Curse',11,1,4,'Cornell, Commerford, Morello, Wilk',309786,10029406,0.99);
INSERT INTO "Track" VALUES(391,'Garota De Ipanema',34,1,7,'Vários',279536,9141343,0.99);
INSERT INTO "Track" VALUES(392,'Tim Tim Por Tim Tim',34,1,7,'Vários',213237,7143328,0.99);
INSERT INTO "Track" VALUES(393,'Tarde Em Itapoã',34,1,7,'Vários',313704,10344491,0.99);
INSERT INTO "Track" VALUES(394,'Tanto Tempo',34,1,7,'Vários',170292,5572240,0.99);
INSERT INTO "Track" VALUES(395,'Eu Vim Da Bahia - Live',34,1,7,'Vários',157988,5115428,0.99);
INSERT INTO "Track" VALUES(396,'Alô Alô Marciano',34,1,7,'Vários',238106,8013065,0.99);
INSERT INTO "Track" VALUES(397,'Linha Do Horizonte',34,1,7,'Vários',279484,9275929,0.99);
INSERT INTO "Track" VALUES(398,'Only A Dream In Rio',34,1,7,'Vários',371356,12192989,0.99);
INSERT INTO "Track" VALUES(399,'Abrir A Porta',34,1,7,'Vários',271960,8991141,0.99);
INSERT INTO "Track" VALUES(400,'Alice',34,1,7,'Vários',165982,5594341,0.99);
INSERT INTO "Track" VALUES(401,'Momentos Que Marcam',34,1,7,'Vários',280137,9313740,0.99);
INSERT INTO "Track" VALUES(402,'Um Jantar Pra Dois',34,1,7,'Vários',237714,7819755,0.99);
INSERT INTO "Track" VALUES(403,'Bumbo Da Mangueira',34,1,7,'Vários',270158,9073350,0.99);
INSERT INTO "Track" VALUES(404,'Mr Funk Samba',34,1,7,'Vários',213890,7102545,0.99);
INSERT INTO "Track" VALUES(405,'Santo Antonio',34,1,7,'Vários',162716,5492069,0.99);
INSERT INTO "Track" VALUES(406,'Por Você',34,1,7,'Vários',205557,6792493,0.99);
INSERT INTO "Track" VALUES(407,'Só Tinha De Ser Com Você',34,1,7,'Vários',389642,13085596,0.99);
INSERT INTO "Track" VALUES(3389,'Revelations',271,2,23,NULL,252376,4111051,0.99);
INSERT INTO "Track" VALUES(3390,'One and the Same',271,2,23,NULL,217732,3559040,0.99);
INSERT INTO "Track" VALUES(3391,'Sound of a Gun',271,2,23,NULL,260154,4234990,0.99);
INSERT INTO "Track" VALUES(3392,'Until We Fall',271,2,23,NULL,230758,3766605,0.99);
INSERT INTO "Track" VALUES(3393,'Original Fire',271,2,23,NULL,218916,3577821,0.99);
INSERT INTO "Track" VALUES(3394,'Broken City',271,2,23,NULL,228366,3728955,0.99);
INSERT INTO "Track" VALUES(3395,'Somedays',271,2,23,NULL,213831,3497176,0.99);
INSERT INTO "Track" VALUES(3396,'Shape of Things to Come',271,2,23,NULL,274597,4465399,0.99);
INSERT INTO "Track" VALUES(3397,'Jewel of the Summertime',271,2,23,NULL,233242,3806103,0.99);
INSERT INTO "Track" VALUES(3398,'Wide Awake',271,2,23,NULL,266308,4333050,0.99);
INSERT INTO "Track" VALUES(3399,'Nothing Left to Say But Goodbye',271,2,23,NULL,213041,3484335,0.99);
INSERT INTO "Track" VALUES(3400,'Moth',271,2,23,NULL,298049,4838884,0.99);
INSERT INTO "Track" VALUES(3401,'Show Me How to Live (Live at the Quart Festival)',271,2,23,NULL,301974,4901540,0.99);
INSERT INTO "Track" VALUES(3402,'Band Members Discuss Tracks from "Revelations"',271,3,23,NULL,294294,61118891,0.99);
CREATE INDEX [IFK_AlbumArtistId] ON [Album] ([ArtistId]);
CREATE INDEX [IFK_CustomerSupportRepId] ON [Customer] ([SupportRepId]);
CREATE INDEX [IFK_EmployeeReportsTo] ON [Employee] ([ReportsTo]);
CREATE INDEX [IFK_InvoiceCustomerId] ON [Invoice] ([CustomerId]);
CREATE INDEX [IFK_InvoiceLineInvoiceId] ON [InvoiceLine] ([InvoiceId]);
CREATE INDEX [IFK_InvoiceLineTrackId] ON [InvoiceLine] ([TrackId]);
CREATE INDEX [IFK_PlaylistTrackPlaylistId] ON [PlaylistTrack] ([PlaylistId]);
CREATE INDEX [IFK_PlaylistTrackTrackId] ON [PlaylistTrack] ([TrackId]);
CREATE INDEX [IFK_TrackAlbumId] ON [Track] ([AlbumId]);
CREATE INDEX [IFK_TrackGenreId] ON [Track] ([GenreId]);
CREATE INDEX [IFK_TrackMediaTypeId] ON [Track] ([MediaTypeId]);
