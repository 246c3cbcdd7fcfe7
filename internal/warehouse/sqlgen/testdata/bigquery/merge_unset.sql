-- the table
CREATE SCHEMA IF NOT EXISTS `millrace`;
CREATE SCHEMA IF NOT EXISTS `core`;
CREATE SCHEMA IF NOT EXISTS `core__base`;

CREATE TABLE IF NOT EXISTS `core__base`.`Odd x-日` (
  `tenant` STRING,
  `select` INT64,
  `it's big` STRING,
  `doc` JSON,
  `day` DATE,
  _pos STRING,
  _deleted BOOL,
  _born STRING,
  _load INT64,
  _unset STRING,
  _loaded_at TIMESTAMP,
  _extra JSON,
  PRIMARY KEY (`tenant`, `select`) NOT ENFORCED
)
PARTITION BY `day`
CLUSTER BY `tenant`, `select`
OPTIONS (labels = [('millrace', 'core')]);

CREATE OR REPLACE VIEW `core`.`Odd x-日`
OPTIONS (labels = [('millrace', 'view'), ('generation', '1')]) AS
SELECT `tenant`, `select`, `it's big`, `doc`, `day`
FROM `core__base`.`Odd x-日`
WHERE NOT _deleted;

CREATE TABLE IF NOT EXISTS `millrace`.`core__Odd x-日__head` (
  name STRING, mode STRING, key JSON, epoch INT64, fence INT64, load INT64, topic STRING, topic_id STRING,
  offsets JSON, marks JSON, horizon STRING, complete_pos STRING, complete_time TIMESTAMP,
  snapshot_pos STRING, snapshot_running BOOL, snapshot_done BOOL, unsettable JSON, generation INT64
)
OPTIONS (labels = [('millrace', 'head')])
AS SELECT 'core.Odd x-日' AS name, 'merge' AS mode, PARSE_JSON('["id"]') AS key, 0 AS epoch, 0 AS fence, 0 AS load, '' AS topic, '' AS topic_id,
  PARSE_JSON('{}') AS offsets, PARSE_JSON('{}') AS marks, '' AS horizon, '' AS complete_pos, CAST(NULL AS TIMESTAMP) AS complete_time,
  '' AS snapshot_pos, FALSE AS snapshot_running, FALSE AS snapshot_done, PARSE_JSON('["a\\\\b"]') AS unsettable, 1 AS generation;

CREATE TABLE IF NOT EXISTS `millrace`.`core__Odd x-日__loads` (load INT64, committed_at TIMESTAMP, event JSON)
CLUSTER BY load
OPTIONS (labels = [('millrace', 'loads')]);

CREATE TABLE IF NOT EXISTS `millrace`.`core__Odd x-日__needs` (spec STRING, kind STRING, column_name STRING, seen_at TIMESTAMP)
OPTIONS (labels = [('millrace', 'needs')]);

CREATE TABLE IF NOT EXISTS `millrace`.`core__Odd x-日__stage_5e9c619c` (v0 STRING, v1 INT64, v2 STRING, v3 JSON, v4 DATE, at2 STRING, at3 STRING, op STRING, pos STRING, born STRING, _batch STRING, _staged_at TIMESTAMP)
PARTITION BY TIMESTAMP_TRUNC(_staged_at, HOUR)
CLUSTER BY _batch
OPTIONS (labels = [('millrace', 'stage')], partition_expiration_days = 1);

CREATE TABLE IF NOT EXISTS `millrace`.`core__Odd x-日__changes` (_load INT64, _image STRING, `tenant` STRING, `select` INT64, `it's big` STRING)
CLUSTER BY _load
OPTIONS (labels = [('millrace', 'changes')]);

-- a load
DECLARE n_written, n_inserted, n_updated, n_deleted, n_read INT64 DEFAULT 0;
DECLARE this_event STRING;
CREATE OR REPLACE TEMP TABLE millrace_effect (removed BOOL, was BOOL, live BOOL, diff BOOL, op STRING, k0 STRING, k1 INT64, o2 STRING, n2 STRING, o4 DATE, n4 DATE);
CREATE TEMP TABLE millrace_stage (v0 STRING, v1 INT64, v2 STRING, v4 DATE, at2 STRING, op STRING, pos STRING, born STRING) AS
SELECT v0, v1, v2, v4, at2, op, pos, born
FROM `millrace`.`core__Odd x-日__stage_5e9c619c`
WHERE _batch = 'b-7' AND _staged_at = TIMESTAMP_MICROS(1700000000000000);
ASSERT (SELECT COUNT(*) FROM millrace_stage) = 3 AS 'millrace: the stage has not the rows that were written to it';
ASSERT NOT EXISTS (SELECT max(pos) FROM millrace_stage GROUP BY v0, v1 HAVING count(*) > 1 LIMIT 1) AS 'millrace: two staged rows have one key';
BEGIN TRANSACTION;
UPDATE `millrace`.`core__Odd x-日__head` SET load = 7, fence = fence + 1, offsets = PARSE_JSON('{"0":12}'), marks = PARSE_JSON('{}'),
  horizon = '00000001/000000000000002A/0000000000000000/00000000', complete_pos = '', complete_time = NULL, snapshot_pos = '', snapshot_running = FALSE, snapshot_done = TRUE
