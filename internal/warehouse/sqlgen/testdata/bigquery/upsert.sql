-- the table
CREATE SCHEMA IF NOT EXISTS `millrace`;
CREATE SCHEMA IF NOT EXISTS `core`;
CREATE SCHEMA IF NOT EXISTS `core__base`;

CREATE TABLE IF NOT EXISTS `core__base`.`accounts` (
  `id` INT64,
  `at` TIMESTAMP,
  `k_string` STRING,
  `k_date` DATE,
  `k_timestamp` TIMESTAMP,
  `k_datetime` DATETIME,
  `k_bool` BOOL,
  `k_numeric` NUMERIC(20, 0),
  `it's big` JSON,
  _pos STRING,
  _load INT64,
  _loaded_at TIMESTAMP,
  PRIMARY KEY (`id`, `k_string`, `k_date`, `k_timestamp`, `k_datetime`, `k_bool`, `k_numeric`) NOT ENFORCED
)
CLUSTER BY `id`, `k_string`, `k_date`, `k_timestamp`
OPTIONS (labels = [('millrace', 'core')], description = 'by key');

CREATE OR REPLACE VIEW `core`.`accounts`
OPTIONS (labels = [('millrace', 'view'), ('generation', '1')], description = 'by key') AS
SELECT `id`, `at`, `k_string`, `k_date`, `k_timestamp`, `k_datetime`, `k_bool`, `k_numeric`, `it's big`
FROM `core__base`.`accounts`;

CREATE TABLE IF NOT EXISTS `millrace`.`core__accounts__head` (
  name STRING, mode STRING, key JSON, epoch INT64, fence INT64, load INT64, topic STRING, topic_id STRING,
  offsets JSON, marks JSON, horizon STRING, complete_pos STRING, complete_time TIMESTAMP,
  snapshot_pos STRING, snapshot_running BOOL, snapshot_done BOOL, unsettable JSON, generation INT64
)
OPTIONS (labels = [('millrace', 'head')])
AS SELECT 'core.accounts' AS name, 'upsert' AS mode, PARSE_JSON('["id"]') AS key, 0 AS epoch, 0 AS fence, 0 AS load, '' AS topic, '' AS topic_id,
  PARSE_JSON('{}') AS offsets, PARSE_JSON('{}') AS marks, '' AS horizon, '' AS complete_pos, CAST(NULL AS TIMESTAMP) AS complete_time,
  '' AS snapshot_pos, FALSE AS snapshot_running, FALSE AS snapshot_done, PARSE_JSON('[]') AS unsettable, 1 AS generation;

CREATE TABLE IF NOT EXISTS `millrace`.`core__accounts__loads` (load INT64, committed_at TIMESTAMP, event JSON)
CLUSTER BY load
OPTIONS (labels = [('millrace', 'loads')]);

-- a load
BEGIN TRANSACTION;
UPDATE `millrace`.`core__accounts__head` SET load = 7, fence = fence + 1, offsets = PARSE_JSON('{"0":12}'), marks = PARSE_JSON('{}'),
  horizon = '', complete_pos = '00000001/000000000000002A/0000000000000000/00000000', complete_time = NULL, snapshot_pos = '', snapshot_running = FALSE, snapshot_done = TRUE
WHERE epoch = 2 AND load = 7 - 1;
ASSERT @@row_count = 1 AS 'millrace: the head is not this writer\'s';
INSERT INTO `millrace`.`core__accounts__loads` (load, committed_at, event) VALUES (7, TIMESTAMP_MICROS(1700000000000000), PARSE_JSON('{"table":"it\'s"}'));
COMMIT TRANSACTION;

-- its columns change
ALTER TABLE `core__base`.`accounts`
  ADD COLUMN IF NOT EXISTS `id` INT64;

ALTER TABLE `core__base`.`accounts` ALTER COLUMN `id` SET DATA TYPE INT64;

-- what was loaded before an instant
SELECT TO_JSON_STRING(event) FROM `millrace`.`core__accounts__loads` WHERE load < 7 AND committed_at < TIMESTAMP_MICROS(1700000000000000) ORDER BY load DESC LIMIT 100;

-- what is taken in
CREATE TABLE IF NOT EXISTS `millrace`.`core__accounts__g2__head` (
  name STRING, mode STRING, key JSON, epoch INT64, fence INT64, load INT64, topic STRING, topic_id STRING,
  offsets JSON, marks JSON, horizon STRING, complete_pos STRING, complete_time TIMESTAMP,
  snapshot_pos STRING, snapshot_running BOOL, snapshot_done BOOL, unsettable JSON, generation INT64
)
OPTIONS (labels = [('millrace', 'head')])
AS SELECT 'core.accounts__g2' AS name, 'upsert' AS mode, PARSE_JSON('["id"]') AS key, 0 AS epoch, 0 AS fence, 0 AS load, '' AS topic, '' AS topic_id,
  PARSE_JSON('{}') AS offsets, PARSE_JSON('{}') AS marks, '' AS horizon, '' AS complete_pos, CAST(NULL AS TIMESTAMP) AS complete_time,
  '' AS snapshot_pos, FALSE AS snapshot_running, FALSE AS snapshot_done, PARSE_JSON('[]') AS unsettable, 1 AS generation;

