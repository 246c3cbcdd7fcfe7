WITH refunded AS (
  SELECT payment_id, SUM(amount) AS amount
  FROM core.refunds
  GROUP BY payment_id
),
earned AS (
  SELECT
    o.item_id AS item_id,
    COUNT(*) AS payments,
    SUM(p.amount) AS paid,
    COALESCE(SUM(r.amount), 0) AS refunded
  FROM core.payments AS p
  JOIN core.orders AS o ON o.id = p.order_id
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
JOIN core.items AS i ON i.id = e.item_id