WHERE epoch = 2 AND load = 7 - 1;
ASSERT @@row_count = 1 AS 'millrace: the head is not this writer\'s';
INSERT INTO millrace_effect
SELECT TRUE, TRUE, FALSE, TRUE, '', t.`tenant`, t.`select`, t.`it's big`, CAST(NULL AS STRING), t.`day`, CAST(NULL AS DATE)
FROM `core__base`.`Odd x-日` AS t
WHERE t._pos < '00000001/000000000000002A/0000000000000000/00000000' AND NOT t._deleted;
DELETE FROM `core__base`.`Odd x-日` WHERE _pos < '00000001/000000000000002A/0000000000000000/00000000';
INSERT INTO millrace_effect
SELECT FALSE,
  (NOT t._pos IS NULL AND NOT t._deleted),
  CASE WHEN t._pos IS NULL OR s.pos > t._pos THEN s.op <> 'd' ELSE NOT t._deleted END,
  ((NOT t._pos IS NULL AND NOT t._deleted) OR CASE WHEN t._pos IS NULL OR s.pos > t._pos THEN s.op <> 'd' ELSE NOT t._deleted END) AND NOT ((NOT t._pos IS NULL AND NOT t._deleted)
    AND CASE WHEN t._pos IS NULL OR s.pos > t._pos THEN s.op <> 'd' ELSE NOT t._deleted END
    AND CASE WHEN s.op = 'd' AND s.pos > t._pos THEN NULL WHEN GREATEST(CASE WHEN t._deleted OR STRPOS(t._unset, ',it\'s big,') > 0 THEN '' ELSE t._pos END, COALESCE(s.at2, s.pos)) = '' OR GREATEST(CASE WHEN t._deleted OR STRPOS(t._unset, ',it\'s big,') > 0 THEN '' ELSE t._pos END, COALESCE(s.at2, s.pos)) < GREATEST(t._born, s.born) THEN NULL WHEN COALESCE(s.at2, s.pos) > CASE WHEN t._deleted OR STRPOS(t._unset, ',it\'s big,') > 0 THEN '' ELSE t._pos END THEN s.v2 ELSE t.`it's big` END IS NOT DISTINCT FROM t.`it's big`
    AND (TO_JSON_STRING(CASE WHEN s.op = 'd' AND s.pos > t._pos THEN NULL WHEN GREATEST(CASE WHEN t._deleted OR STRPOS(t._unset, ',doc,') > 0 THEN '' ELSE t._pos END, CASE WHEN s.op = 'd' THEN '' ELSE s.pos END) = '' OR GREATEST(CASE WHEN t._deleted OR STRPOS(t._unset, ',doc,') > 0 THEN '' ELSE t._pos END, CASE WHEN s.op = 'd' THEN '' ELSE s.pos END) < GREATEST(t._born, s.born) THEN NULL WHEN CASE WHEN s.op = 'd' THEN '' ELSE s.pos END > CASE WHEN t._deleted OR STRPOS(t._unset, ',doc,') > 0 THEN '' ELSE t._pos END THEN CAST(NULL AS JSON) ELSE t.`doc` END) = TO_JSON_STRING(t.`doc`) AND (CASE WHEN s.op = 'd' AND s.pos > t._pos THEN NULL WHEN GREATEST(CASE WHEN t._deleted OR STRPOS(t._unset, ',doc,') > 0 THEN '' ELSE t._pos END, CASE WHEN s.op = 'd' THEN '' ELSE s.pos END) = '' OR GREATEST(CASE WHEN t._deleted OR STRPOS(t._unset, ',doc,') > 0 THEN '' ELSE t._pos END, CASE WHEN s.op = 'd' THEN '' ELSE s.pos END) < GREATEST(t._born, s.born) THEN NULL WHEN CASE WHEN s.op = 'd' THEN '' ELSE s.pos END > CASE WHEN t._deleted OR STRPOS(t._unset, ',doc,') > 0 THEN '' ELSE t._pos END THEN CAST(NULL AS JSON) ELSE t.`doc` END IS NULL) = (t.`doc` IS NULL))
    AND CASE WHEN s.pos > t._pos THEN s.v4 ELSE t.`day` END IS NOT DISTINCT FROM t.`day`),
  s.op,
  s.v0,
  s.v1,
  t.`it's big`,
  CASE WHEN t._pos IS NULL THEN CASE WHEN s.op = 'd' OR COALESCE(s.at2, s.pos) = '' OR COALESCE(s.at2, s.pos) < GREATEST('00000001/000000000000002A/0000000000000000/00000000', s.born) THEN NULL ELSE s.v2 END ELSE CASE WHEN s.op = 'd' AND s.pos > t._pos THEN NULL WHEN GREATEST(CASE WHEN t._deleted OR STRPOS(t._unset, ',it\'s big,') > 0 THEN '' ELSE t._pos END, COALESCE(s.at2, s.pos)) = '' OR GREATEST(CASE WHEN t._deleted OR STRPOS(t._unset, ',it\'s big,') > 0 THEN '' ELSE t._pos END, COALESCE(s.at2, s.pos)) < GREATEST(t._born, s.born) THEN NULL WHEN COALESCE(s.at2, s.pos) > CASE WHEN t._deleted OR STRPOS(t._unset, ',it\'s big,') > 0 THEN '' ELSE t._pos END THEN s.v2 ELSE t.`it's big` END END,
  t.`day`,
  CASE WHEN t._pos IS NULL THEN s.v4 ELSE CASE WHEN s.pos > t._pos THEN s.v4 ELSE t.`day` END END
