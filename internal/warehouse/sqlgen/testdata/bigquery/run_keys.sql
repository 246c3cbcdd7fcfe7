-- the table
CREATE SCHEMA IF NOT EXISTS `millrace`;
CREATE SCHEMA IF NOT EXISTS `analytics`;

CREATE SCHEMA IF NOT EXISTS `millrace_scratch` OPTIONS (default_table_expiration_days = 1);

CREATE TABLE IF NOT EXISTS `millrace`.`analytics__customers__head` (
  epoch INT64, fence INT64, load INT64, revision INT64, code_hash STRING, absorbed JSON,
  window_begin DATETIME, window_frontier DATETIME, complete_time TIMESTAMP, ready BOOL
)
OPTIONS (labels = [('millrace', 'head')])
AS SELECT 0 AS epoch, 0 AS fence, 0 AS load, 0 AS revision, '' AS code_hash, PARSE_JSON('null') AS absorbed,
  CAST(NULL AS DATETIME) AS window_begin, CAST(NULL AS DATETIME) AS window_frontier, CAST(NULL AS TIMESTAMP) AS complete_time, FALSE AS ready;

CREATE TABLE IF NOT EXISTS `millrace`.`analytics__customers__loads` (load INT64, committed_at TIMESTAMP, event JSON)
CLUSTER BY load
OPTIONS (labels = [('millrace', 'loads')]);

CREATE TABLE IF NOT EXISTS `millrace`.`analytics__customers__needs` (spec STRING, kind STRING, column_name STRING, seen_at TIMESTAMP)
OPTIONS (labels = [('millrace', 'needs')]);

CREATE TABLE IF NOT EXISTS `millrace`.`analytics__customers__dirty` (`customer` INT64, mark INT64, backfill BOOL, since TIMESTAMP, cause JSON, error STRING, failures INT64, retry_at TIMESTAMP)
OPTIONS (labels = [('millrace', 'dirty')]);

CREATE TABLE IF NOT EXISTS `analytics`.`customers` (
  `customer` INT64,
  `at` TIMESTAMP,
  `n` FLOAT64
)
OPTIONS (labels = [('millrace', 'derived')]);

BEGIN TRANSACTION;
UPDATE `millrace`.`analytics__customers__head` SET epoch = epoch + 1, fence = fence + 1, revision = GREATEST(revision, CAST(3 AS INT64))
WHERE CAST(3 AS INT64) < 0 OR revision <= CAST(3 AS INT64);
ASSERT @@row_count = 1 AS 'millrace: a later revision owns the table';
CREATE TEMP TABLE taken AS
SELECT epoch, load, revision, code_hash, TO_JSON_STRING(absorbed) AS absorbed, window_begin, window_frontier, complete_time, ready
FROM `millrace`.`analytics__customers__head`;
COMMIT TRANSACTION;
SELECT * FROM taken;

ASSERT (SELECT COUNT(*) FROM `millrace`.`analytics__customers__head` WHERE epoch = 4) = 1 AS 'millrace: the head is not this writer\'s';

SELECT load, complete_time, ready AS ready,
  (SELECT COALESCE(MAX(CAST(column_name AS INT64)), 0) FROM `millrace`.`analytics__customers__needs` WHERE kind = 'swept') AS swept
FROM `millrace`.`analytics__customers__head`;

-- a run
CREATE TABLE `millrace_scratch`.`analytics__customers__run_s_1__fresh` AS
SELECT DISTINCT `customer` FROM (
(SELECT CAST(NULL AS INT64) AS `customer` LIMIT 0)
UNION ALL (
SELECT customer AS c FROM analytics.customers -- no end
)
UNION ALL (
SELECT 7
)
)
WHERE `customer` IS NOT NULL;

CREATE TABLE `millrace_scratch`.`analytics__customers__run_s_1__keys` AS
SELECT `customer`, MAX(mark) AS mark FROM (
SELECT `customer`, mark FROM `millrace`.`analytics__customers__dirty` WHERE (retry_at IS NULL OR retry_at <= CURRENT_TIMESTAMP())
UNION ALL
SELECT `customer`, 9 FROM `millrace_scratch`.`analytics__customers__run_s_1__fresh`
)
GROUP BY `customer`;

SELECT `customer`, MAX(mark) AS mark FROM (
SELECT `customer`, mark FROM `millrace`.`analytics__customers__dirty` WHERE (retry_at IS NULL OR retry_at <= CURRENT_TIMESTAMP())
)
GROUP BY `customer`;

