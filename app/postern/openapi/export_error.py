"""What stops an export."""


class ExportFault(ValueError):
    """What was asked for cannot be exported; the message names the option or setting and how to mend it."""
