-- the table
CREATE TABLE IF NOT EXISTS "core__base"."Odd ""x""" (
  "tenant" VARCHAR,
  "select" BIGINT,
  "it's, big" VARCHAR,
  "doc" JSON,
  "day" DATE,
  _pos VARCHAR,
  _deleted BOOLEAN,
  _born VARCHAR,
  _load BIGINT,
  _unset VARCHAR,
  _loaded_at TIMESTAMP WITH TIME ZONE,
  _extra JSON
);

CREATE OR REPLACE VIEW "core"."Odd ""x""" AS
SELECT "tenant", "select", "it's, big", "doc", "day"
FROM "core__base"."Odd ""x"""
WHERE NOT _deleted;

ALTER TABLE "core__base"."Odd ""x""" ADD COLUMN "tenant" VARCHAR;

ALTER TABLE "core__base"."Odd ""x""" ALTER COLUMN "tenant" SET DATA TYPE VARCHAR;

CREATE TABLE IF NOT EXISTS "millrace"."core__Odd ""x""__changes" (_load BIGINT, _image VARCHAR, "tenant" VARCHAR, "select" BIGINT, "it's, big" VARCHAR);

-- a load: before the transaction
CREATE OR REPLACE TEMP TABLE millrace_stage (v0 VARCHAR, v1 BIGINT, v2 VARCHAR, v4 DATE, at2 VARCHAR, op VARCHAR, pos VARCHAR, born VARCHAR);

INSERT INTO temp.millrace_stage SELECT * FROM f();

CREATE OR REPLACE TEMP TABLE millrace_effect (removed BOOLEAN, was BOOLEAN, live BOOLEAN, diff BOOLEAN, op VARCHAR, s_row BIGINT, t_row BIGINT, k0 VARCHAR, k1 BIGINT, o2 VARCHAR, n2 VARCHAR, o4 DATE, n4 DATE, n3 JSON, n5 VARCHAR, n6 BOOLEAN, n7 VARCHAR, n8 VARCHAR);

-- a load: if a cast has failed
SELECT n,
  CASE WHEN v0 IS NOT NULL AND TRY_CAST(v0 AS VARCHAR) IS NULL THEN pos END,
  CASE WHEN v1 IS NOT NULL AND TRY_CAST(v1 AS BIGINT) IS NULL THEN pos END,
  CASE WHEN v2 IS NOT NULL AND TRY_CAST(v2 AS VARCHAR) IS NULL THEN COALESCE(at2, pos) END,
  CASE WHEN v4 IS NOT NULL AND TRY_CAST(v4 AS DATE) IS NULL THEN pos END
FROM f()
WHERE v0 IS NOT NULL AND TRY_CAST(v0 AS VARCHAR) IS NULL
  OR v1 IS NOT NULL AND TRY_CAST(v1 AS BIGINT) IS NULL
  OR v2 IS NOT NULL AND TRY_CAST(v2 AS VARCHAR) IS NULL
  OR v4 IS NOT NULL AND TRY_CAST(v4 AS DATE) IS NULL;

-- a load: the transaction
SELECT max(pos) FROM temp.millrace_stage GROUP BY v0, v1 HAVING count(*) > 1 LIMIT 1;

INSERT INTO temp.millrace_effect
SELECT TRUE, TRUE, FALSE, TRUE, '', NULL, NULL, t."tenant", t."select", t."it's, big", NULL, t."day", NULL, NULL, NULL, NULL, NULL, NULL
FROM "core__base"."Odd ""x""" AS t
WHERE t._pos < '00000001/000000000000002A/0000000000000000/00000000' AND NOT t._deleted;

DELETE FROM "core__base"."Odd ""x""" WHERE _pos < '00000001/000000000000002A/0000000000000000/00000000';

