-- A refund of every fortieth payment, some days later.
USE shop;
CREATE TABLE refunds (
  id bigint PRIMARY KEY, payment_id bigint NOT NULL, amount decimal(12,2) NOT NULL, reason varchar(40) NOT NULL,
  refunded_at timestamp(6) NOT NULL
);

INSERT INTO refunds
SELECT seq, seq * 40 + 1, 1 + (seq * 37) % 20 + 0.99, ELT(1 + seq % 3, 'broken', 'late', 'not wanted'),
  NOW(6) - INTERVAL (20000 - seq * 40) * 26 MINUTE + INTERVAL 3 DAY
FROM seq_1_to_490;

CREATE USER millrace IDENTIFIED BY 'millrace';
GRANT SELECT, RELOAD, REPLICATION SLAVE, REPLICATION CLIENT, BINLOG MONITOR ON *.* TO millrace;