FROM millrace_stage AS s LEFT JOIN `core__base`.`Odd x-日` AS t ON TO_JSON_STRING(t.`tenant`) = TO_JSON_STRING(s.v0) AND TO_JSON_STRING(t.`select`) = TO_JSON_STRING(s.v1)
WHERE t._pos IS NULL AND s.pos >= '00000001/000000000000002A/0000000000000000/00000000' OR NOT t._pos IS NULL AND (s.pos > t._pos OR NOT t._deleted AND (STRPOS(t._unset, ',it\'s big,') > 0 AND COALESCE(s.at2, s.pos) <> '' AND COALESCE(s.at2, s.pos) >= GREATEST(t._born, s.born) OR STRPOS(t._unset, ',doc,') > 0 AND CASE WHEN s.op = 'd' THEN '' ELSE s.pos END <> '' AND CASE WHEN s.op = 'd' THEN '' ELSE s.pos END >= GREATEST(t._born, s.born)));
SET (n_written, n_inserted, n_updated, n_deleted, n_read) = (
SELECT AS STRUCT count(*), COUNTIF(live AND NOT was), COUNTIF(live AND was),
  COUNTIF(was AND NOT live), COUNTIF(op = 'r')
FROM millrace_effect WHERE NOT removed
);
MERGE INTO `core__base`.`Odd x-日` AS t USING millrace_stage AS s
ON TO_JSON_STRING(t.`tenant`) = TO_JSON_STRING(s.v0) AND TO_JSON_STRING(t.`select`) = TO_JSON_STRING(s.v1)
WHEN MATCHED AND (s.pos > t._pos OR NOT t._deleted AND (STRPOS(t._unset, ',it\'s big,') > 0 AND COALESCE(s.at2, s.pos) <> '' AND COALESCE(s.at2, s.pos) >= GREATEST(t._born, s.born) OR STRPOS(t._unset, ',doc,') > 0 AND CASE WHEN s.op = 'd' THEN '' ELSE s.pos END <> '' AND CASE WHEN s.op = 'd' THEN '' ELSE s.pos END >= GREATEST(t._born, s.born))) THEN UPDATE SET
  `it's big` = CASE WHEN s.op = 'd' AND s.pos > t._pos THEN NULL WHEN GREATEST(CASE WHEN t._deleted OR STRPOS(t._unset, ',it\'s big,') > 0 THEN '' ELSE t._pos END, COALESCE(s.at2, s.pos)) = '' OR GREATEST(CASE WHEN t._deleted OR STRPOS(t._unset, ',it\'s big,') > 0 THEN '' ELSE t._pos END, COALESCE(s.at2, s.pos)) < GREATEST(t._born, s.born) THEN NULL WHEN COALESCE(s.at2, s.pos) > CASE WHEN t._deleted OR STRPOS(t._unset, ',it\'s big,') > 0 THEN '' ELSE t._pos END THEN s.v2 ELSE t.`it's big` END,
  `doc` = CASE WHEN s.op = 'd' AND s.pos > t._pos THEN NULL WHEN GREATEST(CASE WHEN t._deleted OR STRPOS(t._unset, ',doc,') > 0 THEN '' ELSE t._pos END, CASE WHEN s.op = 'd' THEN '' ELSE s.pos END) = '' OR GREATEST(CASE WHEN t._deleted OR STRPOS(t._unset, ',doc,') > 0 THEN '' ELSE t._pos END, CASE WHEN s.op = 'd' THEN '' ELSE s.pos END) < GREATEST(t._born, s.born) THEN NULL WHEN CASE WHEN s.op = 'd' THEN '' ELSE s.pos END > CASE WHEN t._deleted OR STRPOS(t._unset, ',doc,') > 0 THEN '' ELSE t._pos END THEN CAST(NULL AS JSON) ELSE t.`doc` END,
  `day` = CASE WHEN s.pos > t._pos THEN s.v4 ELSE t.`day` END,
  _unset = CASE WHEN s.pos > t._pos AND s.op = 'd' OR CONCAT(CASE WHEN GREATEST(CASE WHEN t._deleted OR STRPOS(t._unset, ',it\'s big,') > 0 THEN '' ELSE t._pos END, COALESCE(s.at2, s.pos)) = '' OR GREATEST(CASE WHEN t._deleted OR STRPOS(t._unset, ',it\'s big,') > 0 THEN '' ELSE t._pos END, COALESCE(s.at2, s.pos)) < GREATEST(t._born, s.born) THEN 'it\'s big,' ELSE '' END, CASE WHEN GREATEST(CASE WHEN t._deleted OR STRPOS(t._unset, ',doc,') > 0 THEN '' ELSE t._pos END, CASE WHEN s.op = 'd' THEN '' ELSE s.pos END) = '' OR GREATEST(CASE WHEN t._deleted OR STRPOS(t._unset, ',doc,') > 0 THEN '' ELSE t._pos END, CASE WHEN s.op = 'd' THEN '' ELSE s.pos END) < GREATEST(t._born, s.born) THEN 'doc,' ELSE '' END) = '' THEN '' ELSE CONCAT(',', CONCAT(CASE WHEN GREATEST(CASE WHEN t._deleted OR STRPOS(t._unset, ',it\'s big,') > 0 THEN '' ELSE t._pos END, COALESCE(s.at2, s.pos)) = '' OR GREATEST(CASE WHEN t._deleted OR STRPOS(t._unset, ',it\'s big,') > 0 THEN '' ELSE t._pos END, COALESCE(s.at2, s.pos)) < GREATEST(t._born, s.born) THEN 'it\'s big,' ELSE '' END, CASE WHEN GREATEST(CASE WHEN t._deleted OR STRPOS(t._unset, ',doc,') > 0 THEN '' ELSE t._pos END, CASE WHEN s.op = 'd' THEN '' ELSE s.pos END) = '' OR GREATEST(CASE WHEN t._deleted OR STRPOS(t._unset, ',doc,') > 0 THEN '' ELSE t._pos END, CASE WHEN s.op = 'd' THEN '' ELSE s.pos END) < GREATEST(t._born, s.born) THEN 'doc,' ELSE '' END)) END,
  _deleted = CASE WHEN s.pos > t._pos THEN s.op = 'd' ELSE t._deleted END,
  _born = GREATEST(t._born, s.born),
  _pos = GREATEST(t._pos, s.pos),
  _load = 7,
  _loaded_at = TIMESTAMP_MICROS(1700000000000000)
