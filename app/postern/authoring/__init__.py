"""What an author imports: workflow, Context, Request, Reply, Retry, and the results of calls."""
