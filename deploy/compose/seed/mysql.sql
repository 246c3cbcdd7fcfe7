-- One payment for most orders of the shop, on the day of the order or after it.
USE shop;
CREATE TABLE payments (
  id bigint PRIMARY KEY, order_id bigint NOT NULL, amount decimal(12,2) NOT NULL, method varchar(20) NOT NULL,
  paid_at timestamp(6) NOT NULL
);

SET SESSION cte_max_recursion_depth = 100000;
INSERT INTO payments
WITH RECURSIVE n AS (SELECT 1 AS id UNION ALL SELECT id + 1 FROM n WHERE id < 20000)
SELECT id, id, 1 + (id * 37) % 600 + 0.99, ELT(1 + id % 3, 'card', 'invoice', 'wallet'),
  NOW(6) - INTERVAL (20000 - id) * 26 MINUTE + INTERVAL id % 90 MINUTE
FROM n WHERE id % 20 <> 0;

CREATE USER millrace IDENTIFIED BY 'millrace';
GRANT SELECT, RELOAD, LOCK TABLES, REPLICATION SLAVE, REPLICATION CLIENT ON *.* TO millrace;
