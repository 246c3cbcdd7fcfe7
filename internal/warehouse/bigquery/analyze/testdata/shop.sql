-- the tables that the examples read, as BigQuery shows them
CREATE TABLE core.orders (id INT64, customer_id INT64, item_id INT64, quantity INT64, created_at TIMESTAMP);

CREATE TABLE core.payments (id INT64, order_id INT64, amount NUMERIC(12, 2), paid_at TIMESTAMP);

CREATE TABLE core.refunds (id INT64, payment_id INT64, amount NUMERIC(12, 2), refunded_at TIMESTAMP);

CREATE TABLE core.customers (id INT64, name STRING, country STRING);

CREATE TABLE core.items (id INT64, name STRING, category STRING, price NUMERIC(10, 2));