SELECT `customer` FROM `millrace_scratch`.`analytics__customers__run_s_1__keys` LIMIT 10;

CREATE TABLE `millrace_scratch`.`analytics__customers__run_s_1__stage` AS
SELECT `customer`, `at`, `n`, 0 AS _part FROM (
SELECT q.customer AS customer, TIMESTAMP '2024-03-01 00:00:00+00' AS `at`, 1.5 AS n FROM analytics.customers AS q WHERE (`customer`) IN (1, 2) AND '`millrace_dirty_keys`' <> 'x'
);

SELECT `customer`, `at`, `n`, 0 AS _part FROM (
SELECT q.customer AS customer, TIMESTAMP '2024-03-01 00:00:00+00' AS `at`, 1.5 AS n FROM analytics.customers AS q WHERE (`customer`) IN (SELECT (`customer`) FROM `millrace_scratch`.`analytics__customers__run_s_1__keys`) AND '`millrace_dirty_keys`' <> 'x'
);

CREATE TABLE `millrace_scratch`.`analytics__customers__run_s_1__diff` AS
WITH published AS (
SELECT *, ROW_NUMBER() OVER (PARTITION BY _part, _row) AS _n FROM (
  SELECT `customer`, `at`, `n`, 0 AS _part, CONCAT(TO_JSON_STRING(`customer`), ',', TO_JSON_STRING(`at`), ',', TO_JSON_STRING(`n`)) AS _row
  FROM `analytics`.`customers`
  WHERE (`customer`) IN (1, 2)
)
), staged AS (
SELECT *, ROW_NUMBER() OVER (PARTITION BY _part, _row) AS _n FROM (
  SELECT `customer`, `at`, `n`, _part AS _part, CONCAT(TO_JSON_STRING(`customer`), ',', TO_JSON_STRING(`at`), ',', TO_JSON_STRING(`n`)) AS _row
  FROM `millrace_scratch`.`analytics__customers__run_s_1__stage`
)
)
SELECT published.`customer` AS `customer`, published.`at` AS `at`, published.`n` AS `n`, published._part AS _part, TRUE AS _gone
FROM published LEFT JOIN staged ON published._part = staged._part AND published._row = staged._row AND published._n = staged._n
WHERE staged._row IS NULL
UNION ALL
SELECT staged.`customer` AS `customer`, staged.`at` AS `at`, staged.`n` AS `n`, staged._part AS _part, FALSE AS _gone
FROM staged LEFT JOIN published ON staged._part = published._part AND staged._row = published._row AND staged._n = published._n
WHERE published._row IS NULL;

SELECT 0 AS what, _part AS a, COUNT(*) AS b, 0 AS c FROM `millrace_scratch`.`analytics__customers__run_s_1__stage` GROUP BY _part
UNION ALL
SELECT 1 AS what, _part AS a, 0 AS b, COUNT(*) AS c FROM `millrace_scratch`.`analytics__customers__run_s_1__stage` WHERE NOT COALESCE((`customer`) IN (1, 2), FALSE) GROUP BY _part
UNION ALL
SELECT 2 AS what, _part AS a, COUNTIF(_gone) AS b, COUNTIF(NOT _gone) AS c FROM `millrace_scratch`.`analytics__customers__run_s_1__diff` GROUP BY _part;

SELECT 4 AS what, (SELECT COUNT(*) FROM `analytics`.`customers` WHERE `customer` IS NULL) AS a, (SELECT COUNT(*) FROM `millrace`.`analytics__customers__needs` WHERE kind = 'emptied') AS b, 0 AS c;

-- it is published
BEGIN TRANSACTION;
UPDATE `millrace`.`analytics__customers__head` SET load = 8, fence = fence + 1, code_hash = 'hash', absorbed = PARSE_JSON('{"core.payments":12}'),
  window_begin = CAST('2024-03-01 00:00:00' AS DATETIME), window_frontier = CAST(NULL AS DATETIME), complete_time = CAST('2024-03-05 10:00:00.000001+00' AS TIMESTAMP), ready = TRUE