INSERT INTO temp.millrace_effect
WITH pairs AS MATERIALIZED (
  SELECT s.rowid AS s_row, t.rowid AS t_row FROM temp.millrace_stage AS s JOIN "core__base"."Odd ""x""" AS t ON t."tenant" IS NOT DISTINCT FROM s.v0 AND t."select" IS NOT DISTINCT FROM s.v1
), old AS MATERIALIZED (
  SELECT p.s_row, p.t_row, t._pos, t._deleted, t._born, t._unset, t."it's, big", t."doc", t."day" FROM pairs AS p JOIN "core__base"."Odd ""x""" AS t ON t.rowid = p.t_row
)
SELECT FALSE,
  (NOT t._pos IS NULL AND NOT t._deleted),
  CASE WHEN t._pos IS NULL OR s.pos > t._pos THEN s.op <> 'd' ELSE NOT t._deleted END,
  ((NOT t._pos IS NULL AND NOT t._deleted) OR CASE WHEN t._pos IS NULL OR s.pos > t._pos THEN s.op <> 'd' ELSE NOT t._deleted END) AND NOT ((NOT t._pos IS NULL AND NOT t._deleted)
    AND CASE WHEN t._pos IS NULL OR s.pos > t._pos THEN s.op <> 'd' ELSE NOT t._deleted END
    AND CASE WHEN s.op = 'd' AND s.pos > t._pos THEN NULL WHEN GREATEST(CASE WHEN t._deleted OR STRPOS(t._unset, ',it''s%2C big,') > 0 THEN '' ELSE t._pos END, COALESCE(s.at2, s.pos)) = '' OR GREATEST(CASE WHEN t._deleted OR STRPOS(t._unset, ',it''s%2C big,') > 0 THEN '' ELSE t._pos END, COALESCE(s.at2, s.pos)) < GREATEST(t._born, s.born) THEN NULL WHEN COALESCE(s.at2, s.pos) > CASE WHEN t._deleted OR STRPOS(t._unset, ',it''s%2C big,') > 0 THEN '' ELSE t._pos END THEN s.v2 ELSE t."it's, big" END IS NOT DISTINCT FROM t."it's, big"
    AND CASE WHEN s.op = 'd' AND s.pos > t._pos THEN NULL WHEN GREATEST(CASE WHEN t._deleted OR STRPOS(t._unset, ',doc,') > 0 THEN '' ELSE t._pos END, CASE WHEN s.op = 'd' THEN '' ELSE s.pos END) = '' OR GREATEST(CASE WHEN t._deleted OR STRPOS(t._unset, ',doc,') > 0 THEN '' ELSE t._pos END, CASE WHEN s.op = 'd' THEN '' ELSE s.pos END) < GREATEST(t._born, s.born) THEN NULL WHEN CASE WHEN s.op = 'd' THEN '' ELSE s.pos END > CASE WHEN t._deleted OR STRPOS(t._unset, ',doc,') > 0 THEN '' ELSE t._pos END THEN NULL ELSE t."doc" END IS NOT DISTINCT FROM t."doc"
    AND CASE WHEN s.pos > t._pos THEN s.v4 ELSE t."day" END IS NOT DISTINCT FROM t."day"),
  s.op,
  s.rowid,
  t.t_row,
  s.v0,
  s.v1,
  t."it's, big",
  CASE WHEN t._pos IS NULL THEN CASE WHEN s.op = 'd' OR COALESCE(s.at2, s.pos) = '' OR COALESCE(s.at2, s.pos) < GREATEST('00000001/000000000000002A/0000000000000000/00000000', s.born) THEN NULL ELSE s.v2 END ELSE CASE WHEN s.op = 'd' AND s.pos > t._pos THEN NULL WHEN GREATEST(CASE WHEN t._deleted OR STRPOS(t._unset, ',it''s%2C big,') > 0 THEN '' ELSE t._pos END, COALESCE(s.at2, s.pos)) = '' OR GREATEST(CASE WHEN t._deleted OR STRPOS(t._unset, ',it''s%2C big,') > 0 THEN '' ELSE t._pos END, COALESCE(s.at2, s.pos)) < GREATEST(t._born, s.born) THEN NULL WHEN COALESCE(s.at2, s.pos) > CASE WHEN t._deleted OR STRPOS(t._unset, ',it''s%2C big,') > 0 THEN '' ELSE t._pos END THEN s.v2 ELSE t."it's, big" END END,
  t."day",
  CASE WHEN t._pos IS NULL THEN s.v4 ELSE CASE WHEN s.pos > t._pos THEN s.v4 ELSE t."day" END END,
  CASE WHEN t._pos IS NULL THEN CASE WHEN s.op = 'd' OR CASE WHEN s.op = 'd' THEN '' ELSE s.pos END = '' OR CASE WHEN s.op = 'd' THEN '' ELSE s.pos END < GREATEST('00000001/000000000000002A/0000000000000000/00000000', s.born) THEN NULL ELSE NULL END ELSE CASE WHEN s.op = 'd' AND s.pos > t._pos THEN NULL WHEN GREATEST(CASE WHEN t._deleted OR STRPOS(t._unset, ',doc,') > 0 THEN '' ELSE t._pos END, CASE WHEN s.op = 'd' THEN '' ELSE s.pos END) = '' OR GREATEST(CASE WHEN t._deleted OR STRPOS(t._unset, ',doc,') > 0 THEN '' ELSE t._pos END, CASE WHEN s.op = 'd' THEN '' ELSE s.pos END) < GREATEST(t._born, s.born) THEN NULL WHEN CASE WHEN s.op = 'd' THEN '' ELSE s.pos END > CASE WHEN t._deleted OR STRPOS(t._unset, ',doc,') > 0 THEN '' ELSE t._pos END THEN NULL ELSE t."doc" END END,
  CASE WHEN t._pos IS NULL THEN CASE WHEN s.op = 'd' OR CONCAT(CASE WHEN COALESCE(s.at2, s.pos) = '' OR COALESCE(s.at2, s.pos) < GREATEST('00000001/000000000000002A/0000000000000000/00000000', s.born) THEN 'it''s%2C big,' ELSE '' END, CASE WHEN CASE WHEN s.op = 'd' THEN '' ELSE s.pos END = '' OR CASE WHEN s.op = 'd' THEN '' ELSE s.pos END < GREATEST('00000001/000000000000002A/0000000000000000/00000000', s.born) THEN 'doc,' ELSE '' END) = '' THEN '' ELSE CONCAT(',', CONCAT(CASE WHEN COALESCE(s.at2, s.pos) = '' OR COALESCE(s.at2, s.pos) < GREATEST('00000001/000000000000002A/0000000000000000/00000000', s.born) THEN 'it''s%2C big,' ELSE '' END, CASE WHEN CASE WHEN s.op = 'd' THEN '' ELSE s.pos END = '' OR CASE WHEN s.op = 'd' THEN '' ELSE s.pos END < GREATEST('00000001/000000000000002A/0000000000000000/00000000', s.born) THEN 'doc,' ELSE '' END)) END ELSE CASE WHEN s.pos > t._pos AND s.op = 'd' OR CONCAT(CASE WHEN GREATEST(CASE WHEN t._deleted OR STRPOS(t._unset, ',it''s%2C big,') > 0 THEN '' ELSE t._pos END, COALESCE(s.at2, s.pos)) = '' OR GREATEST(CASE WHEN t._deleted OR STRPOS(t._unset, ',it''s%2C big,') > 0 THEN '' ELSE t._pos END, COALESCE(s.at2, s.pos)) < GREATEST(t._born, s.born) THEN 'it''s%2C big,' ELSE '' END, CASE WHEN GREATEST(CASE WHEN t._deleted OR STRPOS(t._unset, ',doc,') > 0 THEN '' ELSE t._pos END, CASE WHEN s.op = 'd' THEN '' ELSE s.pos END) = '' OR GREATEST(CASE WHEN t._deleted OR STRPOS(t._unset, ',doc,') > 0 THEN '' ELSE t._pos END, CASE WHEN s.op = 'd' THEN '' ELSE s.pos END) < GREATEST(t._born, s.born) THEN 'doc,' ELSE '' END) = '' THEN '' ELSE CONCAT(',', CONCAT(CASE WHEN GREATEST(CASE WHEN t._deleted OR STRPOS(t._unset, ',it''s%2C big,') > 0 THEN '' ELSE t._pos END, COALESCE(s.at2, s.pos)) = '' OR GREATEST(CASE WHEN t._deleted OR STRPOS(t._unset, ',it''s%2C big,') > 0 THEN '' ELSE t._pos END, COALESCE(s.at2, s.pos)) < GREATEST(t._born, s.born) THEN 'it''s%2C big,' ELSE '' END, CASE WHEN GREATEST(CASE WHEN t._deleted OR STRPOS(t._unset, ',doc,') > 0 THEN '' ELSE t._pos END, CASE WHEN s.op = 'd' THEN '' ELSE s.pos END) = '' OR GREATEST(CASE WHEN t._deleted OR STRPOS(t._unset, ',doc,') > 0 THEN '' ELSE t._pos END, CASE WHEN s.op = 'd' THEN '' ELSE s.pos END) < GREATEST(t._born, s.born) THEN 'doc,' ELSE '' END)) END END,
  CASE WHEN t._pos IS NULL THEN s.op = 'd' ELSE CASE WHEN s.pos > t._pos THEN s.op = 'd' ELSE t._deleted END END,
  CASE WHEN t._pos IS NULL THEN GREATEST('00000001/000000000000002A/0000000000000000/00000000', s.born) ELSE GREATEST(t._born, s.born) END,
  CASE WHEN t._pos IS NULL THEN s.pos ELSE GREATEST(t._pos, s.pos) END
