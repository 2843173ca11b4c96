-- What the application keeps.

CREATE ROLE shop LOGIN;
CREATE DATABASE shop OWNER shop;
\connect shop
CREATE TABLE items (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    added timestamptz NOT NULL DEFAULT now(),
    server text NOT NULL
);
ALTER TABLE items OWNER TO shop;
