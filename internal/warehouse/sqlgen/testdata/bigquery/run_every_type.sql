-- the table
CREATE SCHEMA IF NOT EXISTS `millrace`;
CREATE SCHEMA IF NOT EXISTS `analytics`;

CREATE SCHEMA IF NOT EXISTS `millrace_scratch` OPTIONS (default_table_expiration_days = 1);

CREATE TABLE IF NOT EXISTS `millrace`.`analytics__every__head` (
  epoch INT64, fence INT64, load INT64, revision INT64, code_hash STRING, absorbed JSON,
  window_begin DATETIME, window_frontier DATETIME, complete_time TIMESTAMP, ready BOOL
)
OPTIONS (labels = [('millrace', 'head')])
AS SELECT 0 AS epoch, 0 AS fence, 0 AS load, 0 AS revision, '' AS code_hash, PARSE_JSON('null') AS absorbed,
  CAST(NULL AS DATETIME) AS window_begin, CAST(NULL AS DATETIME) AS window_frontier, CAST(NULL AS TIMESTAMP) AS complete_time, FALSE AS ready;

CREATE TABLE IF NOT EXISTS `millrace`.`analytics__every__loads` (load INT64, committed_at TIMESTAMP, event JSON)
CLUSTER BY load
OPTIONS (labels = [('millrace', 'loads')]);

CREATE TABLE IF NOT EXISTS `millrace`.`analytics__every__needs` (spec STRING, kind STRING, column_name STRING, seen_at TIMESTAMP)
OPTIONS (labels = [('millrace', 'needs')]);

CREATE TABLE IF NOT EXISTS `millrace`.`analytics__every__dirty` (window_start DATETIME, mark INT64, backfill BOOL, since TIMESTAMP, cause JSON, error STRING, failures INT64, retry_at TIMESTAMP)
OPTIONS (labels = [('millrace', 'dirty')]);

CREATE TABLE IF NOT EXISTS `analytics`.`every` (
  `c_bool` BOOL,
  `c_int64` INT64,
  `c_float64` FLOAT64,
  `c_numeric` NUMERIC,
  `c_string` STRING,
  `c_bytes` BYTES,
  `c_date` DATE,
  `c_time` TIME,
  `c_timestamp` TIMESTAMP,
  `c_datetime` DATETIME,
  `c_json` JSON,
  `c_nested_0` ARRAY<STRING>,
  `c_nested_1` STRUCT<`a` INT64, `b c` NUMERIC>,
  `c_nested_2` ARRAY<STRUCT<`by` STRING, `at` ARRAY<DATE>>>,
  `t` INT64,
  `s` STRING
)
OPTIONS (labels = [('millrace', 'derived')]);

BEGIN TRANSACTION;
UPDATE `millrace`.`analytics__every__head` SET epoch = epoch + 1, fence = fence + 1, revision = GREATEST(revision, CAST(3 AS INT64))
WHERE CAST(3 AS INT64) < 0 OR revision <= CAST(3 AS INT64);
ASSERT @@row_count = 1 AS 'millrace: a later revision owns the table';
CREATE TEMP TABLE taken AS
SELECT epoch, load, revision, code_hash, TO_JSON_STRING(absorbed) AS absorbed, window_begin, window_frontier, complete_time, ready
FROM `millrace`.`analytics__every__head`;
COMMIT TRANSACTION;
SELECT * FROM taken;

ASSERT (SELECT COUNT(*) FROM `millrace`.`analytics__every__head` WHERE epoch = 4) = 1 AS 'millrace: the head is not this writer\'s';

SELECT load, complete_time, ready AS ready,
  (SELECT COALESCE(MAX(CAST(column_name AS INT64)), 0) FROM `millrace`.`analytics__every__needs` WHERE kind = 'swept') AS swept
FROM `millrace`.`analytics__every__head`;

