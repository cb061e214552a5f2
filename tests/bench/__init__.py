"""`make bench`: the speed of triggers as a ratio to bare Starlette, measured in the same run."""
