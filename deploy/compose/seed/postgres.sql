-- Items and orders of the shop, a year of them.
CREATE TABLE items (id bigint PRIMARY KEY, name text NOT NULL, category text NOT NULL, price numeric(10,2) NOT NULL);
CREATE TABLE orders (
  id bigint PRIMARY KEY, customer_id bigint NOT NULL, item_id bigint NOT NULL, quantity int NOT NULL,
  status text NOT NULL, note text, created_at timestamptz NOT NULL
);

INSERT INTO items
SELECT n, 'item ' || n, (ARRAY['books', 'garden', 'kitchen', 'music', 'tools', 'toys'])[1 + n % 6], 1 + (n * 37) % 200 + 0.99
FROM generate_series(1, 200) AS n;

INSERT INTO orders
SELECT n, 1 + (n * 7919) % 500, 1 + (n * 104729) % 200, 1 + n % 3, CASE WHEN n % 20 = 0 THEN 'cancelled' ELSE 'paid' END, NULL,
  now() - (20000 - n) * interval '26 minutes'
FROM generate_series(1, 20000) AS n;

-- It makes its own publication, and so owns the tables that it publishes.
CREATE ROLE millrace LOGIN REPLICATION PASSWORD 'millrace';
GRANT CREATE ON DATABASE shop TO millrace;
ALTER TABLE items OWNER TO millrace;
ALTER TABLE orders OWNER TO millrace;
