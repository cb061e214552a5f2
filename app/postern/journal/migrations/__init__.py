"""How the journal's tables came about, for Alembic."""