CREATE TABLE IF NOT EXISTS `millrace`.`analytics__every__changes` (_load INT64, _image STRING, `c_int64` INT64, `c_float64` FLOAT64, `c_numeric` NUMERIC, `c_json` JSON, `c_nested_0` ARRAY<STRING>, `c_nested_2` ARRAY<STRUCT<`by` STRING, `at` ARRAY<DATE>>>)
CLUSTER BY _load
OPTIONS (labels = [('millrace', 'changes')]);

-- a run
CREATE TABLE `millrace_scratch`.`analytics__every__run_s_1__stage` AS
SELECT `c_bool`, `c_int64`, `c_float64`, `c_numeric`, `c_string`, `c_bytes`, `c_date`, `c_time`, `c_timestamp`, `c_datetime`, `c_json`, `c_nested_0`, `c_nested_1`, `c_nested_2`, `t`, `s`, 0 AS _part FROM (
SELECT CAST(NULL AS BOOL) AS c_bool, CAST(NULL AS INT64) AS c_int64, CAST(NULL AS FLOAT64) AS c_float64, CAST(NULL AS NUMERIC) AS c_numeric, CAST(NULL AS STRING) AS c_string, CAST(NULL AS BYTES) AS c_bytes, CAST(NULL AS DATE) AS c_date, CAST(NULL AS TIME) AS c_time, CAST(NULL AS TIMESTAMP) AS c_timestamp, CAST(NULL AS DATETIME) AS c_datetime, CAST(NULL AS JSON) AS c_json, CAST(NULL AS ARRAY<STRING>) AS c_nested_0, CAST(NULL AS STRUCT<`a` INT64, `b c` NUMERIC>) AS c_nested_1, CAST(NULL AS ARRAY<STRUCT<`by` STRING, `at` ARRAY<DATE>>>) AS c_nested_2, 1 AS t, 'x' AS s
);

