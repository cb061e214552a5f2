"""What the server says of itself and of its runs, beside the triggers."""
