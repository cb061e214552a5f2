"""The authors' API: workflow, Context, Request, Reply, Retry, and the results of calls."""