CREATE TABLE `millrace_scratch`.`analytics__every__run_s_1__diff` AS
WITH published AS (
SELECT *, ROW_NUMBER() OVER (PARTITION BY _part, _row) AS _n FROM (
  SELECT `c_bool`, `c_int64`, `c_float64`, `c_numeric`, `c_string`, `c_bytes`, `c_date`, `c_time`, `c_timestamp`, `c_datetime`, `c_json`, `c_nested_0`, `c_nested_1`, `c_nested_2`, `t`, `s`, 0 AS _part, CONCAT(TO_JSON_STRING(`c_bool`), ',', TO_JSON_STRING(`c_int64`), ',', TO_JSON_STRING(`c_float64`), ',', TO_JSON_STRING(`c_numeric`), ',', TO_JSON_STRING(`c_string`), ',', TO_JSON_STRING(`c_bytes`), ',', TO_JSON_STRING(`c_date`), ',', TO_JSON_STRING(`c_time`), ',', TO_JSON_STRING(`c_timestamp`), ',', TO_JSON_STRING(`c_datetime`), ',', TO_JSON_STRING(`c_json`), ',', TO_JSON_STRING(`c_nested_0`), ',', TO_JSON_STRING(`c_nested_1`), ',', TO_JSON_STRING(`c_nested_2`), ',', TO_JSON_STRING(`t`), ',', TO_JSON_STRING(`s`)) AS _row
  FROM `analytics`.`every`
  WHERE TRUE
)
), staged AS (
SELECT *, ROW_NUMBER() OVER (PARTITION BY _part, _row) AS _n FROM (
  SELECT `c_bool`, `c_int64`, `c_float64`, `c_numeric`, `c_string`, `c_bytes`, `c_date`, `c_time`, `c_timestamp`, `c_datetime`, `c_json`, `c_nested_0`, `c_nested_1`, `c_nested_2`, `t`, `s`, _part AS _part, CONCAT(TO_JSON_STRING(`c_bool`), ',', TO_JSON_STRING(`c_int64`), ',', TO_JSON_STRING(`c_float64`), ',', TO_JSON_STRING(`c_numeric`), ',', TO_JSON_STRING(`c_string`), ',', TO_JSON_STRING(`c_bytes`), ',', TO_JSON_STRING(`c_date`), ',', TO_JSON_STRING(`c_time`), ',', TO_JSON_STRING(`c_timestamp`), ',', TO_JSON_STRING(`c_datetime`), ',', TO_JSON_STRING(`c_json`), ',', TO_JSON_STRING(`c_nested_0`), ',', TO_JSON_STRING(`c_nested_1`), ',', TO_JSON_STRING(`c_nested_2`), ',', TO_JSON_STRING(`t`), ',', TO_JSON_STRING(`s`)) AS _row
  FROM `millrace_scratch`.`analytics__every__run_s_1__stage`
)
)
SELECT published.`c_bool` AS `c_bool`, published.`c_int64` AS `c_int64`, published.`c_float64` AS `c_float64`, published.`c_numeric` AS `c_numeric`, published.`c_string` AS `c_string`, published.`c_bytes` AS `c_bytes`, published.`c_date` AS `c_date`, published.`c_time` AS `c_time`, published.`c_timestamp` AS `c_timestamp`, published.`c_datetime` AS `c_datetime`, published.`c_json` AS `c_json`, published.`c_nested_0` AS `c_nested_0`, published.`c_nested_1` AS `c_nested_1`, published.`c_nested_2` AS `c_nested_2`, published.`t` AS `t`, published.`s` AS `s`, published._part AS _part, TRUE AS _gone
FROM published LEFT JOIN staged ON published._part = staged._part AND published._row = staged._row AND published._n = staged._n
WHERE staged._row IS NULL
UNION ALL
SELECT staged.`c_bool` AS `c_bool`, staged.`c_int64` AS `c_int64`, staged.`c_float64` AS `c_float64`, staged.`c_numeric` AS `c_numeric`, staged.`c_string` AS `c_string`, staged.`c_bytes` AS `c_bytes`, staged.`c_date` AS `c_date`, staged.`c_time` AS `c_time`, staged.`c_timestamp` AS `c_timestamp`, staged.`c_datetime` AS `c_datetime`, staged.`c_json` AS `c_json`, staged.`c_nested_0` AS `c_nested_0`, staged.`c_nested_1` AS `c_nested_1`, staged.`c_nested_2` AS `c_nested_2`, staged.`t` AS `t`, staged.`s` AS `s`, staged._part AS _part, FALSE AS _gone
FROM staged LEFT JOIN published ON staged._part = published._part AND staged._row = published._row AND staged._n = published._n
WHERE published._row IS NULL;

