"""The authentication types that an entry of `postern.toml` can name."""
