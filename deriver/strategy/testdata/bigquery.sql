CREATE TABLE `analytics`.`customer_state` (`customer_id` INT64, `orders` INT64, `payments` INT64, `paid` NUMERIC, `first_order_at` TIMESTAMP, `last_order_at` TIMESTAMP);

CREATE TABLE `millrace`.`analytics__customer_state__changes` (_load INT64, _image STRING, `customer_id` INT64, `orders` INT64, `payments` INT64, `paid` NUMERIC, `first_order_at` TIMESTAMP, `last_order_at` TIMESTAMP);

CREATE TABLE `analytics`.`customer_value` (`customer_id` INT64, `name` STRING, `country` STRING, `orders` INT64, `payments` INT64, `paid` NUMERIC, `refunded` NUMERIC);

CREATE TABLE `millrace`.`analytics__customer_value__changes` (_load INT64, _image STRING, `customer_id` INT64, `name` STRING, `country` STRING, `orders` INT64, `payments` INT64, `paid` NUMERIC, `refunded` NUMERIC);

CREATE TABLE `analytics`.`item_catalog` (`category` STRING, `items` INT64, `lowest_price` NUMERIC, `highest_price` NUMERIC);

CREATE TABLE `millrace`.`analytics__item_catalog__changes` (_load INT64, _image STRING, `category` STRING, `items` INT64, `lowest_price` NUMERIC, `highest_price` NUMERIC);

CREATE TABLE `analytics`.`item_revenue_daily` (`day` DATE, `item_id` INT64, `payments` INT64, `units` INT64, `revenue` NUMERIC);

CREATE TABLE `millrace`.`analytics__item_revenue_daily__changes` (_load INT64, _image STRING, `day` DATE, `item_id` INT64, `payments` INT64, `units` INT64, `revenue` NUMERIC);

CREATE TABLE `analytics`.`large_payments` (`payment_id` INT64, `order_id` INT64, `amount` NUMERIC, `paid_at` TIMESTAMP, `change` STRING, `changed_at` TIMESTAMP);

CREATE TABLE `millrace`.`analytics__large_payments__changes` (_load INT64, _image STRING, `payment_id` INT64, `order_id` INT64, `amount` NUMERIC, `paid_at` TIMESTAMP, `change` STRING, `changed_at` TIMESTAMP);

CREATE TABLE `analytics`.`revenue_daily` (`day` DATE, `items` INT64, `revenue` NUMERIC);

CREATE TABLE `millrace`.`analytics__revenue_daily__changes` (_load INT64, _image STRING, `day` DATE, `items` INT64, `revenue` NUMERIC);

CREATE TABLE `analytics`.`revenue_trailing_7d` (`day` DATE, `payments` INT64, `revenue` NUMERIC);

CREATE TABLE `millrace`.`analytics__revenue_trailing_7d__changes` (_load INT64, _image STRING, `day` DATE, `payments` INT64, `revenue` NUMERIC);

CREATE TABLE `analytics`.`top_items` (`item_rank` INT64, `item_id` INT64, `name` STRING, `category` STRING, `payments` INT64, `refunded` NUMERIC, `revenue` NUMERIC);

CREATE TABLE `millrace`.`analytics__top_items__changes` (_load INT64, _image STRING, `item_rank` INT64, `item_id` INT64, `name` STRING, `category` STRING, `payments` INT64, `refunded` NUMERIC, `revenue` NUMERIC);

CREATE TABLE `core`.`customers` (`id` INT64, `name` STRING, `country` STRING);

CREATE TABLE `millrace`.`core__customers__changes` (_load INT64, _image STRING, `id` INT64, `name` STRING, `country` STRING);

CREATE TABLE `core`.`items` (`id` INT64, `name` STRING, `category` STRING, `price` NUMERIC(12, 2));

CREATE TABLE `millrace`.`core__items__changes` (_load INT64, _image STRING, `id` INT64, `name` STRING, `category` STRING, `price` NUMERIC(12, 2));

