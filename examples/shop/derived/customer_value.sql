WITH refunded AS (
  SELECT payment_id, SUM(amount) AS amount
  FROM core.refunds
  GROUP BY payment_id
),
paid AS (
  SELECT p.order_id AS order_id, COUNT(*) AS payments, SUM(p.amount) AS paid, SUM(r.amount) AS refunded
  FROM core.payments AS p
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
  FROM core.orders AS o
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
FROM core.customers AS c
LEFT JOIN ordered AS t ON t.customer_id = c.id
