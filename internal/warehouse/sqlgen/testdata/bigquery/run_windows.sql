-- the table
CREATE SCHEMA IF NOT EXISTS `millrace`;
CREATE SCHEMA IF NOT EXISTS `analytics`;

CREATE SCHEMA IF NOT EXISTS `millrace_scratch` OPTIONS (default_table_expiration_days = 1);

CREATE TABLE IF NOT EXISTS `millrace`.`analytics__days__head` (
  epoch INT64, fence INT64, load INT64, revision INT64, code_hash STRING, absorbed JSON,
  window_begin DATETIME, window_frontier DATETIME, complete_time TIMESTAMP, ready BOOL
)
OPTIONS (labels = [('millrace', 'head')])
AS SELECT 0 AS epoch, 0 AS fence, 0 AS load, 0 AS revision, '' AS code_hash, PARSE_JSON('null') AS absorbed,
  CAST(NULL AS DATETIME) AS window_begin, CAST(NULL AS DATETIME) AS window_frontier, CAST(NULL AS TIMESTAMP) AS complete_time, FALSE AS ready;

CREATE TABLE IF NOT EXISTS `millrace`.`analytics__days__loads` (load INT64, committed_at TIMESTAMP, event JSON)
CLUSTER BY load
OPTIONS (labels = [('millrace', 'loads')]);

CREATE TABLE IF NOT EXISTS `millrace`.`analytics__days__needs` (spec STRING, kind STRING, column_name STRING, seen_at TIMESTAMP)
OPTIONS (labels = [('millrace', 'needs')]);

CREATE TABLE IF NOT EXISTS `millrace`.`analytics__days__dirty` (window_start DATETIME, mark INT64, backfill BOOL, since TIMESTAMP, cause JSON, error STRING, failures INT64, retry_at TIMESTAMP)
OPTIONS (labels = [('millrace', 'dirty')]);

CREATE TABLE IF NOT EXISTS `analytics`.`days` (
  `day` DATE,
  `item` STRING OPTIONS (description = 'it\'s a name'),
  `amount` NUMERIC
)
PARTITION BY `day`
CLUSTER BY `item`
OPTIONS (labels = [('millrace', 'derived'), ('label_7', 'x'), ('team', 'growth')], description = 'what a day\'s items made');

BEGIN TRANSACTION;
UPDATE `millrace`.`analytics__days__head` SET epoch = epoch + 1, fence = fence + 1, revision = GREATEST(revision, CAST(3 AS INT64))
WHERE CAST(3 AS INT64) < 0 OR revision <= CAST(3 AS INT64);
ASSERT @@row_count = 1 AS 'millrace: a later revision owns the table';
CREATE TEMP TABLE taken AS
SELECT epoch, load, revision, code_hash, TO_JSON_STRING(absorbed) AS absorbed, window_begin, window_frontier, complete_time, ready
FROM `millrace`.`analytics__days__head`;
COMMIT TRANSACTION;
SELECT * FROM taken;

ASSERT (SELECT COUNT(*) FROM `millrace`.`analytics__days__head` WHERE epoch = 4) = 1 AS 'millrace: the head is not this writer\'s';

SELECT load, complete_time, ready AS ready,
  (SELECT COALESCE(MAX(CAST(column_name AS INT64)), 0) FROM `millrace`.`analytics__days__needs` WHERE kind = 'swept') AS swept
FROM `millrace`.`analytics__days__head`;

CREATE TABLE IF NOT EXISTS `millrace`.`analytics__days__changes` (_load INT64, _image STRING, `day` DATE, `item` STRING, `amount` NUMERIC)
CLUSTER BY _load
OPTIONS (labels = [('millrace', 'changes')]);

ALTER TABLE `millrace`.`analytics__days__changes`
  ADD COLUMN IF NOT EXISTS `amount` NUMERIC;

