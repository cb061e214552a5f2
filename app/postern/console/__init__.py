"""The console: pages for people who sign in with a browser."""
