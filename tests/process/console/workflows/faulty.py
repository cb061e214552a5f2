"""A file that does not load, with a hostile cause."""

raise ImportError("<script data-owned>alert('fault')</script>")
