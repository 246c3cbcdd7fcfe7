-- the table
CREATE SCHEMA IF NOT EXISTS `millrace`;
CREATE SCHEMA IF NOT EXISTS `core`;
CREATE SCHEMA IF NOT EXISTS `core__base`;

CREATE TABLE IF NOT EXISTS `core__base`.`payments_history` (
  `id` INT64,
  `note` STRING,
  `at` DATETIME,
  _op STRING,
  _pos STRING,
  _ts TIMESTAMP,
  _load INT64,
  _unset STRING,
  _loaded_at TIMESTAMP,
  _extra JSON
)
PARTITION BY DATETIME_TRUNC(`at`, DAY)
CLUSTER BY `id`
OPTIONS (labels = [('millrace', 'core')]);

CREATE OR REPLACE VIEW `core`.`payments_history`
OPTIONS (labels = [('millrace', 'view'), ('generation', '1')]) AS
SELECT `id`, `note`, `at`, _op, _pos, _ts, _load, _unset
FROM `core__base`.`payments_history`;

CREATE TABLE IF NOT EXISTS `millrace`.`core__payments_history__head` (
  name STRING, mode STRING, key JSON, epoch INT64, fence INT64, load INT64, topic STRING, topic_id STRING,
  offsets JSON, marks JSON, horizon STRING, complete_pos STRING, complete_time TIMESTAMP,
  snapshot_pos STRING, snapshot_running BOOL, snapshot_done BOOL, unsettable JSON, generation INT64
)
OPTIONS (labels = [('millrace', 'head')])
AS SELECT 'core.payments_history' AS name, 'append' AS mode, PARSE_JSON('["id"]') AS key, 0 AS epoch, 0 AS fence, 0 AS load, '' AS topic, '' AS topic_id,
  PARSE_JSON('{}') AS offsets, PARSE_JSON('{}') AS marks, '' AS horizon, '' AS complete_pos, CAST(NULL AS TIMESTAMP) AS complete_time,
  '' AS snapshot_pos, FALSE AS snapshot_running, FALSE AS snapshot_done, PARSE_JSON('["a\\\\b"]') AS unsettable, 1 AS generation;

CREATE TABLE IF NOT EXISTS `millrace`.`core__payments_history__loads` (load INT64, committed_at TIMESTAMP, event JSON)
CLUSTER BY load
OPTIONS (labels = [('millrace', 'loads')]);

CREATE TABLE IF NOT EXISTS `millrace`.`core__payments_history__needs` (spec STRING, kind STRING, column_name STRING, seen_at TIMESTAMP)
OPTIONS (labels = [('millrace', 'needs')]);

CREATE TABLE IF NOT EXISTS `millrace`.`core__payments_history__stage_4afef406` (v0 INT64, v1 STRING, v2 DATETIME, op STRING, pos STRING, ts TIMESTAMP, unset STRING, _batch STRING, _staged_at TIMESTAMP)
PARTITION BY TIMESTAMP_TRUNC(_staged_at, HOUR)
CLUSTER BY _batch
OPTIONS (labels = [('millrace', 'stage')], partition_expiration_days = 1);

-- a load
DECLARE n_written, n_inserted, n_updated, n_deleted, n_read INT64 DEFAULT 0;
DECLARE this_event STRING;
CREATE OR REPLACE TEMP TABLE millrace_effect (removed BOOL, was BOOL, live BOOL, diff BOOL, op STRING, o2 DATETIME, n2 DATETIME);
CREATE TEMP TABLE millrace_stage (v0 INT64, v1 STRING, v2 DATETIME, op STRING, pos STRING, ts TIMESTAMP, unset STRING) AS
SELECT v0, v1, v2, op, pos, ts, unset
FROM `millrace`.`core__payments_history__stage_4afef406`
WHERE _batch = 'b-7' AND _staged_at = TIMESTAMP_MICROS(1700000000000000);
ASSERT (SELECT COUNT(*) FROM millrace_stage) = 3 AS 'millrace: the stage has not the rows that were written to it';
ASSERT NOT EXISTS (SELECT max(pos) FROM millrace_stage GROUP BY v0, pos HAVING count(*) > 1 LIMIT 1) AS 'millrace: two staged rows have one key';
BEGIN TRANSACTION;
UPDATE `millrace`.`core__payments_history__head` SET load = 7, fence = fence + 1, offsets = PARSE_JSON('{"0":12}'), marks = PARSE_JSON('{}'),
  horizon = '00000001/000000000000002A/0000000000000000/00000000', complete_pos = '', complete_time = NULL, snapshot_pos = '', snapshot_running = FALSE, snapshot_done = TRUE
