-- a day of 23 hours, read over three spans
SELECT DATE '2024-03-10' AS day, p.order_id, count(*) AS n -- core.payments
FROM (SELECT * FROM "core"."payments" WHERE ("booked" >= DATE '2024-03-10' AND "booked" < DATE '2024-03-11') OR ("local" >= TIMESTAMP '2024-02-12T00:00:00' AND "local" < TIMESTAMP '2024-03-11T00:00:00') OR ("paid_at" >= TIMESTAMP WITH TIME ZONE '2024-03-09T17:00:00Z' AND "paid_at" < TIMESTAMP WITH TIME ZONE '2024-03-11T04:00:00Z')) p JOIN (SELECT * FROM "core"."orders") AS "orders" ON orders.id = p.order_id WHERE p.paid_at < CAST(DATE '2024-03-11' AS TIMESTAMP) GROUP BY ALL


-- what it owns
("day" >= DATE '2024-03-10' AND "day" < DATE '2024-03-11')

-- the least event times
SELECT min("booked") AS "booked" FROM "core"."payments" WHERE "booked" IS NOT NULL HAVING count(*) > 0
SELECT min("local") AS "local" FROM "core"."payments" WHERE "local" IS NOT NULL HAVING count(*) > 0
SELECT min("paid_at") AS "paid_at" FROM "core"."payments" WHERE "paid_at" IS NOT NULL HAVING count(*) > 0

-- the windows of the changed orders' payments, way 0
SELECT DISTINCT "booked" FROM "core"."payments" WHERE "order_id" IN (SELECT "id" FROM (SELECT * EXCLUDE (_load, _image) FROM "millrace"."core__orders__changes" WHERE _load > 3 AND _load <= 5) AS c)

-- the windows of the changed orders' payments, way 1
SELECT DISTINCT "local" FROM "core"."payments" WHERE "order_id" IN (SELECT "id" FROM (SELECT * EXCLUDE (_load, _image) FROM "millrace"."core__orders__changes" WHERE _load > 3 AND _load <= 5) AS c)

-- the windows of the changed orders' payments, way 2
SELECT DISTINCT "paid_at" FROM "core"."payments" WHERE "order_id" IN (SELECT "id" FROM (SELECT * EXCLUDE (_load, _image) FROM "millrace"."core__orders__changes" WHERE _load > 3 AND _load <= 5) AS c)

-- check not_null(day, order_id)
violated: "day" IS NULL OR "order_id" IS NULL; unique: []

-- check unique(day, order_id)
violated: ; unique: [day order_id]

-- check not_null(day)
violated: "day" IS NULL; unique: []

-- check not_null(n)
violated: "n" IS NULL; unique: []

-- check not_null(n, day)
violated: "n" IS NULL OR "day" IS NULL; unique: []

-- check unique(n)
violated: ; unique: [n]

-- the dirty keys
SELECT o.customer, o."odd ""name" AS label, count(p.id) AS n
FROM (SELECT * FROM "core"."orders" WHERE ("customer") IN (SELECT ("customer") FROM temp.millrace_run_keys)) o LEFT JOIN (SELECT * FROM "core"."payments") p ON p.order_id = o.id LEFT JOIN (SELECT * FROM "core"."history") AS h ON h.id = o.id
WHERE o.customer IN (SELECT customer FROM (SELECT "customer" FROM temp.millrace_run_keys) AS "dirty") GROUP BY ALL


-- all keys
SELECT "customer" FROM "a"."customers"
SELECT o.customer FROM (SELECT * FROM "core"."orders") o JOIN (SELECT * FROM "core"."history") c ON c.id = o.id
SELECT "customer" FROM "core"."orders"

-- the keys that changes of core.history dirty
SELECT o.customer FROM (SELECT * FROM "core"."orders") o JOIN (SELECT * EXCLUDE (_load, _image) FROM "millrace"."core__history__changes" WHERE _load > 0 AND _load <= 7) c ON c.id = o.id

-- the keys that changes of core.orders dirty
SELECT "customer" FROM (SELECT * EXCLUDE (_load, _image) FROM "millrace"."core__orders__changes" WHERE _load > 0 AND _load <= 7) AS c

-- the keys that changes of core.payments dirty
SELECT DISTINCT "customer" FROM "core"."orders" WHERE "id" IN (SELECT "order_id" FROM (SELECT * EXCLUDE (_load, _image) FROM "millrace"."core__payments__changes" WHERE _load > 0 AND _load <= 7) AS c)

-- the whole table
SELECT count(*) AS n FROM (SELECT * FROM "core"."orders") AS "orders", (SELECT * FROM "core"."payments") AS p
TRUE

-- the rows of loads 4 to 6
SELECT h.id FROM (SELECT * FROM "core"."history" WHERE "_load" > 3 AND "_load" <= 6) h JOIN (SELECT * FROM "core"."orders") AS "orders" USING (id)