CREATE OR REPLACE TABLE `millrace`.`analytics__days__changes` (`_load` INT64, `_image` STRING, `day` DATE, `item` STRING, `amount` NUMERIC, `was` BOOL)
CLUSTER BY _load
OPTIONS (labels = [('millrace', 'changes')]);

ALTER TABLE `analytics`.`days`
  ADD COLUMN IF NOT EXISTS `item` STRING;

ALTER TABLE `analytics`.`days` SET OPTIONS (labels = [('millrace', 'derived'), ('label_7', 'x'), ('team', 'growth')], description = 'what a day\'s items made');

ALTER TABLE `analytics`.`days`
  ALTER COLUMN `item` SET OPTIONS (description = 'it\'s a name');

DROP TABLE IF EXISTS `analytics`.`days__remade`;

CREATE TABLE IF NOT EXISTS `analytics`.`days__remade` (
  `day` DATE,
  `item` STRING OPTIONS (description = 'it\'s a name'),
  `amount` NUMERIC
)
PARTITION BY `day`
CLUSTER BY `item`
OPTIONS (labels = [('millrace', 'derived'), ('label_7', 'x'), ('team', 'growth')], description = 'what a day\'s items made')
AS SELECT `day` AS `day`, `item` AS `item`, CAST(NULL AS NUMERIC) AS `amount` FROM `analytics`.`days`;

DROP TABLE IF EXISTS `analytics`.`days`;

ALTER TABLE `analytics`.`days__remade` RENAME TO `days`;

UPDATE `millrace`.`analytics__days__head` SET fence = fence + 1, code_hash = '' WHERE epoch = 3;

INSERT INTO `millrace`.`analytics__days__needs` (spec, kind, column_name, seen_at) VALUES ('', 'emptied', '', CURRENT_TIMESTAMP());

UPDATE `millrace`.`analytics__days__head` SET fence = fence + 1, code_hash = '', absorbed = PARSE_JSON('null'), window_begin = CAST(NULL AS DATETIME), window_frontier = CAST(NULL AS DATETIME), ready = FALSE
WHERE epoch = 3;

DROP TABLE IF EXISTS `millrace`.`analytics__days__dirty`;

CREATE TABLE IF NOT EXISTS `millrace`.`analytics__days__dirty` (window_start DATETIME, mark INT64, backfill BOOL, since TIMESTAMP, cause JSON, error STRING, failures INT64, retry_at TIMESTAMP)
OPTIONS (labels = [('millrace', 'dirty')]);

-- a run
CREATE TABLE `millrace_scratch`.`analytics__days__run_s_1__stage` AS
SELECT `day`, `item`, `amount`, 0 AS _part FROM (
SELECT DATE '2024-03-01' AS day, 'it\'s' AS item, CAST(1.5 AS NUMERIC) AS amount -- no end
)
UNION ALL
SELECT `day`, `item`, `amount`, 1 AS _part FROM (
SELECT DATE '2024-03-02' AS day, 'it\'s' AS item, CAST(1.5 AS NUMERIC) AS amount -- no end
);

CREATE TABLE `millrace_scratch`.`analytics__days__run_s_1__diff` AS
WITH published AS (
SELECT *, ROW_NUMBER() OVER (PARTITION BY _part, _row) AS _n FROM (
  SELECT `day`, `item`, `amount`, CASE WHEN (`day` >= DATE '2024-03-01' AND `day` < DATE '2024-03-02') THEN 0 WHEN (`day` >= DATE '2024-03-02' AND `day` < DATE '2024-03-03') THEN 1 END AS _part, CONCAT(TO_JSON_STRING(`day`), ',', TO_JSON_STRING(`item`), ',', TO_JSON_STRING(`amount`)) AS _row
  FROM `analytics`.`days`
  WHERE (`day` >= DATE '2024-03-01' AND `day` < DATE '2024-03-02') OR (`day` >= DATE '2024-03-02' AND `day` < DATE '2024-03-03')
)
), staged AS (
SELECT *, ROW_NUMBER() OVER (PARTITION BY _part, _row) AS _n FROM (
  SELECT `day`, `item`, `amount`, _part AS _part, CONCAT(TO_JSON_STRING(`day`), ',', TO_JSON_STRING(`item`), ',', TO_JSON_STRING(`amount`)) AS _row
  FROM `millrace_scratch`.`analytics__days__run_s_1__stage`
)
)
SELECT published.`day` AS `day`, published.`item` AS `item`, published.`amount` AS `amount`, published._part AS _part, TRUE AS _gone
FROM published LEFT JOIN staged ON published._part = staged._part AND published._row = staged._row AND published._n = staged._n
WHERE staged._row IS NULL
UNION ALL
SELECT staged.`day` AS `day`, staged.`item` AS `item`, staged.`amount` AS `amount`, staged._part AS _part, FALSE AS _gone
FROM staged LEFT JOIN published ON staged._part = published._part AND staged._row = published._row AND staged._n = published._n
WHERE published._row IS NULL;

