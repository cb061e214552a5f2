"""The error of an export."""


class ExportFault(ValueError):
    """The requested export is impossible; the message names the option or setting and says how to fix it."""
