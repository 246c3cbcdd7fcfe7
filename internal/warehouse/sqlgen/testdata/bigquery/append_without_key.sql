-- the table
CREATE SCHEMA IF NOT EXISTS `millrace`;
CREATE SCHEMA IF NOT EXISTS `core`;
CREATE SCHEMA IF NOT EXISTS `core__base`;

CREATE TABLE IF NOT EXISTS `core__base`.`events` (
  `line` STRING,
  _op STRING,
  _pos STRING,
  _ts TIMESTAMP,
  _load INT64,
  _unset STRING,
  _loaded_at TIMESTAMP,
  _extra JSON
)
OPTIONS (labels = [('millrace', 'core')]);

CREATE OR REPLACE VIEW `core`.`events`
OPTIONS (labels = [('millrace', 'view'), ('generation', '1')]) AS
SELECT `line`, _op, _pos, _ts, _load, _unset
FROM `core__base`.`events`;

CREATE TABLE IF NOT EXISTS `millrace`.`core__events__head` (
  name STRING, mode STRING, key JSON, epoch INT64, fence INT64, load INT64, topic STRING, topic_id STRING,
  offsets JSON, marks JSON, horizon STRING, complete_pos STRING, complete_time TIMESTAMP,
  snapshot_pos STRING, snapshot_running BOOL, snapshot_done BOOL, unsettable JSON, generation INT64
)
OPTIONS (labels = [('millrace', 'head')])
AS SELECT 'core.events' AS name, 'append' AS mode, PARSE_JSON('["id"]') AS key, 0 AS epoch, 0 AS fence, 0 AS load, '' AS topic, '' AS topic_id,
  PARSE_JSON('{}') AS offsets, PARSE_JSON('{}') AS marks, '' AS horizon, '' AS complete_pos, CAST(NULL AS TIMESTAMP) AS complete_time,
  '' AS snapshot_pos, FALSE AS snapshot_running, FALSE AS snapshot_done, PARSE_JSON('["a\\\\b"]') AS unsettable, 1 AS generation;

CREATE TABLE IF NOT EXISTS `millrace`.`core__events__loads` (load INT64, committed_at TIMESTAMP, event JSON)
CLUSTER BY load
OPTIONS (labels = [('millrace', 'loads')]);

CREATE TABLE IF NOT EXISTS `millrace`.`core__events__needs` (spec STRING, kind STRING, column_name STRING, seen_at TIMESTAMP)
OPTIONS (labels = [('millrace', 'needs')]);

CREATE TABLE IF NOT EXISTS `millrace`.`core__events__stage_17082ea0` (v0 STRING, op STRING, pos STRING, ts TIMESTAMP, unset STRING, _batch STRING, _staged_at TIMESTAMP)
PARTITION BY TIMESTAMP_TRUNC(_staged_at, HOUR)
CLUSTER BY _batch
OPTIONS (labels = [('millrace', 'stage')], partition_expiration_days = 1);

-- a load
DECLARE n_written, n_inserted, n_updated, n_deleted, n_read INT64 DEFAULT 0;
DECLARE this_event STRING;
CREATE OR REPLACE TEMP TABLE millrace_effect (removed BOOL, was BOOL, live BOOL, diff BOOL, op STRING);
CREATE TEMP TABLE millrace_stage (v0 STRING, op STRING, pos STRING, ts TIMESTAMP, unset STRING) AS
SELECT v0, op, pos, ts, unset
FROM `millrace`.`core__events__stage_17082ea0`
WHERE _batch = 'b-7' AND _staged_at = TIMESTAMP_MICROS(1700000000000000);
ASSERT (SELECT COUNT(*) FROM millrace_stage) = 3 AS 'millrace: the stage has not the rows that were written to it';
ASSERT NOT EXISTS (SELECT max(pos) FROM millrace_stage GROUP BY pos HAVING count(*) > 1 LIMIT 1) AS 'millrace: two staged rows have one key';
BEGIN TRANSACTION;
UPDATE `millrace`.`core__events__head` SET load = 7, fence = fence + 1, offsets = PARSE_JSON('{"0":12}'), marks = PARSE_JSON('{}'),
  horizon = '00000001/000000000000002A/0000000000000000/00000000', complete_pos = '', complete_time = NULL, snapshot_pos = '', snapshot_running = FALSE, snapshot_done = TRUE