CREATE TABLE IF NOT EXISTS `millrace`.`core__accounts__g2__loads` (load INT64, committed_at TIMESTAMP, event JSON)
CLUSTER BY load
OPTIONS (labels = [('millrace', 'loads')]);

CREATE TABLE IF NOT EXISTS `millrace`.`core__accounts__g2__needs` (spec STRING, kind STRING, column_name STRING, seen_at TIMESTAMP)
OPTIONS (labels = [('millrace', 'needs')]);

CREATE TABLE IF NOT EXISTS `core__base`.`accounts__g2` (
  `id` INT64,
  `at` TIMESTAMP,
  `k_string` STRING,
  `k_date` DATE,
  `k_timestamp` TIMESTAMP,
  `k_datetime` DATETIME,
  `k_bool` BOOL,
  `k_numeric` NUMERIC(20, 0),
  `it's big` JSON,
  _pos STRING,
  _load INT64,
  _loaded_at TIMESTAMP,
  PRIMARY KEY (`id`, `k_string`, `k_date`, `k_timestamp`, `k_datetime`, `k_bool`, `k_numeric`) NOT ENFORCED
)
CLUSTER BY `id`, `k_string`, `k_date`, `k_timestamp`
OPTIONS (labels = [('millrace', 'core')], description = 'by key');

CREATE OR REPLACE VIEW `core`.`accounts__g2`
OPTIONS (labels = [('millrace', 'view'), ('generation', '1')], description = 'by key') AS
SELECT `id`, `at`, `k_string`, `k_date`, `k_timestamp`, `k_datetime`, `k_bool`, `k_numeric`, `it's big`
FROM `core__base`.`accounts__g2`;

-- the next generation
ASSERT (SELECT COUNT(*) FROM `millrace`.`core__accounts__head` WHERE epoch = 2 AND load = 7) = 1 AS 'millrace: the head is not this writer\'s';
ASSERT (SELECT COUNT(*) FROM `millrace`.`core__accounts__g2__head` WHERE epoch = 1 AND load = 3) = 1 AS 'millrace: the head is not this writer\'s';
CREATE OR REPLACE VIEW `core`.`accounts`
OPTIONS (labels = [('millrace', 'view'), ('generation', '2')], description = 'by key') AS
SELECT `id`, `at`, `k_string`, `k_date`, `k_timestamp`, `k_datetime`, `k_bool`, `k_numeric`, `it's big`
FROM `core__base`.`accounts__g2`;
BEGIN TRANSACTION;
UPDATE `millrace`.`core__accounts__head` SET load = 8, fence = fence + 1, offsets = PARSE_JSON('{"0":12}'), marks = PARSE_JSON('{}'),
  horizon = '', complete_pos = '00000001/000000000000002A/0000000000000000/00000000', complete_time = NULL, snapshot_pos = '', snapshot_running = FALSE, snapshot_done = TRUE,
  mode = 'upsert', key = PARSE_JSON('["id"]'), topic = 'topic', topic_id = 'id-2', unsettable = PARSE_JSON('[]'), generation = 2
WHERE epoch = 2 AND load = 8 - 1;
ASSERT @@row_count = 1 AS 'millrace: the head is not this writer\'s';
DELETE FROM `millrace`.`core__accounts__g2__head` WHERE epoch = 1 AND load = 3;
ASSERT @@row_count = 1 AS 'millrace: the head is not this writer\'s';
INSERT INTO `millrace`.`core__accounts__loads` (load, committed_at, event) VALUES (8, TIMESTAMP_MICROS(1700000000000000), PARSE_JSON('{"table":"it\'s"}'));
COMMIT TRANSACTION;
ALTER TABLE IF EXISTS `core__base`.`accounts` SET OPTIONS (expiration_timestamp = TIMESTAMP '2023-11-15T22:13:20Z');
DROP TABLE IF EXISTS `millrace`.`core__accounts__g2__head`;
DROP TABLE IF EXISTS `millrace`.`core__accounts__g2__loads`;
DROP TABLE IF EXISTS `millrace`.`core__accounts__g2__needs`;
DROP TABLE IF EXISTS `millrace`.`core__accounts__g2__changes`;
DROP VIEW IF EXISTS `core`.`accounts__g2`;

CREATE OR REPLACE VIEW `core`.`accounts`
OPTIONS (labels = [('millrace', 'view'), ('generation', '2')], description = 'by key') AS
SELECT `id`, `at`, `k_string`, `k_date`, `k_timestamp`, `k_datetime`, `k_bool`, `k_numeric`, `it's big`
FROM `core__base`.`accounts__g2`;
ALTER TABLE IF EXISTS `core__base`.`accounts` SET OPTIONS (expiration_timestamp = TIMESTAMP '2023-11-15T22:13:20Z');
DROP TABLE IF EXISTS `millrace`.`core__accounts__g2__head`;
DROP TABLE IF EXISTS `millrace`.`core__accounts__g2__loads`;
DROP TABLE IF EXISTS `millrace`.`core__accounts__g2__needs`;
DROP TABLE IF EXISTS `millrace`.`core__accounts__g2__changes`;
DROP VIEW IF EXISTS `core`.`accounts__g2`;

