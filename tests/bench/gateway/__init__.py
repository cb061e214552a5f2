"""`python -m tests.bench.gateway`: what must hold of calls by a gateway, each bound with what was measured."""
