-- Runs once, when the database is made.
CREATE DATABASE langflow;