WHERE epoch = 2 AND load = 7 - 1;
ASSERT @@row_count = 1 AS 'millrace: the head is not this writer\'s';
INSERT INTO millrace_effect
SELECT FALSE,
  FALSE,
  TRUE,
  TRUE,
  s.op
FROM millrace_stage AS s LEFT JOIN `core__base`.`events` AS t ON t._pos = s.pos
WHERE t._pos IS NULL AND s.pos >= '00000001/000000000000002A/0000000000000000/00000000';
SET (n_written, n_inserted, n_updated, n_deleted, n_read) = (
SELECT AS STRUCT count(*), COUNTIF(live AND NOT was), COUNTIF(live AND was),
  COUNTIF(was AND NOT live), COUNTIF(op = 'r')
FROM millrace_effect WHERE NOT removed
);
INSERT INTO `core__base`.`events` (`line`, _op, _pos, _ts, _unset, _load, _loaded_at)
SELECT s.v0, s.op, s.pos, s.ts, s.unset, 7, TIMESTAMP_MICROS(1700000000000000)
FROM millrace_stage AS s LEFT JOIN `core__base`.`events` AS t ON t._pos = s.pos
WHERE t._pos IS NULL AND s.pos >= '00000001/000000000000002A/0000000000000000/00000000';
ASSERT @@row_count = n_written AS 'millrace: another number of rows was written than was counted';
SET this_event = CONCAT('{"rows":{"read":3,',
  '"applied":',
  CAST(n_written AS STRING),
  ',"inserted":',
  CAST(n_inserted AS STRING),
  ',"updated":',
  CAST(n_updated AS STRING),
  ',"deleted":',
  CAST(n_deleted AS STRING),
  ',"stale":',
  CAST(3 - n_written AS STRING),
  '},"snapshot":{"done":true,"running":',
  'false',
  '},"buckets":[',
  '],"table":"it\'s"}');
INSERT INTO `millrace`.`core__events__loads` (load, committed_at, event) VALUES (7, TIMESTAMP_MICROS(1700000000000000), PARSE_JSON(this_event));
COMMIT TRANSACTION;
SELECT this_event AS event, COALESCE((
SELECT CONCAT('[', STRING_AGG(TO_JSON_STRING([spec, kind, column_name])), ']') FROM `millrace`.`core__events__needs`
), '[]') AS needs;

-- a load without rows
DECLARE n_written, n_inserted, n_updated, n_deleted, n_read INT64 DEFAULT 0;
DECLARE this_event STRING;
BEGIN TRANSACTION;
UPDATE `millrace`.`core__events__head` SET load = 7, fence = fence + 1, offsets = PARSE_JSON('{"0":12}'), marks = PARSE_JSON('{}'),
  horizon = '00000001/000000000000002A/0000000000000000/00000000', complete_pos = '', complete_time = NULL, snapshot_pos = '', snapshot_running = FALSE, snapshot_done = TRUE
WHERE epoch = 2 AND load = 7 - 1;
ASSERT @@row_count = 1 AS 'millrace: the head is not this writer\'s';
SET this_event = CONCAT('{"rows":{"read":3,',
  '"applied":',
  CAST(n_written AS STRING),
  ',"inserted":',
  CAST(n_inserted AS STRING),
  ',"updated":',
  CAST(n_updated AS STRING),
  ',"deleted":',
  CAST(n_deleted AS STRING),
  ',"stale":',
  CAST(0 - n_written AS STRING),
  '},"snapshot":{"done":true,"running":',
  'false',
  '},"buckets":[',
  '],"table":"it\'s"}');
INSERT INTO `millrace`.`core__events__loads` (load, committed_at, event) VALUES (7, TIMESTAMP_MICROS(1700000000000000), PARSE_JSON(this_event));
COMMIT TRANSACTION;
SELECT this_event AS event, COALESCE((
SELECT CONCAT('[', STRING_AGG(TO_JSON_STRING([spec, kind, column_name])), ']') FROM `millrace`.`core__events__needs`
), '[]') AS needs;

-- its columns change
ALTER TABLE `core__base`.`events`
  ADD COLUMN IF NOT EXISTS `line` STRING;

ALTER TABLE `core__base`.`events` ALTER COLUMN `line` SET DATA TYPE STRING;