SELECT 0 AS what, _part AS a, COUNT(*) AS b, 0 AS c FROM `millrace_scratch`.`analytics__days__run_s_1__stage` GROUP BY _part
UNION ALL
SELECT 1 AS what, _part AS a, 0 AS b, COUNT(*) AS c FROM `millrace_scratch`.`analytics__days__run_s_1__stage` WHERE NOT COALESCE(CASE _part WHEN 0 THEN (`day` >= DATE '2024-03-01' AND `day` < DATE '2024-03-02') WHEN 1 THEN (`day` >= DATE '2024-03-02' AND `day` < DATE '2024-03-03') END, FALSE) GROUP BY _part
UNION ALL
SELECT 1 AS what, _part AS a, 1 AS b, COUNT(*) AS c FROM `millrace_scratch`.`analytics__days__run_s_1__stage` WHERE (`item` IS NULL) GROUP BY _part
UNION ALL
SELECT 1 AS what, _part AS a, 2 AS b, COUNT(*) AS c FROM (SELECT _part FROM `millrace_scratch`.`analytics__days__run_s_1__stage` GROUP BY _part, `day`, `item` HAVING COUNT(*) > 1) GROUP BY _part
UNION ALL
SELECT 2 AS what, _part AS a, COUNTIF(_gone) AS b, COUNTIF(NOT _gone) AS c FROM `millrace_scratch`.`analytics__days__run_s_1__diff` GROUP BY _part
UNION ALL
SELECT 3 AS what, 0 AS a, b AS b, 0 AS c FROM (SELECT DISTINCT UNIX_DATE(`day`) AS b FROM `millrace_scratch`.`analytics__days__run_s_1__diff`)
UNION ALL
SELECT 4 AS what, (SELECT COUNT(*) FROM `analytics`.`days` WHERE `day` IS NULL) AS a, (SELECT COUNT(*) FROM `millrace`.`analytics__days__needs` WHERE kind = 'emptied') AS b, 0 AS c;

-- it is published: by replacing
BEGIN TRANSACTION;
UPDATE `millrace`.`analytics__days__head` SET load = 8, fence = fence + 1, code_hash = 'hash', absorbed = PARSE_JSON('{"core.payments":12}'),
  window_begin = CAST('2024-03-01 00:00:00' AS DATETIME), window_frontier = CAST(NULL AS DATETIME), complete_time = CAST('2024-03-05 10:00:00.000001+00' AS TIMESTAMP), ready = TRUE