WHERE epoch = 4 AND load = 7 AND code_hash = 'was';
ASSERT @@row_count = 1 AS 'millrace: the head is not this writer\'s';
MERGE INTO `analytics`.`customers` AS t
USING (
  SELECT `customer` AS _c0, `at` AS _c1, `n` AS _c2, FALSE AS gone FROM `millrace_scratch`.`analytics__customers__run_s_1__diff` WHERE NOT _gone
  UNION ALL
  SELECT _c0, _c1, CAST(NULL AS FLOAT64) AS _c2, TRUE AS gone FROM (
    SELECT DISTINCT g.`customer` AS _c0, g.`at` AS _c1 FROM `millrace_scratch`.`analytics__customers__run_s_1__diff` AS g
    WHERE g._gone AND NOT EXISTS (SELECT 1 FROM `millrace_scratch`.`analytics__customers__run_s_1__diff` AS c WHERE NOT c._gone AND g.`customer` = c.`customer` AND g.`at` = c.`at`)
  )
) AS s
ON t.`customer` = s._c0 AND t.`at` = s._c1 AND ((`customer`) IN (1, 2))
WHEN MATCHED AND s.gone THEN DELETE
WHEN MATCHED THEN UPDATE SET `n` = s._c2
WHEN NOT MATCHED AND NOT s.gone THEN INSERT (`customer`, `at`, `n`) VALUES (s._c0, s._c1, s._c2);
DELETE FROM `millrace`.`analytics__customers__dirty` WHERE (`customer`) IN (SELECT (`customer`) FROM `millrace_scratch`.`analytics__customers__run_s_1__fresh`);
INSERT INTO `millrace`.`analytics__customers__dirty` (`customer`, mark, backfill, since, cause, error, failures, retry_at)
SELECT `customer`, 9, FALSE, CURRENT_TIMESTAMP(), PARSE_JSON('[]'), '', 0, NULL FROM `millrace_scratch`.`analytics__customers__run_s_1__fresh`;
DELETE FROM `millrace`.`analytics__customers__dirty` AS t WHERE EXISTS (SELECT 1 FROM `millrace_scratch`.`analytics__customers__run_s_1__keys` AS k WHERE k.`customer` = t.`customer` AND t.mark <= k.mark);
UPDATE `millrace`.`analytics__customers__dirty` SET error = 'it\'s', failures = 2, retry_at = CAST('2024-03-01 00:00:00+00' AS TIMESTAMP) WHERE (retry_at IS NULL OR retry_at <= CURRENT_TIMESTAMP());
INSERT INTO `millrace`.`analytics__customers__loads` (load, committed_at, event) VALUES (8, TIMESTAMP_MICROS(1700000000000000), PARSE_JSON('{}'));
COMMIT TRANSACTION;
SELECT COALESCE((
SELECT CONCAT('[', STRING_AGG(TO_JSON_STRING([spec, kind, column_name])), ']') FROM `millrace`.`analytics__customers__needs`
), '[]') AS needs;

-- with more keys than literals: by merging
BEGIN TRANSACTION;
UPDATE `millrace`.`analytics__customers__head` SET load = 8, fence = fence + 1, code_hash = 'hash', absorbed = PARSE_JSON('{"core.payments":12}'),
  window_begin = CAST('2024-03-01 00:00:00' AS DATETIME), window_frontier = CAST(NULL AS DATETIME), complete_time = CAST('2024-03-05 10:00:00.000001+00' AS TIMESTAMP), ready = TRUE