WHERE epoch = 2 AND load = 7 - 1;
ASSERT @@row_count = 1 AS 'millrace: the head is not this writer\'s';
INSERT INTO millrace_effect
SELECT FALSE,
  FALSE,
  TRUE,
  TRUE,
  s.op,
  CAST(NULL AS DATETIME),
  s.v2
FROM millrace_stage AS s LEFT JOIN `core__base`.`payments_history` AS t ON t.`id` = s.v0 AND t._pos = s.pos
WHERE t._pos IS NULL;
SET (n_written, n_inserted, n_updated, n_deleted, n_read) = (
SELECT AS STRUCT count(*), COUNTIF(live AND NOT was), COUNTIF(live AND was),
  COUNTIF(was AND NOT live), COUNTIF(op = 'r')
FROM millrace_effect WHERE NOT removed
);
INSERT INTO `core__base`.`payments_history` (`id`, `note`, `at`, _op, _pos, _ts, _unset, _load, _loaded_at)
SELECT s.v0, s.v1, s.v2, s.op, s.pos, s.ts, s.unset, 7, TIMESTAMP_MICROS(1700000000000000)
FROM millrace_stage AS s LEFT JOIN `core__base`.`payments_history` AS t ON t.`id` = s.v0 AND t._pos = s.pos
WHERE t._pos IS NULL;
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
  (
SELECT CASE WHEN COUNT(*) > 20000 THEN '"all"' ELSE CONCAT('[', COALESCE(STRING_AGG(COALESCE(CAST(b AS STRING), 'null')), ''), ']') END FROM (
SELECT DISTINCT b FROM (
  SELECT (DIV(UNIX_MICROS(TIMESTAMP(o2)), 3600000000) - CASE WHEN MOD(UNIX_MICROS(TIMESTAMP(o2)), 3600000000) < 0 THEN 1 ELSE 0 END) AS b FROM millrace_effect WHERE was AND diff
  UNION ALL
  SELECT (DIV(UNIX_MICROS(TIMESTAMP(n2)), 3600000000) - CASE WHEN MOD(UNIX_MICROS(TIMESTAMP(n2)), 3600000000) < 0 THEN 1 ELSE 0 END) FROM millrace_effect WHERE live AND diff
) ORDER BY b NULLS FIRST
)),
  '],"table":"it\'s"}');
INSERT INTO `millrace`.`core__payments_history__loads` (load, committed_at, event) VALUES (7, TIMESTAMP_MICROS(1700000000000000), PARSE_JSON(this_event));
COMMIT TRANSACTION;
SELECT this_event AS event, COALESCE((
SELECT CONCAT('[', STRING_AGG(TO_JSON_STRING([spec, kind, column_name])), ']') FROM `millrace`.`core__payments_history__needs`
), '[]') AS needs;

-- a load without rows
DECLARE n_written, n_inserted, n_updated, n_deleted, n_read INT64 DEFAULT 0;
DECLARE this_event STRING;
BEGIN TRANSACTION;
UPDATE `millrace`.`core__payments_history__head` SET load = 7, fence = fence + 1, offsets = PARSE_JSON('{"0":12}'), marks = PARSE_JSON('{}'),
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
  '[]',
  '],"table":"it\'s"}');
INSERT INTO `millrace`.`core__payments_history__loads` (load, committed_at, event) VALUES (7, TIMESTAMP_MICROS(1700000000000000), PARSE_JSON(this_event));
COMMIT TRANSACTION;
SELECT this_event AS event, COALESCE((
SELECT CONCAT('[', STRING_AGG(TO_JSON_STRING([spec, kind, column_name])), ']') FROM `millrace`.`core__payments_history__needs`
), '[]') AS needs;

-- its columns change
ALTER TABLE `core__base`.`payments_history`
  ADD COLUMN IF NOT EXISTS `id` INT64;

ALTER TABLE `core__base`.`payments_history` ALTER COLUMN `id` SET DATA TYPE INT64;