SELECT 0 AS what, _part AS a, COUNT(*) AS b, 0 AS c FROM `millrace_scratch`.`analytics__every__run_s_1__stage` GROUP BY _part
UNION ALL
SELECT 1 AS what, _part AS a, 0 AS b, COUNT(*) AS c FROM `millrace_scratch`.`analytics__every__run_s_1__stage` WHERE NOT COALESCE(TRUE, FALSE) GROUP BY _part
UNION ALL
SELECT 1 AS what, _part AS a, 1 AS b, COUNT(*) AS c FROM (SELECT _part FROM `millrace_scratch`.`analytics__every__run_s_1__stage` GROUP BY _part, TO_JSON_STRING(`c_json`), `c_numeric`, `c_int64`, TO_JSON_STRING(`c_nested_0`), TO_JSON_STRING(`c_nested_1`) HAVING COUNT(*) > 1) GROUP BY _part
UNION ALL
SELECT 1 AS what, _part AS a, 2 AS b, COUNT(*) AS c FROM `millrace_scratch`.`analytics__every__run_s_1__stage` WHERE (c_nested_2 IS NULL) GROUP BY _part
UNION ALL
SELECT 2 AS what, _part AS a, COUNTIF(_gone) AS b, COUNTIF(NOT _gone) AS c FROM `millrace_scratch`.`analytics__every__run_s_1__diff` GROUP BY _part
UNION ALL
SELECT 3 AS what, 0 AS a, b AS b, 0 AS c FROM (SELECT DISTINCT UNIX_DATE(`c_date`) AS b FROM `millrace_scratch`.`analytics__every__run_s_1__diff`)
UNION ALL
SELECT 3 AS what, 1 AS a, b AS b, 0 AS c FROM (SELECT DISTINCT (DIV(UNIX_MICROS(`c_timestamp`), 3600000000) - CASE WHEN MOD(UNIX_MICROS(`c_timestamp`), 3600000000) < 0 THEN 1 ELSE 0 END) AS b FROM `millrace_scratch`.`analytics__every__run_s_1__diff`)
UNION ALL
SELECT 3 AS what, 2 AS a, b AS b, 0 AS c FROM (SELECT DISTINCT (DIV(UNIX_MICROS(TIMESTAMP(`c_datetime`)), 3600000000) - CASE WHEN MOD(UNIX_MICROS(TIMESTAMP(`c_datetime`)), 3600000000) < 0 THEN 1 ELSE 0 END) AS b FROM `millrace_scratch`.`analytics__every__run_s_1__diff`)
UNION ALL
SELECT 4 AS what, 0 AS a, (SELECT COUNT(*) FROM `millrace`.`analytics__every__needs` WHERE kind = 'emptied') AS b, 0 AS c;

-- it is published
BEGIN TRANSACTION;
UPDATE `millrace`.`analytics__every__head` SET load = 8, fence = fence + 1, code_hash = 'hash', absorbed = PARSE_JSON('{"core.payments":12}'),
  window_begin = CAST('2024-03-01 00:00:00' AS DATETIME), window_frontier = CAST(NULL AS DATETIME), complete_time = CAST('2024-03-05 10:00:00.000001+00' AS TIMESTAMP), ready = TRUE