WHERE epoch = 4 AND load = 7 AND code_hash = 'was';
ASSERT @@row_count = 1 AS 'millrace: the head is not this writer\'s';
MERGE INTO `analytics`.`customers` AS t
USING (
  SELECT `customer` AS _c0, `at` AS _c1, `n` AS _c2, FALSE AS gone FROM `millrace_scratch`.`analytics__customers__run_s_1__diff` WHERE NOT _gone
  UNION ALL
  SELECT _c0, _c1, CAST(NULL AS FLOAT64) AS _c2, TRUE AS gone FROM (
    SELECT DISTINCT g.`customer` AS _c0, g.`at` AS _c1 FROM `millrace_scratch`.`analytics__customers__run_s_1__diff` AS g
    WHERE g._gone AND NOT EXISTS (SELECT 1 FROM `millrace_scratch`.`analytics__customers__run_s_1__diff` AS c WHERE NOT c._gone AND g.`customer` = c.`customer` AND g.`at` = c.`at`)
  )
) AS s
ON t.`customer` = s._c0 AND t.`at` = s._c1
WHEN MATCHED AND s.gone THEN DELETE
WHEN MATCHED THEN UPDATE SET `n` = s._c2
WHEN NOT MATCHED AND NOT s.gone THEN INSERT (`customer`, `at`, `n`) VALUES (s._c0, s._c1, s._c2);
DELETE FROM `millrace`.`analytics__customers__dirty` WHERE (`customer`) IN (SELECT (`customer`) FROM `millrace_scratch`.`analytics__customers__run_s_1__fresh`);
INSERT INTO `millrace`.`analytics__customers__dirty` (`customer`, mark, backfill, since, cause, error, failures, retry_at)
SELECT `customer`, 9, FALSE, CURRENT_TIMESTAMP(), PARSE_JSON('[]'), '', 0, NULL FROM `millrace_scratch`.`analytics__customers__run_s_1__fresh`;
DELETE FROM `millrace`.`analytics__customers__dirty` AS t WHERE EXISTS (SELECT 1 FROM `millrace_scratch`.`analytics__customers__run_s_1__keys` AS k WHERE k.`customer` = t.`customer` AND t.mark <= k.mark);
UPDATE `millrace`.`analytics__customers__dirty` SET error = 'it\'s', failures = 2, retry_at = CAST('2024-03-01 00:00:00+00' AS TIMESTAMP) WHERE (retry_at IS NULL OR retry_at <= CURRENT_TIMESTAMP());
INSERT INTO `millrace`.`analytics__customers__loads` (load, committed_at, event) VALUES (8, TIMESTAMP_MICROS(1700000000000000), PARSE_JSON('{}'));
COMMIT TRANSACTION;
SELECT COALESCE((
SELECT CONCAT('[', STRING_AGG(TO_JSON_STRING([spec, kind, column_name])), ']') FROM `millrace`.`analytics__customers__needs`
), '[]') AS needs;

-- by replacing
BEGIN TRANSACTION;
UPDATE `millrace`.`analytics__customers__head` SET load = 8, fence = fence + 1, code_hash = 'hash', absorbed = PARSE_JSON('{"core.payments":12}'),
  window_begin = CAST('2024-03-01 00:00:00' AS DATETIME), window_frontier = CAST(NULL AS DATETIME), complete_time = CAST('2024-03-05 10:00:00.000001+00' AS TIMESTAMP), ready = TRUE
WHERE epoch = 4 AND load = 7 AND code_hash = 'was';
ASSERT @@row_count = 1 AS 'millrace: the head is not this writer\'s';
DELETE FROM `analytics`.`customers` WHERE (`customer`) IN (SELECT (`customer`) FROM `millrace_scratch`.`analytics__customers__run_s_1__keys`);
INSERT INTO `analytics`.`customers` (`customer`, `at`, `n`)
SELECT `customer`, `at`, `n` FROM `millrace_scratch`.`analytics__customers__run_s_1__stage` WHERE _part IN (0);
DELETE FROM `millrace`.`analytics__customers__dirty` WHERE (`customer`) IN (SELECT (`customer`) FROM `millrace_scratch`.`analytics__customers__run_s_1__fresh`);
INSERT INTO `millrace`.`analytics__customers__dirty` (`customer`, mark, backfill, since, cause, error, failures, retry_at)
SELECT `customer`, 9, FALSE, CURRENT_TIMESTAMP(), PARSE_JSON('[]'), '', 0, NULL FROM `millrace_scratch`.`analytics__customers__run_s_1__fresh`;
DELETE FROM `millrace`.`analytics__customers__dirty` AS t WHERE EXISTS (SELECT 1 FROM `millrace_scratch`.`analytics__customers__run_s_1__keys` AS k WHERE k.`customer` = t.`customer` AND t.mark <= k.mark);
UPDATE `millrace`.`analytics__customers__dirty` SET error = 'it\'s', failures = 2, retry_at = CAST('2024-03-01 00:00:00+00' AS TIMESTAMP) WHERE (retry_at IS NULL OR retry_at <= CURRENT_TIMESTAMP());
INSERT INTO `millrace`.`analytics__customers__loads` (load, committed_at, event) VALUES (8, TIMESTAMP_MICROS(1700000000000000), PARSE_JSON('{}'));
COMMIT TRANSACTION;
SELECT COALESCE((
SELECT CONCAT('[', STRING_AGG(TO_JSON_STRING([spec, kind, column_name])), ']') FROM `millrace`.`analytics__customers__needs`
), '[]') AS needs;

