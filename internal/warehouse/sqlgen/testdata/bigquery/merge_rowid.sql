-- the table
CREATE SCHEMA IF NOT EXISTS `millrace`;
CREATE SCHEMA IF NOT EXISTS `core`;
CREATE SCHEMA IF NOT EXISTS `core__base`;

CREATE TABLE IF NOT EXISTS `core__base`.`parts` (
  `id` INT64,
  `RowID` STRING,
  _pos STRING,
  _deleted BOOL,
  _born STRING,
  _load INT64,
  _unset STRING,
  _loaded_at TIMESTAMP,
  _extra JSON,
  PRIMARY KEY (`id`) NOT ENFORCED
)
CLUSTER BY `id`
OPTIONS (labels = [('millrace', 'core')]);

CREATE OR REPLACE VIEW `core`.`parts`
OPTIONS (labels = [('millrace', 'view'), ('generation', '1')]) AS
SELECT `id`, `RowID`
FROM `core__base`.`parts`
WHERE NOT _deleted;

CREATE TABLE IF NOT EXISTS `millrace`.`core__parts__head` (
  name STRING, mode STRING, key JSON, epoch INT64, fence INT64, load INT64, topic STRING, topic_id STRING,
  offsets JSON, marks JSON, horizon STRING, complete_pos STRING, complete_time TIMESTAMP,
  snapshot_pos STRING, snapshot_running BOOL, snapshot_done BOOL, unsettable JSON, generation INT64
)
OPTIONS (labels = [('millrace', 'head')])
AS SELECT 'core.parts' AS name, 'merge' AS mode, PARSE_JSON('["id"]') AS key, 0 AS epoch, 0 AS fence, 0 AS load, '' AS topic, '' AS topic_id,
  PARSE_JSON('{}') AS offsets, PARSE_JSON('{}') AS marks, '' AS horizon, '' AS complete_pos, CAST(NULL AS TIMESTAMP) AS complete_time,
  '' AS snapshot_pos, FALSE AS snapshot_running, FALSE AS snapshot_done, PARSE_JSON('["a\\\\b"]') AS unsettable, 1 AS generation;

CREATE TABLE IF NOT EXISTS `millrace`.`core__parts__loads` (load INT64, committed_at TIMESTAMP, event JSON)
CLUSTER BY load
OPTIONS (labels = [('millrace', 'loads')]);

CREATE TABLE IF NOT EXISTS `millrace`.`core__parts__needs` (spec STRING, kind STRING, column_name STRING, seen_at TIMESTAMP)
OPTIONS (labels = [('millrace', 'needs')]);

CREATE TABLE IF NOT EXISTS `millrace`.`core__parts__stage_3690c29f` (v0 INT64, v1 STRING, op STRING, pos STRING, born STRING, _batch STRING, _staged_at TIMESTAMP)
PARTITION BY TIMESTAMP_TRUNC(_staged_at, HOUR)
CLUSTER BY _batch
OPTIONS (labels = [('millrace', 'stage')], partition_expiration_days = 1);

-- a load
DECLARE n_written, n_inserted, n_updated, n_deleted, n_read INT64 DEFAULT 0;
DECLARE this_event STRING;
CREATE OR REPLACE TEMP TABLE millrace_effect (removed BOOL, was BOOL, live BOOL, diff BOOL, op STRING);
CREATE TEMP TABLE millrace_stage (v0 INT64, v1 STRING, op STRING, pos STRING, born STRING) AS
SELECT v0, v1, op, pos, born
FROM `millrace`.`core__parts__stage_3690c29f`
WHERE _batch = 'b-7' AND _staged_at = TIMESTAMP_MICROS(1700000000000000);
ASSERT (SELECT COUNT(*) FROM millrace_stage) = 3 AS 'millrace: the stage has not the rows that were written to it';
ASSERT NOT EXISTS (SELECT max(pos) FROM millrace_stage GROUP BY v0 HAVING count(*) > 1 LIMIT 1) AS 'millrace: two staged rows have one key';
BEGIN TRANSACTION;
UPDATE `millrace`.`core__parts__head` SET load = 7, fence = fence + 1, offsets = PARSE_JSON('{"0":12}'), marks = PARSE_JSON('{}'),
  horizon = '00000001/000000000000002A/0000000000000000/00000000', complete_pos = '', complete_time = NULL, snapshot_pos = '', snapshot_running = FALSE, snapshot_done = TRUE