WHERE epoch = 4 AND load = 7 AND code_hash = 'was';
ASSERT @@row_count = 1 AS 'millrace: the head is not this writer\'s';
MERGE INTO `analytics`.`every` AS t
USING (
  SELECT `c_bool` AS _c0, `c_int64` AS _c1, `c_float64` AS _c2, `c_numeric` AS _c3, `c_string` AS _c4, `c_bytes` AS _c5, `c_date` AS _c6, `c_time` AS _c7, `c_timestamp` AS _c8, `c_datetime` AS _c9, `c_json` AS _c10, `c_nested_0` AS _c11, `c_nested_1` AS _c12, `c_nested_2` AS _c13, `t` AS _c14, `s` AS _c15, FALSE AS gone FROM `millrace_scratch`.`analytics__every__run_s_1__diff` WHERE NOT _gone
  UNION ALL
  SELECT CAST(NULL AS BOOL) AS _c0, _c1, _c2, _c3, CAST(NULL AS STRING) AS _c4, CAST(NULL AS BYTES) AS _c5, CAST(NULL AS DATE) AS _c6, CAST(NULL AS TIME) AS _c7, CAST(NULL AS TIMESTAMP) AS _c8, CAST(NULL AS DATETIME) AS _c9, CAST(NULL AS JSON) AS _c10, CAST(NULL AS ARRAY<STRING>) AS _c11, CAST(NULL AS STRUCT<`a` INT64, `b c` NUMERIC>) AS _c12, CAST(NULL AS ARRAY<STRUCT<`by` STRING, `at` ARRAY<DATE>>>) AS _c13, CAST(NULL AS INT64) AS _c14, CAST(NULL AS STRING) AS _c15, TRUE AS gone FROM (
    SELECT DISTINCT g.`c_int64` AS _c1, g.`c_float64` AS _c2, g.`c_numeric` AS _c3 FROM `millrace_scratch`.`analytics__every__run_s_1__diff` AS g
    WHERE g._gone AND NOT EXISTS (SELECT 1 FROM `millrace_scratch`.`analytics__every__run_s_1__diff` AS c WHERE NOT c._gone AND g.`c_int64` = c.`c_int64` AND TO_JSON_STRING(g.`c_float64` + 0.0) = TO_JSON_STRING(c.`c_float64` + 0.0) AND g.`c_numeric` = c.`c_numeric`)
  )
) AS s
ON t.`c_int64` = s._c1 AND TO_JSON_STRING(t.`c_float64` + 0.0) = TO_JSON_STRING(s._c2 + 0.0) AND t.`c_numeric` = s._c3
WHEN MATCHED AND s.gone THEN DELETE
WHEN MATCHED THEN UPDATE SET `c_bool` = s._c0, `c_string` = s._c4, `c_bytes` = s._c5, `c_date` = s._c6, `c_time` = s._c7, `c_timestamp` = s._c8, `c_datetime` = s._c9, `c_json` = s._c10, `c_nested_0` = s._c11, `c_nested_1` = s._c12, `c_nested_2` = s._c13, t.`t` = s._c14, `s` = s._c15
WHEN NOT MATCHED AND NOT s.gone THEN INSERT (`c_bool`, `c_int64`, `c_float64`, `c_numeric`, `c_string`, `c_bytes`, `c_date`, `c_time`, `c_timestamp`, `c_datetime`, `c_json`, `c_nested_0`, `c_nested_1`, `c_nested_2`, `t`, `s`) VALUES (s._c0, s._c1, s._c2, s._c3, s._c4, s._c5, s._c6, s._c7, s._c8, s._c9, s._c10, s._c11, s._c12, s._c13, s._c14, s._c15);
INSERT INTO `millrace`.`analytics__every__changes` (_load, _image, `c_int64`, `c_float64`, `c_numeric`, `c_json`, `c_nested_0`, `c_nested_2`)
SELECT 8, CASE WHEN _gone THEN 'old' ELSE 'new' END, `c_int64`, `c_float64`, `c_numeric`, `c_json`, `c_nested_0`, `c_nested_2` FROM `millrace_scratch`.`analytics__every__run_s_1__diff`;
INSERT INTO `millrace`.`analytics__every__loads` (load, committed_at, event) VALUES (8, TIMESTAMP_MICROS(1), PARSE_JSON('{}'));
COMMIT TRANSACTION;
SELECT COALESCE((
SELECT CONCAT('[', STRING_AGG(TO_JSON_STRING([spec, kind, column_name])), ']') FROM `millrace`.`analytics__every__needs`
), '[]') AS needs;

-- the table
CREATE SCHEMA IF NOT EXISTS `millrace`;
CREATE SCHEMA IF NOT EXISTS `analytics`;

CREATE SCHEMA IF NOT EXISTS `millrace_scratch` OPTIONS (default_table_expiration_days = 1);

CREATE TABLE IF NOT EXISTS `millrace`.`analytics__appended__head` (
  epoch INT64, fence INT64, load INT64, revision INT64, code_hash STRING, absorbed JSON,
  window_begin DATETIME, window_frontier DATETIME, complete_time TIMESTAMP, ready BOOL
)
OPTIONS (labels = [('millrace', 'head')])
AS SELECT 0 AS epoch, 0 AS fence, 0 AS load, 0 AS revision, '' AS code_hash, PARSE_JSON('null') AS absorbed,
  CAST(NULL AS DATETIME) AS window_begin, CAST(NULL AS DATETIME) AS window_frontier, CAST(NULL AS TIMESTAMP) AS complete_time, FALSE AS ready;

CREATE TABLE IF NOT EXISTS `millrace`.`analytics__appended__loads` (load INT64, committed_at TIMESTAMP, event JSON)
CLUSTER BY load
OPTIONS (labels = [('millrace', 'loads')]);

