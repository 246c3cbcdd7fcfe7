CREATE TABLE IF NOT EXISTS "analytics"."customers" (
  "customer" BIGINT,
  "day" DATE,
  "odd ""name" VARCHAR
);

ALTER TABLE "analytics"."customers" ADD COLUMN "n" BIGINT;

ALTER TABLE "analytics"."customers" DROP COLUMN "n";

CREATE TABLE IF NOT EXISTS "millrace"."analytics__customers__dirty" ("customer" BIGINT, mark BIGINT, backfill BOOLEAN, since TIMESTAMP WITH TIME ZONE, cause JSON, error VARCHAR, failures BIGINT, retry_at TIMESTAMP WITH TIME ZONE);

CREATE TABLE IF NOT EXISTS "millrace"."analytics__customers__head" (
  epoch BIGINT, fence BIGINT, load BIGINT, revision BIGINT, code_hash VARCHAR, absorbed JSON,
  window_begin TIMESTAMP, window_frontier TIMESTAMP, complete_time TIMESTAMP WITH TIME ZONE, ready BOOLEAN
);

INSERT INTO "millrace"."analytics__customers__head"
SELECT 0 AS epoch, 0 AS fence, 0 AS load, 0 AS revision, '' AS code_hash, CAST('null' AS VARCHAR) AS absorbed,
  NULL AS window_begin, NULL AS window_frontier, NULL AS complete_time, FALSE AS ready
WHERE NOT EXISTS (SELECT 1 FROM "millrace"."analytics__customers__head");

SELECT epoch, load, revision, code_hash, CAST(absorbed AS VARCHAR) AS absorbed, window_begin, window_frontier, complete_time, ready
FROM "millrace"."analytics__customers__head";

UPDATE "millrace"."analytics__customers__head" SET epoch = epoch + 1, fence = fence + 1, revision = GREATEST(revision, CAST($1 AS BIGINT))
WHERE CAST($1 AS BIGINT) < 0 OR revision <= CAST($1 AS BIGINT);

UPDATE "millrace"."analytics__customers__head" SET load = $1, fence = fence + 1, code_hash = $2, absorbed = CAST($3 AS VARCHAR),
  window_begin = CAST($4 AS TIMESTAMP), window_frontier = CAST($5 AS TIMESTAMP), complete_time = CAST($6 AS TIMESTAMP WITH TIME ZONE), ready = $7
WHERE epoch = $8 AND load = $9 AND code_hash = $10;

CREATE OR REPLACE TEMP TABLE millrace_run_keys AS SELECT "customer", mark FROM "millrace"."analytics__customers__dirty" LIMIT 0;

DELETE FROM temp.millrace_run_keys;

INSERT INTO temp.millrace_run_keys SELECT *, 7 FROM (SELECT DISTINCT "customer" FROM (
SELECT c FROM x
) AS q("customer") WHERE "customer" IS NOT NULL);

DELETE FROM "millrace"."analytics__customers__dirty" WHERE ("customer") IN (SELECT ("customer") FROM temp.millrace_run_keys);

INSERT INTO "millrace"."analytics__customers__dirty" SELECT "customer", mark, FALSE, now(), '[]', '', 0, NULL FROM temp.millrace_run_keys;

DELETE FROM temp.millrace_run_keys;

INSERT INTO temp.millrace_run_keys SELECT "customer", mark FROM "millrace"."analytics__customers__dirty" WHERE (retry_at IS NULL OR retry_at <= now());

CREATE OR REPLACE TEMP TABLE millrace_run_stage AS
SELECT "customer", "day", "odd ""name", 0 AS _part FROM (
SELECT 1 -- no end
);

INSERT INTO temp.millrace_run_stage
SELECT "customer", "day", "odd ""name", 1 AS _part FROM (
SELECT 1 -- no end
);

SELECT count(*) FILTER (WHERE NOT coalesce(_owned, FALSE)), count(*) FILTER (WHERE day IS NULL), typeof(any_value("customer")), typeof(any_value("day")), typeof(any_value("odd ""name")) FROM (SELECT *, ("customer") IN (SELECT ("customer") FROM temp.millrace_run_keys) AS _owned FROM temp.millrace_run_stage) WHERE _part = 1;

SELECT 0, typeof(any_value("customer")), typeof(any_value("day")), typeof(any_value("odd ""name")) FROM temp.millrace_run_stage WHERE _part = 0;

SELECT count(*) FROM (SELECT 1 FROM temp.millrace_run_stage WHERE _part = 1 GROUP BY "customer", "day" HAVING count(*) > 1);

CREATE OR REPLACE TEMP TABLE millrace_run_diff AS
SELECT "customer", "day", "odd ""name", 0 AS _part, count(*) FILTER (WHERE _comes) - count(*) FILTER (WHERE NOT _comes) AS _more FROM (
  SELECT "customer", "day", "odd ""name", FALSE AS _comes FROM "analytics"."customers" WHERE TRUE
  UNION ALL SELECT "customer", "day", "odd ""name", TRUE FROM temp.millrace_run_stage WHERE _part = 0
) GROUP BY "customer", "day", "odd ""name" HAVING count(*) FILTER (WHERE _comes) - count(*) FILTER (WHERE NOT _comes) <> 0;

