"""The database itself: opened, migrated, looked at, copied and dumped."""