CREATE TABLE IF NOT EXISTS `millrace`.`analytics__appended__needs` (spec STRING, kind STRING, column_name STRING, seen_at TIMESTAMP)
OPTIONS (labels = [('millrace', 'needs')]);

CREATE TABLE IF NOT EXISTS `millrace`.`analytics__appended__dirty` (window_start DATETIME, mark INT64, backfill BOOL, since TIMESTAMP, cause JSON, error STRING, failures INT64, retry_at TIMESTAMP)
OPTIONS (labels = [('millrace', 'dirty')]);

CREATE TABLE IF NOT EXISTS `analytics`.`appended` (
  `c_bool` BOOL,
  `c_int64` INT64,
  `c_float64` FLOAT64,
  `c_numeric` NUMERIC,
  `c_string` STRING,
  `c_bytes` BYTES,
  `c_date` DATE,
  `c_time` TIME,
  `c_timestamp` TIMESTAMP,
  `c_datetime` DATETIME,
  `c_json` JSON,
  `c_nested_0` ARRAY<STRING>,
  `c_nested_1` STRUCT<`a` INT64, `b c` NUMERIC>,
  `c_nested_2` ARRAY<STRUCT<`by` STRING, `at` ARRAY<DATE>>>,
  `t` INT64,
  `s` STRING,
  _load INT64
)
OPTIONS (labels = [('millrace', 'derived')]);

BEGIN TRANSACTION;
UPDATE `millrace`.`analytics__appended__head` SET epoch = epoch + 1, fence = fence + 1, revision = GREATEST(revision, CAST(3 AS INT64))
WHERE CAST(3 AS INT64) < 0 OR revision <= CAST(3 AS INT64);
ASSERT @@row_count = 1 AS 'millrace: a later revision owns the table';
CREATE TEMP TABLE taken AS
SELECT epoch, load, revision, code_hash, TO_JSON_STRING(absorbed) AS absorbed, window_begin, window_frontier, complete_time, ready
FROM `millrace`.`analytics__appended__head`;
COMMIT TRANSACTION;
SELECT * FROM taken;

ASSERT (SELECT COUNT(*) FROM `millrace`.`analytics__appended__head` WHERE epoch = 4) = 1 AS 'millrace: the head is not this writer\'s';

SELECT load, complete_time, ready AS ready,
  (SELECT COALESCE(MAX(CAST(column_name AS INT64)), 0) FROM `millrace`.`analytics__appended__needs` WHERE kind = 'swept') AS swept
FROM `millrace`.`analytics__appended__head`;

CREATE TABLE IF NOT EXISTS `millrace`.`analytics__appended__changes` (_load INT64, _image STRING, `c_json` JSON, `c_nested_0` ARRAY<STRING>, `c_nested_2` ARRAY<STRUCT<`by` STRING, `at` ARRAY<DATE>>>)
CLUSTER BY _load
OPTIONS (labels = [('millrace', 'changes')]);

CREATE TABLE `millrace_scratch`.`analytics__appended__run_s_1__stage` AS
SELECT `c_bool`, `c_int64`, `c_float64`, `c_numeric`, `c_string`, `c_bytes`, `c_date`, `c_time`, `c_timestamp`, `c_datetime`, `c_json`, `c_nested_0`, `c_nested_1`, `c_nested_2`, `t`, `s`, 0 AS _part FROM (
SELECT CAST(NULL AS BOOL) AS c_bool, CAST(NULL AS INT64) AS c_int64, CAST(NULL AS FLOAT64) AS c_float64, CAST(NULL AS NUMERIC) AS c_numeric, CAST(NULL AS STRING) AS c_string, CAST(NULL AS BYTES) AS c_bytes, CAST(NULL AS DATE) AS c_date, CAST(NULL AS TIME) AS c_time, CAST(NULL AS TIMESTAMP) AS c_timestamp, CAST(NULL AS DATETIME) AS c_datetime, CAST(NULL AS JSON) AS c_json, CAST(NULL AS ARRAY<STRING>) AS c_nested_0, CAST(NULL AS STRUCT<`a` INT64, `b c` NUMERIC>) AS c_nested_1, CAST(NULL AS ARRAY<STRUCT<`by` STRING, `at` ARRAY<DATE>>>) AS c_nested_2, 1 AS t, 'x' AS s
);

