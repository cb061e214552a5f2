"""`make bench`: the speed of the door as a ratio to bare Starlette, measured in the same run."""
