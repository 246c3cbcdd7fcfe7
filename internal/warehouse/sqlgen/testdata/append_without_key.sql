-- the table
CREATE TABLE IF NOT EXISTS "core__base"."events" (
  "line" VARCHAR,
  _op VARCHAR,
  _pos VARCHAR,
  _ts TIMESTAMP WITH TIME ZONE,
  _load BIGINT,
  _unset VARCHAR,
  _loaded_at TIMESTAMP WITH TIME ZONE,
  _extra JSON
);

CREATE OR REPLACE VIEW "core"."events" AS
SELECT "line", _op, _pos, _ts, _load, _unset
FROM "core__base"."events";

ALTER TABLE "core__base"."events" ADD COLUMN "line" VARCHAR;

ALTER TABLE "core__base"."events" ALTER COLUMN "line" SET DATA TYPE VARCHAR;

CREATE TABLE IF NOT EXISTS "millrace"."core__events__changes" (_load BIGINT, _image VARCHAR);

-- a load: before the transaction
CREATE OR REPLACE TEMP TABLE millrace_stage (v0 VARCHAR, op VARCHAR, pos VARCHAR, ts TIMESTAMP WITH TIME ZONE, unset VARCHAR);

INSERT INTO temp.millrace_stage SELECT * FROM f();

CREATE OR REPLACE TEMP TABLE millrace_effect (removed BOOLEAN, was BOOLEAN, live BOOLEAN, diff BOOLEAN, op VARCHAR);

-- a load: if a cast has failed
SELECT n,
  CASE WHEN v0 IS NOT NULL AND TRY_CAST(v0 AS VARCHAR) IS NULL THEN pos END
FROM f()
WHERE v0 IS NOT NULL AND TRY_CAST(v0 AS VARCHAR) IS NULL;

-- a load: the transaction
SELECT max(pos) FROM temp.millrace_stage GROUP BY pos HAVING count(*) > 1 LIMIT 1;

INSERT INTO temp.millrace_effect
SELECT TRUE, TRUE, FALSE, TRUE, ''
FROM "core__base"."events" AS t
WHERE t._pos < '00000001/000000000000002A/0000000000000000/00000000';

DELETE FROM "core__base"."events" WHERE _pos < '00000001/000000000000002A/0000000000000000/00000000';

INSERT INTO temp.millrace_effect
SELECT FALSE,
  FALSE,
  TRUE,
  TRUE,
  s.op
FROM temp.millrace_stage AS s LEFT JOIN "core__base"."events" AS t ON t._pos = s.pos
WHERE t._pos IS NULL AND s.pos >= '00000001/000000000000002A/0000000000000000/00000000';

SELECT count(*), count(*) FILTER (live AND NOT was), count(*) FILTER (live AND was),
  count(*) FILTER (was AND NOT live), count(*) FILTER (op = 'r')
FROM temp.millrace_effect WHERE NOT removed;

INSERT INTO "core__base"."events" ("line", _op, _pos, _ts, _unset, _load, _loaded_at)
SELECT s.v0, s.op, s.pos, s.ts, s.unset, 7, make_timestamptz(1700000000000000)
FROM temp.millrace_stage AS s LEFT JOIN "core__base"."events" AS t ON t._pos = s.pos
WHERE t._pos IS NULL AND s.pos >= '00000001/000000000000002A/0000000000000000/00000000';

-- after it
DROP TABLE IF EXISTS temp.millrace_stage;

DROP TABLE IF EXISTS temp.millrace_effect;

