-- what is taken in
CREATE TABLE IF NOT EXISTS `millrace`.`core__payments__g2__head` (
  name STRING, mode STRING, key JSON, epoch INT64, fence INT64, load INT64, topic STRING, topic_id STRING,
  offsets JSON, marks JSON, horizon STRING, complete_pos STRING, complete_time TIMESTAMP,
  snapshot_pos STRING, snapshot_running BOOL, snapshot_done BOOL, unsettable JSON, generation INT64
)
OPTIONS (labels = [('millrace', 'head')])
AS SELECT 'core.payments__g2' AS name, 'merge' AS mode, PARSE_JSON('["id"]') AS key, 0 AS epoch, 0 AS fence, 0 AS load, '' AS topic, '' AS topic_id,
  PARSE_JSON('{}') AS offsets, PARSE_JSON('{}') AS marks, '' AS horizon, '' AS complete_pos, CAST(NULL AS TIMESTAMP) AS complete_time,
  '' AS snapshot_pos, FALSE AS snapshot_running, FALSE AS snapshot_done, PARSE_JSON('[]') AS unsettable, 1 AS generation;

CREATE TABLE IF NOT EXISTS `millrace`.`core__payments__g2__loads` (load INT64, committed_at TIMESTAMP, event JSON)
CLUSTER BY load
OPTIONS (labels = [('millrace', 'loads')]);

CREATE TABLE IF NOT EXISTS `millrace`.`core__payments__g2__needs` (spec STRING, kind STRING, column_name STRING, seen_at TIMESTAMP)
OPTIONS (labels = [('millrace', 'needs')]);

CREATE TABLE IF NOT EXISTS `core__base`.`payments__g2` (
  `id` INT64,
  `amount` NUMERIC(10, 2),
  `paid_at` TIMESTAMP,
  _pos STRING,
  _deleted BOOL,
  _born STRING,
  _load INT64,
  _unset STRING,
  _loaded_at TIMESTAMP,
  _extra JSON,
  PRIMARY KEY (`id`) NOT ENFORCED
)
PARTITION BY TIMESTAMP_TRUNC(`paid_at`, DAY)
CLUSTER BY `id`
OPTIONS (labels = [('millrace', 'core')]);

CREATE OR REPLACE VIEW `core`.`payments__g2`
OPTIONS (labels = [('millrace', 'view'), ('generation', '1')]) AS
SELECT `id`, `amount`, `paid_at`
FROM `core__base`.`payments__g2`
WHERE NOT _deleted;

-- the table
CREATE TABLE IF NOT EXISTS `millrace`.`core__payments__head` (
  name STRING, mode STRING, key JSON, epoch INT64, fence INT64, load INT64, topic STRING, topic_id STRING,
  offsets JSON, marks JSON, horizon STRING, complete_pos STRING, complete_time TIMESTAMP,
  snapshot_pos STRING, snapshot_running BOOL, snapshot_done BOOL, unsettable JSON, generation INT64
)
OPTIONS (labels = [('millrace', 'head')])
AS SELECT 'core.payments' AS name, 'merge' AS mode, PARSE_JSON('["id"]') AS key, 0 AS epoch, 0 AS fence, 0 AS load, '' AS topic, '' AS topic_id,
  PARSE_JSON('{}') AS offsets, PARSE_JSON('{}') AS marks, '' AS horizon, '' AS complete_pos, CAST(NULL AS TIMESTAMP) AS complete_time,
  '' AS snapshot_pos, FALSE AS snapshot_running, FALSE AS snapshot_done, PARSE_JSON('[]') AS unsettable, 1 AS generation;

CREATE TABLE IF NOT EXISTS `millrace`.`core__payments__loads` (load INT64, committed_at TIMESTAMP, event JSON)
CLUSTER BY load
OPTIONS (labels = [('millrace', 'loads')]);

CREATE TABLE IF NOT EXISTS `core__base`.`payments` (
  `id` INT64,
  `amount` NUMERIC(10, 2),
  `paid_at` TIMESTAMP,
  _pos STRING,
  _deleted BOOL,
  _born STRING,
  _load INT64,
  _unset STRING,
  _loaded_at TIMESTAMP,
  _extra JSON,
  PRIMARY KEY (`id`) NOT ENFORCED
)
PARTITION BY TIMESTAMP_TRUNC(`paid_at`, DAY)
CLUSTER BY `id`
OPTIONS (labels = [('millrace', 'core')]);

CREATE TABLE IF NOT EXISTS `millrace`.`core__payments__changes` (_load INT64, _image STRING, `id` INT64)
CLUSTER BY _load
OPTIONS (labels = [('millrace', 'changes')]);

