"""An entry of `sys.path` for spawned processes: it has the package `workflows`, and nothing else."""