CREATE TABLE `core`.`orders` (`id` INT64, `customer_id` INT64, `item_id` INT64, `quantity` INT64, `created_at` TIMESTAMP);

CREATE TABLE `millrace`.`core__orders__changes` (_load INT64, _image STRING, `id` INT64, `customer_id` INT64, `item_id` INT64, `quantity` INT64, `created_at` TIMESTAMP);

CREATE TABLE `core`.`payments` (`id` INT64, `order_id` INT64, `amount` NUMERIC(12, 2), `paid_at` TIMESTAMP);

CREATE TABLE `millrace`.`core__payments__changes` (_load INT64, _image STRING, `id` INT64, `order_id` INT64, `amount` NUMERIC(12, 2), `paid_at` TIMESTAMP);

CREATE TABLE `core`.`payments_history` (`id` INT64, `order_id` INT64, `amount` NUMERIC(12, 2), `paid_at` TIMESTAMP, `_op` STRING, `_pos` STRING, `_ts` TIMESTAMP, `_load` INT64, `_unset` STRING);

CREATE TABLE `millrace`.`core__payments_history__changes` (_load INT64, _image STRING, `id` INT64, `order_id` INT64, `amount` NUMERIC(12, 2), `paid_at` TIMESTAMP);

CREATE TABLE `core`.`refunds` (`id` INT64, `payment_id` INT64, `amount` NUMERIC(12, 2), `refunded_at` TIMESTAMP);

CREATE TABLE `millrace`.`core__refunds__changes` (_load INT64, _image STRING, `id` INT64, `payment_id` INT64, `amount` NUMERIC(12, 2), `refunded_at` TIMESTAMP);

-- analytics.customer_state
SELECT `customer_id`, `orders`, `payments`, `paid`, `first_order_at`, `last_order_at`, 0 AS _part FROM (
WITH paid AS (
  SELECT order_id, COUNT(*) AS payments, SUM(amount) AS amount
  FROM (SELECT * FROM `core`.`payments`) AS `payments`
  GROUP BY order_id
)
SELECT
  o.customer_id AS customer_id,
  COUNT(*) AS orders,
  CAST(COALESCE(SUM(paid.payments), 0) AS INT64) AS payments,
  COALESCE(SUM(paid.amount), 0) AS paid,
  MIN(o.created_at) AS first_order_at,
  MAX(o.created_at) AS last_order_at
FROM (SELECT * FROM `core`.`orders` WHERE (`customer_id`) IN (1, 2)) AS o
LEFT JOIN paid ON paid.order_id = o.id
GROUP BY o.customer_id

);

INSERT INTO `analytics`.`customer_state` (`customer_id`, `orders`, `payments`, `paid`, `first_order_at`, `last_order_at`)
SELECT `customer_id`, `orders`, `payments`, `paid`, `first_order_at`, `last_order_at` FROM (
WITH paid AS (
  SELECT order_id, COUNT(*) AS payments, SUM(amount) AS amount
  FROM (SELECT * FROM `core`.`payments`) AS `payments`
  GROUP BY order_id
)
SELECT
  o.customer_id AS customer_id,
  COUNT(*) AS orders,
  CAST(COALESCE(SUM(paid.payments), 0) AS INT64) AS payments,
  COALESCE(SUM(paid.amount), 0) AS paid,
  MIN(o.created_at) AS first_order_at,
  MAX(o.created_at) AS last_order_at
FROM (SELECT * FROM `core`.`orders` WHERE (`customer_id`) IN (1, 2)) AS o
LEFT JOIN paid ON paid.order_id = o.id
GROUP BY o.customer_id

);

SELECT COUNT(*) FROM `analytics`.`customer_state` WHERE (`customer_id`) IN (1, 2);

