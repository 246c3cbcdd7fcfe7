CREATE TABLE IF NOT EXISTS "millrace"."core__payments__head" (
  name VARCHAR, mode VARCHAR, key JSON, epoch BIGINT, fence BIGINT, load BIGINT, topic VARCHAR, topic_id VARCHAR,
  offsets JSON, marks JSON, horizon VARCHAR, complete_pos VARCHAR, complete_time TIMESTAMP WITH TIME ZONE,
  snapshot_pos VARCHAR, snapshot_running BOOLEAN, snapshot_done BOOLEAN, unsettable JSON, generation BIGINT
);

CREATE TABLE IF NOT EXISTS "millrace"."core__payments__loads" (load BIGINT, committed_at TIMESTAMP WITH TIME ZONE, event JSON);

CREATE TABLE IF NOT EXISTS "millrace"."core__payments__needs" (spec VARCHAR, kind VARCHAR, column_name VARCHAR, seen_at TIMESTAMP WITH TIME ZONE);

INSERT INTO "millrace"."core__payments__head" (name, mode, key, epoch, fence, load, topic, topic_id, offsets, marks, horizon,
  complete_pos, complete_time, snapshot_pos, snapshot_running, snapshot_done, unsettable, generation)
SELECT CAST($1 AS VARCHAR), CAST($2 AS VARCHAR), CAST($3 AS VARCHAR), 0, 0, 0, '', '', CAST('{}' AS VARCHAR), CAST('{}' AS VARCHAR), '', '', NULL, '', FALSE, FALSE, CAST('[]' AS VARCHAR), 1
FROM (SELECT 1) AS one
WHERE NOT EXISTS (SELECT 1 FROM "millrace"."core__payments__head");

SELECT name, mode, CAST(key AS VARCHAR) AS key, epoch, load, topic, topic_id, CAST(offsets AS VARCHAR) AS offsets, CAST(marks AS VARCHAR) AS marks, horizon,
  complete_pos, complete_time, snapshot_pos, snapshot_running, snapshot_done, CAST(unsettable AS VARCHAR) AS unsettable, generation
FROM "millrace"."core__payments__head";

UPDATE "millrace"."core__payments__head" SET epoch = epoch + 1, fence = fence + 1,
  topic_id = CASE WHEN topic = '' THEN CAST($2 AS VARCHAR) ELSE topic_id END,
  topic = CASE WHEN topic = '' THEN CAST($1 AS VARCHAR) ELSE topic END
WHERE TRUE;

UPDATE "millrace"."core__payments__head" SET load = $9, fence = fence + 1, offsets = CAST($1 AS VARCHAR), marks = CAST($2 AS VARCHAR),
  horizon = $3, complete_pos = $4, complete_time = $5, snapshot_pos = $6, snapshot_running = $7, snapshot_done = $8
WHERE epoch = $10 AND load = $9 - 1;

UPDATE "millrace"."core__payments__head" SET load = $9, fence = fence + 1, offsets = CAST($1 AS VARCHAR), marks = CAST($2 AS VARCHAR),
  horizon = $3, complete_pos = $4, complete_time = $5, snapshot_pos = $6, snapshot_running = $7, snapshot_done = $8,
  mode = $11, key = CAST($12 AS VARCHAR), topic = $13, topic_id = $14, unsettable = CAST($15 AS VARCHAR), generation = $16
WHERE epoch = $10 AND load = $9 - 1;

UPDATE "millrace"."core__payments__head" SET offsets = CAST($1 AS VARCHAR), fence = fence + 1 WHERE epoch = $2;

UPDATE "millrace"."core__payments__head" SET snapshot_running = TRUE WHERE TRUE;

UPDATE "millrace"."core__payments__head" SET unsettable = CAST($1 AS VARCHAR) WHERE TRUE;

INSERT INTO "millrace"."core__payments__loads" (load, committed_at, event) VALUES ($1, $2, CAST($3 AS VARCHAR));

SELECT CAST(event AS VARCHAR) FROM "millrace"."core__payments__loads" WHERE load > $1 ORDER BY load LIMIT $2;

