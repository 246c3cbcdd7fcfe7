WITH paid AS (
  SELECT order_id, COUNT(*) AS payments, SUM(amount) AS amount
  FROM core.payments
  GROUP BY order_id
)
SELECT
  o.customer_id AS customer_id,
  COUNT(*) AS orders,
  CAST(COALESCE(SUM(paid.payments), 0) AS INT64) AS payments,
  COALESCE(SUM(paid.amount), 0) AS paid,
  MIN(o.created_at) AS first_order_at,
  MAX(o.created_at) AS last_order_at
FROM core.orders AS o
LEFT JOIN paid ON paid.order_id = o.id
GROUP BY o.customer_id