WHERE epoch = 4 AND load = 7 AND code_hash = 'was';
ASSERT @@row_count = 1 AS 'millrace: the head is not this writer\'s';
DELETE FROM `analytics`.`days` WHERE `day` IS NULL;
DELETE FROM `millrace`.`analytics__days__needs` WHERE kind = 'emptied';
DELETE FROM `analytics`.`days` WHERE (`day` >= DATE '2024-03-01' AND `day` < DATE '2024-03-02') OR (`day` >= DATE '2024-03-02' AND `day` < DATE '2024-03-03');
INSERT INTO `analytics`.`days` (`day`, `item`, `amount`)
SELECT `day`, `item`, `amount` FROM `millrace_scratch`.`analytics__days__run_s_1__stage` WHERE _part IN (0, 1);
INSERT INTO `millrace`.`analytics__days__changes` (_load, _image, `day`, `item`, `amount`)
SELECT 8, CASE WHEN _gone THEN 'old' ELSE 'new' END, `day`, `item`, `amount` FROM `millrace_scratch`.`analytics__days__run_s_1__diff`;
DELETE FROM `millrace`.`analytics__days__dirty` WHERE TRUE;
DELETE FROM `millrace`.`analytics__days__dirty` WHERE (window_start = DATETIME '2024-03-01 00:00:00' AND mark <= 3) OR (window_start = DATETIME '0001-01-01 00:00:00' AND mark <= 1);
DELETE FROM `millrace`.`analytics__days__dirty` WHERE window_start IN (DATETIME '2024-03-01 00:00:00', DATETIME '2024-03-01 00:00:00');
INSERT INTO `millrace`.`analytics__days__dirty` (window_start, mark, backfill, since, cause, error, failures, retry_at) VALUES
(DATETIME '2024-03-01 00:00:00', 3, false, TIMESTAMP_MICROS(1709251200000000), PARSE_JSON('[]'), 'it\'s no', 2, TIMESTAMP_MICROS(1709251200000000)),
(DATETIME '2024-03-01 00:00:00', 0, false, TIMESTAMP_MICROS(1709251200000000), PARSE_JSON('[]'), '', 0, NULL);
INSERT INTO `millrace`.`analytics__days__loads` (load, committed_at, event) VALUES (8, TIMESTAMP_MICROS(1700000000000000), PARSE_JSON('{"table":"it\'s"}'));
COMMIT TRANSACTION;
SELECT COALESCE((
SELECT CONCAT('[', STRING_AGG(TO_JSON_STRING([spec, kind, column_name])), ']') FROM `millrace`.`analytics__days__needs`
), '[]') AS needs;

-- many windows become dirty
CREATE TABLE IF NOT EXISTS `millrace_scratch`.`analytics__days__run_s_1__marks` (window_start DATETIME, mark INT64, backfill BOOL, since TIMESTAMP, cause STRING, error STRING, failures INT64, retry_at TIMESTAMP);
INSERT INTO `millrace_scratch`.`analytics__days__run_s_1__marks` (window_start, mark, backfill, since, cause, error, failures, retry_at) VALUES
(DATETIME '2024-03-01 00:00:00', 3, false, TIMESTAMP_MICROS(1709251200000000), '[]', 'it\'s no', 2, TIMESTAMP_MICROS(1709251200000000)),
(DATETIME '2024-03-01 00:00:00', 0, false, TIMESTAMP_MICROS(1709251200000000), '[]', '', 0, NULL);

DELETE FROM `millrace`.`analytics__days__dirty` WHERE window_start IN (SELECT window_start FROM `millrace_scratch`.`analytics__days__run_s_1__marks`);

INSERT INTO `millrace`.`analytics__days__dirty` (window_start, mark, backfill, since, cause, error, failures, retry_at)
SELECT window_start, mark, backfill, since, PARSE_JSON(cause), error, failures, retry_at FROM (SELECT DISTINCT window_start, mark, backfill, since, cause, error, failures, retry_at FROM `millrace_scratch`.`analytics__days__run_s_1__marks`);

-- by merging
BEGIN TRANSACTION;
UPDATE `millrace`.`analytics__days__head` SET load = 8, fence = fence + 1, code_hash = 'hash', absorbed = PARSE_JSON('{"core.payments":12}'),
  window_begin = CAST('2024-03-01 00:00:00' AS DATETIME), window_frontier = CAST(NULL AS DATETIME), complete_time = CAST('2024-03-05 10:00:00.000001+00' AS TIMESTAMP), ready = TRUE
