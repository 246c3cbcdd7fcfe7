-- the table
CREATE TABLE IF NOT EXISTS "core__base"."payments_history" (
  "id" BIGINT,
  "note" VARCHAR,
  "at" TIMESTAMP,
  _op VARCHAR,
  _pos VARCHAR,
  _ts TIMESTAMP WITH TIME ZONE,
  _load BIGINT,
  _unset VARCHAR,
  _loaded_at TIMESTAMP WITH TIME ZONE,
  _extra JSON
);

CREATE OR REPLACE VIEW "core"."payments_history" AS
SELECT "id", "note", "at", _op, _pos, _ts, _load, _unset
FROM "core__base"."payments_history";

ALTER TABLE "core__base"."payments_history" ADD COLUMN "id" BIGINT;

ALTER TABLE "core__base"."payments_history" ALTER COLUMN "id" SET DATA TYPE BIGINT;

CREATE TABLE IF NOT EXISTS "millrace"."core__payments_history__changes" (_load BIGINT, _image VARCHAR, "id" BIGINT);

-- a load: before the transaction
CREATE OR REPLACE TEMP TABLE millrace_stage (v0 BIGINT, v1 VARCHAR, v2 TIMESTAMP, op VARCHAR, pos VARCHAR, ts TIMESTAMP WITH TIME ZONE, unset VARCHAR);

INSERT INTO temp.millrace_stage SELECT * FROM f();

CREATE OR REPLACE TEMP TABLE millrace_effect (removed BOOLEAN, was BOOLEAN, live BOOLEAN, diff BOOLEAN, op VARCHAR, o2 TIMESTAMP, n2 TIMESTAMP);

-- a load: if a cast has failed
SELECT n,
  CASE WHEN v0 IS NOT NULL AND TRY_CAST(v0 AS BIGINT) IS NULL THEN pos END,
  CASE WHEN v1 IS NOT NULL AND TRY_CAST(v1 AS VARCHAR) IS NULL THEN pos END,
  CASE WHEN v2 IS NOT NULL AND TRY_CAST(v2 AS TIMESTAMP) IS NULL THEN pos END
FROM f()
WHERE v0 IS NOT NULL AND TRY_CAST(v0 AS BIGINT) IS NULL
  OR v1 IS NOT NULL AND TRY_CAST(v1 AS VARCHAR) IS NULL
  OR v2 IS NOT NULL AND TRY_CAST(v2 AS TIMESTAMP) IS NULL;

-- a load: the transaction
SELECT max(pos) FROM temp.millrace_stage GROUP BY v0, pos HAVING count(*) > 1 LIMIT 1;

INSERT INTO temp.millrace_effect
SELECT TRUE, TRUE, FALSE, TRUE, '', t."at", NULL
FROM "core__base"."payments_history" AS t
WHERE t._pos < '00000001/000000000000002A/0000000000000000/00000000';

DELETE FROM "core__base"."payments_history" WHERE _pos < '00000001/000000000000002A/0000000000000000/00000000';

INSERT INTO temp.millrace_effect
SELECT FALSE,
  FALSE,
  TRUE,
  TRUE,
  s.op,
  NULL,
  s.v2
FROM temp.millrace_stage AS s LEFT JOIN "core__base"."payments_history" AS t ON t."id" = s.v0 AND t._pos = s.pos
WHERE t._pos IS NULL;

SELECT count(*), count(*) FILTER (live AND NOT was), count(*) FILTER (live AND was),
  count(*) FILTER (was AND NOT live), count(*) FILTER (op = 'r')
FROM temp.millrace_effect WHERE NOT removed;

INSERT INTO "core__base"."payments_history" ("id", "note", "at", _op, _pos, _ts, _unset, _load, _loaded_at)
SELECT s.v0, s.v1, s.v2, s.op, s.pos, s.ts, s.unset, 7, make_timestamptz(1700000000000000)
FROM temp.millrace_stage AS s LEFT JOIN "core__base"."payments_history" AS t ON t."id" = s.v0 AND t._pos = s.pos
WHERE t._pos IS NULL;

SELECT DISTINCT b FROM (
  SELECT (epoch_us(o2) // 3600000000 - CASE WHEN epoch_us(o2) % 3600000000 < 0 THEN 1 ELSE 0 END) AS b FROM temp.millrace_effect WHERE was AND diff
  UNION ALL
  SELECT (epoch_us(n2) // 3600000000 - CASE WHEN epoch_us(n2) % 3600000000 < 0 THEN 1 ELSE 0 END) FROM temp.millrace_effect WHERE live AND diff
) ORDER BY b NULLS FIRST;

-- after it
DROP TABLE IF EXISTS temp.millrace_stage;

DROP TABLE IF EXISTS temp.millrace_effect;

