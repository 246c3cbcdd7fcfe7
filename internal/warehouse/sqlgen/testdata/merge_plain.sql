-- the table
CREATE TABLE IF NOT EXISTS "core__base"."payments" (
  "id" BIGINT,
  "amount" DECIMAL(10,2),
  "paid_at" TIMESTAMP WITH TIME ZONE,
  _pos VARCHAR,
  _deleted BOOLEAN,
  _born VARCHAR,
  _load BIGINT,
  _unset VARCHAR,
  _loaded_at TIMESTAMP WITH TIME ZONE,
  _extra JSON
);

CREATE OR REPLACE VIEW "core"."payments" AS
SELECT "id", "amount", "paid_at"
FROM "core__base"."payments"
WHERE NOT _deleted;

ALTER TABLE "core__base"."payments" ADD COLUMN "id" BIGINT;

ALTER TABLE "core__base"."payments" ALTER COLUMN "id" SET DATA TYPE BIGINT;

CREATE TABLE IF NOT EXISTS "millrace"."core__payments__changes" (_load BIGINT, _image VARCHAR, "id" BIGINT);

-- a load: before the transaction
CREATE OR REPLACE TEMP TABLE millrace_stage (v0 BIGINT, v1 DECIMAL(10,2), v2 TIMESTAMP WITH TIME ZONE, op VARCHAR, pos VARCHAR, born VARCHAR);

INSERT INTO temp.millrace_stage SELECT * FROM f();

CREATE OR REPLACE TEMP TABLE millrace_effect (removed BOOLEAN, was BOOLEAN, live BOOLEAN, diff BOOLEAN, op VARCHAR, s_row BIGINT, t_row BIGINT, o2 TIMESTAMP WITH TIME ZONE, n2 TIMESTAMP WITH TIME ZONE, n4 BOOLEAN, n5 VARCHAR, n6 VARCHAR);

-- a load: if a cast has failed
SELECT n,
  CASE WHEN v0 IS NOT NULL AND TRY_CAST(v0 AS BIGINT) IS NULL THEN pos END,
  CASE WHEN v1 IS NOT NULL AND TRY_CAST(v1 AS DECIMAL(10,2)) IS NULL THEN pos END,
  CASE WHEN v2 IS NOT NULL AND TRY_CAST(v2 AS TIMESTAMP WITH TIME ZONE) IS NULL THEN pos END
FROM f()
WHERE v0 IS NOT NULL AND TRY_CAST(v0 AS BIGINT) IS NULL
  OR v1 IS NOT NULL AND TRY_CAST(v1 AS DECIMAL(10,2)) IS NULL
  OR v2 IS NOT NULL AND TRY_CAST(v2 AS TIMESTAMP WITH TIME ZONE) IS NULL;

-- a load: the transaction
SELECT max(pos) FROM temp.millrace_stage GROUP BY v0 HAVING count(*) > 1 LIMIT 1;

INSERT INTO temp.millrace_effect
SELECT TRUE, TRUE, FALSE, TRUE, '', NULL, NULL, t."paid_at", NULL, NULL, NULL, NULL
FROM "core__base"."payments" AS t
WHERE t._pos < '00000001/000000000000002A/0000000000000000/00000000' AND NOT t._deleted;

DELETE FROM "core__base"."payments" WHERE _pos < '00000001/000000000000002A/0000000000000000/00000000';

INSERT INTO temp.millrace_effect
WITH pairs AS MATERIALIZED (
  SELECT s.rowid AS s_row, t.rowid AS t_row FROM temp.millrace_stage AS s JOIN "core__base"."payments" AS t ON t."id" = s.v0
), old AS MATERIALIZED (
  SELECT p.s_row, p.t_row, t._pos, t._deleted, t._born, t."amount", t."paid_at" FROM pairs AS p JOIN "core__base"."payments" AS t ON t.rowid = p.t_row
)
SELECT FALSE,
  (NOT t._pos IS NULL AND NOT t._deleted),
  CASE WHEN t._pos IS NULL OR s.pos > t._pos THEN s.op <> 'd' ELSE NOT t._deleted END,
  ((NOT t._pos IS NULL AND NOT t._deleted) OR CASE WHEN t._pos IS NULL OR s.pos > t._pos THEN s.op <> 'd' ELSE NOT t._deleted END) AND NOT ((NOT t._pos IS NULL AND NOT t._deleted)
    AND CASE WHEN t._pos IS NULL OR s.pos > t._pos THEN s.op <> 'd' ELSE NOT t._deleted END
    AND s.v1 IS NOT DISTINCT FROM t."amount"
    AND s.v2 IS NOT DISTINCT FROM t."paid_at"),
  s.op,
  s.rowid,
  t.t_row,
  t."paid_at",
  s.v2,
  CASE WHEN t._pos IS NULL THEN s.op = 'd' ELSE CASE WHEN s.pos > t._pos THEN s.op = 'd' ELSE t._deleted END END,
  CASE WHEN t._pos IS NULL THEN GREATEST('00000001/000000000000002A/0000000000000000/00000000', s.born) ELSE GREATEST(t._born, s.born) END,
  CASE WHEN t._pos IS NULL THEN s.pos ELSE GREATEST(t._pos, s.pos) END
FROM temp.millrace_stage AS s LEFT JOIN old AS t ON t.s_row = s.rowid
WHERE t._pos IS NULL AND s.pos >= '00000001/000000000000002A/0000000000000000/00000000' OR NOT t._pos IS NULL AND s.pos > t._pos;

SELECT count(*), count(*) FILTER (live AND NOT was), count(*) FILTER (live AND was),
  count(*) FILTER (was AND NOT live), count(*) FILTER (op = 'r')
FROM temp.millrace_effect WHERE NOT removed;

SELECT count(t_row) FROM temp.millrace_effect WHERE NOT removed;

DELETE FROM "core__base"."payments" WHERE rowid IN (SELECT t_row FROM temp.millrace_effect WHERE NOT removed AND t_row IS NOT NULL);

INSERT INTO "core__base"."payments" ("id", "amount", "paid_at", _unset, _deleted, _born, _pos, _load, _loaded_at)
SELECT s.v0, s.v1, e.n2, '', e.n4, e.n5, e.n6, 7, make_timestamptz(1700000000000000)
FROM temp.millrace_effect AS e JOIN temp.millrace_stage AS s ON s.rowid = e.s_row
WHERE NOT e.removed;

SELECT DISTINCT b FROM (
  SELECT (epoch_us(o2) // 3600000000 - CASE WHEN epoch_us(o2) % 3600000000 < 0 THEN 1 ELSE 0 END) AS b FROM temp.millrace_effect WHERE was AND diff
  UNION ALL
  SELECT (epoch_us(n2) // 3600000000 - CASE WHEN epoch_us(n2) % 3600000000 < 0 THEN 1 ELSE 0 END) FROM temp.millrace_effect WHERE live AND diff
) ORDER BY b NULLS FIRST;

-- after it
DROP TABLE IF EXISTS temp.millrace_stage;

DROP TABLE IF EXISTS temp.millrace_effect;