WHERE epoch = 4 AND load = 7 AND code_hash = 'was';
ASSERT @@row_count = 1 AS 'millrace: the head is not this writer\'s';
DELETE FROM `analytics`.`days` WHERE `day` IS NULL;
DELETE FROM `millrace`.`analytics__days__needs` WHERE kind = 'emptied';
MERGE INTO `analytics`.`days` AS t
USING (
  SELECT `day` AS _c0, `item` AS _c1, `amount` AS _c2, FALSE AS gone FROM `millrace_scratch`.`analytics__days__run_s_1__diff` WHERE NOT _gone
  UNION ALL
  SELECT _c0, _c1, CAST(NULL AS NUMERIC) AS _c2, TRUE AS gone FROM (
    SELECT DISTINCT g.`day` AS _c0, g.`item` AS _c1 FROM `millrace_scratch`.`analytics__days__run_s_1__diff` AS g
    WHERE g._gone AND NOT EXISTS (SELECT 1 FROM `millrace_scratch`.`analytics__days__run_s_1__diff` AS c WHERE NOT c._gone AND g.`day` = c.`day` AND g.`item` = c.`item`)
  )
) AS s
ON t.`day` = s._c0 AND t.`item` = s._c1 AND ((`day` >= DATE '2024-03-01' AND `day` < DATE '2024-03-02') OR (`day` >= DATE '2024-03-02' AND `day` < DATE '2024-03-03'))
WHEN MATCHED AND s.gone THEN DELETE
WHEN MATCHED THEN UPDATE SET `amount` = s._c2
WHEN NOT MATCHED AND NOT s.gone THEN INSERT (`day`, `item`, `amount`) VALUES (s._c0, s._c1, s._c2);
INSERT INTO `millrace`.`analytics__days__changes` (_load, _image, `day`, `item`, `amount`)
SELECT 8, CASE WHEN _gone THEN 'old' ELSE 'new' END, `day`, `item`, `amount` FROM `millrace_scratch`.`analytics__days__run_s_1__diff`;
DELETE FROM `millrace`.`analytics__days__dirty` WHERE TRUE;
DELETE FROM `millrace`.`analytics__days__dirty` WHERE (window_start = DATETIME '2024-03-01 00:00:00' AND mark <= 3) OR (window_start = DATETIME '0001-01-01 00:00:00' AND mark <= 1);
DELETE FROM `millrace`.`analytics__days__dirty` WHERE window_start IN (DATETIME '2024-03-01 00:00:00', DATETIME '2024-03-01 00:00:00');
INSERT INTO `millrace`.`analytics__days__dirty` (window_start, mark, backfill, since, cause, error, failures, retry_at) VALUES
(DATETIME '2024-03-01 00:00:00', 3, false, TIMESTAMP_MICROS(1709251200000000), PARSE_JSON('[]'), 'it\'s no', 2, TIMESTAMP_MICROS(1709251200000000)),
(DATETIME '2024-03-01 00:00:00', 0, false, TIMESTAMP_MICROS(1709251200000000), PARSE_JSON('[]'), '', 0, NULL);
INSERT INTO `millrace`.`analytics__days__loads` (load, committed_at, event) VALUES (8, TIMESTAMP_MICROS(1700000000000000), PARSE_JSON('{"table":"it\'s"}'));
COMMIT TRANSACTION;
SELECT COALESCE((
SELECT CONCAT('[', STRING_AGG(TO_JSON_STRING([spec, kind, column_name])), ']') FROM `millrace`.`analytics__days__needs`
), '[]') AS needs;

-- progress alone
BEGIN TRANSACTION;
UPDATE `millrace`.`analytics__days__head` SET load = 8, fence = fence + 1, code_hash = 'hash', absorbed = PARSE_JSON('{"core.payments":12}'),
  window_begin = CAST('2024-03-01 00:00:00' AS DATETIME), window_frontier = CAST(NULL AS DATETIME), complete_time = CAST('2024-03-05 10:00:00.000001+00' AS TIMESTAMP), ready = TRUE
