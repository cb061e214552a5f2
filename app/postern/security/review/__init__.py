"""The access review: who may call which workflow, why, and when they last did."""
