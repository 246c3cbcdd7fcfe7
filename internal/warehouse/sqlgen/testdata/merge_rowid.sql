-- the table
CREATE TABLE IF NOT EXISTS "core__base"."parts" (
  "id" BIGINT,
  "RowID" VARCHAR,
  _pos VARCHAR,
  _deleted BOOLEAN,
  _born VARCHAR,
  _load BIGINT,
  _unset VARCHAR,
  _loaded_at TIMESTAMP WITH TIME ZONE,
  _extra JSON
);

CREATE OR REPLACE VIEW "core"."parts" AS
SELECT "id", "RowID"
FROM "core__base"."parts"
WHERE NOT _deleted;

ALTER TABLE "core__base"."parts" ADD COLUMN "id" BIGINT;

ALTER TABLE "core__base"."parts" ALTER COLUMN "id" SET DATA TYPE BIGINT;

CREATE TABLE IF NOT EXISTS "millrace"."core__parts__changes" (_load BIGINT, _image VARCHAR, "id" BIGINT);

-- a load: before the transaction
CREATE OR REPLACE TEMP TABLE millrace_stage (v0 BIGINT, v1 VARCHAR, op VARCHAR, pos VARCHAR, born VARCHAR);

INSERT INTO temp.millrace_stage SELECT * FROM f();

CREATE OR REPLACE TEMP TABLE millrace_effect (removed BOOLEAN, was BOOLEAN, live BOOLEAN, diff BOOLEAN, op VARCHAR);

-- a load: if a cast has failed
SELECT n,
  CASE WHEN v0 IS NOT NULL AND TRY_CAST(v0 AS BIGINT) IS NULL THEN pos END,
  CASE WHEN v1 IS NOT NULL AND TRY_CAST(v1 AS VARCHAR) IS NULL THEN pos END
FROM f()
WHERE v0 IS NOT NULL AND TRY_CAST(v0 AS BIGINT) IS NULL
  OR v1 IS NOT NULL AND TRY_CAST(v1 AS VARCHAR) IS NULL;

-- a load: the transaction
SELECT max(pos) FROM temp.millrace_stage GROUP BY v0 HAVING count(*) > 1 LIMIT 1;

INSERT INTO temp.millrace_effect
SELECT TRUE, TRUE, FALSE, TRUE, ''
FROM "core__base"."parts" AS t
WHERE t._pos < '00000001/000000000000002A/0000000000000000/00000000' AND NOT t._deleted;

DELETE FROM "core__base"."parts" WHERE _pos < '00000001/000000000000002A/0000000000000000/00000000';

INSERT INTO temp.millrace_effect
SELECT FALSE,
  (NOT t._pos IS NULL AND NOT t._deleted),
  CASE WHEN t._pos IS NULL OR s.pos > t._pos THEN s.op <> 'd' ELSE NOT t._deleted END,
  TRUE,
  s.op
FROM temp.millrace_stage AS s LEFT JOIN "core__base"."parts" AS t ON t."id" = s.v0
WHERE t._pos IS NULL AND s.pos >= '00000001/000000000000002A/0000000000000000/00000000' OR NOT t._pos IS NULL AND s.pos > t._pos;

SELECT count(*), count(*) FILTER (live AND NOT was), count(*) FILTER (live AND was),
  count(*) FILTER (was AND NOT live), count(*) FILTER (op = 'r')
FROM temp.millrace_effect WHERE NOT removed;

MERGE INTO "core__base"."parts" AS t USING temp.millrace_stage AS s
ON t."id" = s.v0
WHEN MATCHED AND s.pos > t._pos THEN UPDATE SET
  "RowID" = s.v1,
  _unset = '',
  _deleted = CASE WHEN s.pos > t._pos THEN s.op = 'd' ELSE t._deleted END,
  _born = GREATEST(t._born, s.born),
  _pos = GREATEST(t._pos, s.pos),
  _load = 7,
  _loaded_at = make_timestamptz(1700000000000000)
WHEN NOT MATCHED AND s.pos >= '00000001/000000000000002A/0000000000000000/00000000' THEN INSERT ("id", "RowID", _unset, _deleted, _born, _pos, _load, _loaded_at)
VALUES (
  s.v0,
  s.v1,
  '',
  s.op = 'd',
  GREATEST('00000001/000000000000002A/0000000000000000/00000000', s.born),
  s.pos,
  7,
  make_timestamptz(1700000000000000));

-- after it
DROP TABLE IF EXISTS temp.millrace_stage;

DROP TABLE IF EXISTS temp.millrace_effect;