WHERE epoch = 4 AND load = 7 AND code_hash = 'was';
ASSERT @@row_count = 1 AS 'millrace: the head is not this writer\'s';
COMMIT TRANSACTION;
SELECT COALESCE((
SELECT CONCAT('[', STRING_AGG(TO_JSON_STRING([spec, kind, column_name])), ']') FROM `millrace`.`analytics__days__needs`
), '[]') AS needs;

-- the whole table
BEGIN TRANSACTION;
UPDATE `millrace`.`analytics__days__head` SET load = 8, fence = fence + 1, code_hash = 'hash', absorbed = PARSE_JSON('{"core.payments":12}'),
  window_begin = CAST('2024-03-01 00:00:00' AS DATETIME), window_frontier = CAST(NULL AS DATETIME), complete_time = CAST('2024-03-05 10:00:00.000001+00' AS TIMESTAMP), ready = TRUE
WHERE epoch = 4 AND load = 7 AND code_hash = 'was';
ASSERT @@row_count = 1 AS 'millrace: the head is not this writer\'s';
TRUNCATE TABLE `analytics`.`days`;
INSERT INTO `analytics`.`days` (`day`, `item`, `amount`)
SELECT `day`, `item`, `amount` FROM `millrace_scratch`.`analytics__days__run_s_1__stage` WHERE _part IN (0);
INSERT INTO `millrace`.`analytics__days__loads` (load, committed_at, event) VALUES (8, TIMESTAMP_MICROS(1700000000000000), PARSE_JSON('{"table":"it\'s"}'));
COMMIT TRANSACTION;
SELECT COALESCE((
SELECT CONCAT('[', STRING_AGG(TO_JSON_STRING([spec, kind, column_name])), ']') FROM `millrace`.`analytics__days__needs`
), '[]') AS needs;

SELECT window_start, mark, backfill, since, TO_JSON_STRING(cause) AS cause, error, failures, retry_at
FROM `millrace`.`analytics__days__dirty` ORDER BY window_start;

-- reading, sweeping
SELECT 0 AS i, load, complete_time, ready, swept FROM (
SELECT load, complete_time, ready AS ready,
  (SELECT COALESCE(MAX(CAST(column_name AS INT64)), 0) FROM `millrace`.`analytics__days__needs` WHERE kind = 'swept') AS swept
FROM `millrace`.`analytics__days__head`
)
UNION ALL
SELECT 2 AS i, load, complete_time, ready, swept FROM (
SELECT load, complete_time, ready AS ready,
  (SELECT COALESCE(MAX(CAST(column_name AS INT64)), 0) FROM `millrace`.`analytics__days__needs` WHERE kind = 'swept') AS swept
FROM `millrace`.`analytics__days__head`
);

SELECT item FROM (SELECT * EXCEPT (_load, _image) FROM `millrace`.`analytics__days__changes` WHERE _load > 3 AND _load <= 5);

SELECT DISTINCT UNIX_DATE(`day`) AS b FROM (
SELECT day FROM analytics.days -- no end
) AS q ORDER BY b NULLS FIRST;

SELECT DISTINCT spec FROM `millrace`.`analytics__days__needs` WHERE kind = 'change' AND seen_at >= TIMESTAMP_MICROS(1700000000000000) ORDER BY spec;

DELETE FROM `millrace`.`analytics__days__changes` WHERE _load <= 5;

DELETE FROM `millrace`.`analytics__days__needs` WHERE kind = 'swept';

INSERT INTO `millrace`.`analytics__days__needs` (spec, kind, column_name, seen_at) VALUES ('', 'swept', '5', CURRENT_TIMESTAMP());

INSERT INTO `millrace`.`analytics__days__needs` (spec, kind, column_name, seen_at)
SELECT '', 'swept', CAST(load AS STRING), CURRENT_TIMESTAMP() FROM `millrace`.`analytics__days__head` WHERE load > 0;