INSERT INTO temp.millrace_run_diff
SELECT "customer", "day", "odd ""name", 1 AS _part, count(*) FILTER (WHERE _comes) - count(*) FILTER (WHERE NOT _comes) AS _more FROM (
  SELECT "customer", "day", "odd ""name", FALSE AS _comes FROM "analytics"."customers" WHERE ("customer") IN (SELECT ("customer") FROM temp.millrace_run_keys)
  UNION ALL SELECT "customer", "day", "odd ""name", TRUE FROM temp.millrace_run_stage WHERE _part = 1
) GROUP BY "customer", "day", "odd ""name" HAVING count(*) FILTER (WHERE _comes) - count(*) FILTER (WHERE NOT _comes) <> 0;

SELECT CAST(coalesce(-sum(_more) FILTER (WHERE _more < 0), 0) AS BIGINT), CAST(coalesce(sum(_more) FILTER (WHERE _more > 0), 0) AS BIGINT) FROM temp.millrace_run_diff WHERE _part = 1;

DELETE FROM "analytics"."customers" WHERE ("customer") IN (SELECT ("customer") FROM temp.millrace_run_keys);

INSERT INTO "analytics"."customers" ("customer", "day", "odd ""name")
SELECT "customer", "day", "odd ""name" FROM temp.millrace_run_stage WHERE _part = 1;

DELETE FROM "analytics"."customers" WHERE ("customer", "day") IN (SELECT ("customer", "day") FROM temp.millrace_run_diff WHERE _part = 1);

INSERT INTO "analytics"."customers" ("customer", "day", "odd ""name")
SELECT "customer", "day", "odd ""name" FROM temp.millrace_run_stage WHERE _part = 1 AND ("customer", "day") IN (SELECT ("customer", "day") FROM temp.millrace_run_diff WHERE _part = 1);

DELETE FROM "analytics"."customers" WHERE _load = 5;

INSERT INTO "analytics"."customers" ("customer", "day", "odd ""name", _load)
SELECT "customer", "day", "odd ""name", 5 FROM temp.millrace_run_stage;

CREATE OR REPLACE TEMP TABLE millrace_run_diff AS
SELECT *, 1 AS _more FROM temp.millrace_run_stage;

SELECT DISTINCT CAST("day" - DATE '1970-01-01' AS BIGINT) AS b FROM temp.millrace_run_diff ORDER BY b NULLS FIRST;

SELECT DISTINCT (epoch_us("ts") // 3600000000 - CASE WHEN epoch_us("ts") % 3600000000 < 0 THEN 1 ELSE 0 END) AS b FROM (
SELECT ts FROM x
) AS q ORDER BY b NULLS FIRST;

CREATE TABLE IF NOT EXISTS "millrace"."analytics__customers__changes" (_load BIGINT, _image VARCHAR, "customer" BIGINT, "day" DATE, "odd ""name" VARCHAR);

ALTER TABLE "millrace"."analytics__customers__changes" ADD COLUMN IF NOT EXISTS "odd ""name" VARCHAR;

INSERT INTO "millrace"."analytics__customers__changes" (_load, _image, "customer", "day", "odd ""name")
SELECT 5, CASE WHEN _more < 0 THEN 'old' ELSE 'new' END, "customer", "day", "odd ""name" FROM temp.millrace_run_diff;

DELETE FROM "millrace"."analytics__customers__dirty" AS t USING temp.millrace_run_keys AS k WHERE k."customer" = t."customer" AND t.mark <= k.mark;

UPDATE "millrace"."analytics__customers__dirty" SET error = $1, failures = $2, retry_at = CAST($3 AS TIMESTAMP WITH TIME ZONE) WHERE (retry_at IS NULL OR retry_at <= now());

SELECT COUNT(*) AS n, COALESCE(MAX(mark), 0) AS mark, count(*) FILTER (retry_at IS NULL) > 0 AS due, MIN(retry_at) AS retry_at, MIN(since) AS since, COALESCE(MAX(error), '') AS error
FROM "millrace"."analytics__customers__dirty";

DROP TABLE IF EXISTS temp.millrace_run_stage;

DROP TABLE IF EXISTS temp.millrace_run_diff;

DROP TABLE IF EXISTS temp.millrace_run_keys;

CREATE TABLE IF NOT EXISTS "analytics"."customers" (
  "day" DATE,
  _load BIGINT
);

CREATE TABLE IF NOT EXISTS "millrace"."analytics__customers__dirty" (window_start TIMESTAMP, mark BIGINT, backfill BOOLEAN, since TIMESTAMP WITH TIME ZONE, cause JSON, error VARCHAR, failures BIGINT, retry_at TIMESTAMP WITH TIME ZONE);

SELECT window_start, mark, backfill, since, CAST(cause AS VARCHAR) AS cause, error, failures, retry_at
FROM "millrace"."analytics__customers__dirty" ORDER BY window_start;

DELETE FROM "millrace"."analytics__customers__dirty" WHERE window_start = CAST($1 AS TIMESTAMP) AND mark <= $2;

DELETE FROM "millrace"."analytics__customers__dirty" WHERE TRUE;

DELETE FROM "millrace"."analytics__customers__dirty" WHERE window_start IN (TIMESTAMP '2024-03-01 00:00:00', TIMESTAMP '0001-01-01 00:00:00');

INSERT INTO "millrace"."analytics__customers__dirty" (window_start, mark, backfill, since, cause, error, failures, retry_at) VALUES
(TIMESTAMP '2024-03-01 00:00:00', 3, false, make_timestamptz(1709251200000000), CAST('[]' AS VARCHAR), 'it''s no', 2, make_timestamptz(1709251200000000)),
(TIMESTAMP '0001-01-01 00:00:00', 4, true, make_timestamptz(1709251200000000), CAST('[]' AS VARCHAR), '', 0, NULL);