SELECT 0 AS what, _part AS a, COUNT(*) AS b, 0 AS c FROM `millrace_scratch`.`analytics__appended__run_s_1__stage` GROUP BY _part
UNION ALL
SELECT 3 AS what, 0 AS a, b AS b, 0 AS c FROM (SELECT DISTINCT UNIX_DATE(`c_date`) AS b FROM `millrace_scratch`.`analytics__appended__run_s_1__stage`)
UNION ALL
SELECT 3 AS what, 1 AS a, b AS b, 0 AS c FROM (SELECT DISTINCT (DIV(UNIX_MICROS(`c_timestamp`), 3600000000) - CASE WHEN MOD(UNIX_MICROS(`c_timestamp`), 3600000000) < 0 THEN 1 ELSE 0 END) AS b FROM `millrace_scratch`.`analytics__appended__run_s_1__stage`)
UNION ALL
SELECT 3 AS what, 2 AS a, b AS b, 0 AS c FROM (SELECT DISTINCT (DIV(UNIX_MICROS(TIMESTAMP(`c_datetime`)), 3600000000) - CASE WHEN MOD(UNIX_MICROS(TIMESTAMP(`c_datetime`)), 3600000000) < 0 THEN 1 ELSE 0 END) AS b FROM `millrace_scratch`.`analytics__appended__run_s_1__stage`);

BEGIN TRANSACTION;
UPDATE `millrace`.`analytics__appended__head` SET load = 8, fence = fence + 1, code_hash = 'hash', absorbed = PARSE_JSON('{"core.payments":12}'),
  window_begin = CAST('2024-03-01 00:00:00' AS DATETIME), window_frontier = CAST(NULL AS DATETIME), complete_time = CAST('2024-03-05 10:00:00.000001+00' AS TIMESTAMP), ready = TRUE
WHERE epoch = 4 AND load = 7 AND code_hash = 'was';
ASSERT @@row_count = 1 AS 'millrace: the head is not this writer\'s';
INSERT INTO `analytics`.`appended` (`c_bool`, `c_int64`, `c_float64`, `c_numeric`, `c_string`, `c_bytes`, `c_date`, `c_time`, `c_timestamp`, `c_datetime`, `c_json`, `c_nested_0`, `c_nested_1`, `c_nested_2`, `t`, `s`, _load)
SELECT `c_bool`, `c_int64`, `c_float64`, `c_numeric`, `c_string`, `c_bytes`, `c_date`, `c_time`, `c_timestamp`, `c_datetime`, `c_json`, `c_nested_0`, `c_nested_1`, `c_nested_2`, `t`, `s`, 8 FROM `millrace_scratch`.`analytics__appended__run_s_1__stage`;
INSERT INTO `millrace`.`analytics__appended__changes` (_load, _image, `c_json`, `c_nested_0`, `c_nested_2`)
SELECT 8, 'new', `c_json`, `c_nested_0`, `c_nested_2` FROM `millrace_scratch`.`analytics__appended__run_s_1__stage`;
INSERT INTO `millrace`.`analytics__appended__loads` (load, committed_at, event) VALUES (8, TIMESTAMP_MICROS(1), PARSE_JSON('{}'));
COMMIT TRANSACTION;
SELECT COALESCE((
SELECT CONCAT('[', STRING_AGG(TO_JSON_STRING([spec, kind, column_name])), ']') FROM `millrace`.`analytics__appended__needs`
), '[]') AS needs;