SELECT DISTINCT `customer_id` FROM (
(SELECT CAST(NULL AS INT64) AS `customer_id` LIMIT 0)
UNION ALL (
SELECT `customer_id` FROM `analytics`.`customer_state`
)
UNION ALL (
SELECT `customer_id` FROM `core`.`orders`
)
)
WHERE `customer_id` IS NOT NULL;

SELECT `customer_id` FROM (SELECT * EXCEPT (_load, _image) FROM `millrace`.`core__orders__changes` WHERE _load > 3 AND _load <= 5) AS c;

SELECT DISTINCT `customer_id` FROM `core`.`orders` WHERE `id` IN (SELECT `order_id` FROM (SELECT * EXCEPT (_load, _image) FROM `millrace`.`core__payments__changes` WHERE _load > 3 AND _load <= 5) AS c);

-- analytics.customer_value
SELECT `customer_id`, `name`, `country`, `orders`, `payments`, `paid`, `refunded`, 0 AS _part FROM (
SELECT * FROM (
WITH refunded AS (
  SELECT payment_id, SUM(amount) AS amount
  FROM (SELECT * FROM `core`.`refunds`) AS `refunds`
  GROUP BY payment_id
),
paid AS (
  SELECT p.order_id AS order_id, COUNT(*) AS payments, SUM(p.amount) AS paid, SUM(r.amount) AS refunded
  FROM (SELECT * FROM `core`.`payments`) AS p
  LEFT JOIN refunded AS r ON r.payment_id = p.id
  GROUP BY p.order_id
),
ordered AS (
  SELECT
    o.customer_id AS customer_id,
    COUNT(*) AS orders,
    CAST(COALESCE(SUM(paid.payments), 0) AS INT64) AS payments,
    COALESCE(SUM(paid.paid), 0) AS paid,
    COALESCE(SUM(paid.refunded), 0) AS refunded
  FROM (SELECT * FROM `core`.`orders` WHERE (`customer_id`) IN (1, 2)) AS o
  LEFT JOIN paid ON paid.order_id = o.id
  GROUP BY o.customer_id
)
SELECT
  c.id AS customer_id,
  c.name AS name,
  c.country AS country,
  COALESCE(t.orders, 0) AS orders,
  COALESCE(t.payments, 0) AS payments,
  COALESCE(t.paid, 0) AS paid,
  COALESCE(t.refunded, 0) AS refunded
FROM (SELECT * FROM `core`.`customers` WHERE (`id`) IN (1, 2)) AS c
LEFT JOIN ordered AS t ON t.customer_id = c.id

) AS q WHERE (`customer_id`) IN (1, 2)
);

INSERT INTO `analytics`.`customer_value` (`customer_id`, `name`, `country`, `orders`, `payments`, `paid`, `refunded`)
SELECT `customer_id`, `name`, `country`, `orders`, `payments`, `paid`, `refunded` FROM (
SELECT * FROM (
WITH refunded AS (
  SELECT payment_id, SUM(amount) AS amount
  FROM (SELECT * FROM `core`.`refunds`) AS `refunds`
  GROUP BY payment_id
),
paid AS (
  SELECT p.order_id AS order_id, COUNT(*) AS payments, SUM(p.amount) AS paid, SUM(r.amount) AS refunded
  FROM (SELECT * FROM `core`.`payments`) AS p
  LEFT JOIN refunded AS r ON r.payment_id = p.id
  GROUP BY p.order_id
),
ordered AS (
  SELECT
    o.customer_id AS customer_id,
    COUNT(*) AS orders,
    CAST(COALESCE(SUM(paid.payments), 0) AS INT64) AS payments,
    COALESCE(SUM(paid.paid), 0) AS paid,
    COALESCE(SUM(paid.refunded), 0) AS refunded
  FROM (SELECT * FROM `core`.`orders` WHERE (`customer_id`) IN (1, 2)) AS o
  LEFT JOIN paid ON paid.order_id = o.id
  GROUP BY o.customer_id
)
SELECT
  c.id AS customer_id,
  c.name AS name,
  c.country AS country,
  COALESCE(t.orders, 0) AS orders,
  COALESCE(t.payments, 0) AS payments,
  COALESCE(t.paid, 0) AS paid,
  COALESCE(t.refunded, 0) AS refunded
FROM (SELECT * FROM `core`.`customers` WHERE (`id`) IN (1, 2)) AS c
LEFT JOIN ordered AS t ON t.customer_id = c.id

) AS q WHERE (`customer_id`) IN (1, 2)
);

