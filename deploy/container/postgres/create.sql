-- Runs once, when the database's volume is empty. Postern makes its tables itself, and owns them.
CREATE ROLE postern LOGIN;
CREATE DATABASE postern OWNER postern;
REVOKE ALL ON DATABASE postern FROM PUBLIC;