CREATE OR REPLACE VIEW `core`.`payments`
OPTIONS (labels = [('millrace', 'view'), ('generation', '1')]) AS
SELECT `id`, `amount`, `paid_at`
FROM `core__base`.`payments`
WHERE NOT _deleted;

-- a copy
ASSERT (SELECT COUNT(*) FROM `millrace`.`core__payments__head` WHERE epoch = 2 AND load = 6) = 1 AS 'millrace: the head is not this writer\'s';
ASSERT (SELECT COUNT(*) FROM `millrace`.`core__payments__g2__head` WHERE epoch = 1 AND load = 3) = 1 AS 'millrace: the head is not this writer\'s';
CREATE TABLE IF NOT EXISTS `millrace`.`core__payments__stage_18f7e1ec` (v0 INT64, v1 NUMERIC(10, 2), v2 TIMESTAMP, op STRING, pos STRING, born STRING, _batch STRING, _staged_at TIMESTAMP)
PARTITION BY TIMESTAMP_TRUNC(_staged_at, HOUR)
CLUSTER BY _batch
OPTIONS (labels = [('millrace', 'stage')], partition_expiration_days = 1);
CREATE OR REPLACE VIEW `core`.`payments`
OPTIONS (labels = [('millrace', 'view'), ('generation', '2')]) AS
SELECT `id`, `amount`, `paid_at`
FROM `core__base`.`payments__g2`
WHERE NOT _deleted;
BEGIN TRANSACTION;
UPDATE `millrace`.`core__payments__head` SET load = 7, fence = fence + 1, offsets = PARSE_JSON('{}'), marks = PARSE_JSON('{}'),
  horizon = '', complete_pos = '', complete_time = NULL, snapshot_pos = '', snapshot_running = FALSE, snapshot_done = TRUE,
  mode = 'merge', key = PARSE_JSON('["id"]'), topic = 'topic', topic_id = 'id-2', unsettable = PARSE_JSON('[]'), generation = 2
WHERE epoch = 2 AND load = 7 - 1;
ASSERT @@row_count = 1 AS 'millrace: the head is not this writer\'s';
DELETE FROM `millrace`.`core__payments__g2__head` WHERE epoch = 1 AND load = 3;
ASSERT @@row_count = 1 AS 'millrace: the head is not this writer\'s';
DELETE FROM `millrace`.`core__payments__changes` WHERE TRUE;
INSERT INTO `millrace`.`core__payments__loads` (load, committed_at, event) VALUES (7, TIMESTAMP_MICROS(1700000000000000), PARSE_JSON('{"table":"it\'s"}'));
COMMIT TRANSACTION;
IF (SELECT COUNT(*) FROM `millrace`.`core__payments__changes`) = 0 THEN
DROP TABLE IF EXISTS `millrace`.`core__payments__changes`;
END IF;
ALTER TABLE IF EXISTS `core__base`.`payments` SET OPTIONS (expiration_timestamp = TIMESTAMP '2023-11-15T22:13:20Z');
DROP TABLE IF EXISTS `millrace`.`core__payments__g2__head`;
DROP TABLE IF EXISTS `millrace`.`core__payments__g2__loads`;
DROP TABLE IF EXISTS `millrace`.`core__payments__g2__needs`;
DROP TABLE IF EXISTS `millrace`.`core__payments__g2__changes`;
DROP VIEW IF EXISTS `core`.`payments__g2`;

CREATE OR REPLACE VIEW `core`.`payments`
OPTIONS (labels = [('millrace', 'view'), ('generation', '2')]) AS
SELECT `id`, `amount`, `paid_at`
FROM `core__base`.`payments__g2`
WHERE NOT _deleted;
ALTER TABLE IF EXISTS `core__base`.`payments` SET OPTIONS (expiration_timestamp = TIMESTAMP '2023-11-15T22:13:20Z');
DROP TABLE IF EXISTS `millrace`.`core__payments__g2__head`;
DROP TABLE IF EXISTS `millrace`.`core__payments__g2__loads`;
DROP TABLE IF EXISTS `millrace`.`core__payments__g2__needs`;
DROP TABLE IF EXISTS `millrace`.`core__payments__g2__changes`;
DROP VIEW IF EXISTS `core`.`payments__g2`;

-- a history
CREATE TABLE IF NOT EXISTS `millrace`.`core__payments_history__head` (
  name STRING, mode STRING, key JSON, epoch INT64, fence INT64, load INT64, topic STRING, topic_id STRING,
  offsets JSON, marks JSON, horizon STRING, complete_pos STRING, complete_time TIMESTAMP,
  snapshot_pos STRING, snapshot_running BOOL, snapshot_done BOOL, unsettable JSON, generation INT64
)
OPTIONS (labels = [('millrace', 'head')])
AS SELECT 'core.payments_history' AS name, 'append' AS mode, PARSE_JSON('["id"]') AS key, 0 AS epoch, 0 AS fence, 0 AS load, '' AS topic, '' AS topic_id,
  PARSE_JSON('{}') AS offsets, PARSE_JSON('{}') AS marks, '' AS horizon, '' AS complete_pos, CAST(NULL AS TIMESTAMP) AS complete_time,
  '' AS snapshot_pos, FALSE AS snapshot_running, FALSE AS snapshot_done, PARSE_JSON('[]') AS unsettable, 1 AS generation;

