"""The checks of `postern doctor`: what an installation needs, each looked at by itself."""
