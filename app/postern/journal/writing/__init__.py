"""How records are written: batches, their rows and statements, and the process that commits them."""