SELECT COUNT(*) FROM `analytics`.`customer_value` WHERE (`customer_id`) IN (1, 2);

SELECT DISTINCT `customer_id` FROM (
(SELECT CAST(NULL AS INT64) AS `customer_id` LIMIT 0)
UNION ALL (
SELECT `customer_id` FROM `analytics`.`customer_value`
)
UNION ALL (
SELECT `id` FROM `core`.`customers`
)
UNION ALL (
SELECT `customer_id` FROM `core`.`orders`
)
UNION ALL (
SELECT o.customer_id
FROM (SELECT * FROM `core`.`refunds`) AS c
JOIN (SELECT * FROM `core`.`payments`) AS p ON p.id = c.payment_id
JOIN (SELECT * FROM `core`.`orders`) AS o ON o.id = p.order_id

)
)
WHERE `customer_id` IS NOT NULL;

SELECT `id` FROM (SELECT * EXCEPT (_load, _image) FROM `millrace`.`core__customers__changes` WHERE _load > 3 AND _load <= 5) AS c;

SELECT `customer_id` FROM (SELECT * EXCEPT (_load, _image) FROM `millrace`.`core__orders__changes` WHERE _load > 3 AND _load <= 5) AS c;

SELECT DISTINCT `customer_id` FROM `core`.`orders` WHERE `id` IN (SELECT `order_id` FROM (SELECT * EXCEPT (_load, _image) FROM `millrace`.`core__payments__changes` WHERE _load > 3 AND _load <= 5) AS c);

SELECT o.customer_id
FROM (SELECT * EXCEPT (_load, _image) FROM `millrace`.`core__refunds__changes` WHERE _load > 3 AND _load <= 5) AS c
JOIN (SELECT * FROM `core`.`payments`) AS p ON p.id = c.payment_id
JOIN (SELECT * FROM `core`.`orders`) AS o ON o.id = p.order_id
;

-- analytics.item_catalog
SELECT `category`, `items`, `lowest_price`, `highest_price`, 0 AS _part FROM (
SELECT
  category,
  COUNT(*) AS items,
  MIN(price) AS lowest_price,
  MAX(price) AS highest_price
FROM (SELECT * FROM `core`.`items`) AS `items`
GROUP BY category

);

INSERT INTO `analytics`.`item_catalog` (`category`, `items`, `lowest_price`, `highest_price`)
SELECT `category`, `items`, `lowest_price`, `highest_price` FROM (
SELECT
  category,
  COUNT(*) AS items,
  MIN(price) AS lowest_price,
  MAX(price) AS highest_price
FROM (SELECT * FROM `core`.`items`) AS `items`
GROUP BY category

);

SELECT COUNT(*) FROM `analytics`.`item_catalog` WHERE TRUE;

-- analytics.item_revenue_daily
SELECT `day`, `item_id`, `payments`, `units`, `revenue`, 0 AS _part FROM (
SELECT
  CAST(p.paid_at AS DATE) AS day,
  o.item_id AS item_id,
  COUNT(*) AS payments,
  CAST(SUM(o.quantity) AS INT64) AS units,
  SUM(p.amount) AS revenue
FROM (SELECT * FROM `core`.`payments` WHERE (`paid_at` >= TIMESTAMP '2024-03-10T00:00:00Z' AND `paid_at` < TIMESTAMP '2024-03-11T00:00:00Z')) AS p
JOIN (SELECT * FROM `core`.`orders`) AS o ON o.id = p.order_id
GROUP BY 1, 2

);

