SELECT
  CAST(p.paid_at AS DATE) AS day,
  o.item_id AS item_id,
  COUNT(*) AS payments,
  CAST(SUM(o.quantity) AS INT64) AS units,
  SUM(p.amount) AS revenue
FROM core.payments AS p
JOIN core.orders AS o ON o.id = p.order_id
GROUP BY 1, 2
