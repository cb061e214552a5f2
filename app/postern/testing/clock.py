"""The clock of a test."""


class Clock: ...


clock = Clock()