INSERT INTO `analytics`.`item_revenue_daily` (`day`, `item_id`, `payments`, `units`, `revenue`)
SELECT `day`, `item_id`, `payments`, `units`, `revenue` FROM (
SELECT
  CAST(p.paid_at AS DATE) AS day,
  o.item_id AS item_id,
  COUNT(*) AS payments,
  CAST(SUM(o.quantity) AS INT64) AS units,
  SUM(p.amount) AS revenue
FROM (SELECT * FROM `core`.`payments` WHERE (`paid_at` >= TIMESTAMP '2024-03-10T00:00:00Z' AND `paid_at` < TIMESTAMP '2024-03-11T00:00:00Z')) AS p
JOIN (SELECT * FROM `core`.`orders`) AS o ON o.id = p.order_id
GROUP BY 1, 2

);

SELECT COUNT(*) FROM `analytics`.`item_revenue_daily` WHERE (`day` >= DATE '2024-03-10' AND `day` < DATE '2024-03-11');

SELECT min(`paid_at`) AS `paid_at` FROM `core`.`payments` WHERE `paid_at` IS NOT NULL HAVING count(*) > 0;

SELECT DISTINCT `paid_at` FROM `core`.`payments` WHERE `order_id` IN (SELECT `id` FROM (SELECT * EXCEPT (_load, _image) FROM `millrace`.`core__orders__changes` WHERE _load > 3 AND _load <= 5) AS c);

-- analytics.large_payments
SELECT `payment_id`, `order_id`, `amount`, `paid_at`, `change`, `changed_at`, 0 AS _part FROM (
SELECT
  id AS payment_id,
  order_id,
  amount,
  paid_at,
  _op AS change,
  _ts AS changed_at
FROM (SELECT * FROM `core`.`payments_history` WHERE `_load` > 3 AND `_load` <= 5) AS `payments_history`
WHERE amount >= 400 AND _op <> 'r'

);

INSERT INTO `analytics`.`large_payments` (`payment_id`, `order_id`, `amount`, `paid_at`, `change`, `changed_at`)
SELECT `payment_id`, `order_id`, `amount`, `paid_at`, `change`, `changed_at` FROM (
SELECT
  id AS payment_id,
  order_id,
  amount,
  paid_at,
  _op AS change,
  _ts AS changed_at
FROM (SELECT * FROM `core`.`payments_history` WHERE `_load` > 3 AND `_load` <= 5) AS `payments_history`
WHERE amount >= 400 AND _op <> 'r'

);

-- analytics.revenue_daily
SELECT `day`, `items`, `revenue`, 0 AS _part FROM (
SELECT
  DATE '2024-03-10' AS day,
  COUNT(*) AS items,
  COALESCE(SUM(revenue), 0) AS revenue
FROM (SELECT * FROM `analytics`.`item_revenue_daily` WHERE (`day` >= DATE '2024-03-10' AND `day` < DATE '2024-03-11')) AS `item_revenue_daily`

);

INSERT INTO `analytics`.`revenue_daily` (`day`, `items`, `revenue`)
SELECT `day`, `items`, `revenue` FROM (
SELECT
  DATE '2024-03-10' AS day,
  COUNT(*) AS items,
  COALESCE(SUM(revenue), 0) AS revenue
FROM (SELECT * FROM `analytics`.`item_revenue_daily` WHERE (`day` >= DATE '2024-03-10' AND `day` < DATE '2024-03-11')) AS `item_revenue_daily`

);

SELECT COUNT(*) FROM `analytics`.`revenue_daily` WHERE (`day` >= DATE '2024-03-10' AND `day` < DATE '2024-03-11');

SELECT min(`day`) AS `day` FROM `analytics`.`item_revenue_daily` WHERE `day` IS NOT NULL HAVING count(*) > 0;