SELECT COUNT(*) AS n, COALESCE(MAX(mark), 0) AS mark, COUNTIF(retry_at IS NULL) > 0 AS due, MIN(retry_at) AS retry_at, MIN(since) AS since, COALESCE(MAX(error), '') AS error
FROM `millrace`.`analytics__customers__dirty`;

-- the table
CREATE SCHEMA IF NOT EXISTS `millrace`;
CREATE SCHEMA IF NOT EXISTS `analytics`;

CREATE SCHEMA IF NOT EXISTS `millrace_scratch` OPTIONS (default_table_expiration_days = 1);

CREATE TABLE IF NOT EXISTS `millrace`.`analytics__pairs__head` (
  epoch INT64, fence INT64, load INT64, revision INT64, code_hash STRING, absorbed JSON,
  window_begin DATETIME, window_frontier DATETIME, complete_time TIMESTAMP, ready BOOL
)
OPTIONS (labels = [('millrace', 'head')])
AS SELECT 0 AS epoch, 0 AS fence, 0 AS load, 0 AS revision, '' AS code_hash, PARSE_JSON('null') AS absorbed,
  CAST(NULL AS DATETIME) AS window_begin, CAST(NULL AS DATETIME) AS window_frontier, CAST(NULL AS TIMESTAMP) AS complete_time, FALSE AS ready;

CREATE TABLE IF NOT EXISTS `millrace`.`analytics__pairs__loads` (load INT64, committed_at TIMESTAMP, event JSON)
CLUSTER BY load
OPTIONS (labels = [('millrace', 'loads')]);

CREATE TABLE IF NOT EXISTS `millrace`.`analytics__pairs__needs` (spec STRING, kind STRING, column_name STRING, seen_at TIMESTAMP)
OPTIONS (labels = [('millrace', 'needs')]);

CREATE TABLE IF NOT EXISTS `millrace`.`analytics__pairs__dirty` (`a` INT64, `b` STRING, mark INT64, backfill BOOL, since TIMESTAMP, cause JSON, error STRING, failures INT64, retry_at TIMESTAMP)
OPTIONS (labels = [('millrace', 'dirty')]);

CREATE TABLE IF NOT EXISTS `analytics`.`pairs` (
  `a` INT64,
  `b` STRING
)
OPTIONS (labels = [('millrace', 'derived')]);

BEGIN TRANSACTION;
UPDATE `millrace`.`analytics__pairs__head` SET epoch = epoch + 1, fence = fence + 1, revision = GREATEST(revision, CAST(3 AS INT64))
WHERE CAST(3 AS INT64) < 0 OR revision <= CAST(3 AS INT64);
ASSERT @@row_count = 1 AS 'millrace: a later revision owns the table';
CREATE TEMP TABLE taken AS
SELECT epoch, load, revision, code_hash, TO_JSON_STRING(absorbed) AS absorbed, window_begin, window_frontier, complete_time, ready
FROM `millrace`.`analytics__pairs__head`;
COMMIT TRANSACTION;
SELECT * FROM taken;

ASSERT (SELECT COUNT(*) FROM `millrace`.`analytics__pairs__head` WHERE epoch = 4) = 1 AS 'millrace: the head is not this writer\'s';

SELECT load, complete_time, ready AS ready,
  (SELECT COALESCE(MAX(CAST(column_name AS INT64)), 0) FROM `millrace`.`analytics__pairs__needs` WHERE kind = 'swept') AS swept
FROM `millrace`.`analytics__pairs__head`;

CREATE TABLE `millrace_scratch`.`analytics__pairs__run_s_1__keys` AS
SELECT `a`, `b`, MAX(mark) AS mark FROM (
SELECT `a`, `b`, mark FROM `millrace`.`analytics__pairs__dirty` WHERE (retry_at IS NULL OR retry_at <= CURRENT_TIMESTAMP())
)
GROUP BY `a`, `b`;

SELECT 1 FROM analytics.pairs WHERE (`a`, `b`) IN ((1, 'x'), (2, 'y'));

SELECT a FROM `millrace_scratch`.`analytics__pairs__run_s_1__keys` /* `millrace_dirty_keys` */;

SELECT 1 FROM analytics.pairs WHERE (`a`, `b`) IN (SELECT (`a`, `b`) FROM `millrace_scratch`.`analytics__pairs__run_s_1__keys`);

SELECT a FROM `millrace_scratch`.`analytics__pairs__run_s_1__keys` /* `millrace_dirty_keys` */;

