SELECT DATE(p.paid_at) AS day, o.item_id, SUM(p.amount) AS revenue
FROM core.payments AS p JOIN core.orders AS o ON o.id = p.order_id
GROUP BY 1, 2