WHEN NOT MATCHED AND s.pos >= '00000001/000000000000002A/0000000000000000/00000000' THEN INSERT (`tenant`, `select`, `it's big`, `doc`, `day`, _unset, _deleted, _born, _pos, _load, _loaded_at)
VALUES (
  s.v0,
  s.v1,
  CASE WHEN s.op = 'd' OR COALESCE(s.at2, s.pos) = '' OR COALESCE(s.at2, s.pos) < GREATEST('00000001/000000000000002A/0000000000000000/00000000', s.born) THEN NULL ELSE s.v2 END,
  CASE WHEN s.op = 'd' OR CASE WHEN s.op = 'd' THEN '' ELSE s.pos END = '' OR CASE WHEN s.op = 'd' THEN '' ELSE s.pos END < GREATEST('00000001/000000000000002A/0000000000000000/00000000', s.born) THEN NULL ELSE CAST(NULL AS JSON) END,
  s.v4,
  CASE WHEN s.op = 'd' OR CONCAT(CASE WHEN COALESCE(s.at2, s.pos) = '' OR COALESCE(s.at2, s.pos) < GREATEST('00000001/000000000000002A/0000000000000000/00000000', s.born) THEN 'it\'s big,' ELSE '' END, CASE WHEN CASE WHEN s.op = 'd' THEN '' ELSE s.pos END = '' OR CASE WHEN s.op = 'd' THEN '' ELSE s.pos END < GREATEST('00000001/000000000000002A/0000000000000000/00000000', s.born) THEN 'doc,' ELSE '' END) = '' THEN '' ELSE CONCAT(',', CONCAT(CASE WHEN COALESCE(s.at2, s.pos) = '' OR COALESCE(s.at2, s.pos) < GREATEST('00000001/000000000000002A/0000000000000000/00000000', s.born) THEN 'it\'s big,' ELSE '' END, CASE WHEN CASE WHEN s.op = 'd' THEN '' ELSE s.pos END = '' OR CASE WHEN s.op = 'd' THEN '' ELSE s.pos END < GREATEST('00000001/000000000000002A/0000000000000000/00000000', s.born) THEN 'doc,' ELSE '' END)) END,
  s.op = 'd',
  GREATEST('00000001/000000000000002A/0000000000000000/00000000', s.born),
  s.pos,
  7,
  TIMESTAMP_MICROS(1700000000000000));
