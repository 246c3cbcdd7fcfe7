-- Customers and items of the shop.
CREATE TABLE customers (id bigint PRIMARY KEY, name text NOT NULL, country text NOT NULL);
CREATE TABLE items (id bigint PRIMARY KEY, name text NOT NULL, category text NOT NULL, price numeric(10,2) NOT NULL, description text);

INSERT INTO customers
SELECT n, 'customer ' || n, (ARRAY['AT', 'CH', 'DE', 'FR', 'IT'])[1 + n % 5]
FROM generate_series(1, 500) AS n;

INSERT INTO items
SELECT n, 'item ' || n, (ARRAY['books', 'garden', 'kitchen', 'music', 'tools', 'toys'])[1 + n % 6], 1 + (n * 37) % 200 + 0.99
FROM generate_series(1, 200) AS n;

-- It makes its own publication, and so owns the tables that it publishes.
CREATE ROLE millrace LOGIN REPLICATION PASSWORD 'millrace';
GRANT CREATE ON DATABASE shop TO millrace;
ALTER TABLE customers OWNER TO millrace;
ALTER TABLE items OWNER TO millrace;
