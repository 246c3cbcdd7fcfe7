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

CREATE TABLE IF NOT EXISTS `millrace`.`core__payments__needs` (spec STRING, kind STRING, column_name STRING, seen_at TIMESTAMP)
OPTIONS (labels = [('millrace', 'needs')]);

SELECT name, mode, TO_JSON_STRING(key) AS key, epoch, load, topic, topic_id, TO_JSON_STRING(offsets) AS offsets, TO_JSON_STRING(marks) AS marks, horizon,
  complete_pos, complete_time, snapshot_pos, snapshot_running, snapshot_done, TO_JSON_STRING(unsettable) AS unsettable, generation
FROM `millrace`.`core__payments__head`;

BEGIN TRANSACTION;
UPDATE `millrace`.`core__payments__head` SET epoch = epoch + 1, fence = fence + 1,
  topic_id = CASE WHEN topic = '' THEN CAST('id-1' AS STRING) ELSE topic_id END,
  topic = CASE WHEN topic = '' THEN CAST('shop.public.payments' AS STRING) ELSE topic END
WHERE TRUE;
ASSERT @@row_count = 1 AS 'millrace: the head is not this writer\'s';
CREATE TEMP TABLE taken AS
SELECT name, mode, TO_JSON_STRING(key) AS key, epoch, load, topic, topic_id, TO_JSON_STRING(offsets) AS offsets, TO_JSON_STRING(marks) AS marks, horizon,
  complete_pos, complete_time, snapshot_pos, snapshot_running, snapshot_done, TO_JSON_STRING(unsettable) AS unsettable, generation
FROM `millrace`.`core__payments__head`;
COMMIT TRANSACTION;
SELECT * FROM taken;

BEGIN TRANSACTION;
UPDATE `millrace`.`core__payments__head` SET offsets = PARSE_JSON('{"0":0}'), fence = fence + 1 WHERE epoch = 3;
ASSERT @@row_count = 1 AS 'millrace: the head is not this writer\'s';
COMMIT TRANSACTION;

UPDATE `millrace`.`core__payments__head` SET unsettable = PARSE_JSON('["a\\\\b"]') WHERE TRUE;

SELECT TO_JSON_STRING(event) FROM `millrace`.`core__payments__loads` WHERE load > 6 ORDER BY load LIMIT 10;

SELECT spec, kind, column_name FROM `millrace`.`core__payments__needs` ORDER BY spec, kind, column_name;

BEGIN TRANSACTION;
DELETE FROM `millrace`.`core__payments__needs` WHERE spec = 'analytics.x';
INSERT INTO `millrace`.`core__payments__needs` (spec, kind, column_name, seen_at) VALUES
  ('analytics.x', 'change', 'it\'s', CURRENT_TIMESTAMP()),
  ('analytics.x', 'event_time', 'a\\b', CURRENT_TIMESTAMP());
COMMIT TRANSACTION;

BEGIN TRANSACTION;
DELETE FROM `millrace`.`core__payments__needs` WHERE spec = 'analytics.x';
COMMIT TRANSACTION;

