"""Where runs are recorded: one writer that commits in groups, and readers that never wait for it."""
