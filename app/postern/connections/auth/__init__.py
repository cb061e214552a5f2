"""The ways of signing in that an entry of `postern.toml` can name."""