ASSERT @@row_count = n_written AS 'millrace: another number of rows was written than was counted';
IF n_read > 0 THEN
UPDATE `millrace`.`core__Odd x-日__head` SET snapshot_running = TRUE WHERE TRUE;
END IF;
INSERT INTO `millrace`.`core__Odd x-日__changes` (_load, _image, `tenant`, `select`, `it's big`)
SELECT 7, 'old', k0, k1, o2 FROM millrace_effect WHERE was AND diff
UNION ALL
SELECT 7, 'new', k0, k1, n2 FROM millrace_effect WHERE live AND diff;
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
  (
SELECT CASE WHEN COUNT(*) > 20000 THEN '"all"' ELSE CONCAT('[', COALESCE(STRING_AGG(COALESCE(CAST(b AS STRING), 'null')), ''), ']') END FROM (
SELECT DISTINCT b FROM (
  SELECT UNIX_DATE(o4) AS b FROM millrace_effect WHERE was AND diff
  UNION ALL
  SELECT UNIX_DATE(n4) FROM millrace_effect WHERE live AND diff
) ORDER BY b NULLS FIRST
)),
  '],"table":"it\'s"}');
INSERT INTO `millrace`.`core__Odd x-日__loads` (load, committed_at, event) VALUES (7, TIMESTAMP_MICROS(1700000000000000), PARSE_JSON(this_event));
COMMIT TRANSACTION;
SELECT this_event AS event, COALESCE((
SELECT CONCAT('[', STRING_AGG(TO_JSON_STRING([spec, kind, column_name])), ']') FROM `millrace`.`core__Odd x-日__needs`
), '[]') AS needs;

-- a load without rows
DECLARE n_written, n_inserted, n_updated, n_deleted, n_read INT64 DEFAULT 0;
DECLARE this_event STRING;
BEGIN TRANSACTION;
UPDATE `millrace`.`core__Odd x-日__head` SET load = 7, fence = fence + 1, offsets = PARSE_JSON('{"0":12}'), marks = PARSE_JSON('{}'),
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
INSERT INTO `millrace`.`core__Odd x-日__loads` (load, committed_at, event) VALUES (7, TIMESTAMP_MICROS(1700000000000000), PARSE_JSON(this_event));
COMMIT TRANSACTION;
SELECT this_event AS event, COALESCE((
SELECT CONCAT('[', STRING_AGG(TO_JSON_STRING([spec, kind, column_name])), ']') FROM `millrace`.`core__Odd x-日__needs`
), '[]') AS needs;

-- its columns change
ALTER TABLE `core__base`.`Odd x-日`
  ADD COLUMN IF NOT EXISTS `tenant` STRING;

ALTER TABLE `core__base`.`Odd x-日` ALTER COLUMN `tenant` SET DATA TYPE STRING;

ALTER TABLE `millrace`.`core__Odd x-日__changes`
  ADD COLUMN IF NOT EXISTS `it's big` STRING,
  ADD COLUMN IF NOT EXISTS `doc` JSON;

ALTER TABLE `millrace`.`core__Odd x-日__changes` ALTER COLUMN `it's big` SET DATA TYPE STRING;

