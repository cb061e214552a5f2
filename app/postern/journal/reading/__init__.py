"""How records are read: queries, their filters and cursors, and the records they give."""
