//! The database: steps of its schema, entities and every query, for PostgreSQL and SQLite.