FROM temp.millrace_stage AS s LEFT JOIN old AS t ON t.s_row = s.rowid
WHERE t._pos IS NULL AND s.pos >= '00000001/000000000000002A/0000000000000000/00000000' OR NOT t._pos IS NULL AND (s.pos > t._pos OR NOT t._deleted AND (STRPOS(t._unset, ',it''s%2C big,') > 0 AND COALESCE(s.at2, s.pos) <> '' AND COALESCE(s.at2, s.pos) >= GREATEST(t._born, s.born) OR STRPOS(t._unset, ',doc,') > 0 AND CASE WHEN s.op = 'd' THEN '' ELSE s.pos END <> '' AND CASE WHEN s.op = 'd' THEN '' ELSE s.pos END >= GREATEST(t._born, s.born)));

SELECT count(*), count(*) FILTER (live AND NOT was), count(*) FILTER (live AND was),
  count(*) FILTER (was AND NOT live), count(*) FILTER (op = 'r')
FROM temp.millrace_effect WHERE NOT removed;

SELECT count(t_row) FROM temp.millrace_effect WHERE NOT removed;

DELETE FROM "core__base"."Odd ""x""" WHERE rowid IN (SELECT t_row FROM temp.millrace_effect WHERE NOT removed AND t_row IS NOT NULL);