CREATE TABLE IF NOT EXISTS `millrace`.`core__payments_history__loads` (load INT64, committed_at TIMESTAMP, event JSON)
CLUSTER BY load
OPTIONS (labels = [('millrace', 'loads')]);

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

ASSERT (SELECT COUNT(*) FROM `millrace`.`core__payments_history__head` WHERE epoch = 2 AND load = 6) = 1 AS 'millrace: the head is not this writer\'s';
CREATE TABLE IF NOT EXISTS `millrace`.`core__payments_history__stage_d47b3fdb` (v0 INT64, v1 STRING, v2 DATETIME, v3 STRING, op STRING, pos STRING, ts TIMESTAMP, unset STRING, _batch STRING, _staged_at TIMESTAMP)
PARTITION BY TIMESTAMP_TRUNC(_staged_at, HOUR)
CLUSTER BY _batch
OPTIONS (labels = [('millrace', 'stage')], partition_expiration_days = 1);
CREATE TABLE IF NOT EXISTS `core__base`.`payments_history__g2` (
  `id__g1` INT64,
  `note` STRING,
  `at` DATETIME,
  `id` STRING,
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
BEGIN TRANSACTION;
UPDATE `millrace`.`core__payments_history__head` SET load = 7, fence = fence + 1, offsets = PARSE_JSON('{}'), marks = PARSE_JSON('{}'),
  horizon = '', complete_pos = '', complete_time = NULL, snapshot_pos = '', snapshot_running = FALSE, snapshot_done = TRUE,
  mode = 'merge', key = PARSE_JSON('["id"]'), topic = 'topic', topic_id = 'id-2', unsettable = PARSE_JSON('[]'), generation = 2
WHERE epoch = 2 AND load = 7 - 1;
ASSERT @@row_count = 1 AS 'millrace: the head is not this writer\'s';
DELETE FROM `core__base`.`payments_history__g2` WHERE TRUE;
INSERT INTO `core__base`.`payments_history__g2` (`id__g1`, `note`, `at`, _op, _pos, _ts, _load, _unset, _loaded_at, _extra)
SELECT `id`, `note`, `at`, _op, _pos, _ts, _load, _unset, _loaded_at, _extra
FROM `core__base`.`payments_history`;
INSERT INTO `millrace`.`core__payments_history__loads` (load, committed_at, event) VALUES (7, TIMESTAMP_MICROS(1700000000000000), PARSE_JSON('{"table":"it\'s"}'));
COMMIT TRANSACTION;
CREATE OR REPLACE VIEW `core`.`payments_history`
OPTIONS (labels = [('millrace', 'view'), ('generation', '2')]) AS
SELECT `id__g1`, `note`, `at`, `id`, _op, _pos, _ts, _load, _unset
FROM `core__base`.`payments_history__g2`;
ALTER TABLE IF EXISTS `core__base`.`payments_history` SET OPTIONS (expiration_timestamp = TIMESTAMP '2023-11-15T22:13:20Z');
DROP TABLE IF EXISTS `millrace`.`core__payments_history__g2__head`;
DROP TABLE IF EXISTS `millrace`.`core__payments_history__g2__loads`;
DROP TABLE IF EXISTS `millrace`.`core__payments_history__g2__needs`;
DROP TABLE IF EXISTS `millrace`.`core__payments_history__g2__changes`;
DROP VIEW IF EXISTS `core`.`payments_history__g2`;

-- a history that is read anew
CREATE TABLE IF NOT EXISTS `millrace`.`core__events__g2__head` (
  name STRING, mode STRING, key JSON, epoch INT64, fence INT64, load INT64, topic STRING, topic_id STRING,
  offsets JSON, marks JSON, horizon STRING, complete_pos STRING, complete_time TIMESTAMP,
  snapshot_pos STRING, snapshot_running BOOL, snapshot_done BOOL, unsettable JSON, generation INT64
)
OPTIONS (labels = [('millrace', 'head')])
AS SELECT 'core.events__g2' AS name, 'append' AS mode, PARSE_JSON('[]') AS key, 0 AS epoch, 0 AS fence, 0 AS load, '' AS topic, '' AS topic_id,
  PARSE_JSON('{}') AS offsets, PARSE_JSON('{}') AS marks, '' AS horizon, '' AS complete_pos, CAST(NULL AS TIMESTAMP) AS complete_time,
  '' AS snapshot_pos, FALSE AS snapshot_running, FALSE AS snapshot_done, PARSE_JSON('[]') AS unsettable, 1 AS generation;

CREATE TABLE IF NOT EXISTS `core__base`.`events__g2` (
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

CREATE TABLE IF NOT EXISTS `millrace`.`core__events__head` (
  name STRING, mode STRING, key JSON, epoch INT64, fence INT64, load INT64, topic STRING, topic_id STRING,
  offsets JSON, marks JSON, horizon STRING, complete_pos STRING, complete_time TIMESTAMP,
  snapshot_pos STRING, snapshot_running BOOL, snapshot_done BOOL, unsettable JSON, generation INT64
)
OPTIONS (labels = [('millrace', 'head')])
AS SELECT 'core.events' AS name, 'append' AS mode, PARSE_JSON('[]') AS key, 0 AS epoch, 0 AS fence, 0 AS load, '' AS topic, '' AS topic_id,
  PARSE_JSON('{}') AS offsets, PARSE_JSON('{}') AS marks, '' AS horizon, '' AS complete_pos, CAST(NULL AS TIMESTAMP) AS complete_time,
  '' AS snapshot_pos, FALSE AS snapshot_running, FALSE AS snapshot_done, PARSE_JSON('[]') AS unsettable, 1 AS generation;

CREATE TABLE IF NOT EXISTS `millrace`.`core__events__loads` (load INT64, committed_at TIMESTAMP, event JSON)
CLUSTER BY load
OPTIONS (labels = [('millrace', 'loads')]);

ASSERT (SELECT COUNT(*) FROM `millrace`.`core__events__head` WHERE epoch = 2 AND load = 6) = 1 AS 'millrace: the head is not this writer\'s';
ASSERT (SELECT COUNT(*) FROM `millrace`.`core__events__g2__head` WHERE epoch = 1 AND load = 3) = 1 AS 'millrace: the head is not this writer\'s';
BEGIN TRANSACTION;
UPDATE `millrace`.`core__events__head` SET fence = fence + 1 WHERE epoch = 2 AND load = 7 - 1;
ASSERT @@row_count = 1 AS 'millrace: the head is not this writer\'s';
UPDATE `core__base`.`events__g2` SET _load = 7 WHERE TRUE;
COMMIT TRANSACTION;
CREATE TABLE IF NOT EXISTS `millrace`.`core__events__stage_17082ea0` (v0 STRING, op STRING, pos STRING, ts TIMESTAMP, unset STRING, _batch STRING, _staged_at TIMESTAMP)
PARTITION BY TIMESTAMP_TRUNC(_staged_at, HOUR)
CLUSTER BY _batch
OPTIONS (labels = [('millrace', 'stage')], partition_expiration_days = 1);
CREATE OR REPLACE VIEW `core`.`events`
OPTIONS (labels = [('millrace', 'view'), ('generation', '2')]) AS
SELECT `line`, _op, _pos, _ts, _load, _unset
FROM `core__base`.`events__g2`;
BEGIN TRANSACTION;
UPDATE `millrace`.`core__events__head` SET load = 7, fence = fence + 1, offsets = PARSE_JSON('{}'), marks = PARSE_JSON('{}'),
  horizon = '', complete_pos = '', complete_time = NULL, snapshot_pos = '', snapshot_running = FALSE, snapshot_done = TRUE,
  mode = 'merge', key = PARSE_JSON('["id"]'), topic = 'topic', topic_id = 'id-2', unsettable = PARSE_JSON('[]'), generation = 2
WHERE epoch = 2 AND load = 7 - 1;
ASSERT @@row_count = 1 AS 'millrace: the head is not this writer\'s';
DELETE FROM `millrace`.`core__events__g2__head` WHERE epoch = 1 AND load = 3;
ASSERT @@row_count = 1 AS 'millrace: the head is not this writer\'s';
INSERT INTO `millrace`.`core__events__loads` (load, committed_at, event) VALUES (7, TIMESTAMP_MICROS(1700000000000000), PARSE_JSON('{"table":"it\'s"}'));
COMMIT TRANSACTION;
ALTER TABLE IF EXISTS `core__base`.`events` SET OPTIONS (expiration_timestamp = TIMESTAMP '2023-11-15T22:13:20Z');
DROP TABLE IF EXISTS `millrace`.`core__events__g2__head`;
DROP TABLE IF EXISTS `millrace`.`core__events__g2__loads`;
DROP TABLE IF EXISTS `millrace`.`core__events__g2__needs`;
DROP TABLE IF EXISTS `millrace`.`core__events__g2__changes`;
DROP VIEW IF EXISTS `core`.`events__g2`;