-- analytics.revenue_trailing_7d
SELECT `day`, `payments`, `revenue`, 0 AS _part FROM (
SELECT
  DATE '2024-03-10' AS day,
  COUNT(*) AS payments,
  COALESCE(SUM(amount), 0) AS revenue
FROM (SELECT * FROM `core`.`payments` WHERE (`paid_at` >= TIMESTAMP '2024-03-04T00:00:00Z' AND `paid_at` < TIMESTAMP '2024-03-11T00:00:00Z')) AS `payments`

);

INSERT INTO `analytics`.`revenue_trailing_7d` (`day`, `payments`, `revenue`)
SELECT `day`, `payments`, `revenue` FROM (
SELECT
  DATE '2024-03-10' AS day,
  COUNT(*) AS payments,
  COALESCE(SUM(amount), 0) AS revenue
FROM (SELECT * FROM `core`.`payments` WHERE (`paid_at` >= TIMESTAMP '2024-03-04T00:00:00Z' AND `paid_at` < TIMESTAMP '2024-03-11T00:00:00Z')) AS `payments`

);

SELECT COUNT(*) FROM `analytics`.`revenue_trailing_7d` WHERE (`day` >= DATE '2024-03-10' AND `day` < DATE '2024-03-11');

SELECT min(`paid_at`) AS `paid_at` FROM `core`.`payments` WHERE `paid_at` IS NOT NULL HAVING count(*) > 0;

-- analytics.top_items
SELECT `item_rank`, `item_id`, `name`, `category`, `payments`, `refunded`, `revenue`, 0 AS _part FROM (
WITH refunded AS (
  SELECT payment_id, SUM(amount) AS amount
  FROM (SELECT * FROM `core`.`refunds`) AS `refunds`
  GROUP BY payment_id
),
earned AS (
  SELECT
    o.item_id AS item_id,
    COUNT(*) AS payments,
    SUM(p.amount) AS paid,
    COALESCE(SUM(r.amount), 0) AS refunded
  FROM (SELECT * FROM `core`.`payments`) AS p
  JOIN (SELECT * FROM `core`.`orders`) AS o ON o.id = p.order_id
  LEFT JOIN refunded AS r ON r.payment_id = p.id
  GROUP BY o.item_id
)
SELECT
  RANK() OVER (ORDER BY e.paid - e.refunded DESC, i.id) AS item_rank,
  i.id AS item_id,
  i.name AS name,
  i.category AS category,
  e.payments AS payments,
  e.refunded AS refunded,
  e.paid - e.refunded AS revenue
FROM earned AS e
JOIN (SELECT * FROM `core`.`items`) AS i ON i.id = e.item_id

);

INSERT INTO `analytics`.`top_items` (`item_rank`, `item_id`, `name`, `category`, `payments`, `refunded`, `revenue`)
SELECT `item_rank`, `item_id`, `name`, `category`, `payments`, `refunded`, `revenue` FROM (
WITH refunded AS (
  SELECT payment_id, SUM(amount) AS amount
  FROM (SELECT * FROM `core`.`refunds`) AS `refunds`
  GROUP BY payment_id
),
earned AS (
  SELECT
    o.item_id AS item_id,
    COUNT(*) AS payments,
    SUM(p.amount) AS paid,
    COALESCE(SUM(r.amount), 0) AS refunded
  FROM (SELECT * FROM `core`.`payments`) AS p
  JOIN (SELECT * FROM `core`.`orders`) AS o ON o.id = p.order_id
  LEFT JOIN refunded AS r ON r.payment_id = p.id
  GROUP BY o.item_id
)
SELECT
  RANK() OVER (ORDER BY e.paid - e.refunded DESC, i.id) AS item_rank,
  i.id AS item_id,
  i.name AS name,
  i.category AS category,
  e.payments AS payments,
  e.refunded AS refunded,
  e.paid - e.refunded AS revenue
FROM earned AS e
JOIN (SELECT * FROM `core`.`items`) AS i ON i.id = e.item_id

);

SELECT COUNT(*) FROM `analytics`.`top_items` WHERE TRUE;