INSERT INTO "core__base"."Odd ""x""" ("tenant", "select", "it's, big", "doc", "day", _unset, _deleted, _born, _pos, _load, _loaded_at)
SELECT s.v0, s.v1, e.n2, e.n3, e.n4, e.n5, e.n6, e.n7, e.n8, 7, make_timestamptz(1700000000000000)
FROM temp.millrace_effect AS e JOIN temp.millrace_stage AS s ON s.rowid = e.s_row
WHERE NOT e.removed;

INSERT INTO "millrace"."core__Odd ""x""__changes" (_load, _image, "tenant", "select", "it's, big")
SELECT 7, 'old', k0, k1, o2 FROM temp.millrace_effect WHERE was AND diff
UNION ALL
SELECT 7, 'new', k0, k1, n2 FROM temp.millrace_effect WHERE live AND diff;

ALTER TABLE "millrace"."core__Odd ""x""__changes" ADD COLUMN IF NOT EXISTS "it's, big" VARCHAR;

SELECT DISTINCT b FROM (
  SELECT CAST(o4 - DATE '1970-01-01' AS BIGINT) AS b FROM temp.millrace_effect WHERE was AND diff
  UNION ALL
  SELECT CAST(n4 - DATE '1970-01-01' AS BIGINT) FROM temp.millrace_effect WHERE live AND diff
) ORDER BY b NULLS FIRST;

-- after it
DROP TABLE IF EXISTS temp.millrace_stage;

DROP TABLE IF EXISTS temp.millrace_effect;

