"""The history of the schema, for alembic. A migration is never edited once landed."""