WHERE epoch = 2 AND load = 7 - 1;
ASSERT @@row_count = 1 AS 'millrace: the head is not this writer\'s';
INSERT INTO millrace_effect
SELECT TRUE, TRUE, FALSE, TRUE, ''
FROM `core__base`.`parts` AS t
WHERE t._pos < '00000001/000000000000002A/0000000000000000/00000000' AND NOT t._deleted;
DELETE FROM `core__base`.`parts` WHERE _pos < '00000001/000000000000002A/0000000000000000/00000000';
INSERT INTO millrace_effect
SELECT FALSE,
  (NOT t._pos IS NULL AND NOT t._deleted),
  CASE WHEN t._pos IS NULL OR s.pos > t._pos THEN s.op <> 'd' ELSE NOT t._deleted END,
  TRUE,
  s.op
FROM millrace_stage AS s LEFT JOIN `core__base`.`parts` AS t ON t.`id` = s.v0
WHERE t._pos IS NULL AND s.pos >= '00000001/000000000000002A/0000000000000000/00000000' OR NOT t._pos IS NULL AND s.pos > t._pos;
SET (n_written, n_inserted, n_updated, n_deleted, n_read) = (
SELECT AS STRUCT count(*), COUNTIF(live AND NOT was), COUNTIF(live AND was),
  COUNTIF(was AND NOT live), COUNTIF(op = 'r')
FROM millrace_effect WHERE NOT removed
);
MERGE INTO `core__base`.`parts` AS t USING millrace_stage AS s
ON t.`id` = s.v0
WHEN MATCHED AND s.pos > t._pos THEN UPDATE SET
  `RowID` = s.v1,
  _unset = '',
  _deleted = CASE WHEN s.pos > t._pos THEN s.op = 'd' ELSE t._deleted END,
  _born = GREATEST(t._born, s.born),
  _pos = GREATEST(t._pos, s.pos),
  _load = 7,
  _loaded_at = TIMESTAMP_MICROS(1700000000000000)
WHEN NOT MATCHED AND s.pos >= '00000001/000000000000002A/0000000000000000/00000000' THEN INSERT (`id`, `RowID`, _unset, _deleted, _born, _pos, _load, _loaded_at)
VALUES (
  s.v0,
  s.v1,
  '',
  s.op = 'd',
  GREATEST('00000001/000000000000002A/0000000000000000/00000000', s.born),
  s.pos,
  7,
  TIMESTAMP_MICROS(1700000000000000));
ASSERT @@row_count = n_written AS 'millrace: another number of rows was written than was counted';
IF n_read > 0 THEN
UPDATE `millrace`.`core__parts__head` SET snapshot_running = TRUE WHERE TRUE;
END IF;
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
  CASE WHEN n_read > 0 THEN 'true' ELSE 'false' END,
  '},"buckets":[',
  '],"table":"it\'s"}');
INSERT INTO `millrace`.`core__parts__loads` (load, committed_at, event) VALUES (7, TIMESTAMP_MICROS(1700000000000000), PARSE_JSON(this_event));
COMMIT TRANSACTION;
SELECT this_event AS event, COALESCE((
SELECT CONCAT('[', STRING_AGG(TO_JSON_STRING([spec, kind, column_name])), ']') FROM `millrace`.`core__parts__needs`
), '[]') AS needs;

-- a load without rows
DECLARE n_written, n_inserted, n_updated, n_deleted, n_read INT64 DEFAULT 0;
DECLARE this_event STRING;
BEGIN TRANSACTION;
UPDATE `millrace`.`core__parts__head` SET load = 7, fence = fence + 1, offsets = PARSE_JSON('{"0":12}'), marks = PARSE_JSON('{}'),
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
INSERT INTO `millrace`.`core__parts__loads` (load, committed_at, event) VALUES (7, TIMESTAMP_MICROS(1700000000000000), PARSE_JSON(this_event));
COMMIT TRANSACTION;
SELECT this_event AS event, COALESCE((
SELECT CONCAT('[', STRING_AGG(TO_JSON_STRING([spec, kind, column_name])), ']') FROM `millrace`.`core__parts__needs`
), '[]') AS needs;

-- its columns change
ALTER TABLE `core__base`.`parts`
  ADD COLUMN IF NOT EXISTS `id` INT64;

ALTER TABLE `core__base`.`parts` ALTER COLUMN `id` SET DATA TYPE INT64;

